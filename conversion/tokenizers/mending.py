"""ftfy's changes to single characters, as steps of a fast tokenizer's normaliser."""

import unicodedata
from collections.abc import Mapping

from tokenizers import Regex, normalizers
from transformers import PreTrainedTokenizerFast

# ftfy's changes to single characters (ftfy 6, fixes.py and chardata.py), in its order: control characters that are
# signs in Windows-1252, ligatures, wide and narrow forms, curled quotes, and invisible characters.
WINDOWS_1252 = {chr(code): sign for code in range(0x80, 0xA0) if (sign := bytes([code]).decode("cp1252", "ignore"))}
LIGATURES = {
    **{"Ĳ": "IJ", "ĳ": "ij", "ŉ": "ʼn", "Ǳ": "DZ", "ǲ": "Dz", "ǳ": "dz", "Ǆ": "DŽ", "ǅ": "Dž", "ǆ": "dž"},
    **{"Ǉ": "LJ", "ǈ": "Lj", "ǉ": "lj", "Ǌ": "NJ", "ǋ": "Nj", "ǌ": "nj"},
    **{"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "ſt", "ﬆ": "st"},
}
WIDE_OR_NARROW = [chr(code) for code in range(0xFF01, 0xFFF0)]
MENDED: Mapping[str, str] = {
    r"\u001b\[[\p{Nd};]*[a-zA-Z]": "",
    **WINDOWS_1252,
    **LIGATURES,
    **{wide: plain for wide in WIDE_OR_NARROW if (plain := unicodedata.normalize("NFKC", wide)) != wide},
    "[\u02bc\u2018-\u201b]": "'",
    "[\u201c-\u201f]": '"',
    "[\u0000-\u0008\u000b\u000e-\u001f\u007f\u206a-\u206f\ufeff\ufff9-\ufffc]": "",
}


def mending() -> list[normalizers.Normalizer]:
    """These steps, then NFC, which is ftfy's last step."""
    return [*(normalizers.Replace(Regex(found), mended) for found, mended in MENDED.items()), normalizers.NFC()]


def with_mending(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer with these steps before its own, as open_clip's HFTokenizer applies ftfy."""
    backend = tokenizer.backend_tokenizer
    own = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([*mending(), *own])
    return tokenizer


MENDING_STEPS = (
    *({"type": "Replace", "pattern": {"Regex": found}, "content": mended} for found, mended in MENDED.items()),
    {"type": "NFC"},
)
"""The same steps as a tokenizer.json stores them."""
