"""The journal of a training in production: what each start did, as digests, and whether it went on as it was.

A start is one process that trains. It appends a line for each update and, where a checkpoint was written, the digests
of all state before the next update. A later start that reads such a file is held against both, while it trains.
"""
