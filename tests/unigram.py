"""A small tokenizer of XLM-R's kind: pieces by hand, and a compiled character map like SentencePiece's."""

import base64
import json
import struct
from collections.abc import Mapping
from pathlib import Path

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
WORDS = """
▁ ▁一 一 只 猫 一只 一只猫 小狗 的 ▁很 长 句子 要 被 截断 ▁CLIP 模型 ▁V i T - / 1 6 , 20 22 年 ! ▁the ▁cat c a t ca s
▁s u p e r super l o é caf ▁tabs ▁and ▁lines 2 3 <mask > [ ] M A S K 与 … "
""".split()
"""Pieces; each one's score is minus the number of its place, plus what a longer one saves."""

REPLACED = {
    **dict.fromkeys("\t\n\r\u3000\u00a0", " "),
    **dict.fromkeys("\u200b\u0007", ""),
    **dict(zip("！，：１２３Ａ", "!,:123A", strict=True)),
    **{"ﬁ": "fi", "e\u0301": "é", "…": "...", "½": "1⁄2"},
}
"""What the map replaces: a few characters of each kind that SentencePiece's nmt_nfkc has."""


def pieces() -> list[tuple[str, float]]:
    """Each piece once, with a score, in the order of the ids."""
    scored = [(word, -3.0 - 0.125 * place + 2.0 * (len(word) - 1)) for place, word in enumerate(WORDS)]
    return [*((token, 0.0) for token in SPECIAL), *scored, ("<mask>", 0.0)]


def tokenizer_file(path: Path, mapped: bool = True) -> Path:
    """A tokenizer.json as Hugging Face's XLM-R has it; without the map its texts are taken as they are."""
    vocab = pieces()
    added = [
        {
            "id": number,
            "content": token,
            "single_word": False,
            "lstrip": token == "<mask>",
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number, (token, _) in enumerate(vocab)
        if token in (*SPECIAL, "<mask>")
    ]
    around = [{"SpecialToken": {"id": token, "type_id": 0}} for token in ("<s>", "</s>")]
    text = {"Sequence": {"id": "A", "type_id": 0}}
    charsmap = base64.b64encode(character_map(REPLACED)).decode()
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap} if mapped else None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "WhitespaceSplit"},
                {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [around[0], text, around[1]],
            "pair": [around[0], text, around[1], around[1], {"Sequence": {"id": "B", "type_id": 0}}, around[1]],
            "special_tokens": {
                token: {"id": token, "ids": [SPECIAL.index(token)], "tokens": [token]} for token in ("<s>", "</s>")
            },
        },
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "model": {"type": "Unigram", "unk_id": 3, "vocab": vocab, "byte_fallback": False},
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def character_map(replaced: Mapping[str, str]) -> bytes:
    """SentencePiece's format: the size of a double array, the array (Darts-clone's units), and the replacements."""
    trie: dict = {}
    blob = b""
    for text, replacement in replaced.items():
        node = trie
        for byte in text.encode():
            node = node.setdefault(byte, {})
        node[None] = len(blob)
        blob += replacement.encode() + b"\0"
    units: dict[int, int] = {}
    _place(trie, 0, 0, units)
    size = max(units) // 256 * 256 + 256
    array = struct.pack(f"<{size}I", *(units.get(place, 0) for place in range(size)))
    return struct.pack("<I", len(array)) + array + blob


def _place(node: dict, place: int, label: int, units: dict[int, int]) -> None:
    """Writes a node's unit, and its children behind an offset at which all their places are free."""
    units[place] = label
    offset = next(
        each for each in range(1, 1 << 20) if not any(place ^ each ^ (byte or 0) in units for byte in [*node, None])
    )
    base = place ^ offset
    units[place] = label | offset << 10 | (0x100 if None in node else 0)
    # Reserved before any child places its own.
    units |= {base ^ (byte or 0): 0 for byte in [*node, None]}
    for byte, child in node.items():
        if byte is None:
            units[base] = 0x80000000 | child
        else:
            _place(child, base ^ byte, byte, units)
