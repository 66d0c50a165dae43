"""Weights, buffers and modes that come back wrong."""
