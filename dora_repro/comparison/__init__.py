"""Comparison: two sides by bytes, with sizes; leaf by leaf, element by element, step by step."""
