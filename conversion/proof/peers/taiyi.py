"""Taiyi's published usage with transformers, with the attention mask as input."""

from typing import Any

import torch
from torch.nn.functional import normalize

from ..witness import Facts, Offer
from .common import (
    Tensors,
    bert_ids,
    built_from,
    clip_pixels,
    computing_in,
    loaded,
    tokenizer_mask,
    transformers_name,
    without_position_ids,
)


def original(tensors: Tensors, facts: Facts) -> Offer:
    """The witness from BertForSequenceClassification, or from BertModel if there is no classifier."""
    head = "classifier.weight" in tensors
    with built_from("config.json", transformers_name()):
        model = loaded(_model(tensors, facts), without_position_ids(tensors))

    def encode_text(ids: torch.Tensor) -> torch.Tensor:
        output = model(input_ids=ids, attention_mask=tokenizer_mask(ids))
        return normalize(output.logits if head else output.pooler_output, dim=-1)

    return Offer(
        name=transformers_name(),
        level="peer",
        computing_in=computing_in(model),
        encode_text=encode_text,
        token_ids=bert_ids(facts.vocab, facts.context_length),
        pixels=clip_pixels(facts.image_size, facts.how) if head else None,
    )


def _model(tensors: Tensors, facts: Facts) -> Any:
    import transformers

    # The head gives the number of labels; a config may state another number.
    config = {key: value for key, value in facts.config.items() if key not in ("id2label", "label2id", "num_labels")}
    if "classifier.weight" not in tensors:
        return transformers.BertModel(transformers.BertConfig.from_dict(config))
    labels = len(tensors["classifier.weight"])
    return transformers.BertForSequenceClassification(
        transformers.BertConfig.from_dict({**config, "num_labels": labels})
    )
