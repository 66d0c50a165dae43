"""The evidence that a check has kept, opened again: what it found, and further trials. Nothing of it is changed."""
