"""OpenAI's own CLIP: TorchScript archives of a ViT or a ResNet with a causal text tower, or their state dicts."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..layouts import towers
from ..layouts.openai import (
    RESNET_WIDENING,
    is_resnet,
    resnet_sizes,
    resnet_tower,
    text_tower,
    vit_sizes,
    vit_tower,
)
from ..mapping import Rule, Shape, drop, rename
from ..reading.read import Checkpoint
from ..source import Files, Signature, Source, Tower, Whole
from ..tokenizers.builders import openai_clip_tokenizer
from ..tokenizers.vocabularies import OPENAI_BPE
from ..words import Words

HEAD_WIDTH = 64
ACTIVATION = "quick_gelu"
EPS = 1e-5
"""The eps of every openai/CLIP model; its clip/model.py has no other (`build_model`, `QuickGELU`, nn.LayerNorm)."""

ORDER = "crop_then_rgb"
"""clip/clip.py, `_transform`."""

BLOCKS = "transformer.resblocks."

VIT = "visual.transformer.resblocks.{}.mlp.c_fc.weight", "visual.proj"
RESNET = "visual.layer1.{}.conv1.weight", "visual.attnpool.positional_embedding"
"""The keys that identify each kind of image tower."""

SCALARS = ("input_resolution", "context_length", "vocab_size")
"""Buffers in the archives beside the weights."""

VITS = {
    (768, 12, 32, 224, 512, 12): "ViT-B/32",
    (768, 12, 16, 224, 512, 12): "ViT-B/16",
    (1024, 24, 14, 224, 768, 12): "ViT-L/14",
    (1024, 24, 14, 336, 768, 12): "ViT-L/14@336px",
}
"""By the image tower's width, layers, patch and image size, and the text tower's width and layers."""

RESNETS = {
    (3, 4, 6, 3, 64, 224, 512, 12): "RN50",
    (3, 4, 23, 3, 64, 224, 512, 12): "RN101",
    (4, 6, 10, 6, 80, 288, 640, 12): "RN50x4",
    (6, 8, 18, 8, 96, 384, 768, 12): "RN50x16",
    (3, 15, 36, 10, 128, 448, 1024, 12): "RN50x64",
}
"""By the image tower's blocks in four layers, width and image size, and the text tower's width and layers."""

LIMITS = (
    Words(
        "Badly decoded characters and HTML entities stay unchanged: OpenAI's own code repairs them first (ftfy, "
        "html.unescape). ftfy's changes of single characters are made here, too: wide forms, curly quotes, ligatures.",
        "乱码和 HTML 实体保持原样：OpenAI 自己的代码会先修复它们（ftfy、html.unescape）。ftfy 对单个字符的处理这里同"
        "样会做：全角字符、弯引号、连字。",
    ),
    Words(
        "A text that is too long is cut, and still ends with <|endoftext|>. OpenAI's tokenize does the same with "
        "truncate=True, and refuses the text without truncate=True.",
        "过长的文本会被截断，末尾仍是 <|endoftext|>：OpenAI 的 tokenize 在 truncate=True 时同样截断，否则会报错。",
    ),
)


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """Both towers and the scale; drops the archives' buffers that state sizes."""
    return _tables(resnet=RESNET[-1] in keys)


