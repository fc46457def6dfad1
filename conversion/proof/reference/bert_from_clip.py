"""The BERT inside a BertCLIP, saved without the text projection: a text tower without a shared space.

Source: CLIP-Chinese, save_bert_checkpoint.py (`BertCLIPTextModel.text_model.save_pretrained`).
"""

from collections.abc import Sequence
from typing import Any

import torch

from . import bert, hf_config, vocabularies, wordpiece
from .files import Files, config_json
from .layers import Config, Tensors, normalize
from .vocabularies import WordPieces

config = config_json
vocabulary = vocabularies.stated_wordpiece


@torch.no_grad()
def encode_text(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """The tanh pooler's output, L2-normalised, `(n, hidden)`, of ids `(n, length)` padded with 0."""
    return normalize(bert.tanh_pooler(tensors, "", _states(tensors, ids, config)))


@torch.no_grad()
def text_states(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    """The last layer's states, each L2-normalised, `(n, length, hidden)`; states of padding mean nothing."""
    return normalize(_states(tensors, ids, config))


def context_length(tensors: Tensors, config: Config, files: Files) -> int:
    """The longest text in ids: the number of positions."""
    return bert.positions(tensors, "")


def text_training(tensors: Tensors, config: Config) -> dict[str, Any]:
    """The text tower's fields of config.json for later training."""
    return hf_config.of_training({**hf_config.BERT, **config}, "bert")


def token_ids(texts: Sequence[str], vocab: WordPieces, context_length: int) -> list[list[int]]:
    """[CLS] .. [SEP] of each text, unpadded, at most `context_length` ids, as from BertTokenizerFast."""
    return wordpiece.folder_ids(texts, vocab, context_length)


def _states(tensors: Tensors, ids: torch.Tensor, config: Config) -> torch.Tensor:
    facts = hf_config.flat(config, hf_config.BERT)
    return bert.last_hidden(tensors, "", ids, facts.heads, facts.activation, facts.eps, bert.behind_bias(ids))
