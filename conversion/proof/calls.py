"""The calls that a repo's users make, each with the batch for which a witness gives the same vectors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.nn.functional import normalize
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ..repos.report import SAMENESS, Comparison
from . import samples
from .compared import EMBEDDINGS, LOGIT_SCALE, LOGITS, POOLED, STATES
from .precision import Call, Measured, Side, bounded, difference
from .stated_modules import StatedModules
from .witness import WitnessOfPair, WitnessOfTextAlone

Inputs = Mapping[str, torch.Tensor]
"""The output of a processor and the input of a model."""

MIXED, CUT, ALONE, HOLDING, PAIR = range(5)
TEXTS: Sequence[Sequence[str]] = (
    samples.TEXTS[: samples.PROVED_TEXTS],
    samples.TEXTS[-1:],
    samples.TEXTS[:1],
    samples.HOLDING_PADDING,
    (samples.TEXTS[0], samples.TEXTS[2]),
)
"""Batches of texts: mixed lengths, one text that is cut, a short text alone, texts that hold the padding token, and
two texts, which cost little.

Some embeddings depend on how far a text is padded.
"""

TWO, FIRST = range(2)
PICTURES: Sequence[Sequence[int]] = ((1, 2), (0,))
"""Batches of the samples' pictures, by number: two with other sizes and modes, and the first, which costs little."""


@dataclass(frozen=True)
class Batches:
    """The samples as the witness prepares them: ids `(texts, length)`, pixels `(pictures, 3, size, size)`."""

    texts: Sequence[torch.Tensor]
    pictures: Sequence[torch.Tensor] = ()


def text_batches(ids: Mapping[str, Sequence[int]], pad_id: int) -> list[torch.Tensor]:
    """The witness's ids for each batch of `TEXTS`, padded to the batch's longest text."""
    rows = [[torch.tensor(ids[text]) for text in texts] for texts in TEXTS]
    return [nn.utils.rnn.pad_sequence(each, batch_first=True, padding_value=pad_id) for each in rows]


