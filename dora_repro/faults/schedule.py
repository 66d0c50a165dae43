"""Learning rates and gradient scales that come back wrong."""
