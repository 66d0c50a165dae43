"""Notebooks run without a screen: located, given parameters, executed in a process of their own, and judged.

papermill executes; nothing here knows what a notebook is about. papermill, nbformat and nbconvert are an extra
(`notebooks`), imported where they are used.
"""
