"""`evaluate`: retrieval, zero-shot classification, or a threshold, from a repo and data or from files of features."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..data.split import Id, opened
from ..errors import InputError
from ..paths import resolved
from ..replacing import Kind
from ..staging import check_absent, check_apart, staging
from ..steady import whole
from . import charts
from .classification import Classification, check_names, classify, elevater, read_labelled
from .encoding import Encoder, encode_pictures, encode_split, encode_texts, load_encoder, texts_of
from .files import (
    Features,
    Side,
    Texts,
    read_features,
    read_predictions,
    read_texts,
    side_of_predictions,
    write_features,
    write_predictions,
)
from .lists import read_classes, read_templates
from .retrieval import (
    Retrieval,
    check,
    check_split,
    predict,
    score,
    tell_equal_texts,
    tell_few_predictions,
    tell_small_pool,
    tell_unknown_predictions,
)
from .threshold import Threshold, cosines_of, fit, holds_pairs, pairs_of_split, read_pairs

RESULT = "zhclip_evaluation.json"
"""The result, in the folder of `out`; by this file `force` knows a folder that it may replace."""

KIND = Kind(
    title="evaluation",
    marks={RESULT: None},
    names=(
        *(RESULT, "confusion.png", "threshold.png", "*_texts.txt_feat.jsonl", "*_imgs.img_feat.jsonl"),
        *("*_predictions.jsonl", "*_scores.json", "*.json"),
    ),
)
"""What `evaluate` writes; the file for ELEVATER is named by the data."""

SEED = 0
"""The seed of the pairs that do not fit."""

Result = Retrieval | Classification | Threshold
Writer = Callable[[Path], object]


@dataclass(frozen=True)
class Asked:
    """What is evaluated, and on what: the arguments of `evaluate`."""

    repo: str | None
    data: str | None
    split: str | None
    image_features: str | None
    text_features: str | None
    texts: str | None
    predictions: Sequence[str]
    classes: str | None
    templates: str | None
    threshold: bool
    as_cn_clip: bool
    batch_size: int
    device: str | None
    context_length: int | None

    def encoder(self) -> Encoder:
        assert self.repo is not None
        return load_encoder(self.repo, self.device, self.batch_size, self.context_length, self.as_cn_clip)


@dataclass(frozen=True)
class Found:
    """A result, and the files that an output folder gets of it: a writer for each name."""

    result: Result
    files: Mapping[str, Writer]


def evaluate(
    repo: str | None = None,
    data: str | None = None,
    *,
    split: str | None = None,
    image_features: str | None = None,
    text_features: str | None = None,
    texts: str | None = None,
    predictions: Sequence[str] = (),
    classes: str | None = None,
    templates: str | None = None,
    threshold: bool = False,
    as_cn_clip: bool = False,
    batch_size: int = 64,
    device: str | None = None,
    context_length: int | None = None,
    out: str | Path | None = None,
    force: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Result:
    """Evaluates a converted repo on data, or features and predictions that lie in cn_clip's files.

    Args:
        repo: a converted repo, a folder or on the hub.
        data: what `hf_zhclip.data.read` reads; for `classes`, a folder with a folder of pictures for each class; for
            `threshold`, either a split or a file of labelled pairs.
        split: the split of `data`.
        image_features: a `*_imgs.img_feat.jsonl`; with `text_features` and `texts` instead of `repo` and `data`.
        text_features: a `*_texts.txt_feat.jsonl`.
        texts: a `*_texts.jsonl`.
        predictions: files of predictions, one for a direction; with `texts` alone.
        classes: the class names for a zero-shot classification, see `lists.read_classes`.
        templates: the templates for `classes`, see `lists.read_templates`.
        threshold: fit a cosine that separates pairs that fit from others.
        as_cn_clip: as cn_clip's evaluation: its preparation of texts, ImageFolder's RGB before all else, and a text
            without pictures counts as a miss.
        batch_size: the texts or pictures that are encoded at once.
        device: a torch device; by default a CUDA device if there is one.
        context_length: the longest text in tokens; by default the repo's own.
        out: a folder for the result, its pictures, the features and the predictions.
        force: replace an `out` that an evaluation wrote.
        tell: called with one line about everything that a reader of the figures should know.

    Raises:
        InputError: an argument or a file is wrong. All that needs no model is checked before one is loaded.
        WorkError: `out` could not be written.
    """
    asked = Asked(
        repo, data, split, image_features, text_features, texts, predictions, classes, templates, threshold,
        as_cn_clip, batch_size, device, context_length,
    )  # fmt: skip
    work = _work(asked)
    if out is None and force:
        raise InputError("force (--force) replaces the folder of out (--out), but no out is given. Name one.")
    if out is None:
        return work(asked, tell).result
    check_apart(Path(out), repo, data, image_features, text_features, texts, *predictions)
    _check_outside(Path(out), asked)
    check_absent(Path(out), force, KIND)
    if asked.classes is not None or asked.threshold:
        charts.check_available()
    with staging(Path(out), 0, force, KIND) as folder:
        found = work(asked, tell)
        _write(found, folder)
    return found.result


def _check_outside(out: Path, asked: Asked) -> None:
    """Refuses an `out` that would become a part of the data, as another class or as more pictures."""
    from ..data.reading import check_outside

    if asked.classes is not None and asked.data is not None and resolved(asked.data) in resolved(out).parents:
        raise InputError(f"{out} lies in {asked.data}, where it would become another class. Choose a place outside.")
    if asked.classes is None and asked.data is not None:
        check_outside(out, asked.data)


def _work(asked: Asked) -> Callable[[Asked, Callable[[str], None]], Found]:
    """The one way of evaluating that fits the arguments."""
    if asked.classes is not None and asked.threshold:
        raise InputError("found --classes and --threshold; one of them was wanted.")
    if (asked.classes is None) != (asked.templates is None):
        raise InputError(
            "found only one of --classes and --templates; both were wanted. A template is a text with {} once, for "
            "example {}的照片."
        )
    _check_inputs(asked)
    if asked.classes is not None:
        return _classification
    if asked.predictions:
        return _scores
    return _threshold if asked.threshold else _retrieval


INPUTS: Sequence[tuple[str, ...]] = (
    ("repo", "data"),
    ("image_features", "text_features", "texts"),
    ("predictions", "texts"),
)
"""The sets of inputs; exactly one is given."""

OPTIONS_OF_A_REPO = ("split", "device", "context_length", "classes")


def _check_inputs(asked: Asked) -> None:
    given = {name for names in INPUTS for name in names if getattr(asked, name)}
    if given not in map(set, INPUTS):
        ways = "; or ".join(" ".join(map(_option, names)) for names in INPUTS)
        found = ", ".join(_option(name) for name in sorted(given)) or "nothing"
        raise InputError(f"found {found} to evaluate; wanted is one of: {ways}.")
    if asked.repo is None and (extra := [name for name in OPTIONS_OF_A_REPO if getattr(asked, name) is not None]):
        raise InputError(f"found {_option(extra[0])} without REPO and DATA, where it means nothing. Leave it out.")
    if asked.predictions and asked.threshold:
        raise InputError("found --threshold with --predictions, which hold no cosines. Give the features instead.")
    if asked.split is not None and asked.classes is not None:
        raise InputError("found --split with --classes, where it means nothing. Name the split's folder as DATA.")


def _option(name: str) -> str:
    return name.upper() if name in INPUTS[0] else f"--{name.replace('_', '-')}"


# Retrieval


@dataclass(frozen=True)
class Given:
    """A split, its name, and a function that reads or computes the features of its texts and of its pictures."""

    split: Texts
    name: str
    features: Callable[[], tuple[Features, Features]]


def _given(asked: Asked) -> Given:
    given = _of_files(asked) if asked.repo is None else _of_data(asked)
    check_split(given.split)
    return given


def _of_files(asked: Asked) -> Given:
    assert asked.text_features is not None and asked.image_features is not None and asked.texts is not None
    of_texts, of_images, place = Path(asked.text_features), Path(asked.image_features), Path(asked.texts)
    return Given(
        read_texts(place),
        place.name.removesuffix(".jsonl").removesuffix("_texts"),
        lambda: (
            read_features(of_texts, "text", zeros=asked.as_cn_clip),
            read_features(of_images, "image", zeros=asked.as_cn_clip),
        ),
    )


def _of_data(asked: Asked) -> Given:
    from ..data import read

    assert asked.data is not None
    data = read(asked.data, split=asked.split)
    return Given(texts_of(data), data.name, lambda: encode_split(asked.encoder(), data))


def _retrieval(asked: Asked, tell: Callable[[str], None]) -> Found:
    given = _given(asked)
    texts, images = given.features()
    predicted = predict(texts, images, given.split)
    tell_equal_texts(given.split, tell)
    tell_small_pool(len(texts.ids), len(images.ids), tell)
    result = score(predicted, given.split, as_cn_clip=asked.as_cn_clip, tell=tell)
    return Found(result, {RESULT: _json(result), **_cn_clip_files(given.name, texts, images, predicted, result, tell)})


def _scores(asked: Asked, tell: Callable[[str], None]) -> Found:
    assert asked.texts is not None
    predicted: dict[Side, dict[Id, list[Id]]] = {}
    for place in map(Path, asked.predictions):
        side = side_of_predictions(place)
        if side in predicted:
            raise InputError(
                f"{place} is the second file whose queries are {side}s; one file for a direction was wanted."
            )
        predicted[side] = read_predictions(place, side)
    split = read_texts(Path(asked.texts))
    result = score(predicted, split, as_cn_clip=asked.as_cn_clip, tell=tell)
    tell_few_predictions(predicted, tell)
    tell_unknown_predictions(predicted, split, tell)
    return Found(result, {RESULT: _json(result)})


def _cn_clip_files(
    name: str,
    texts: Features,
    images: Features,
    predicted: Mapping[Side, Mapping[Id, Sequence[Id]]],
    result: Retrieval,
    tell: Callable[[str], None],
) -> dict[str, Writer]:
    """cn_clip's files of a split: features, predictions and scores."""
    if any(isinstance(each, str) for each in (*texts.ids, *images.ids)):
        tell(
            "The ids are no whole numbers, so that cn_clip's files are not written. `zhclip data DATA OUT --to tsv` "
            "numbers them."
        )
        return {}
    return {
        f"{name}_texts.txt_feat.jsonl": lambda path: write_features(path, "text", texts.ids, texts.vectors),
        f"{name}_imgs.img_feat.jsonl": lambda path: write_features(path, "image", images.ids, images.vectors),
        f"{name}_predictions.jsonl": lambda path: write_predictions(path, "text", predicted["text"]),
        f"{name}_tr_predictions.jsonl": lambda path: write_predictions(path, "image", predicted["image"]),
        f"{name}_scores.json": lambda path: _write_json(path, result.of["text"].to_cn_clip()),
        f"{name}_tr_scores.json": lambda path: _write_json(path, result.of["image"].to_cn_clip()),
    }


