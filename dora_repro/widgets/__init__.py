"""Widgets: results that are looked through in JupyterLab; boxes of controls over pure functions."""
