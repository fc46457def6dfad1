"""The facts about a model that do not depend on its origin: from a converted folder, or from the catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..exports.cn_clip_file import CONFIG, PROCESSOR, RESNET, VIT, home_for
from ..reading.catalogue import Entry, Image, Text
from ..repos.doors import CODE_FILES, SENTENCE_TRANSFORMERS
from ..repos.repo import Repo, read_repo
from ..sources import SOURCES
from ..tokenizers.vocabularies import WORDPIECE

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""A BatchNorm's numbers that are counted, not trained."""

HOME = ("text_pooling", "text_projection_type", "visual_projection_type", "image_order", "lower_cased")
"""The facts needed by cn_clip that the catalogue has."""


@dataclass(frozen=True)
class Model:
    """What a card says about a model, whatever it knows about its origin; `files` are the repo's files.

    For a text tower alone, the card says nothing about pictures.
    """

    config: Mapping[str, Any]
    image_order: str | None
    image_size: int | None
    context_length: int
    positions: int
    width: int
    parameters: int
    dtypes: tuple[str, ...]
    lower_case: bool
    ends: tuple[str, str]
    cn_clip: bool
    files: frozenset[str]

    @property
    def is_text_alone(self) -> bool:
        return self.image_order is None


def model_of_folder(folder: Path) -> Model:
    """The model from a converted folder's own files.

    Raises:
        InputError: a file is missing or damaged.
    """
    repo = read_repo(folder)
    tokenizer, alone = repo.tokenizer, repo.is_text_alone
    trained = [tensor for key, tensor in repo.tensors.items() if not key.endswith(BUFFERS)]
    return Model(
        config=repo.config,
        image_order=None if alone else repo.processor.image_processor.image_order,
        image_size=None if alone else repo.image_size,
        context_length=tokenizer.model_max_length,
        positions=_positions(repo),
        width=repo.config["text_config"]["hidden_size"] if alone else repo.config["projection_dim"],
        parameters=sum(tensor.numel() for tensor in trained),
        dtypes=tuple(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in trained})),
        lower_case=tokenizer("CLIP")["input_ids"] == tokenizer("clip")["input_ids"],
        ends=_ends(tokenizer),
        cn_clip=not alone and _goes_home(repo),
        files=frozenset(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()),
    )


def _positions(repo: Repo) -> int:
    """The number of positions of the text tower, in tokens."""
    from hf_zhclip import ZhCLIPConfig

    return ZhCLIPConfig.from_dict(dict(repo.config)).text_positions


def _ends(tokenizer: Any) -> tuple[str, str]:
    """The first and the last token of every text."""
    first, last = tokenizer.convert_ids_to_tokens(tokenizer("")["input_ids"])
    return first, last


def _goes_home(repo: Repo) -> bool:
    """Whether cn_clip can hold all of the repo."""
    try:
        home_for(repo)
    except InputError:
        return False
    return True


def model_of_entry(entry: Entry) -> Model:
    """The model from the catalogue, which does not have the towers' widths."""
    image = entry.image
    config = {
        "text_config": {"model_type": entry.text.model_type, "is_decoder": False},
        "text_pooling": entry.text.pooling,
        "text_attends_to_padding": False,
        **(_pair_config(entry.text, image) if image else {}),
    }
    return Model(
        config=config,
        image_order=image.order if image else None,
        image_size=image.size if image else None,
        context_length=entry.text.context_length,
        positions=entry.text.positions,
        width=entry.width,
        parameters=entry.parameters.total,
        dtypes=(),
        lower_case=entry.text.lower_case,
        # A source may have towers of two kinds, but a BERT's first and last token are always the same.
        ends=WORDPIECE.ends if entry.text.model_type == "bert" else SOURCES[entry.format].vocabulary.ends,
        cn_clip=image is not None and _entry_goes_home(entry.text, image, config),
        files=frozenset((*CODE_FILES, *(SENTENCE_TRANSFORMERS if image else ()))),
    )


def _pair_config(text: Text, image: Image) -> dict[str, Any]:
    return {
        "vision_config": {"model_type": image.model_type},
        "text_projection_type": text.projection,
        "visual_projection_type": image.projection,
        "vision_pooling": "pooler",
    }


def _entry_goes_home(text: Text, image: Image, config: Mapping[str, Any]) -> bool:
    """Whether cn_clip can hold everything that the catalogue knows about the model."""
    facts = {**config, "image_order": image.order, "lower_cased": text.lower_case}
    tower = RESNET if image.model_type == "hf_zhclip_resnet" else VIT
    demands = [demand for demand in (*CONFIG, *tower, *PROCESSOR) if demand.field in HOME]
    return all(demand.loss(facts) is None for demand in demands)
