"""Errors that load without a word and give wrong embeddings, planted in the references.

Each is a function of a `Case`; it returns the case changed, or changes a fact of the reference through `patch`. The
seeded weights are good enough when each moves the embeddings to a cosine below `SEEN`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from hf_zhclip.conversion.proof.reference import bert, cn_clip, layers

SEEN = 0.99


@dataclass(frozen=True)
class Case:
    """A checkpoint of a source, and what changes its facts."""

    tensors: Mapping[str, torch.Tensor]
    config: Mapping[str, Any]
    patch: pytest.MonkeyPatch

    def with_tensors(self, **changed: torch.Tensor) -> "Case":
        return replace(self, tensors={**self.tensors, **changed})

    def with_config(self, **changed: Any) -> "Case":
        return replace(self, config={**self.config, **changed})

    def with_part(self, part: str, **changed: Any) -> "Case":
        return self.with_config(**{part: {**self.config[part], **changed}})


Planted = Callable[[Case], Case]


def swapped(first: str, second: str) -> Planted:
    """The tensors of one name under the other's, both ways."""

    def plant(case: Case) -> Case:
        renamed = {key: key.replace(first, "\0").replace(second, first).replace("\0", second) for key in case.tensors}
        return case.with_tensors(**{key: case.tensors[other] for key, other in renamed.items()})

    return plant


def joint_split_as(order: str) -> Planted:
    """Joint projections cut in another order than q, k, v."""

    def plant(case: Case) -> Case:
        joint = {key: tensor for key, tensor in case.tensors.items() if ".in_proj_" in key}
        thirds = {key: dict(zip("qkv", tensor.chunk(3), strict=True)) for key, tensor in joint.items()}
        return case.with_tensors(**{key: torch.cat([part[name] for name in order]) for key, part in thirds.items()})

    return plant


def transposed(key: str) -> Planted:
    return lambda case: case.with_tensors(**{key: case.tensors[key].T})


def zeroed(key: str) -> Planted:
    return lambda case: case.with_tensors(**{key: torch.zeros_like(case.tensors[key])})


def fact(module: Any, name: str, value: Any) -> Planted:
    """Another value of a module's constant or function."""

    def plant(case: Case) -> Case:
        case.patch.setattr(module, name, value)
        return case

    return plant


def stated(**fields: Any) -> Planted:
    return lambda case: case.with_config(**fields)


def part(name: str, **fields: Any) -> Planted:
    return lambda case: case.with_part(name, **fields)


def _no_mask(ids: torch.Tensor) -> torch.Tensor:
    return torch.zeros(ids.shape)


def _first_state(tensors: layers.Tensors, prefix: str, states: torch.Tensor) -> torch.Tensor:
    return states[:, 0]


def _pooled_first(original: Callable = bert.last_hidden) -> Callable:
    def last_hidden(tensors: layers.Tensors, prefix: str, *rest: Any) -> torch.Tensor:
        states = original(tensors, prefix, *rest)
        return bert.tanh_pooler(tensors, prefix, states)[:, None]

    return last_hidden


def cn_clip_text(other_heads: int) -> dict[str, Planted]:
    """`other_heads`: a wrong count that divides the width."""
    return {
        "head count": stated(text_num_attention_heads=other_heads),
        "QuickGELU": stated(text_hidden_act="quick_gelu"),
        "eps 1e-5": fact(cn_clip, "TEXT_EPS", 1e-5),
        "no padding mask": fact(bert, "padding_bias", _no_mask),
        "query and key swapped": swapped(".query.", ".key."),
        "tanh pooler": fact(bert, "last_hidden", _pooled_first()),
    }


def cn_clip_vit(other_width: int) -> dict[str, Planted]:
    """`other_width`: a wrong head width that divides the tower's."""
    return {
        "head width": stated(vision_head_width=other_width),
        "erf GELU": fact(cn_clip, "VISION_ACTIVATION", layers.gelu),
        "eps 1e-12": fact(cn_clip, "VISION_EPS", 1e-12),
        "query and key swapped": joint_split_as("kqv"),
        "key and value swapped": joint_split_as("qvk"),
    }


def cn_clip_resnet(other_width: int) -> dict[str, Planted]:
    """A ResNet has no eps that shows: that of batch normalisation stands beside variances near 1."""
    return {
        "head width": stated(vision_head_width=other_width),
        "query and key swapped": swapped("q_proj", "k_proj"),
        "key and value swapped": swapped("k_proj", "v_proj"),
    }


SQUARE_TEXT = {"projection not transposed": transposed("text_projection")}
SQUARE_VISION = {"projection not transposed": transposed("visual.proj")}
BERT_CLIP_TEXT: dict[str, Planted] = {
    "head count": part("text_config", num_attention_heads=2),
    "QuickGELU": part("text_config", hidden_act="quick_gelu"),
    "eps 1e-5": part("text_config", layer_norm_eps=1e-5),
    "first state": fact(bert, "tanh_pooler", _first_state),
    "no padding mask": fact(bert, "behind_bias", _no_mask),
    "query and key swapped": swapped(".query.", ".key."),
}
HF_VISION: dict[str, Planted] = {
    "head count": part("vision_config", num_attention_heads=2),
    "erf GELU": part("vision_config", hidden_act="gelu"),
    "eps 1e-12": part("vision_config", layer_norm_eps=1e-12),
    "query and key swapped": swapped("q_proj", "k_proj"),
    "projection not transposed": transposed("visual_projection.weight"),
}
TAIYI: dict[str, Planted] = {
    "head count": stated(num_attention_heads=2),
    "QuickGELU": stated(hidden_act="quick_gelu"),
    "eps 1e-5": stated(layer_norm_eps=1e-5),
    "first state": fact(bert, "tanh_pooler", _first_state),
    "no padding mask": stated(attend_to_padding=True),
    "query and key swapped": swapped(".query.", ".key."),
}
TAIYI_HEAD = {**TAIYI, "classifier without its bias": zeroed("classifier.bias")}


def cosine(ours: torch.Tensor, other: torch.Tensor) -> float:
    """The largest over the rows: an error has to be seen in every one of them."""
    return float((ours.double() * other.double()).sum(-1).max())
