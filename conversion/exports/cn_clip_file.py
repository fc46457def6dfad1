"""A repo -> cn_clip's own file: whether cn_clip can hold all of it, under which names, and how the file is written."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hf_zhclip.image_processing_zhclip import IMAGE_ORDERS, SQUARE_ORDERS

from .. import mapping
from ..errors import InputError, WorkError
from ..layouts import cn_clip as cn_clip_model
from ..mapping import inverse, plan
from ..proof import samples
from ..repos.pieces import same_bits
from ..repos.repo import Repo
from ..repos.write import alone, write_pickle
from ..tokenizers.builders import cn_clip_tokenizer
from ..tokenizers.vocabularies import default_vocab
from ..words import Words
from .natives import IMAGE_SIDE, TEXT_SIDE, Demand, beyond_a_matrix

CONFIG = (
    Demand("text_config.model_type", ("bert",), {}),
    Demand(
        "text_config.is_decoder",
        (False,),
        {
            True: Words(
                "the causal mask of the text tower: cn_clip's BERT has no causal mask",
                "文本塔的因果掩码（cn_clip 的 BERT 没有）",
            )
        },
    ),
    Demand("text_config.layer_norm_eps", (1e-12,), {}),
    Demand("text_config.pad_token_id", (0,), {}),
    Demand("text_config.hidden_act", ("gelu", "relu", "swish"), {}),
    Demand(
        "text_pooling",
        ("cls",),
        {
            "pooler": Words(
                "the tanh pooler of texts: cn_clip takes the state of [CLS] without a pooler",
                "文本的 tanh pooler（cn_clip 直接取 [CLS] 的状态）",
            )
        },
    ),
    Demand(
        "text_projection_type",
        ("linear",),
        {
            **beyond_a_matrix(TEXT_SIDE),
            "none": Words(
                "texts without a projection: cn_clip always has a text projection",
                "文本没有投影层（cn_clip 总有一个）",
            ),
        },
    ),
    Demand(
        "text_attends_to_padding",
        (False,),
        {
            True: Words(
                "the attention of the text tower to padding: cn_clip always masks padding",
                "文本塔会注意到填充（cn_clip 总是屏蔽填充）",
            )
        },
    ),
    Demand("vision_config.model_type", ("clip_vision_model", "hf_zhclip_resnet"), {}),
    Demand("vision_config.num_channels", (3,), {}),
    Demand(
        "vision_pooling",
        ("pooler",),
        {
            "cls": Words(
                "the raw class token: cn_clip applies a layer norm to the class token",
                "未经归一化的 class token（cn_clip 会再做一次 layer norm）",
            )
        },
    ),
)
VIT = (
    Demand("vision_config.hidden_act", ("quick_gelu",), {}),
    Demand("vision_config.layer_norm_eps", (1e-5,), {}),
    Demand("mlp_ratio", (4,), {}),
    Demand(
        "visual_projection_type",
        ("linear",),
        {
            **beyond_a_matrix(IMAGE_SIDE),
            "none": Words(
                "images without a projection: cn_clip always has an image projection after a ViT",
                "图像没有投影层（cn_clip 的 ViT 之后总有一个）",
            ),
        },
    ),
)
RESNET = (Demand("visual_projection_type", ("none",), {}),)
RGB_FIRST = Words(
    "the image order: the repo makes pictures RGB before resizing, and cn_clip makes them RGB after resizing",
    "图片的处理顺序：这里先转成 RGB 再缩放，cn_clip 先缩放再转成 RGB",
)
CROPPED = Words(
    "the image order: the repo resizes the short side and crops the middle, and cn_clip resizes to a square",
    "图片的处理顺序：这里按短边缩放、居中裁剪，cn_clip 直接缩放成正方形",
)
PROCESSOR = (
    Demand(
        "image_order",
        (cn_clip_model.ORDER,),
        {
            order: CROPPED if order in SQUARE_ORDERS else RGB_FIRST
            for order in IMAGE_ORDERS
            if order != cn_clip_model.ORDER
        },
    ),
    Demand("resample", (3,), {}),
    Demand("image_mean", ((0.48145466, 0.4578275, 0.40821073),), {}),
    Demand("image_std", ((0.26862954, 0.26130258, 0.27577711),), {}),
    Demand(
        "same_vocabulary",
        (True,),
        {
            False: Words(
                "the vocabulary: cn_clip's tokenizer has another vocabulary", "词表：与 cn_clip 的分词器所用的不同"
            )
        },
    ),
    Demand(
        "lower_cased",
        (True,),
        {
            False: Words(
                "upper case and accents in texts: cn_clip's tokenizer removes them",
                "文本中的大写字母和重音符号（cn_clip 的分词器会去掉它们）",
            )
        },
    ),
)
"""The values that cn_clip/clip/utils.py fixes in image_transform and tokenize."""

PUBLISHED = (
    ("ViT-B-16", "ViT-B-16", 512, 224),
    ("ViT-B-32", "ViT-B-32", 512, 224),
    ("ViT-L-14", "ViT-L-14", 768, 224),
    ("ViT-L-14-336", "ViT-L-14", 768, 336),
    ("ViT-H-14", "ViT-H-14", 1024, 224),
    ("RN50", "RN50", 1024, 224),
)
"""A name in cn_clip/clip/model_configs, its tower's size in layouts/cn_clip.py, its width and picture size."""

