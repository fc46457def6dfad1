"""Image-text data in the formats of the originals: read, checked, converted."""

from .preparing import WRITERS, Prepared, prepare
from .reading import FORMATS, read, read_pictures
from .split import Pictures, Split, Text

__all__ = ["FORMATS", "Pictures", "Prepared", "Split", "Text", "WRITERS", "prepare", "read", "read_pictures"]
