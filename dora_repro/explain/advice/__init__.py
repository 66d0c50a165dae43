"""Advice: the lines of code that save and load what was lost."""