TOWERS: dict[str, dict[str, Any]] = {
    name: dict(zip(("vision_width", "vision_layers", "vision_patch_size", "vision_head_width"), sizes, strict=True))
    for name, *sizes in (
        *((*sizes, head) for sizes, head in cn_clip_model.VISION_HEAD_WIDTH.items()),
        *(
            (name, width, list(layers), None, head)
            for (name, width, layers), head in cn_clip_model.RESNET_HEAD_WIDTH.items()
        ),
    )
}
VISION: dict[str, dict[str, Any]] = {
    name: {**TOWERS[tower], "embed_dim": embed_dim, "image_resolution": resolution}
    for name, tower, embed_dim, resolution in PUBLISHED
}
TEXT: dict[str, dict[str, Any]] = {
    name: {
        **dict(zip(("text_hidden_size", "text_num_hidden_layers", "text_intermediate_size"), sizes, strict=True)),
        **{"text_num_attention_heads": heads, "text_max_position_embeddings": 512, "text_type_vocab_size": 2},
        **{"text_hidden_act": cn_clip_model.TEXT_ACTIVATION, "vocab_size": 21128},
    }
    for (name, *sizes), heads in cn_clip_model.TEXT_HEADS.items()
}
"""What cn_clip/clip/model_configs states for each name, except fields that only training reads."""

PREFIX = "module."
"""DistributedDataParallel's prefix, which cn_clip's training saves and resumes."""


@dataclass(frozen=True)
class Home:
    """The model in cn_clip's terms: names in its model_configs (None: no such size exists), and what they state."""

    vision: str | None
    text: str | None
    model_config: Mapping[str, Any]

    @property
    def architecture(self) -> str:
        """Both names, joined as in cn_clip."""
        return f"{self.vision}@{self.text}" if self.vision and self.text else "no published size"


def home_for(repo: Repo) -> Home:
    """The model in cn_clip's terms.

    Raises:
        InputError: cn_clip cannot hold the repo; the message names everything that would be lost.
    """
    facts = _facts(repo)
    tower = RESNET if repo.config["vision_config"]["model_type"] == "hf_zhclip_resnet" else VIT
    lost = [loss for demand in (*CONFIG, *tower, *PROCESSOR) if (loss := demand.loss(facts)) is not None]
    if lost:
        raise InputError(
            f"cn_clip cannot hold this model exactly, and nothing was written. {repo.path} would lose:\n"
            + "\n".join(f"  {loss.en}" for loss in lost)
        )
    model_config = cn_clip_model.model_config(
        repo.config["text_config"], repo.config["vision_config"], repo.config["projection_dim"]
    )
    return Home(_name(VISION, model_config), _name(TEXT, model_config), model_config)


def _facts(repo: Repo) -> dict[str, Any]:
    """The config, and the processor's facts that are fixed in cn_clip."""
    image_processor, tokenizer = repo.processor.image_processor, repo.processor.tokenizer
    vision, cased = repo.config["vision_config"], "Clip CAFÉ"
    same_vocabulary = _is_cn_clips(tokenizer.get_vocab())
    return {
        **repo.config,
        "mlp_ratio": vision["intermediate_size"] / vision["hidden_size"] if "intermediate_size" in vision else None,
        "image_order": image_processor.image_order,
        "resample": int(image_processor.resample),
        "image_mean": tuple(image_processor.image_mean),
        "image_std": tuple(image_processor.image_std),
        "same_vocabulary": same_vocabulary,
        # With another vocabulary the words themselves are lost, and case cannot be compared.
        "lower_cased": not same_vocabulary or tokenizer(cased)["input_ids"] == _tokenizer(repo)(cased)["input_ids"],
    }


def _is_cn_clips(ids: Mapping[str, int]) -> bool:
    """Whether all words have cn_clip's ids; two with a line separator do not count, because no text reaches them."""
    vocab = default_vocab()
    words = {token: number for number, token in enumerate(vocab) if token.split() == [token]}
    return len(ids) == len(vocab) and all(ids.get(token) == number for token, number in words.items())


def _tokenizer(repo: Repo) -> Any:
    return cn_clip_tokenizer(default_vocab(), repo.processor.tokenizer.model_max_length)


def _name(table: Mapping[str, Mapping[str, Any]], model_config: Mapping[str, Any]) -> str | None:
    """The published size that states exactly these values."""
    same = (name for name, stated in table.items() if all(model_config[key] == value for key, value in stated.items()))
    return next(same, None)


