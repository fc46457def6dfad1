"""The classes of the package multilingual-clip, called with ids instead of texts."""

import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn.functional import normalize

from ...words import Words
from ..witness import Facts, Offer
from .common import Tensors, built_from, computing_in, loaded, tokenizer_mask, without_position_ids

BODY = "transformer."
LINEAR = "LinearTransformation."
WEIGHT, BIAS = "head.0", "head.1"
"""The separate head of the models of 2021."""


def original(tensors: Tensors, facts: Facts) -> Offer | None:
    """The witness, or None if the package is not installed."""
    if find_spec("multilingual_clip") is None:
        return None
    name = Words.same(f"multilingual-clip {version('multilingual-clip')}")
    with built_from("the config.json of its base", name):
        body = _body(tensors, facts)
        model = (_legacy if WEIGHT in tensors else _model)(tensors, body).eval()
    return Offer(
        name=name,
        level="peer",
        computing_in=computing_in(model),
        encode_text=lambda ids: normalize(model(ids), dim=-1),
    )


def _body(tensors: Tensors, facts: Facts) -> Any:
    """transformers' own model of the tower, as AutoModel would give it to the package."""
    import transformers

    base = facts.config["base_config"]
    fields = {key: value for key, value in base.items() if key != "model_type"}
    model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(base["model_type"], **fields))
    prefix = "" if WEIGHT in tensors else BODY
    own = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    own = {key: tensor for key, tensor in own.items() if not key.startswith(("head.", LINEAR))}
    if not any(key.startswith("pooler.") for key in own):
        model.pooler = None
    return loaded(model, without_position_ids(own))


def _model(tensors: Tensors, body: Any) -> Any:
    """MultilingualCLIP of 2022."""
    from multilingual_clip import pt_multilingual_clip

    rows, columns = tensors[f"{LINEAR}weight"].shape
    config = pt_multilingual_clip.MultilingualCLIP.config_class(transformerDimSize=columns, imageDimSize=rows)
    with _without_the_hub(pt_multilingual_clip, body):
        model = pt_multilingual_clip.MultilingualCLIP(config)
    head = {key: tensors[f"{LINEAR}{key}"] for key in ("weight", "bias")}
    loaded(model.LinearTransformation, head)
    return _OnIds(model, lambda ids: model(None, _given(ids, body)))


def _legacy(tensors: Tensors, body: Any) -> Any:
    """MultilingualCLIP of 2021, which reads its head from a pickle; the pickle is written here."""
    from multilingual_clip import legacy_multilingual_clip

    with tempfile.TemporaryDirectory() as folder, _without_the_hub(legacy_multilingual_clip, body):
        file = Path(folder) / "Linear Weights.pkl"
        file.write_bytes(pickle.dumps([tensors[key].float().numpy() for key in (WEIGHT, BIAS)]))
        model = legacy_multilingual_clip.MultilingualClip("", "", file.name, weights_dir=f"{folder}/")

    def forward(ids: torch.Tensor) -> torch.Tensor:
        model.tokenizer = _given(ids, body)
        return model(None)

    return _OnIds(model, forward)


class _OnIds(torch.nn.Module):
    """A model of the package that takes padded ids."""

    def __init__(self, model: torch.nn.Module, call: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.model, self.call = model, call

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.call(ids)


def _given(ids: torch.Tensor, body: Any) -> Callable[..., dict[str, torch.Tensor]]:
    """A tokenizer that returns these ids for any text."""
    inputs = {"input_ids": ids, "attention_mask": tokenizer_mask(ids, body.config.pad_token_id)}
    return lambda *texts, **options: inputs


@contextmanager
def _without_the_hub(module: Any, body: Any) -> Iterator[None]:
    """Makes a module of the package use this model and no tokenizer instead of downloading them."""
    transformers = module.transformers
    module.transformers = SimpleNamespace(
        AutoModel=SimpleNamespace(from_pretrained=lambda name: body),
        AutoTokenizer=SimpleNamespace(from_pretrained=lambda name: None),
    )
    try:
        yield
    finally:
        module.transformers = transformers
