"""A repo -> a class of plain transformers, or cn_clip's file."""
