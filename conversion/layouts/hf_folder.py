"""A Hugging Face folder of a BERT and a CLIP ViT: its towers, and what its other files say of pictures and texts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..mapping import Shape
from ..reading.json_files import read_json
from .hf_config import bert_shapes, check_there, clip_vision_shapes, tower_config

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

# Class defaults of CLIPImageProcessor and ChineseCLIPImageProcessor, which a file that leaves them out means.
PICTURES = {
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": MEAN,
    "image_std": STD,
    "do_convert_rgb": True,
}
SQUASHED = "made RGB and resized to {size} x {size} whatever their shape, without a crop"
CROPPED = "made RGB, resized to {size} on the short side, and cropped to the {size} x {size} in the middle"
"""How pictures are prepared, where it is told what was wanted."""

GEOMETRY = ("size", "do_center_crop", "crop_size")
NORMALISATION = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
TOLERANCE = 1e-6
"""Of factors, means and deviations: files round them."""


def dual_towers(shapes: Mapping[str, Shape], config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configs of text and image tower under `text_model.` and `vision_model.`, held against the shapes."""
    check_there(config)
    # `text_config_dict`, which files of 2022 carry, replaces `text_config` in every one of the classes that read it.
    text = [config[key] for key in ("text_config_dict", "text_config") if config.get(key)]
    vision = [config[key] for key in ("vision_config_dict", "vision_config") if config.get(key)]
    return (
        tower_config("bert", text, bert_shapes(shapes, "text_model."), "text_config"),
        tower_config("clip_vision_model", vision, clip_vision_shapes(shapes), "vision_config"),
    )


def check_pictures(folder: Path | None, image_order: str, size: int) -> None:
    """Refuses a folder whose image processor does not do what the family does; one that has none says nothing.

    Args:
        image_order: the family's, of those that make a picture RGB first.
        size: the side in pixels that the image tower takes.

    Raises:
        InputError: naming each field that contradicts.
    """
    from hf_zhclip.image_processing_zhclip import SQUARE_ORDERS

    found = _image_processor(folder) if folder else None
    if found is None:
        return
    file, fields = found
    stated = {key: default if fields.get(key) is None else fields[key] for key, default in PICTURES.items()}
    wrong = [key for key in PICTURES if key not in GEOMETRY and not _same(stated[key], PICTURES[key])]
    fits, wanted = (_crops, CROPPED) if image_order in SQUARE_ORDERS else (_squashes, SQUASHED)
    if not fits(stated, size):
        wrong += GEOMETRY
    if wrong:
        said = ", ".join(f"{key} {stated[key]!r}" for key in wrong)
        raise InputError(
            f"{file} says {said}. This family's pictures are {wanted.format(size=size)}, bicubic, "
            "x / 255, with CLIP's mean and deviation. If the model was not trained with the file's values, correct "
            "the file. If it was, this conversion cannot prepare its pictures."
        )


def check_normalisation(folder: Path | None) -> None:
    """Refuses a folder whose image tower was trained with another mean and deviation than CLIP's.

    Raises:
        InputError: naming each field that contradicts.
    """
    found = _image_processor(folder) if folder else None
    if found is None:
        return
    file, fields = found
    stated = {key: PICTURES[key] if fields.get(key) is None else fields[key] for key in NORMALISATION}
    if wrong := [f"{key} {value!r}" for key, value in stated.items() if not _same(value, PICTURES[key])]:
        raise InputError(
            f"{file} says {', '.join(wrong)}. Wanted x / 255 with CLIP's mean and deviation. If the model was not "
            "trained with the file's values, correct the file. If it was, it cannot be converted yet."
        )


def text_limit(folder: Path | None, otherwise: int) -> int:
    """The longest text in tokens: what tokenizer_config.json states, or the family's where it states none.

    transformers writes 1e30 for "none".
    """
    path = folder / "tokenizer_config.json" if folder else None
    stated = read_json(path).get("model_max_length") if path and path.is_file() else None
    return stated if isinstance(stated, int) and stated < 10**6 else otherwise


def _image_processor(folder: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """Where the image processor is stated, and its fields; transformers 5 nests them, and reads that place first."""
    nested, own = folder / "processor_config.json", folder / "preprocessor_config.json"
    if nested.is_file() and isinstance(fields := read_json(nested).get("image_processor"), Mapping):
        return nested, fields
    return (own, read_json(own)) if own.is_file() else None


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, bool):
        return found is wanted
    values, due = (each if isinstance(each, (list, tuple)) else [each] for each in (found, wanted))
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    return (
        numbers and len(values) == len(due) and all(abs(a - b) <= TOLERANCE for a, b in zip(values, due, strict=True))
    )


def _is_square(value: Any, size: int) -> bool:
    return value == {"height": size, "width": size}


def _squashes(stated: Mapping[str, Any], size: int) -> bool:
    # A crop that is as large as the picture takes nothing away.
    crop = stated["crop_size"]
    harmless = stated["do_center_crop"] is False or crop == size or _is_square(crop, size)
    return _is_square(stated["size"], size) and harmless


def _crops(stated: Mapping[str, Any], size: int) -> bool:
    # Before transformers 4.25 a size was one number: the short edge, and the side of the crop.
    short = stated["size"] in (size, {"shortest_edge": size})
    return (
        short
        and stated["do_center_crop"] is True
        and (stated["crop_size"] == size or _is_square(stated["crop_size"], size))
    )
