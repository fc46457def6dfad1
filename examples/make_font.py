"""Makes the font of the contact sheet again: the characters of the captions alone, out of Noto Sans CJK SC.

    python -m hf_zhclip.examples.make_font /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc

The collection is that of Debian's fonts-noto-cjk. fontTools comes with the extra `train`.
"""

import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTCollection

from hf_zhclip.examples import scenes

NAME = "Noto Sans CJK SC"


def make(collection: Path, out: Path) -> None:
    """Writes the font file; its names keep the copyright, the licence and the licence's address.

    Raises:
        StopIteration: the collection has no font of the name `NAME`.
    """
    font = next(font for font in TTCollection(collection).fonts if font["name"].getDebugName(4) == NAME)
    options = subset.Options(layout_features=[], name_IDs=["*"], notdef_outline=True, desubroutinize=True)
    options.drop_tables += ["BASE", "GPOS", "GSUB", "VORG", "vhea", "vmtx"]  # nothing is shaped or vertical
    subsetter = subset.Subsetter(options)
    subsetter.populate(text="".join(sorted(scenes.font_characters())))
    subsetter.subset(font)
    font["head"].modified = font["head"].created  # the same bytes each time
    font.recalcTimestamp = False
    font.save(out)


if __name__ == "__main__":
    make(Path(sys.argv[1]), scenes.FONT)
