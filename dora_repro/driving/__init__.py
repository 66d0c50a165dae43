"""Drives a training that is one function from outside, step by step."""
