"""XLM-R's unigram tokenisation in plain Python, as the tokenizers library computes it from a tokenizer.json.

Source: Kudo, 2018 (the most probable cut into pieces, by Viterbi); huggingface/tokenizers, models/unigram and
pre_tokenizers/metaspace.rs for the edges; huggingface/spm_precompiled and s-yata/darts-clone for the character map.
"""

import base64
import re
import struct
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .added import WHITE_SPACE, Added, parts

START, END, WORD = "<s>", "</s>", "▁"
UNKNOWN_PENALTY = 10.0
"""The difference between the worst piece's score and an unknown character's score."""

JOINERS = "\u200c\u200d\uff9e\uff9f"

Step = Callable[[str], str]


def xlm_roberta_ids(
    texts: Sequence[str],
    pieces: Sequence[tuple[str, float]],
    unknown: int,
    normalizers: Sequence[Mapping[str, Any]],
    splits: bool,
    special: Mapping[str, int],
    added: Sequence[Added],
    context_length: int,
) -> list[list[int]]:
    """Ids of each text between <s> and </s>, unpadded, at most `context_length`.

    Args:
        pieces: pieces with log-probabilities, in the order of their ids.
        unknown: the id of a run of characters that are in no piece.
        normalizers: the steps of tokenizer.json's normaliser.
        splits: whether words end at every white space, or only at spaces.
        special: tokens that are recognised as a whole in a text, with their ids.
        added: the same tokens, with how they are found.
    """
    steps = [_step(each) for each in normalizers]
    index = {piece: (number, score) for number, (piece, score) in enumerate(pieces)}
    longest = max(map(len, index))
    worst = min(score for _, score in pieces) - UNKNOWN_PENALTY

    def normalise(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    def encode(text: str) -> Iterator[int]:
        for part in parts(text, added, normalise):
            if isinstance(part, Added):
                yield special[part.text]
                continue
            for word in _words(part, splits):
                yield from _best_cut(word, index, longest, worst, unknown)

    ids = {piece: number for piece, (number, _) in index.items()} | dict(special)
    return [[ids[START], *list(encode(text))[: context_length - 2], ids[END]] for text in texts]


def _words(text: str, splits: bool) -> Iterator[str]:
    """Runs without white space, each with a word's start mark; a mark inside a run cuts the run."""
    if splits:
        parts = "".join(" " if character in WHITE_SPACE else character for character in text).split(" ")
    else:
        parts = [text.replace(" ", WORD)]
    for part in filter(None, parts):
        marked = part if part.startswith(WORD) else WORD + part
        yield from re.findall(f"{WORD}[^{WORD}]*", marked)


def _best_cut(
    word: str, index: Mapping[str, tuple[int, float]], longest: int, worst: float, unknown: int
) -> Iterator[int]:
    """The pieces whose scores have the largest sum; neighbouring unknown characters count as one piece."""
    best: list[tuple[float, int, int]] = [(0.0, 0, unknown)]  # the sum up to here, its last piece's start and id
    best += [(float("-inf"), 0, unknown)] * len(word)
    for start in range(len(word)):
        here = best[start][0]
        for end in range(start + 1, min(start + longest, len(word)) + 1):
            found = index.get(word[start:end])
            if found is not None and here + found[1] > best[end][0]:
                best[end] = here + found[1], start, found[0]
        if word[start] not in index and here + worst > best[start + 1][0]:
            best[start + 1] = here + worst, start, unknown
    ids: list[int] = []
    end = len(word)
    while end:
        _, start, piece = best[end]
        if not (piece == unknown and ids and ids[-1] == unknown):
            ids.append(piece)
        end = start
    return reversed(ids)


def _clusters(text: str) -> Iterator[str]:
    """Characters with their following marks (Unicode, annex 29), as far as needed for clusters under six bytes."""
    cluster = ""
    for character in text:
        if cluster and (cluster + character == "\r\n" or (_extends(character) and not _breaks(cluster[-1]))):
            cluster += character
            continue
        if cluster:
            yield cluster
        cluster = character
    if cluster:
        yield cluster


def _extends(character: str) -> bool:
    return unicodedata.category(character) in ("Mn", "Me", "Mc") or character in JOINERS


def _breaks(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") and character not in JOINERS


def _step(stated: Mapping[str, Any]) -> Step:
    if stated["type"] == "Precompiled":
        return _CharacterMap(base64.b64decode(stated["precompiled_charsmap"])).apply
    if stated["type"] == "Replace":
        pattern, content = stated["pattern"]["Regex"], stated["content"]
        return lambda text: re.sub(pattern, content, text)
    left, right = stated["strip_left"], stated["strip_right"]
    space = "".join(WHITE_SPACE)
    return lambda text: (text.lstrip(space) if left else text).rstrip(space if right else "")


class _CharacterMap:
    """SentencePiece's compiled map: a double array of the bytes to replace, and the replacements, ended by NUL."""

    def __init__(self, content: bytes) -> None:
        (size,) = struct.unpack_from("<I", content)
        self.units = struct.unpack_from(f"<{size // 4}I", content, 4)
        self.replacements = content[4 + size :]

    def apply(self, text: str) -> str:
        return "".join(map(self._cluster, _clusters(text)))

    def _cluster(self, cluster: str) -> str:
        # A short cluster may be replaced as a whole: its shortest beginning matches, and the rest is lost.
        if len(cluster.encode()) < 6 and (found := self._replacement(cluster)) is not None:
            return found
        replaced = ((character, self._replacement(character)) for character in cluster)
        return "".join(character if found is None else found for character, found in replaced)

    def _replacement(self, text: str) -> str | None:
        place = self._offset(self.units[0])
        for byte in text.encode():
            place ^= byte
            if byte == 0 or place >= len(self.units) or self.units[place] & 0x800000FF != byte:
                return None
            unit = self.units[place]
            place ^= self._offset(unit)
            if unit >> 8 & 1:
                start = self.units[place] & 0x7FFFFFFF
                return self.replacements[start : self.replacements.index(0, start)].decode()
        return None

    @staticmethod
    def _offset(unit: int) -> int:
        return unit >> 10 << ((unit & 0x200) >> 6)
