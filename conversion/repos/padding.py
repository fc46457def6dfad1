"""Rows that a training added to the word embedding as padding: they are left out, because no text uses them."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..reading.read import Checkpoint
from ..words import Words
from .lineage import Base
from .prepared import padded_to, words_of
from .repo import load_processor

WORD_EMBEDDINGS = ("text_model.embeddings.word_embeddings.weight", "text_model.embeddings.token_embedding.weight")
"""The target key of a text tower's word embedding: of a BERT, or of a CLIP."""

LEFT_OUT = Words(
    "The training left {found} rows for words in the text tower, and the vocabulary has {words} words. The rows "
    "beyond the base's {rows} rows are taken as padding up to a multiple of {multiple}, and are left out. No text "
    "uses these rows.",
    "训练后文本塔的词嵌入有 {found} 行，词表有 {words} 个词。超出基座 {rows} 行的部分视为补齐到 {multiple} 的倍数的"
    "填充，转换时去掉；任何文本都用不到。",
)


def without_padding(trained: Checkpoint, base: Base) -> tuple[Checkpoint, tuple[Words, ...]]:
    """What training saved without the rows that only pad its vocabulary, and the card's sentence about such rows.

    The rule is the rule for originals (`prepared.PADDED_TO`). Here the rows are left out, because the proof computes
    with the original's own config, which states the rows of the base. A vocabulary with other words is refused by
    `differences.check_same`.
    """
    from hf_zhclip import ZhCLIPConfig

    key = next((key for key in WORD_EMBEDDINGS if key in trained.tensors), None)
    rows = ZhCLIPConfig.from_dict(copy.deepcopy(base.config)).text_config.vocab_size
    if key is None or (found := len(trained.tensors[key])) <= rows:
        return trained, ()
    words = _words(base)
    if (multiple := padded_to(words, found)) is None:
        return trained, ()
    tensors = {**trained.tensors, key: trained.tensors[key][:rows]}
    told = LEFT_OUT.filled(found=found, words=words, rows=rows, multiple=multiple)
    return replace(trained, tensors=tensors, config=_with_rows(trained.config, found, rows)), (told,)


def _words(base: Base) -> int:
    processor = load_processor(base.folder)
    return words_of(getattr(processor, "tokenizer", processor))


def _with_rows(config: Mapping[str, Any], found: int, rows: int) -> Mapping[str, Any]:
    """The config.json with the base's number of rows, if it states the number that the weights have."""
    text = config.get("text_config")
    if not isinstance(text, Mapping) or text.get("vocab_size") != found:
        return config
    return {**config, "text_config": {**text, "vocab_size": rows}}
