"""transformers' BertModel, which is the original, with the attention mask as input."""

from typing import Any

import torch
from torch.nn.functional import normalize

from ..witness import Offer, TextFacts
from .common import (
    Tensors,
    bert_ids,
    built_from,
    computing_in,
    loaded,
    tokenizer_mask,
    transformers_name,
    without_position_ids,
)


def original(tensors: Tensors, facts: TextFacts) -> Offer:
    """The witness from BertModel."""
    import transformers

    with built_from("config.json", transformers_name()):
        config = transformers.BertConfig.from_dict(dict(facts.config))
        model = loaded(transformers.BertModel(config), without_position_ids(tensors))

    def outputs(ids: torch.Tensor) -> Any:
        return model(input_ids=ids, attention_mask=tokenizer_mask(ids))

    return Offer(
        name=transformers_name(),
        level="peer",
        computing_in=computing_in(model),
        encode_text=lambda ids: normalize(outputs(ids).pooler_output, dim=-1),
        text_states=lambda ids: normalize(outputs(ids).last_hidden_state, dim=-1),
        token_ids=bert_ids(facts.vocab, facts.context_length),
    )
