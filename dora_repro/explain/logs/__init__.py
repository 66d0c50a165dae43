"""Logs: one step of both sides recorded in depth, for what no state explains: draws, operators, nondeterminism."""
