"""Weights that anyone can make again: each tensor is a function of its key and its shape alone.

They are scaled so that errors show. With the usual initialisation (std 0.02) an attention is nearly flat, a perceptron
nearly linear, and a wrong head count leaves a cosine of 0.99999; here scores spread over several units, the inner
layers work where QuickGELU and GELU part, and the embeddings are so small that LayerNorm's eps is seen.
"""

import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence

import torch

# (part of "key shape", mean, standard deviation, whether that is divided by sqrt(fan-in)); the first match counts.
RULES = (
    (r"logit_scale ", 4.0, 0.3, False),
    (r"^temp ", 0.07, 0.01, False),
    (r"running_mean ", 0.0, 0.2, False),
    (r"running_var ", 1.0, 0.3, False),
    (r"attnpool\.positional_embedding ", 0.0, 0.5, False),
    (r"(class|positional)_embedding |(word|position|token_type|token)_embeddings?\.weight ", 0.0, 0.0015, False),
    (r"conv\d\.weight .*x[13]$|downsample\.0\.weight ", 0.0, 1.4, True),
    (r"visual\.conv1\.weight |patch_embedding\.weight ", 0.0, 0.0015, True),
    (r"(LayerNorm|layer_?norm\d?|layrnorm|ln_\w+|bn\d|downsample\.1)\.weight ", 1.0, 0.2, False),
    (r"(query|key|q_proj|k_proj|q_lin|k_lin|in_proj|Wqkv)[._]weight ", 0.0, 1.6, True),
    (r"(value|v_proj|out_proj|v_lin|out_lin|attention\.output\.dense)\.weight ", 0.0, 1.5, True),
    (r"(c_fc|fc1|ffn\.lin1|intermediate\.dense)\.weight ", 0.0, 0.6, True),
    (r"(ffn\.lin1|intermediate\.dense)\.bias ", -2.5, 0.1, False),
    (r"(\d\.output\.dense|ffn\.lin2)\.weight ", 0.0, 50.0, True),
    (r"(c_fc|fc1)\.bias ", -2.75, 0.1, False),
    (r"mlp\.(c_proj|fc2)\.weight ", 0.0, 150.0, True),
    (r"^head\.1 |bias ", 0.0, 0.2, False),
    (r"", 0.0, 1.0, True),
)
# These follow an activation whose outputs are nearly all of one sign: each row's second half is minus the first, so
# that the mean, which is the same for every input, does not drown the rest.
PAIRED = r"(\d\.output\.dense|ffn\.lin2)\.weight$|mlp\.(c_proj|fc2)\.weight$"


def seeded_tensor(key: str, shape: Sequence[int]) -> torch.Tensor:
    """A float32 tensor; the same bits on every machine, for the uniform generator uses no transcendental function."""
    if key.endswith("num_batches_tracked"):
        return torch.tensor(1000)
    if key.endswith("position_ids"):
        return torch.arange(shape[-1]).expand(*shape).clone()
    label = f"{key} {'x'.join(map(str, shape))}"
    mean, deviation, by_fan_in = next(rule[1:] for rule in RULES if re.search(rule[0], label))
    if by_fan_in:
        deviation /= _fan_in(key, shape) ** 0.5
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    values = torch.rand(tuple(shape), generator=generator).sub_(0.5).mul_(deviation * 12**0.5).add_(mean)
    if re.search(PAIRED, key):
        half = shape[1] // 2
        values[:, half : 2 * half] = -values[:, :half]
    return values


def seeded_state_dict(shapes: Mapping[str, Sequence[int]]) -> dict[str, torch.Tensor]:
    """One tensor for each key, in the order given."""
    return {key: seeded_tensor(key, shape) for key, shape in shapes.items()}


def fingerprint(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over keys and bytes, sorted by key: tells drifted weights from a drifted computation."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(key.encode())
        digest.update(tensors[key].contiguous().numpy().tobytes())
    return digest.hexdigest()


def _fan_in(key: str, shape: Sequence[int]) -> int:
    """Inputs of one output; the bare projection matrices of OpenAI's layout are stored `(in, out)`."""
    if re.search(r"text_projection$|\bproj$", key):
        return shape[0]
    return torch.Size(shape[1:]).numel()
