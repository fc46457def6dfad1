"""A repo on disk, converted or fine-tuned afterwards: its config, its tensors and its processor."""

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from PIL.Image import Resampling

from hf_zhclip.errors import is_fault
from hf_zhclip.json_files import Field, brief, check_fields, is_kind, read_json
from hf_zhclip.repo_files import check_files

from ..errors import InputError
from ..mapping import check, plan, rename
from ..reading.namesakes import refuse_namesake
from ..reading.read import read
from ..ways_out import finish_it, refuse_no_folder


@dataclass(frozen=True)
class Repo:
    """`config` is config.json with every field stated; `tensors` are memory-mapped.

    If the repo holds a text tower alone, which takes no pictures, `processor` is the tokenizer.
    """

    path: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    processor: Any

    @property
    def is_text_alone(self) -> bool:
        return is_text_alone(self.config)

    @property
    def tokenizer(self) -> Any:
        return self.processor if self.is_text_alone else self.processor.tokenizer

    @property
    def image_size(self) -> int:
        """The side in pixels of the model's square input."""
        return self.config["vision_config"]["image_size"]

    @property
    def longest_text(self) -> int:
        """The longest text that the model takes, in tokens."""
        from hf_zhclip import ZhCLIPConfig

        return ZhCLIPConfig.from_dict(dict(self.config)).max_text_positions


IMAGE_PROCESSOR = {
    "resample": Field((int,), needed=False),
    "image_mean": Field((list,), needed=False),
    "image_std": Field((list,), needed=False),
}
"""Fields of processor_config.json that are checked here, because the image processor accepts them unchecked."""


def is_text_alone(config: Mapping[str, Any]) -> bool:
    """Whether a config.json belongs to a repo that was converted from a text tower alone.

    A tower saved out of a pair also states the other tower.
    """
    return config.get("architectures") == ["ZhCLIPTextModel"] and config.get("vision_config") is None


def load_processor(folder: Path) -> Any:
    """The repo's processor, or for a text tower alone its tokenizer; a repo's own code is never asked for or run."""
    from transformers import AutoProcessor, AutoTokenizer

    auto = AutoTokenizer if is_text_alone(read_json(folder / "config.json")) else AutoProcessor
    return auto.from_pretrained(folder, trust_remote_code=False)


def read_repo(path: Path) -> Repo:
    """Reads a repo that `convert` made, or that `save_pretrained` made from such a repo.

    Raises:
        InputError: the folder is no repo, holds one tower of a pair, lacks its processor or tokenizer, or has weights
            that belong to another model.
    """
    refuse_no_folder(path)
    if not (path / "config.json").is_file():
        raise InputError(
            f"{path} is no converted repo: it has no config.json. `zhclip convert SOURCE OUT` writes a converted repo."
        )
    refuse_namesake(path)
    stated = read_json(path / "config.json")
    _check_config(path, stated)
    check_files(path)
    tensors = read(path).tensors
    _check_layers(path, stated, len(tensors))
    built, shapes = build(path)
    config = built.to_dict()
    check([plan((rename("*", "*"),), {key: tuple(tensor.shape) for key, tensor in tensors.items()})], shapes)
    _check_settings(path / "tokenizer_config.json")
    processor = _tokenizer(path) if is_text_alone(config) else _processor(path, config["vision_config"]["image_size"])
    repo = Repo(path, config, tensors, processor)
    _check_length(repo)
    return repo


def _check_config(path: Path, config: Mapping[str, Any]) -> None:
    if config.get("model_type") != "hf_zhclip":
        raise InputError(
            f"{path} is of model_type {config.get('model_type')!r}, but a converted repo (hf_zhclip) was wanted. "
            f"If {path} is a checkpoint, `zhclip convert {shlex.quote(str(path))} OUT` makes a converted repo."
        )
    if (architectures := config.get("architectures")) != ["ZhCLIPModel"] and not is_text_alone(config):
        raise InputError(
            f"{path} holds {architectures}; a whole model (ZhCLIPModel) was wanted. Export the repo that this tower "
            "was taken from."
        )


UNBUILDABLE = (
    *(StrictDataclassError, ValueError, TypeError, RuntimeError, ArithmeticError),
    *(LookupError, AttributeError, ImportError),
)
"""What transformers raises for a config of which no model can be built."""


