"""Fewer and larger matrix products for the layers of a model that the Embedder alone holds.

The numbers stay those of the model's own layers, to rounding: query, key and value are one product, the activation and
the sum with the layer's input are done in the product where the processor's library can, the weights lie in that
library's own order, and the last layer computes the first row alone if the vector comes from the first row.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN


@dataclass(frozen=True)
class Parts:
    """Where a tower of transformers keeps its layers, and a layer its parts."""

    layers: str
    query: str
    key: str
    value: str
    out: str
    first_norm: str
    up: str
    down: str
    second_norm: str
    norm_first: bool
    heads: str
    activation: str


_BERT = Parts(
    layers="encoder.layer",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    out="attention.output.dense",
    first_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    second_norm="output.LayerNorm",
    norm_first=False,
    heads="num_attention_heads",
    activation="hidden_act",
)
_CLIP = Parts(
    layers="encoder.layers",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    out="self_attn.out_proj",
    first_norm="layer_norm1",
    up="mlp.fc1",
    down="mlp.fc2",
    second_norm="layer_norm2",
    norm_first=True,
    heads="num_attention_heads",
    activation="hidden_act",
)
_DISTILBERT = Parts(
    layers="transformer.layer",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    out="attention.out_lin",
    first_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    second_norm="output_layer_norm",
    norm_first=False,
    heads="n_heads",
    activation="activation",
)
TOWERS: dict[str, Parts] = {
    "bert": _BERT,
    "xlm-roberta": _BERT,
    "distilbert": _DISTILBERT,
    "clip_text_model": _CLIP,
    "clip_vision_model": _CLIP,
}
"""By the model type of a tower, where its parts are. A tower of another type runs as it is."""

OF_FIRST_ROW = ("cls", "pooler")
"""The kinds of pooling that read the first row of the last layer alone."""


@dataclass(frozen=True)
class Activation:
    """An activation that a product can end in.

    Args:
        call: `call(states)`, which may write into its argument.
        scale: the activation is `call(scale * x) / scale`; the factors are put into the weights. In bfloat16 they
            round once more, as each product does (ViT-B-16: as near to float32 as without them).
        epilogue: its name and its algorithm in oneDNN; None if oneDNN does not know it.
    """

    call: Callable[[torch.Tensor], torch.Tensor]
    scale: float = 1.0
    epilogue: tuple[str, str] | None = None


def _silu(states: torch.Tensor) -> torch.Tensor:
    return nn.functional.silu(states, inplace=True)


ACTIVATIONS: dict[str, Activation] = {
    # x * sigmoid(1.702 * x) is silu(1.702 * x) / 1.702.
    "quick_gelu": Activation(_silu, 1.702, ("swish", "")),
    "gelu": Activation(nn.functional.gelu, 1.0, ("gelu", "none")),
    "relu": Activation(torch.relu_, 1.0, ("relu", "")),
}
NO_EPILOGUE = ("none", "")


class Product(nn.Module):
    """`states @ weight.T + bias`, then an activation or a sum.

    Args:
        weight: (out, in).
        bias: (out,).
        activation: what is done with the product; None leaves it as it is.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, activation: Activation | None = None):
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.activation = activation

    def forward(self, states: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
        found = nn.functional.linear(states, self.weight, self.bias)
        found = found if self.activation is None else self.activation.call(found)
        return found if added is None else found + added


class PackedProduct(nn.Module):
    """The same by oneDNN, with the weights in its own order; on the CPU alone. See `Product`."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, activation: Activation | None = None):
        super().__init__()
        # No buffer: its memory has no address that a copy or a move could read.
        self.weight = (torch.ops.mkldnn._reorder_linear_weight(weight.contiguous()),)
        self.register_buffer("bias", bias)
        self.epilogue = (activation and activation.epilogue) or NO_EPILOGUE
        self.rest = activation.call if activation is not None and activation.epilogue is None else None

    def forward(self, states: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
        product, (weight,) = torch.ops.mkldnn._linear_pointwise, self.weight
        if added is not None:
            return product.binary(states, added.contiguous(), weight, self.bias, "add")
        name, algorithm = self.epilogue
        found = product(states, weight, self.bias, name, [], algorithm)
        return found if self.rest is None else self.rest(found)


class FusedLayer(nn.Module):
    """A layer of attention and of two products, called like the layer of transformers from which it is made.

    Args:
        layer: that layer; it may be thrown away afterwards.
        parts: where its parts are.
        config: its tower's config.
        first_alone: whether the first row alone is asked for.
        product: `Product` or `PackedProduct`.
    """

    def __init__(self, layer: nn.Module, parts: Parts, config: Any, first_alone: bool, product: type[nn.Module]):
        super().__init__()
        part = {name: attrgetter(getattr(parts, name))(layer) for name in (*_LINEAR, *_NORMS)}
        activation = _activation(getattr(config, parts.activation))
        self.heads, self.norm_first = getattr(config, parts.heads), parts.norm_first
        self.first_alone = first_alone
        # The first row alone asks, but all rows are asked.
        together = ("key", "value") if first_alone else ("query", "key", "value")
        self.together = product(*_stacked([part[name] for name in together]))
        self.query = product(*_stacked([part["query"]])) if first_alone else None
        self.out = product(*_stacked([part["out"]]))
        self.up = product(*_stacked([part["up"]], activation.scale, activation.scale), activation)
        self.down = product(*_stacked([part["down"]], 1 / activation.scale))
        self.first_norm, self.second_norm = part["first_norm"], part["second_norm"]

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *unused: Any,
        is_causal: bool = False,
        **unused_names: Any,
    ) -> torch.Tensor:
        kept = hidden_states[:, :1] if self.first_alone else hidden_states
        given = self.first_norm(hidden_states) if self.norm_first else hidden_states
        states = self.out(self._attended(given, attention_mask, is_causal), kept)
        states = states if self.norm_first else self.first_norm(states)
        given = self.second_norm(states) if self.norm_first else states
        states = self.down(self.up(given), states)
        return states if self.norm_first else self.second_norm(states)

    def _attended(self, given: torch.Tensor, mask: torch.Tensor | None, is_causal: bool) -> torch.Tensor:
        *heads, key, value = self._by_head(self.together(given))
        query = heads[0] if self.query is None else self._by_head(self.query(given[:, :1].contiguous()))[0]
        if mask is not None:
            mask = mask[:, :, :1] if self.first_alone else mask
        causal = is_causal and mask is None and query.shape[2] > 1
        found = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        return found.transpose(1, 2).flatten(2)

    def _by_head(self, states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(n, length, count * width) -> `count` tensors, (n, heads, length, width / heads)."""
        width = self.out.bias.shape[0]
        split = states.view(*states.shape[:2], states.shape[2] // width, self.heads, width // self.heads)
        return split.permute(2, 0, 3, 1, 4).unbind(0)


_LINEAR = ("query", "key", "value", "out", "up", "down")
_NORMS = ("first_norm", "second_norm")


def _stacked(layers: list[Any], scale: float = 1, of_bias: float = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """The weight and the bias of products that share their input, (sum of outputs, in) and (sum of outputs,)."""
    weight, bias = (torch.cat([getattr(each, name).detach() for each in layers]) for name in ("weight", "bias"))
    return (weight if scale == 1 else weight * scale), (bias if of_bias == 1 else bias * of_bias)


def fuse(model: Any, product: type[nn.Module] | None = None) -> Any:
    """Replaces the layers of each tower that a fusion fits, in place; the other towers stay as they are.

    Args:
        model: a ZhCLIPModel that nobody else holds: its keys and modules change.
        product: `Product` or `PackedProduct`; by default the faster one that the device can do.

    Returns:
        The model.
    """
    if any(hasattr(each, "_hf_hook") for each in model.modules()):
        return model  # parts of it lie on several devices or on disk
    product = product or (PackedProduct if _packs(model) else Product)
    model.set_attn_implementation("sdpa")  # the masks of the layers here are those of this attention
    for tower, pooling in ((model.text_model, model.config.text_pooling), (model.vision_model, "pooler")):
        parts = TOWERS.get(tower.config.model_type)
        if parts is not None and _fits(tower, parts):
            layers = attrgetter(parts.layers)(tower)
            for number, layer in enumerate(layers):
                last = number == len(layers) - 1
                layers[number] = FusedLayer(
                    layer, parts, tower.config, last and pooling in OF_FIRST_ROW, product
                ).eval()
    return model


def _activation(name: str) -> Activation:
    return ACTIVATIONS.get(name) or Activation(ACT2FN[name])


def _fits(tower: Any, parts: Parts) -> bool:
    """Whether the layers are those of which `TOWERS` speaks, and not, for example, quantised or a decoder's."""
    if getattr(tower.config, "is_decoder", False):
        return False  # each word sees only the words before it
    return all(type(each) is nn.Linear and each.bias is not None for each in _products(tower, parts))


def _products(tower: Any, parts: Parts) -> Iterator[Any]:
    for layer in attrgetter(parts.layers)(tower):
        for name in _LINEAR:
            yield attrgetter(getattr(parts, name))(layer)


def _packs(model: Any) -> bool:
    """Whether oneDNN packs and computes products of this device and dtype here."""
    if model.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    drawn = torch.Generator().manual_seed(0)
    states, weight, bias = (torch.randn(size, generator=drawn).to(model.dtype) for size in ((3, 4), (5, 4), (5,)))
    try:
        found = [PackedProduct(weight, bias, each)(states) for each in ACTIVATIONS.values()]
        found.append(PackedProduct(weight, bias)(states, states @ weight.T))
    except (RuntimeError, AttributeError, TypeError):  # no such call, or none for this dtype
        return False
    wanted = [Product(weight, bias, each)(states) for each in ACTIVATIONS.values()]
    wanted.append(Product(weight, bias)(states, states @ weight.T))
    bound = 8 * torch.finfo(model.dtype).eps
    return all(torch.allclose(one, other, rtol=bound, atol=bound) for one, other in zip(found, wanted, strict=True))
