"""Checks of any run: is a run that was saved, ended and resumed the same run?"""
