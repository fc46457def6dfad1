"""What an export's `zhclip_onnx.py` has to know of a repo, and the files that it reads beside the graphs."""

import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ...errors import InputError
from ...repos.repo import Repo
from ...repos.write import write_json

FORMAT = 1
"""The version of the fields; `zhclip_onnx.py` reads this version alone."""

TEXT_MODEL, VISION_MODEL = "text_model.onnx", "vision_model.onnx"
TOKENIZER, FACTS, RUNTIME = "tokenizer.json", "zhclip_onnx.json", "zhclip_onnx.py"

STEPS = {
    "squash_then_rgb": ("squash", "rgb"),
    "rgb_then_squash": ("rgb", "squash"),
    "crop_then_rgb": ("short_side", "crop_rounded", "rgb"),
    "rgb_then_crop": ("rgb", "short_side", "crop_down"),
    "crop_up_then_rgb": ("short_side", "crop_up", "rgb"),
}
"""By image order, the names of the steps in `zhclip_onnx.py`."""


def write_runtime(folder: Path, repo: Repo) -> dict[str, Any]:
    """Writes `zhclip_onnx.json`, `zhclip_onnx.py` and `tokenizer.json`; gives the content of the first.

    The first holds the marks of the graphs, which are there already.

    Raises:
        InputError: as for `facts`; then nothing is written.
    """
    from hf_zhclip.inference.zhclip_onnx import mark  # which imports onnxruntime

    content = facts(repo)
    write_tokenizer(folder / TOKENIZER, repo.tokenizer)
    graphs = sorted(each for each in folder.iterdir() if each.suffix in (".onnx", ".onnx_data"))
    content["files"] = {file.name: mark(file) for file in (*graphs, folder / TOKENIZER)}
    write_json(folder / FACTS, content)
    with resources.as_file(resources.files("hf_zhclip.inference") / RUNTIME) as file:
        shutil.copyfile(file, folder / RUNTIME)
    return content


def write_tokenizer(file: Path, tokenizer: Any) -> None:
    """Writes a tokenizer as it is loaded: its class may take settings that the repo's tokenizer.json does not hold.

    Cutting and padding, which its last call set, are left out; the facts state them.
    """
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    backend.save(str(file))


def facts(repo: Repo) -> dict[str, Any]:
    """The content of `zhclip_onnx.json`; the classes `Text`, `Vision` and `Facts` of `zhclip_onnx.py` say its fields.

    Raises:
        InputError: the processor's settings cannot be used with pictures.
    """
    scale = repo.tensors.get("logit_scale")
    return {
        "format": FORMAT,
        "embedding_size": _embedding_size(repo),
        "logit_scale": None if scale is None else scale.item(),
        "text": _text(repo),
        "vision": None if repo.is_text_alone else _vision(repo),
    }


def _embedding_size(repo: Repo) -> int:
    from hf_zhclip import ZhCLIPConfig

    config = ZhCLIPConfig.from_dict(dict(repo.config))
    return config.text_width if repo.is_text_alone else config.projection_dim


def _text(repo: Repo) -> dict[str, Any]:
    tokenizer = repo.tokenizer
    return {
        "model": TEXT_MODEL,
        "tokenizer": TOKENIZER,
        "context_length": int(tokenizer.model_max_length),
        "truncation_side": tokenizer.truncation_side,
        "padding_side": tokenizer.padding_side,
        "pad_token": tokenizer.pad_token,
        "pad_id": tokenizer.pad_token_id,
        "split_special_tokens": tokenizer.split_special_tokens,
        "attends_to_padding": repo.config["text_attends_to_padding"] and repo.config["text_padded_length"] is None,
    }


def _vision(repo: Repo) -> dict[str, Any]:
    ours = repo.processor.image_processor
    if ours.do_normalize and not ours.do_rescale:
        raise InputError(
            f"found do_rescale false and do_normalize true in processor_config.json of {repo.path}; wanted settings "
            "for pictures of bytes. Leave do_rescale out of this file."
        )
    return {
        "model": VISION_MODEL,
        "height": ours.size.height,
        "width": ours.size.width,
        "steps": list(STEPS[ours.image_order] if ours.do_resize else ("rgb",)),
        "resample": int(ours.resample),
        "divisor": 255 if ours.do_rescale else 1,
        "mean": list(ours.image_mean) if ours.do_normalize else [0, 0, 0],
        "std": list(ours.image_std) if ours.do_normalize else [1, 1, 1],
    }
