"""Evidence that a check has kept, to be looked through in JupyterLab, and to be gone on with."""
