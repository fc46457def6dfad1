"""Writes recorded/cn_clip_token_ids.json: the ids that cn_clip's own `tokenize` gives to texts of every kind.

Run where cn_clip is installed (the environment of `make parity`): python -m tests.parity.record_cn_clip_tokens
"""

import json
import platform
import unicodedata
from importlib.metadata import version
from pathlib import Path

import hf_zhclip  # noqa: F401  (hides a broken torchvision, before anything imports transformers)

from tests.parity.peers import cn_clip

FILE = Path(__file__).parent / "recorded" / "cn_clip_token_ids.json"
CONTEXT_LENGTHS = (52, 128)

TEXTS = (
    "",
    " ",
    "皮卡丘",
    "杰尼龟",
    "一只可爱的猫咪,坐在窗台上看雨。",
    "一张 a photo of a DOG 的照片!",
    "繁體字與简体字",
    "ＡＢＣ全角１２３！",
    "Crème Brûlée, naïve façade, Ångström, Zürich",
    "ΟΔΥΣΣΕΥΣ ΣΙΣΥΦΟΣ Σ ΑΣ. ΑΣΑ",
    "İstanbul ISPARTA ıssız",
    "STRASSE Straße ẞ",
    "ПРИВЕТ, Ёлка",
    "東京タワー ガギグ パピプ がぎぐ",
    "한국어 각",
    "ไทย ที่นี่",
    "नमस्ते हिन्दी",
    "שָׁלוֹם עליכם",
    "مرحبا بالعالم",
    "😀👍🏽👨‍👩‍👧 emoji 🇨🇳",
    "♥★☆①②③℃㎡",
    "3.14159 1,000,000 2023-10-01 50% $9.99 ¥100 €5",
    "user@example.com https://example.com/a?b=c#d",
    "a_b-c'd\"e`f^g~h|i\\j/k",
    "[CLS] [SEP] [PAD] [UNK] [MASK] [mask] [unused1] ##a",
    "“引号” ‘单引号’ …… —— 《书名》、「话」",
    'lower "straight" quotes',
    "tab\there\nnewline\rreturn\r\nboth",
    "a\u00a0b\u2003c\u3000d\u202fe\u205ff",
    "line\u2028separator\u2029paragraph\u0085next\u000bvertical\u000cfeed",
    "zero\u200bwidth\u200djoiner\ufeffbom\u00adsoft\u2060word",
    "nul\x00byte bell\x07 delete\x7f \x1b[0m",
    "replacement\ufffdcharacter",
    "private \ue000use\uf8ff \U000f0000 \U0010fffd",
    "noncharacter \ufdd0 \U0010ffff",
    "\u4e00\u9fff\u3400\u4dbf\uf900\ufaff\U00020000\U0002a6df\U0002a700",
    "a\U0002b820b\U0002b900c\U0002ceafd",
    "\U0002f800\U0002fa1f",
    "e\u0301 \u00e9 \u1e69 s\u0323\u0307",
    "word" * 25,
    "word" * 25 + "a",
    "ab" * 95 + "中",
    "x" * 199,
    "x" * 200,
    "x" * 201,
    "é" * 200,
    "é" * 201,
    "中" * 49,
    "中" * 50,
    "中" * 51,
    "中" * 200,
    "the quick brown fox jumps over the lazy dog " * 8,
    "unaffable antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "iPhone12ProMax 5G手机壳",
    "vip专享 50元优惠券 t恤男",
    "𝐁𝐨𝐥𝐝 𝒮𝒸𝓇𝒾𝓅𝓉 ⅷ Ⅷ ﬁ ﬂ",
    "ʰΣ Αʰ Σʰ 1Σ Α\u00adΣ ΑΣ\u0301 ΑΣ's",
)


def main() -> None:
    tokenize = cn_clip("clip.utils").tokenize
    ids = {
        length: [row[: row.index(102) + 1] for row in tokenize(list(TEXTS), context_length=length).tolist()]
        for length in CONTEXT_LENGTHS
    }
    record = {
        "versions": {
            "cn_clip": version("cn_clip"),
            "python": platform.python_version(),
            "unicode": unicodedata.unidata_version,
        },
        "note": "cn_clip's public tokenize(), without the padding zeros; 102 is [SEP].",
        "texts": TEXTS,
        "ids": ids,
    }
    FILE.write_text(_lines(record), encoding="utf-8")


def _lines(record: dict) -> str:
    """JSON with one text and one row of ids a line."""
    parts = [f" {json.dumps(key)}: {json.dumps(record[key])}" for key in ("versions", "note")]
    parts.append(' "texts": [\n' + ",\n".join(f"  {json.dumps(text)}" for text in record["texts"]) + "\n ]")
    for length, rows in record["ids"].items():
        parts.append(f' "ids, {length} at most": [\n' + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n ]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
