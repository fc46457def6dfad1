"""A repo -> a class of transformers itself, or the file of cn_clip."""
