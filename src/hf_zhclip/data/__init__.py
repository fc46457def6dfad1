"""Image-text data in the formats of the originals: read, checked, converted."""

from .reading import FORMATS, read
from .split import Pictures, Split, Text

__all__ = ["FORMATS", "Pictures", "Split", "Text", "read"]
