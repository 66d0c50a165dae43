"""The difference explorer: two runs or files, down to the element."""
