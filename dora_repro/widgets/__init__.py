"""Widgets: results to be explored in JupyterLab; boxes of controls over pure functions."""
