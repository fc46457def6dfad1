"""Finds the source that claims the keys, and the parts that make one model."""