def picture_batches(pixels: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The witness's pixels for each batch of `PICTURES`."""
    return [torch.stack([pixels[number] for number in batch]) for batch in PICTURES]


class Pair:
    """A repo of two towers as its users call it: its own processor's output for the samples, and its own files."""

    def __init__(self, processor: Any, modules: StatedModules | None, pictures: Sequence[Image.Image]) -> None:
        self.modules = modules
        prompt = modules.prompt if modules else ""
        self.texts = [_prepared(processor, text=list(texts), padding=True) for texts in TEXTS]
        self.prompted = _prepared(processor, text=[prompt + text for text in TEXTS[PAIR]], padding=True)
        self.pictures = [_prepared(processor, images=[pictures[number] for number in batch]) for batch in PICTURES]

    def sides(self, model: Any, witness: WitnessOfPair, batches: Batches) -> Iterator[Side]:
        """The whole model's calls; its `forward` with both towers runs in the repo's own dtype."""
        whole = model(**self.texts[PAIR], **self.pictures[FIRST])
        texts = (
            Call("encode_text(**processor(text, padding=True))", model.encode_text, self.texts[MIXED], MIXED),
            Call("encode_text(**processor(long_text))", model.encode_text, self.texts[CUT], CUT),
            Call("encode_text(**processor(text_with_padding_token))", model.encode_text, self.texts[HOLDING], HOLDING),
            Call("encode_text(ids)", model.encode_text, {"input_ids": batches.texts[ALONE]}, ALONE),
            Call("encode_text(padded_ids)", model.encode_text, {"input_ids": batches.texts[MIXED]}, MIXED),
            *self._by_modules(model, "text", self.prompted, PAIR),
            Call("forward(**processor(text))", partial(_forward_of_texts, model), self.texts[PAIR], PAIR),
        )
        images = (
            Call("encode_image(**processor(images))", model.encode_image, self.pictures[TWO], TWO),
            *self._by_modules(model, "image", self.pictures[FIRST], FIRST),
            Call("forward(**processor(images))", partial(_forward_of_images, model), self.pictures[FIRST], FIRST),
        )
        text = (model.text_model, model.text_projection), texts, witness.encode_text, batches.texts
        image = (model.vision_model, model.visual_projection), images, witness.encode_image, batches.pictures
        yield Side("text", EMBEDDINGS, *text, whole.text_embeds)
        yield Side("image", EMBEDDINGS, *image, whole.image_embeds)

    def _by_modules(self, model: Any, modality: str, inputs: Inputs, batch: int) -> Iterator[Call]:
        if self.modules is not None:
            yield Call("SentenceTransformer.encode", partial(self.modules.vectors, model, modality), inputs, batch)

    def tower_sides(self, load: Callable[[str], Any], whole: Measured) -> Iterator[Side]:
        """The classes of one tower, loaded one after the other; the class without a projection borrows the other's."""
        kind, name, embeddings = TOWERS[whole.step]
        inputs, batch = {"text": (self.texts[PAIR], PAIR), "image": (self.pictures[FIRST], FIRST)}[whole.step]

        def side(model: Any, modules: Sequence[nn.Module], output: str, project: nn.Module) -> Side:
            call = Call(type(model).__name__, partial(_embeddings, model, output, project), inputs, batch)
            return Side(whole.step, whole.what, modules, (call,), whole.theirs, whole.batches)

        model = load(f"ZhCLIP{kind}ModelWithProjection")
        projection = deepcopy(getattr(model, name))  # `measure` empties the model
        yield side(model, (model,), embeddings, nn.Identity())
        model = load(f"ZhCLIP{kind}Model")
        yield side(model, (model, projection), "pooler_output", projection)


TOWERS: Mapping[str, tuple[str, str, str]] = {
    "text": ("Text", "text_projection", "text_embeds"),
    "image": ("Vision", "visual_projection", "image_embeds"),
}
"""For each side: the word in its class names, its projection's name, and the output of a class with projection."""


OF_ONE_TOWER = 2
"""The computations of `Pair.tower_sides` for each side: with the projection, and without."""


def text_alone_sides(
    load: Callable[[], Any], tokenizer: Any, witness: WitnessOfTextAlone, batches: Sequence[torch.Tensor]
) -> Iterator[Side]:
    """The states of all tokens except padding, and the pooled states; a text tower alone has no embeddings."""
    prepared = [_prepared(tokenizer, list(texts), padding=True, truncation=True) for texts in TEXTS]

    def pooled(model: Any, **inputs: torch.Tensor) -> torch.Tensor:
        return normalize(model(**inputs, return_dict=True).pooler_output, dim=-1)

    def states(model: Any, input_ids: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        found = normalize(model(input_ids=input_ids, **inputs, return_dict=True).last_hidden_state, dim=-1)
        return _of_tokens(found, input_ids, tokenizer.pad_token_id)

    def witness_states(ids: torch.Tensor) -> torch.Tensor:
        return _of_tokens(witness.text_states(ids), ids, tokenizer.pad_token_id)

    for step, what, compute, theirs in (
        ("states", STATES, states, witness_states),
        ("pooled", POOLED, pooled, witness.encode_text),
    ):
        model = load()
        ours = partial(compute, model)
        calls = (
            Call("model(**tokenizer(text, padding=True))", ours, prepared[MIXED], MIXED),
            Call("model(**tokenizer(long_text))", ours, prepared[CUT], CUT),
            Call("model(**tokenizer(text_with_padding_token))", ours, prepared[HOLDING], HOLDING),
            Call("model(ids)", ours, {"input_ids": batches[ALONE]}, ALONE),
            Call("model(padded_ids)", ours, {"input_ids": batches[MIXED]}, MIXED),
            Call("model(**tokenizer(text))", ours, prepared[PAIR], PAIR),
        )
        yield Side(step, what, (model.text_model,), calls, theirs, batches, ours(**prepared[PAIR]))


def compare_logits(
    model: Any, witness: WitnessOfPair, text: torch.Tensor, image: torch.Tensor
) -> Iterator[Comparison]:
    """Compares the logits of `forward` for known embeddings, in float64, with the cosines times the factor."""
    scale = torch.tensor(witness.logit_scale(), dtype=torch.float64)
    logits = _logits(model, text, image)
    yield bounded("logits", LOGITS, witness.name, SAMENESS, difference(logits / scale.exp(), image @ text.t()))
    stored = model.logit_scale.detach().double()
    yield bounded("logits", LOGIT_SCALE, witness.name, 0, difference(stored, scale))


def _prepared(processor: Any, *given: Any, **named: Any) -> Inputs:
    return dict(processor(*given, **named, return_tensors="pt"))


def _of_tokens(states: torch.Tensor, ids: torch.Tensor, pad_id: int) -> torch.Tensor:
    """The states of tokens that are no padding; a model that pads by itself gives extra states behind the text's."""
    return states[:, : ids.shape[1]][ids != pad_id]


def _embeddings(model: Any, output: str, project: nn.Module, **inputs: torch.Tensor) -> torch.Tensor:
    return normalize(project(model(**inputs, return_dict=True)[output]), dim=-1)


# `forward` with one tower replaced by known vectors, because two float64 towers do not fit on every machine.

NO_TEXT = {"input_ids": torch.zeros(1, 1).long()}
NO_PICTURE = {"pixel_values": torch.zeros(1, 1)}


def _forward_of_texts(model: Any, **inputs: torch.Tensor) -> torch.Tensor:
    vector = torch.ones(1, model.config.projection_dim, dtype=model.text_model.dtype)
    with _giving(model, get_image_features=vector):
        return model(**inputs, **NO_PICTURE, return_dict=True).text_embeds


def _forward_of_images(model: Any, **inputs: torch.Tensor) -> torch.Tensor:
    vector = torch.ones(1, model.config.projection_dim, dtype=model.vision_model.dtype)
    with _giving(model, get_text_features=vector):
        return model(**inputs, **NO_TEXT, return_dict=True).image_embeds


def _logits(model: Any, text: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    scale = model.logit_scale
    model.logit_scale = nn.Parameter(scale.detach().double())
    with _giving(model, get_text_features=text, get_image_features=image):
        logits = model(**NO_TEXT, **NO_PICTURE, return_dict=True).logits_per_image
    model.logit_scale = scale
    return logits


@contextmanager
def _giving(model: Any, **vectors: torch.Tensor) -> Iterator[None]:
    """Replaces methods of a model; each gives the named vectors as `pooler_output`, whatever its input."""
    for name, found in vectors.items():
        output = BaseModelOutputWithPooling(pooler_output=found)
        setattr(model, name, lambda *inputs, output=output, **options: output)
    yield
    for name in vectors:
        delattr(model, name)
