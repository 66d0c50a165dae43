"""Moving averages of weights that are lost, mixed up or swapped in."""
