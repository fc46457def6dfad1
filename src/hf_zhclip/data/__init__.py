"""Image-text data in the formats of the originals: read, checked, converted."""