# Classification


def _classification(asked: Asked, tell: Callable[[str], None]) -> Found:
    assert asked.classes is not None and asked.templates is not None and asked.data is not None
    names, templates = read_classes(asked.classes), read_templates(asked.templates)
    labelled = read_labelled(Path(asked.data))
    check_names(labelled, names)
    encoder = asked.encoder()
    result = classify(encoder, labelled, names, templates, tell)
    dataset = resolved(asked.data).name
    sizes = [sum(weight.numel() for weight in part.parameters()) for part in (encoder.model, _visual(encoder.model))]
    return Found(
        result,
        {
            RESULT: _json(result),
            "confusion.png": lambda path: charts.draw_confusion(result, path),
            f"{dataset}.json": lambda path: _write_json(path, elevater(result, str(asked.repo), dataset, *sizes)),
        },
    )


def _visual(model: Any) -> torch.nn.Module:
    """What cn_clip counts as `visual`: the vision tower and its projection."""
    return torch.nn.ModuleList([model.vision_model, model.visual_projection])


# Threshold


def _threshold(asked: Asked, tell: Callable[[str], None]) -> Found:
    labelled = asked.data is not None and holds_pairs(asked.data)
    result = _of_labelled_pairs(asked) if labelled else _of_split(asked, tell)
    return Found(
        result,
        {RESULT: _json(result), "threshold.png": lambda path: charts.draw_threshold(result, path)},
    )