def state_dict(repo: Repo, ddp: bool) -> dict[str, torch.Tensor]:
    """The repo's tensors under cn_clip's keys, in the layout without flash attention; views if possible.

    Joining a ViT's q, k and v copies a third of its memory.
    """
    table = inverse(cn_clip_model.home(repo.config))
    mapped = plan(table, {key: tuple(tensor.shape) for key, tensor in repo.tensors.items()})
    mapping.check([mapped], mapped.shapes)
    return {(PREFIX if ddp else "") + key: alone(tensor) for key, tensor in mapped.run(repo.tensors)}


def write(file: Path, tensors: Mapping[str, torch.Tensor], name: str) -> None:
    """Writes a checkpoint as cn_clip/training/main.py saves it, without the optimizer's state."""
    write_pickle(file, {"epoch": 0, "step": 0, "name": name, "state_dict": dict(tensors)})


def check_written(file: Path, repo: Repo) -> None:
    """Reads a checkpoint back, maps it as `convert` would, and compares keys and bits with the repo's.

    Raises:
        WorkError: the file does not hold what the repo holds.
    """
    saved = torch.load(file, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    plain = {key.removeprefix(PREFIX): tensor for key, tensor in saved.items()}
    mapped = plan(cn_clip_model.rules(plain), {key: tuple(tensor.shape) for key, tensor in plain.items()})
    found = dict(mapped.run(plain))
    shared = found.keys() & repo.tensors.keys()
    different = [key for key in shared if not same_bits(found[key], repo.tensors[key])]
    if different := [*different, *(found.keys() ^ repo.tensors.keys())]:
        wrong = ", ".join(mapping.fold(different))
        raise WorkError(f"The checkpoint was read back after writing, and differs in {wrong}. Check the disk.")


def differences(repo: Repo, home: Home, ddp: bool) -> tuple[str, ...]:
    """Sentences: what differs for a user of the file from a user of the repo, or what the user must do."""
    tokenizer, there = repo.processor.tokenizer, _tokenizer(repo)
    texts = [text for text in samples.TEXTS if tokenizer(text)["input_ids"] != there(text)["input_ids"]]
    length = tokenizer.model_max_length
    sentences = {
        "load_from_name rounds most weights to float16, also on a CPU. cn_clip's evaluation scripts with --precision "
        "amp or fp32 do not round the weights.": True,
        f"The repo cuts texts at {length} tokens, and cn_clip at 52 by default. For the repo's length, call "
        f"tokenize(texts, context_length={length}).": length != cn_clip_model.CONTEXT_LENGTH,
        f"cn_clip gives some texts other token ids than the repo, for example {''.join(texts[:1])[:40]!r}.": (
            bool(texts)
        ),
        "cn_clip's training resumes from the file with --resume FILE --reset-optimizer --reset-data-offset: the file "
        "holds no optimizer state.": ddp,
        "cn_clip's training does not resume from the file: it needs keys that begin with module. (--ddp).": not ddp,
        "cn_clip's evaluation scripts take only cn_clip's own sizes (--vision-model, --text-model). This model has "
        "another size.": home.vision is None or home.text is None,
    }
    return tuple(sentence for sentence, holds in sentences.items() if holds)


def how_to_load(file: Path, home: Home) -> str:
    """Python code that loads the file with cn_clip's load_from_name, and states a size that cn_clip does not know."""
    names = {"vision": home.vision or _file_name(file, "vision"), "text": home.text or _file_name(file, "text")}
    fields = {"vision": ("vision_", "embed_dim", "image_resolution"), "text": ("text_", "vocab_size")}
    configs = {
        names[side]: {key: value for key, value in home.model_config.items() if key.startswith(fields[side])}
        for side, published in (("vision", home.vision), ("text", home.text))
        if published is None
    }
    return _LOAD.format(
        states=_STATE.format(configs=configs) if configs else "",
        path=json.dumps(str(file), ensure_ascii=False),
        resolution=home.model_config["image_resolution"],
        **names,
    )


def _file_name(file: Path, side: str) -> str:
    return re.sub(r"[^\w.-]", "-", f"{file.stem}-{side}")


_STATE = """\
import json
from pathlib import Path

import cn_clip.clip

# cn_clip has no model_configs of this size; these go into its folder.
folder = Path(cn_clip.clip.__file__).parent / "model_configs"
configs = {configs!r}
for name, config in configs.items():
    (folder / f"{{name}}.json").write_text(json.dumps(config))

"""
_LOAD = """\
{states}from cn_clip.clip import load_from_name

model, preprocess = load_from_name(
    {path},
    device="cpu",
    vision_model_name="{vision}",
    text_model_name="{text}",
    input_resolution={resolution},
)
model.eval()
"""
