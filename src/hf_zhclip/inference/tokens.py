"""Texts -> ids, as a ZhCLIPProcessor gives them, with nothing between the `tokenizers` library and the arrays."""

import logging
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast
from transformers.tokenization_utils_base import LARGE_INTEGER

from ..processing_zhclip import ZhCLIPProcessor

logger = logging.getLogger(__name__)

Tokenize = Callable[[list[str], int | None], dict[str, np.ndarray]]
"""Texts and the most tokens of a text (None: the repo's own) -> arrays (texts, length), by the names of a model."""

OUTPUTS = {"input_ids", "attention_mask", "token_type_ids"}
"""What is known here; the types of the tokens of a single text are 0."""


def tokens_of(processor: Any) -> Tokenize:
    """The fastest call that gives the ids of `processor(text=..., return_tensors="np")`."""

    def by_processor(texts: list[str], length: int | None) -> dict[str, np.ndarray]:
        options = {} if length is None else {"max_length": length}
        return dict(processor(text=texts, return_tensors="np", **options))

    def by_library(texts: list[str], length: int | None) -> dict[str, np.ndarray]:
        return _by_library(processor, texts, length)

    return by_library if _is_plain(processor) else by_processor


def _is_plain(processor: Any) -> bool:
    """Whether nobody changed the steps between the processor's call and the library."""
    tokenizer = getattr(processor, "tokenizer", None)
    return (
        type(processor).__call__ is ZhCLIPProcessor.__call__
        and isinstance(tokenizer, PreTrainedTokenizerFast)
        and type(tokenizer)._encode_plus is PreTrainedTokenizerFast._encode_plus
        and {"input_ids", "attention_mask"} <= set(tokenizer.model_input_names) <= OUTPUTS
        and not any(tokenizer.backend_tokenizer.encode("a").type_ids)
        and tokenizer.pad_token_type_id == 0
    )


def _by_library(processor: Any, texts: list[str], length: int | None) -> dict[str, np.ndarray]:
    tokenizer = processor.tokenizer
    library = tokenizer.backend_tokenizer
    limit = tokenizer.model_max_length if length is None else length
    _set(tokenizer, library, limit)
    rows = library.encode_batch_fast(texts)
    ids = [row.ids for row in rows]
    if not processor._warned_of_a_cut and max(map(len, ids)) >= limit:
        _warn_of_a_cut(processor, rows, limit)
    found, mask = padded(ids, lambda: tokenizer.pad_token_id, tokenizer.padding_side == "left")
    types = {"token_type_ids": np.zeros_like(found)} if "token_type_ids" in tokenizer.model_input_names else {}
    return {"input_ids": found, "attention_mask": mask, **types}


def _warn_of_a_cut(processor: Any, rows: list[Any], limit: int) -> None:
    """As the processor warns, but with what the user of a command can do, too."""
    if cut := sum(bool(row.overflowing) for row in rows):
        processor._warned_of_a_cut = True
        logger.warning(
            "%d of %d texts have more than %d tokens, the first and the last token included, and were cut: what comes "
            "later has no effect. Shorten these texts. In Python, Embedder(model, processor, context_length=N) keeps "
            "more, up to the positions of the text tower; the tower was perhaps not trained with such lengths. This "
            "warning appears once.",
            cut,
            len(rows),
            limit,
        )


def _set(tokenizer: Any, library: Any, limit: int) -> None:
    """What transformers sets in each of its calls: the settings may have changed since the last call."""
    cut = None
    if limit < LARGE_INTEGER:
        cut = {"max_length": limit, "stride": 0, "strategy": "longest_first", "direction": tokenizer.truncation_side}
    if library.padding is not None:
        library.no_padding()
    if library.truncation != cut:
        library.no_truncation() if cut is None else library.enable_truncation(**cut)
    if library.encode_special_tokens != tokenizer.split_special_tokens:
        library.encode_special_tokens = tokenizer.split_special_tokens


def padded(rows: list[list[int]], pad: Callable[[], int], left: bool) -> tuple[np.ndarray, np.ndarray]:
    """Lists of ids -> the ids and the mask, which is 1 where an id is no padding; both (rows, longest), int64.

    Args:
        rows: at least one list.
        pad: gives the id of padding; called where padding is needed, because transformers looks for it slowly.
        left: whether padding comes before the ids.
    """
    lengths = list(map(len, rows))
    shape = (len(rows), max(lengths))
    if min(lengths) == shape[1] > 0:
        ids = np.array(rows, np.int64)
        mask = np.empty(shape, np.int64)
        mask.fill(1)
        return ids, mask
    places = np.arange(shape[1]) < np.array(lengths)[:, None]
    places = places[:, ::-1] if left else places
    ids = np.full(shape, pad(), np.int64)
    ids[places] = np.fromiter(chain.from_iterable(rows), np.int64, sum(lengths))
    return ids, places.astype(np.int64)
