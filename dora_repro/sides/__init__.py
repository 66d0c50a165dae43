"""One side of a check: what it is asked to do, the interpreter it runs in, and the evidence that it leaves."""
