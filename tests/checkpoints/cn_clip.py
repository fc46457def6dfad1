"""Training checkpoints of cn_clip: with a ViT, in flash-attention's layout, with a modified ResNet."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from tests.checkpoints import common
from tests.checkpoints.common import Original, batch_norm, bert, linear, norm
from tests.weights import seeded_state_dict

CN_CLIP_FACTS = {"vision_head_width": 16, "text_num_attention_heads": 4, "text_hidden_act": "gelu"}
"""What `--config` has to state of the small cn_clip checkpoints."""


def cn_clip_vit(flash: bool = False, pooler: bool = False) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a cn_clip model with a ViT."""
    fused = "Wqkv." if flash else "in_proj_"
    shapes = {
        "text_projection": (common.HIDDEN, common.EMBED),
        "logit_scale": (),
        "visual.class_embedding": (common.WIDTH,),
        "visual.positional_embedding": ((common.SIZE // common.PATCH) ** 2 + 1, common.WIDTH),
        "visual.proj": (common.WIDTH, common.EMBED),
        "visual.conv1.weight": (common.WIDTH, 3, common.PATCH, common.PATCH),
        **norm("visual.ln_pre", common.WIDTH),
    }
    for layer in range(common.LAYERS):
        name = f"visual.transformer.resblocks.{layer}."
        shapes |= {
            name + f"attn.{fused}weight": (3 * common.WIDTH, common.WIDTH),
            name + f"attn.{fused}bias": (3 * common.WIDTH,),
        }
        shapes |= linear(name + "attn.out_proj", common.WIDTH, common.WIDTH)
        shapes |= norm(name + "ln_1", common.WIDTH) | norm(name + "ln_2", common.WIDTH)
        shapes |= linear(name + "mlp.c_fc", 4 * common.WIDTH, common.WIDTH) | linear(
            name + "mlp.c_proj", common.WIDTH, 4 * common.WIDTH
        )
    return shapes | norm("visual.ln_post", common.WIDTH) | bert("bert.", pooler, flash)


def cn_clip_resnet() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a cn_clip model with a small modified ResNet: width 16, one block a layer."""
    width, inner = 16, 16
    shapes: dict[str, tuple[int, ...]] = {"text_projection": (common.HIDDEN, common.EMBED), "logit_scale": ()}
    for n, (rows, columns) in enumerate(((width // 2, 3), (width // 2, width // 2), (width, width // 2)), start=1):
        shapes |= {f"visual.conv{n}.weight": (rows, columns, 3, 3)} | batch_norm(f"visual.bn{n}", rows)
    for n in (1, 2, 3, 4):
        planes, name = width * 2 ** (n - 1), f"visual.layer{n}.0."
        shapes |= {name + "conv1.weight": (planes, inner, 1, 1)} | batch_norm(name + "bn1", planes)
        shapes |= {name + "conv2.weight": (planes, planes, 3, 3)} | batch_norm(name + "bn2", planes)
        shapes |= {name + "conv3.weight": (4 * planes, planes, 1, 1)} | batch_norm(name + "bn3", 4 * planes)
        shapes |= {name + "downsample.0.weight": (4 * planes, inner, 1, 1)}
        shapes |= batch_norm(name + "downsample.1", 4 * planes)
        inner = 4 * planes
    shapes |= {"visual.attnpool.positional_embedding": ((common.SIZE // 32) ** 2 + 1, inner)}
    for part in ("q_proj", "k_proj", "v_proj"):
        shapes |= linear(f"visual.attnpool.{part}", inner, inner)
    return shapes | linear("visual.attnpool.c_proj", common.EMBED, inner) | bert("bert.", pooler=False)


def cn_clip_file(
    path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None, prefix: str = "module.", **extra: object
) -> Path:
    """A training checkpoint as cn_clip's trainer saves it, optimizer included."""
    state_dict = seeded_state_dict(shapes or cn_clip_vit())
    optimizer = {"state": {0: {"step": torch.tensor(7.0), "exp_avg": torch.ones(4)}}, "param_groups": [{"lr": 1e-4}]}
    top = {"epoch": 3, "step": 77, "name": "tiny", "optimizer": optimizer, **extra}
    torch.save({**top, "state_dict": {prefix + key: tensor for key, tensor in state_dict.items()}}, path)
    return path


def cn_clip_config(path: Path) -> Path:
    """The JSON that states what the small checkpoints' shapes don't."""
    path.write_text(json.dumps(CN_CLIP_FACTS), encoding="utf-8")
    return path


def original(shapes: Callable[[], dict[str, tuple[int, ...]]], prefix: str = "module.") -> Callable[[Path], Original]:
    """Makes a cn_clip training checkpoint, and the JSON that states its head counts."""

    def make(folder: Path) -> Original:
        config = cn_clip_config(folder / "facts.json")
        return Original(cn_clip_file(folder / "epoch3.pt", shapes(), prefix), {"config": config})

    return make


ORIGINALS = {
    "cn_clip_vit": original(cn_clip_vit),
    "cn_clip_flash": original(lambda: cn_clip_vit(flash=True, pooler=True), prefix=""),
    "cn_clip_resnet": original(cn_clip_resnet),
}
