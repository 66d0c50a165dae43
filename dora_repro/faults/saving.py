"""Files that hold something else than the run held."""