def _of_labelled_pairs(asked: Asked) -> Threshold:
    assert asked.data is not None
    if asked.split is not None:
        raise InputError(f"found --split, but {asked.data} holds labelled pairs and no splits. Leave --split out.")
    pairs = read_pairs(Path(asked.data))
    encoder = asked.encoder()
    texts = list(dict.fromkeys(pair.text for pair in pairs))
    images = list(dict.fromkeys(pair.image for pair in pairs))
    of_texts = encode_texts(encoder, texts, texts)
    of_images = encode_pictures(
        encoder, [str(path) for path in images], (opened(whole(path), str(path)) for path in images)
    )
    cosines = cosines_of([(pair.text, str(pair.image)) for pair in pairs], of_texts, of_images)
    return fit(cosines, torch.tensor([pair.fits for pair in pairs]))


def _of_split(asked: Asked, tell: Callable[[str], None]) -> Threshold:
    given = _given(asked)
    pairs, fits = pairs_of_split(given.split.images, given.split.texts, SEED)
    texts, images = given.features()
    check(texts, images, given.split)
    tell(f"{sum(fits)} pairs of the split fit; {len(fits) - sum(fits)} pairs were drawn that do not (seed {SEED}).")
    return fit(cosines_of(pairs, texts, images), torch.tensor(fits))


# Output


def _write(found: Found, folder: Path) -> None:
    for name, writer in found.files.items():
        writer(folder / name)


def _json(result: Result) -> Writer:
    return lambda path: _write_json(path, result.to_json())


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
