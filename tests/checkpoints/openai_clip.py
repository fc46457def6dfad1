"""OpenAI's TorchScript archives."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from tests.checkpoints import cn_clip, common
from tests.checkpoints.common import Original, bpe, bpe_folder, linear, norm
from tests.weights import seeded_state_dict


def openai_clip(resnet: bool = False) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of OpenAI's CLIP, whose heads are 64 wide: two of them in each transformer."""
    width = 2 * 64
    shapes = {
        "token_embedding.weight": (len(bpe()[0]), width),
        "positional_embedding": (common.POSITIONS, width),
        "text_projection": (width, common.EMBED),
        "logit_scale": (),
        **norm("ln_final", width),
        **_resblocks("transformer.", width),
    }
    if resnet:
        return shapes | {key: shape for key, shape in cn_clip.cn_clip_resnet().items() if key.startswith("visual.")}
    return shapes | {
        "visual.class_embedding": (width,),
        "visual.positional_embedding": ((common.SIZE // common.PATCH) ** 2 + 1, width),
        "visual.proj": (width, common.EMBED),
        "visual.conv1.weight": (width, 3, common.PATCH, common.PATCH),
        **norm("visual.ln_pre", width),
        **norm("visual.ln_post", width),
        **_resblocks("visual.transformer.", width),
    }


def _resblocks(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(common.LAYERS):
        name = f"{prefix}resblocks.{layer}."
        shapes |= {name + "attn.in_proj_weight": (3 * width, width), name + "attn.in_proj_bias": (3 * width,)}
        shapes |= linear(name + "attn.out_proj", width, width)
        shapes |= norm(name + "ln_1", width) | norm(name + "ln_2", width)
        shapes |= linear(name + "mlp.c_fc", 4 * width, width) | linear(name + "mlp.c_proj", width, 4 * width)
    return shapes


OPENAI_CLIP_SCALARS = {
    "input_resolution": common.SIZE,
    "context_length": common.POSITIONS,
    "vocab_size": len(bpe()[0]),
}
"""What OpenAI's archives hold beside the weights."""


def openai_clip_file(path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None, **scalars: int) -> Path:
    """A TorchScript archive as OpenAI publishes its models; `scalars` replace what it states of its sizes."""
    stated = {name: torch.tensor(value) for name, value in {**OPENAI_CLIP_SCALARS, **scalars}.items()}
    return torchscript_file(path, seeded_state_dict(shapes or openai_clip()) | stated)


def torchscript_file(path: Path, state_dict: Mapping[str, torch.Tensor]) -> Path:
    """A TorchScript archive with this state dict: modules in modules, without a method."""
    top = torch.nn.Module()
    for key, tensor in state_dict.items():
        *modules, name = key.split(".")
        module = top
        for each in modules:
            if each not in module._modules:
                module.add_module(each, torch.nn.Module())
            module = module.get_submodule(each)
        if not tensor.is_floating_point() or name.startswith("running_"):
            module.register_buffer(name, tensor)
        else:
            module.register_parameter(name, torch.nn.Parameter(tensor))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's word on TorchScript itself
        torch.jit.save(torch.jit.script(top), path)
    return path


def original(folder: Path) -> Original:
    """Makes an archive of OpenAI's, and the vocabulary that is published apart from it."""
    return Original(openai_clip_file(folder / "ViT.pt"), {"tokenizer": bpe_folder(folder / "vocabulary")})


ORIGINALS = {"openai_clip": original}
