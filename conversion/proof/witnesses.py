"""Builds the witness of a conversion only from the source's files and from what the user stated.

Beside the tensors a witness needs heads, activation, eps, pooling, context length, image size, and how a vocabulary is
read. The modules of `reference` find these facts with their own code; the peers' packages find them with theirs, in
the raw configs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ..errors import InputError, ZhclipError
from ..reading.evidence import Testimony
from ..words import Words, joined
from .reference import pictures
from .reference.files import image_processor
from .reference.layers import computing_in
from .reference.pictures import CLIP, How
from .reference.vocabularies import Table, table
from .witness import Computing, Facts, Level, Offer, TextFacts, WitnessOfPair, WitnessOfTextAlone

CALLS = (
    "encode_text",
    "encode_image",
    "token_ids",
    "pixels",
    "logit_scale",
    "text_states",
    "text_training",
    "image_training",
)

REFERENCE = Words("reference", "参考实现")

OF_AN_IMAGE_PART = ("encode_image", "logit_scale", "image_training")
"""The calls that an image part answers; texts and the image order belong to the text side's family."""


def build(
    parts: Sequence[Testimony], vocabulary: Path, context_length: int | None
) -> WitnessOfPair | WitnessOfTextAlone:
    """The witness of a model: for each part the original's own package if it is installed, else the reference.

    Args:
        vocabulary: the file or folder of the text part's vocabulary.
        context_length: the longest text in tokens, if the user stated it.

    Raises:
        InputError: the files do not state a needed fact, or state something that no witness can compute.
    """
    with in_words():
        readers = [_Reader(part) for part in parts]
        size = next((found for reader in readers if (found := reader.image_size()) is not None), None)
        how = _of_pictures(readers) if size is not None else CLIP
        vocab = readers[0].module.vocabulary(vocabulary)
        length = context_length if context_length is not None else readers[0].context_length()

        def facts(config: Mapping[str, Any]) -> TextFacts:
            return TextFacts(config, vocab, length) if size is None else Facts(config, vocab, length, size, how)

        return _joined([reader.offer(facts(reader.config)) for reader in readers], readers[0].table(vocab), length)


def _of_pictures(readers: Sequence["_Reader"]) -> How:
    """What the parts' folders state of pictures.

    Raises:
        ValueError: the folders of two parts state two preparations.
    """
    found = [pictures.stated(fields) for reader in readers if (fields := image_processor(reader.part.evidence.files))]
    if any(each != found[0] for each in found):
        raise ValueError(
            f"the folders of text and image state different preparations of pictures: {found[0]}, {found[1]}"
        )
    return found[0] if found else CLIP


@contextmanager
def in_words() -> Iterator[None]:
    """Reports what a witness cannot find or compute as an error of the input; keeps errors that already have words."""
    try:
        yield
    except ZhclipError:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        said = f"{error.args[0]!r} is not there" if isinstance(error, KeyError) and error.args else str(error)
        raise InputError(
            f"The witness can't compute from the published, stated or recorded facts: {said.rstrip('.')}. Take "
            "weights, configs and vocabulary from the same place, or state the missing facts with --config."
        ) from error


def _worded(call: Callable) -> Callable:
    """The same call, with its errors reported as errors of the input."""

    def worded(*inputs: Any) -> Any:
        with in_words():
            return call(*inputs)

    return worded


