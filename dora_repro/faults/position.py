"""Places within an epoch that are lost or counted twice."""