def home(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Both towers and the scale, from a converted config."""
    return _tables(resnet=config["vision_config"]["model_type"] == "hf_zhclip_resnet")


def _tables(resnet: bool) -> tuple[Rule, ...]:
    image = towers.OPENAI_RESNET if resnet else towers.openai_vit("in_proj_")
    scalars = tuple(drop(name) for name in SCALARS)
    return (*towers.openai_text("", BLOCKS), *image, rename("logit_scale", "logit_scale"), *scalars)


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Whole:
    """Reads both towers from the shapes; all other facts are the same in every openai/CLIP model."""
    if config:
        raise InputError(
            "The shapes and the code of OpenAI's CLIP state every fact, so --config has nothing to state. Leave "
            "--config out. If the model has other facts, it is a model of open_clip: pass --format open_clip."
        )
    shapes = checkpoint.shapes
    text = _text(shapes)
    name, vision = _vision(shapes, text)
    size = vision.config["image_size"]
    found = {"input_resolution": size, "context_length": text.config["max_position_embeddings"]}
    _check_scalars(checkpoint, {**found, "vocab_size": text.config["vocab_size"]})
    _check_beside(checkpoint, {"text_config": text.config, "vision_config": vision.config})
    return Whole(
        architecture=f"{name} with CLIP text {text.config['hidden_size']}x{text.config['num_hidden_layers']}",
        text=text,
        vision=vision,
        image_order=ORDER,
        context_length=text.config["max_position_embeddings"],
        image_size=size,
        limits=LIMITS,
    )


def _text(shapes: Mapping[str, Shape]) -> Tower:
    words, width = shapes["token_embedding.weight"][0], shapes["token_embedding.weight"][-1]
    return text_tower(
        shapes,
        "",
        BLOCKS,
        heads=_heads(width, "The text tower"),
        activation=ACTIVATION,
        eps=EPS,
        # The ends are the last two words. CLIP pools at the text's highest id, so that the end must be the last word.
        ends=(words - 2, words - 1),
        # OpenAI pads with 0, an ordinary word: tokens after the end are never attended to, whatever they are.
        pad=words - 1,
    )


def _vision(shapes: Mapping[str, Shape], text: Tower) -> tuple[str, Tower]:
    """The image tower; its name is the published name if both towers have the published model's shapes."""
    beside = text.config["hidden_size"], text.config["num_hidden_layers"]
    if is_resnet(shapes):
        width = shapes["visual.layer1.0.conv1.weight"][0] * RESNET_WIDENING
        tower = resnet_tower(shapes, _heads(width, "The attention pool of the image tower"))
        sizes = (*tower.config["layers"], tower.config["width"], tower.config["image_size"], *beside)
        return f"OpenAI CLIP {RESNETS.get(sizes, f'ResNet {sizes[:4]}')}", tower
    width = shapes["visual.conv1.weight"][0]
    tower = vit_tower(shapes, _heads(width, "The image tower"), ACTIVATION, EPS)
    patch, layers = tower.config["patch_size"], tower.config["num_hidden_layers"]
    name = VITS.get((width, layers, patch, tower.config["image_size"], *beside), f"ViT {width}x{layers}/{patch}")
    return f"OpenAI CLIP {name}", tower


def _heads(width: int, where: str) -> int:
    if width < HEAD_WIDTH or width % HEAD_WIDTH:
        raise InputError(
            f"{where} is {width} wide, but in OpenAI's CLIP the width is a multiple of {HEAD_WIDTH}, the width of a "
            "head. The model is not OpenAI's. If the model is open_clip's, pass --format open_clip, and state the "
            "heads with --config."
        )
    return width // HEAD_WIDTH


def _check_scalars(checkpoint: Checkpoint, found: Mapping[str, int]) -> None:
    """Checks the sizes that an archive states against the shapes."""
    there = {name: checkpoint.tensors[name] for name in found if name in checkpoint.tensors}
    # A checkpoint that is known only by its shapes states no sizes to check.
    said = {name: tensor.tolist() for name, tensor in there.items() if not tensor.is_meta}
    if wrong := [
        f"{name} {said[name]}, but the shapes say {found[name]}" for name in said if said[name] != found[name]
    ]:
        raise InputError(
            f"{checkpoint.name} contradicts itself: it states {'; '.join(wrong)}. The weights and these numbers are "
            "not from the same model. Fetch the file again."
        )


def _check_beside(checkpoint: Checkpoint, towers: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuses weights if files beside them state another model than OpenAI's; `towers` holds the expected configs."""
    for side, ours in towers.items():
        said = checkpoint.config.get(side)
        for field in ("hidden_act", "num_attention_heads", "layer_norm_eps"):
            if isinstance(said, Mapping) and field in ours and said.get(field, ours[field]) != ours[field]:
                raise InputError(
                    f"The config.json beside {checkpoint.name} contradicts --format openai_clip: its {side} states "
                    f"{field} {said[field]!r}, but OpenAI's CLIP has {ours[field]!r}. Take weights and config.json "
                    "from the same model."
                )


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """OpenAI's SimpleTokenizer, on its own merges or on the user's."""
    return openai_clip_tokenizer(vocabulary, context_length)


def _signatures() -> tuple[Signature, ...]:
    text = (
        "token_embedding.weight",
        "positional_embedding",
        BLOCKS + "{}.mlp.c_fc.weight",
        "ln_final.weight",
        "text_projection",
        "logit_scale",
    )
    archives = tuple(Signature(required=(*SCALARS, *text, *image)) for image in (VIT, RESNET))
    # open_clip has the same keys, but its models have another activation, head width or image order.
    bare = tuple(Signature(required=(*text, *image), absent=SCALARS, decides="format") for image in (VIT, RESNET))
    return archives + bare


LOAD = """\
import clip
import torch

state_dict = torch.load(f"{folder}/model.pt", map_location="cpu", weights_only=True)
model = clip.model.build_model(state_dict).float().eval()
preprocess = clip.clip._transform(model.visual.input_resolution)"""


def _scalars(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The sizes that OpenAI's archives state beside the weights."""
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    sizes = (
        (resnet_sizes if is_resnet(shapes) else vit_sizes)(shapes)["image_size"],
        shapes["positional_embedding"][0],
        shapes["token_embedding.weight"][0],
    )
    return {name: torch.tensor(size) for name, size in zip(SCALARS, sizes, strict=True)}


# A state dict, which OpenAI's build_model takes; its TorchScript archives hold traced code, too.
FILES = Files(weights=("model.pt",), unused=_scalars, load=lambda config, stated: LOAD)


UNDECIDED = "For OpenAI's own weights, or a model that was fine-tuned from them, pass --format openai_clip."


SOURCE = Source(
    name="openai_clip",
    title="OpenAI's CLIP (openai/CLIP)",
    part="dual",
    signatures=_signatures(),
    describe=describe,
    describe_image=describe,
    rules=rules,
    home=home,
    tokenizer=tokenizer,
    files=FILES,
    vocabulary=OPENAI_BPE,
    reads_config_json=False,
    limits=LIMITS,
    languages=("en",),
    undecided={"token_embedding.weight": UNDECIDED},
)
