"""Trials: put the reference's state back into a resumed run, and search for the smallest set that restores it."""
