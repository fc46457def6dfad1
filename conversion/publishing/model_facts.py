"""What is known of a model, whatever is known of its origin: from a converted folder, or from the catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..exports.cn_clip_file import CONFIG, PROCESSOR, RESNET, VIT, home_for
from ..reading.catalogue import Entry, Image, Text
from ..repos.doors import SENTENCE_TRANSFORMERS
from ..repos.repo import Repo, read_repo
from ..sources import SOURCES
from ..tokenizers.vocabularies import WORDPIECE

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Numbers of a BatchNorm that are counted, not trained."""

HOME = ("text_pooling", "text_projection_type", "visual_projection_type", "image_order", "lower_cased")
"""What the catalogue knows of what cn_clip demands."""


@dataclass(frozen=True)
class Model:
    """What a card says of a model whatever it knows of its origin; `files` are those of the repo.

    Of a text tower alone there are no pictures to speak of.
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
    """What a converted folder's own files say.

    Raises:
        InputError: when a file is missing or broken.
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
    """How many tokens the text tower has positions for."""
    from hf_zhclip import ZhCLIPConfig

    return ZhCLIPConfig.from_dict(dict(repo.config)).text_positions


def _ends(tokenizer: Any) -> tuple[str, str]:
    """The first and the last token of every text."""
    first, last = tokenizer.convert_ids_to_tokens(tokenizer("")["input_ids"])
    return first, last


def _goes_home(repo: Repo) -> bool:
    """Whether cn_clip has a place for all of it."""
    try:
        home_for(repo)
    except InputError:
        return False
    return True


def model_of_entry(entry: Entry) -> Model:
    """What the catalogue knows; the towers' widths are not in it."""
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
        # A source may have towers of two kinds, but a BERT's ends are always the same.
        ends=WORDPIECE.ends if entry.text.model_type == "bert" else SOURCES[entry.format].vocabulary.ends,
        cn_clip=image is not None and _entry_goes_home(entry.text, image, config),
        files=frozenset(SENTENCE_TRANSFORMERS if image else ()),
    )


def _pair_config(text: Text, image: Image) -> dict[str, Any]:
    return {
        "vision_config": {"model_type": image.model_type},
        "text_projection_type": text.projection,
        "visual_projection_type": image.projection,
        "vision_pooling": "pooler",
    }


def _entry_goes_home(text: Text, image: Image, config: Mapping[str, Any]) -> bool:
    """Whether cn_clip has a place for all that the catalogue knows of it."""
    facts = {**config, "image_order": image.order, "lower_cased": text.lower_case}
    tower = RESNET if image.model_type == "hf_zhclip_resnet" else VIT
    demands = [demand for demand in (*CONFIG, *tower, *PROCESSOR) if demand.field in HOME]
    return all(demand.loss(facts) is None for demand in demands)
