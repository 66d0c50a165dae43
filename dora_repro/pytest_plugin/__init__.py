"""For users of pytest: the fixture `resume_exact`, which fails with a report's answer.

Every pytest in an environment where this is installed imports `plugin.py`, so that is kept light. What asks and what
words the answer is imported when a test calls the fixture.
"""
