"""Vocabularies as they lie in files, and the fast tokenizers that are built from them."""
