"""Vocabulary files, and the fast tokenizers that are built from them."""
