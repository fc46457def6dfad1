"""A Hugging Face folder of a BERT and a CLIP ViT: its towers, and what its files state about pictures and texts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_zhclip.json_files import read_json

from ..errors import InputError
from ..mapping import Shape
from .hf_config import bert_shapes, check_there, clip_vision_shapes, tower_config

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

# Class defaults of CLIPImageProcessor and ChineseCLIPImageProcessor, used if a file leaves the fields out.
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
SQUASHED = "made RGB and resized to {size} x {size}, without keeping the aspect ratio and without a crop"
CROPPED = "made RGB, resized so that the short side is {size}, and cropped to {size} x {size} in the middle"
"""How pictures must be prepared, for error messages."""

TOLERANCE = 1e-6
"""The tolerance for factors, means and deviations, because files round them."""


def dual_towers(shapes: Mapping[str, Shape], config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configs of text and image tower under `text_model.` and `vision_model.`, checked against the shapes."""
    check_there(config)
    # Files of 2022 have `text_config_dict`, which replaces `text_config` in every class that reads it.
    text = [config[key] for key in ("text_config_dict", "text_config") if config.get(key)]
    vision = [config[key] for key in ("vision_config_dict", "vision_config") if config.get(key)]
    return (
        tower_config("bert", text, bert_shapes(shapes, "text_model."), "text_config"),
        tower_config("clip_vision_model", vision, clip_vision_shapes(shapes), "vision_config"),
    )


def pictures(
    kind: str, image_order: str, config: Mapping[str, Any], one_number: bool = False
) -> dict[str, dict[str, Any]]:
    """The preprocessor_config.json of a folder, as `check_pictures` demands it.

    Args:
        kind: the class of the image processor.
        config: a repo's config.
        one_number: write each size as one number, as transformers before 4.25 demands.
    """
    size = config["vision_config"]["image_size"]
    square = {"height": size, "width": size}
    fields = {**PICTURES, "do_center_crop": crops(image_order), "crop_size": square}
    fields["size"] = {"shortest_edge": size} if crops(image_order) else square
    if one_number:
        fields |= {"size": size, "crop_size": size}
    return {"preprocessor_config.json": {**fields, "image_processor_type": kind, "feature_extractor_type": kind}}


def check_pictures(folder: Path | None, image_order: str, size: int) -> None:
    """Refuses a folder whose image processor differs from the family's; a folder without an image processor passes.

    Does not check alpha and the colour mode during resizing, because no field states them.

    Args:
        image_order: the family's order; in a pair, the order of the text side's family.
        size: the side in pixels of the image tower's input.

    Raises:
        InputError: fields contradict; the message lists each field and the expected value.
    """
    found = _image_processor(folder) if folder else None
    if found is None:
        return
    file, fields = found
    stated = {key: default if fields.get(key) is None else fields[key] for key, default in PICTURES.items()}
    wanted = {**PICTURES, **_geometry(stated, image_order, size)}
    wrong = [f"{key} {stated[key]!r} ({due!r} was wanted)" for key, due in wanted.items() if not _is(key, stated, due)]
    wrong += [f"{key} True (False was wanted)" for key in fields if key not in PICTURES and _switches_on(key, fields)]
    if wrong:
        raise InputError(
            f"{file} says {', '.join(wrong)}. This family's pictures are "
            f"{(CROPPED if crops(image_order) else SQUASHED).format(size=size)}, bicubic, x / 255, with CLIP's mean "
            "and deviation. If the model was not trained with the file's values, correct the file. If the model was "
            "trained with the file's values, the model is not converted."
        )


def crops(image_order: str) -> bool:
    """Whether an image order keeps a picture's aspect ratio and crops its middle, instead of squashing it."""
    from hf_zhclip.image_processing_zhclip import SQUARE_ORDERS

    return image_order in SQUARE_ORDERS


def text_limit(folder: Path | None, otherwise: int) -> int:
    """The longest text in tokens: tokenizer_config.json's limit, or the family's if the file states no limit.

    transformers writes 1e30 for "no limit".
    """
    path = folder / "tokenizer_config.json" if folder else None
    stated = read_json(path).get("model_max_length") if path and path.is_file() else None
    return stated if isinstance(stated, int) and stated < 10**6 else otherwise


def _image_processor(folder: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """The image processor's file and fields; transformers 5 nests them and reads the nested place first."""
    nested, own = folder / "processor_config.json", folder / "preprocessor_config.json"
    if nested.is_file() and isinstance(fields := read_json(nested).get("image_processor"), Mapping):
        return nested, fields
    return (own, read_json(own)) if own.is_file() else None


def _geometry(stated: Mapping[str, Any], image_order: str, size: int) -> dict[str, Any]:
    """The expected values of the fields that say how a picture becomes a square."""
    square = {"height": size, "width": size}
    if crops(image_order):
        return {"size": {"shortest_edge": size}, "do_center_crop": True, "crop_size": square}
    # A crop as large as the picture removes nothing. A crop that is switched off may have any size.
    harmless = _is("crop_size", stated, square)
    return {
        "size": square,
        "do_center_crop": stated["do_center_crop"] if harmless else False,
        "crop_size": stated["crop_size"],
    }


def _switches_on(key: str, fields: Mapping[str, Any]) -> bool:
    """Whether a field switches on a step that CLIP's image processors do not have."""
    return key.startswith("do_") and fields[key] is True


def _is(key: str, stated: Mapping[str, Any], wanted: Any) -> bool:
    """Whether a stated value equals the expected value; files round numbers."""
    found = stated[key]
    if isinstance(wanted, bool):
        return found is wanted
    if found == wanted:
        return True
    if isinstance(wanted, dict):
        # Before transformers 4.25 a size was one number: the short edge, and the side of the crop.
        return found == next(iter(wanted.values())) and (key == "crop_size" or "shortest_edge" in wanted)
    values, due = (each if isinstance(each, (list, tuple)) else [each] for each in (found, wanted))
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    return (
        numbers and len(values) == len(due) and all(abs(a - b) <= TOLERANCE for a, b in zip(values, due, strict=True))
    )
