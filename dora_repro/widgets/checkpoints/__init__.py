"""The checkpoint explorer: the checkpoints of one folder, or of two side by side."""
