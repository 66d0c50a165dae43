"""Optimizers that come back as others."""
