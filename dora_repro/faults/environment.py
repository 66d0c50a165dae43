"""What is no state of the run at all."""
