"""Retrieval and zero-shot classification, scored as the originals score."""
