"""Generators that are lost, re-seeded, or put back at the wrong time."""