class _Reader:
    """One part, as its reference reads it."""

    def __init__(self, part: Testimony) -> None:
        self.part = part
        self.module = import_module(f".reference.{part.format}", __package__)
        self.config = self.module.config(part.evidence.files, part.evidence.stated)

    def image_size(self) -> int | None:
        if not hasattr(self.module, "image_size"):
            return None
        return self.module.image_size(self.part.tensors, self.config)

    def context_length(self) -> int:
        return self.module.context_length(self.part.tensors, self.config, self.part.evidence.files)

    def table(self, vocab: Any) -> Table:
        """What the vocabulary holds; no special token where texts that hold them are not compared."""
        found = table(vocab)
        return found if getattr(self.module, "SPECIAL_IN_TEXTS", True) else replace(found, special=())

    def offer(self, facts: TextFacts) -> Offer:
        """The calls of the part's witness: the package's if it has the call, else the reference's."""
        reference = self._reference(facts)
        peer = self._peer(facts)
        whole = _completed(peer, reference) if peer else reference
        given = CALLS if self.part.role == "whole" else OF_AN_IMAGE_PART
        calls = {call: _worded(found) for call in given if (found := getattr(whole, call))}
        return Offer(whole.name, whole.level, whole.computing_in, **calls)

    def _reference(self, facts: TextFacts) -> Offer:
        module, tensors = self.module, self.part.tensors
        offers: dict[str, Callable] = {
            "encode_text": lambda ids: module.encode_text(tensors, ids, facts.config),
            "encode_image": lambda pixels: module.encode_image(tensors, pixels, facts.config),
            "token_ids": lambda texts: module.token_ids(texts, facts.vocab, facts.context_length),
            "logit_scale": lambda: module.logit_scale(tensors, facts.config),
            "text_states": lambda ids: module.text_states(tensors, ids, facts.config),
            "text_training": lambda: module.text_training(tensors, facts.config),
            "image_training": lambda: module.image_training(tensors, facts.config),
        }
        if isinstance(facts, Facts):
            offers["pixels"] = lambda image: module.pixels(image, tensors, facts.image_size, facts.how)
        calls = {key: call for key, call in offers.items() if hasattr(module, key)}
        return Offer(REFERENCE, "reference", computing_in, **calls)

    def _peer(self, facts: TextFacts) -> Offer | None:
        module = _peer_module(self.part.format)
        if module is None:
            return None
        given = replace(facts, config=of_the_model(facts.config))
        if self.part.role == "whole":
            return module.original(self.part.tensors, given)
        # A package that needs a text tower cannot be the witness of an image part.
        return module.original_image(self.part.tensors, given) if hasattr(module, "original_image") else None


OF_USE = (
    *("return_dict", "use_return_dict", "output_attentions", "output_hidden_states", "use_cache", "torchscript"),
    *("num_labels", "id2label", "label2id", "problem_type", "chunk_size_feed_forward", "gradient_checkpointing"),
    *("_attn_implementation", "attn_implementation", "dtype", "torch_dtype"),
)
"""Fields of transformers' configs that say how a model is used and change none of its vectors.

A package's class would obey them: it would return tuples, or create names for a hundred billion classes.
"""


def of_the_model(config: Mapping[str, Any]) -> dict[str, Any]:
    """A raw config without the fields of use, also in its nested configs."""
    return {
        name: of_the_model(value) if isinstance(value, Mapping) else value
        for name, value in config.items()
        if name not in OF_USE
    }


def _peer_module(format: str) -> ModuleType | None:
    """The peer's module; for some formats no package can be installed."""
    name = f"{__package__}.peers.{format}"
    return import_module(name) if find_spec(name) else None


def _completed(peer: Offer, reference: Offer) -> Offer:
    calls = {call: getattr(peer, call) or getattr(reference, call) for call in CALLS}
    return replace(peer, computing_in=_together([peer, reference]), **calls)


def _joined(offers: Sequence[Offer], vocabulary: Table, context_length: int) -> WitnessOfPair | WitnessOfTextAlone:
    """The witness of a model: each call from a part that can answer it, and the weaker part's level.

    Raises:
        LookupError: no part answers a call.
    """
    answers = {call: found for call in CALLS for each in reversed(offers) if (found := getattr(each, call))}
    level: Level = "peer" if all(each.level == "peer" for each in offers) else "reference"
    told: dict[str, Any] = {
        "name": joined(list(dict.fromkeys(each.name for each in offers))),
        "level": level,
        "computing_in": _together(offers),
        "vocabulary": vocabulary,
        "context_length": context_length,
    }
    told |= {call: answers[call] for call in ("encode_text", "token_ids", "text_training")}
    if "encode_image" not in answers:
        return WitnessOfTextAlone(**told, text_states=answers["text_states"])
    return WitnessOfPair(
        **told,
        encode_image=answers["encode_image"],
        pixels=answers["pixels"],
        logit_scale=answers["logit_scale"],
        image_training=answers["image_training"],
    )


def _together(offers: Sequence[Offer]) -> Computing:
    @contextmanager
    def change(dtype: torch.dtype) -> Iterator[None]:
        with ExitStack() as stack:
            for each in offers:
                stack.enter_context(each.computing_in(dtype))
            yield

    return change
