"""Series: the checkpoints of a folder, measured from one to the next, and against those of another run."""