def build(path: Path) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """The ZhCLIPConfig of a repo's config.json, and the keys and shapes of its model.

    Raises:
        InputError: no model can be built from it.
    """
    from hf_zhclip import ZhCLIPConfig, ZhCLIPModel, ZhCLIPTextModel

    try:
        config = ZhCLIPConfig.from_pretrained(path)
        with torch.device("meta"):
            model = ZhCLIPModel(config) if config.vision_config is not None else ZhCLIPTextModel(config)
    except UNBUILDABLE as error:
        raise InputError(f"No model can be built from {path / 'config.json'}. {error}") from error
    return config, {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


def _check_settings(file: Path) -> None:
    """Refuses a length that is no number, because the tokenizer accepts it unchecked."""
    if file.is_file():
        check_fields(read_json(file), {"model_max_length": Field((float, NoneType), needed=False)}, str(file))


def _tokenizer(path: Path) -> Any:
    if not (path / "tokenizer.json").is_file():
        raise InputError(f"{path} has no tokenizer.json. {finish_it(path)}")
    try:
        return load_processor(path)
    except BaseException as error:  # the tokenizers library raises plain Exception, and panics
        if not is_fault(error):
            raise
        raise InputError(f"The tokenizer of {path} does not load: {error}") from error


def _check_pictures(stated: Any, where: str) -> None:
    """Refuses a filter that Pillow does not have, and a mean or a deviation that is not one number a colour."""
    check_fields(stated, IMAGE_PROCESSOR, where)
    if (filter := stated.get("resample", 0)) not in set(Resampling):
        raise InputError(f"found resample {filter} in {where}; wanted a filter of Pillow, 0 to {max(Resampling)}.")
    for name, least in (("image_mean", -math.inf), ("image_std", 0.0)):
        values = stated.get(name, [1.0, 1.0, 1.0])
        if len(values) != 3 or not all(is_kind(each, (float,)) and each > least for each in values):
            positive = " above 0" if least == 0.0 else ""
            raise InputError(f"found {name} {brief(values)} in {where}; wanted three numbers{positive}.")


def _check_length(repo: Repo) -> None:
    positions = repo.longest_text
    if not 3 <= (length := repo.tokenizer.model_max_length) <= positions:
        raise InputError(
            f"{repo.path / 'tokenizer_config.json'} says model_max_length {length:g}, but the model takes 3 to "
            f"{positions} tokens. Correct model_max_length in this file."
        )


def _check_layers(path: Path, config: Mapping[str, Any], tensors: int) -> None:
    """Refuses a number of layers that the weights cannot have, before a model is built of them."""
    for tower in ("text_config", "vision_config"):
        stated = config.get(tower)
        for name in ("num_hidden_layers", "n_layers"):
            count = stated.get(name, 0) if isinstance(stated, Mapping) else 0
            if isinstance(count, int) and count > tensors:
                raise InputError(
                    f"{path / 'config.json'} says {name} {count:g} in {tower}, but the weights have {tensors} "
                    "tensors. Take weights and config.json from the same folder."
                )


def _processor(path: Path, image_size: int) -> Any:
    from hf_zhclip import ZhCLIPImageProcessor, ZhCLIPProcessor

    if not (path / "processor_config.json").is_file():
        raise InputError(
            f"{path} has no processor_config.json, which says how pictures are prepared. {finish_it(path)}"
        )
    stated = read_json(path / "processor_config.json").get("image_processor", {})
    _check_pictures(stated, f"the image_processor of {path / 'processor_config.json'}")
    try:
        processor = load_processor(path)
    except BaseException as error:  # the tokenizers library raises plain Exception, and panics
        if not is_fault(error):
            raise
        raise InputError(f"The processor of {path} does not load: {error}") from error
    image_processor = getattr(processor, "image_processor", None)
    if not isinstance(processor, ZhCLIPProcessor) or not isinstance(image_processor, ZhCLIPImageProcessor):
        raise InputError(
            f"{path} holds a {type(processor).__name__}; a ZhCLIPProcessor was wanted, as convert writes."
        )
    size = dict(image_processor.size)
    if size != {"height": image_size, "width": image_size}:
        raise InputError(
            f"processor_config.json of {path} says size {size}, but the model takes {image_size} x {image_size} "
            "pixels. Take model and processor from the same folder."
        )
    return processor
