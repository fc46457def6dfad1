"""cn_clip's files of an evaluation: texts with their pictures' ids, features, predictions, scores.

Source: cn_clip/eval/extract_features.py, make_topk_predictions.py, make_topk_predictions_tr.py, evaluation.py. Each is
a file of lines, and each line is a JSON object; ids are whole numbers.
"""

import array
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from ..budget import HASHED_BY_VALUE
from ..errors import InputError
from ..json_files import Field, brief, check_fields, read_json_lines
from .recall import DEPTH, Id

Side = Literal["text", "image"]
OTHER: Mapping[Side, Side] = {"text": "image", "image": "text"}

ID = Field((int,))


@dataclass(frozen=True)
class Features:
    """`vectors` is `(n, dim)` in float32; row i belongs to `ids[i]`."""

    ids: list[Id]
    vectors: torch.Tensor


@dataclass(frozen=True)
class Texts:
    """A split's texts by id, and for each text the ids of its pictures; () where the split is blind."""

    texts: Mapping[Id, str]
    images: Mapping[Id, Sequence[Id]]


def read_texts(path: Path) -> Texts:
    """Reads a `*_texts.jsonl`.

    Raises:
        InputError: a line is wrong, or an id occurs twice.
    """
    wanted = {"text_id": ID, "text": Field((str,)), "image_ids": Field((list,))}
    texts: dict[Id, str] = {}
    images: dict[Id, list[Id]] = {}
    for where, line in read_json_lines(path):
        check_fields(line, wanted, where)
        _check_new(line["text_id"], texts, "text_id", where)
        texts[line["text_id"]] = line["text"]
        images[line["text_id"]] = _ids(line["image_ids"], "image_ids", where)
    _check_any(texts, path)
    return Texts(texts, images)


def read_features(path: Path, side: Side, zeros: bool = False) -> Features:
    """Reads a `*_texts.txt_feat.jsonl` or a `*_imgs.img_feat.jsonl`.

    Args:
        zeros: whether a vector of zeros is taken, as cn_clip's scripts take it.

    Raises:
        InputError: a line is wrong, an id occurs twice, vectors differ in length, or a number is no finite float32.
    """
    wanted = {f"{side}_id": ID, "feature": Field((list,))}
    rows: dict[Id, str] = {}
    numbers, width = array.array("f"), None
    for where, line in read_json_lines(path):
        check_fields(line, wanted, where)
        _check_new(line[f"{side}_id"], rows, f"{side}_id", where)
        width = len(line["feature"]) if width is None else width
        if len(line["feature"]) != width or width == 0:
            raise InputError(
                f"{where} has a feature of {len(line['feature'])} numbers; {width or 'some'} were wanted."
            )
        _append(numbers, line["feature"], where)
        rows[line[f"{side}_id"]] = where
    _check_any(rows, path)
    vectors = torch.frombuffer(numbers, dtype=torch.float32).view(len(rows), -1)
    if not (finite := vectors.isfinite().all(dim=1)).all():
        where = list(rows.values())[int(finite.logical_not().nonzero()[0])]
        raise InputError(f"{where} has a feature that is not finite in float32. Compute the features again.")
    if not zeros and not (directed := vectors.any(dim=1)).all():
        where = list(rows.values())[int(directed.logical_not().nonzero()[0])]
        raise InputError(
            f"{where} has a feature of zeros, which has no direction; the feature of a model was wanted. Compute "
            "the features again, or give --as-cn-clip to score it as cn_clip does."
        )
    return Features(list(rows), vectors)


def _append(numbers: array.array, feature: Sequence[Any], where: str) -> None:
    if bool in set(map(type, feature)):
        raise InputError(f"{where} has true or false in a feature; numbers were wanted.")
    try:
        numbers.extend(feature)
    except (TypeError, OverflowError) as error:
        raise InputError(f"{where} has a feature that holds no number of float32: {error}.") from error


def write_features(path: Path, side: Side, ids: Iterable[Id], vectors: torch.Tensor) -> None:
    """Writes features `(n, dim)` as cn_clip does: float32 values in full, one line an id."""
    with path.open("w", encoding="utf-8") as file:
        for each, vector in zip(ids, vectors, strict=True):
            file.write(json.dumps({f"{side}_id": each, "feature": vector.float().tolist()}) + "\n")


def side_of_predictions(path: Path) -> Side:
    """Whether a file of predictions has texts or pictures as queries, by its first line.

    Raises:
        InputError: the line has neither a text_id nor an image_id.
    """
    for where, line in read_json_lines(path):
        for side in OTHER:
            if f"{side}_id" in line:
                return side
        raise InputError(f"{where} has no text_id and no image_id; one of them was wanted.")
    raise InputError(f"{path} is empty; one JSON object on each line was wanted.")


def read_predictions(path: Path, query: Side) -> dict[Id, list[Id]]:
    """Reads the ids that were predicted for each query: at most ten, the best first.

    Raises:
        InputError: a line is wrong, or an id occurs twice.
    """
    found = f"{OTHER[query]}_ids"
    wanted = {f"{query}_id": ID, found: Field((list,))}
    predicted: dict[Id, list[Id]] = {}
    for where, line in read_json_lines(path):
        check_fields(line, wanted, where)
        _check_new(line[f"{query}_id"], predicted, f"{query}_id", where)
        ids = _ids(line[found], found, where)
        if len(ids) != len(set(ids)):
            raise InputError(f"{where} predicts the same id twice in {found}: {brief(ids)}. Each id stands once.")
        predicted[line[f"{query}_id"]] = ids
    _check_any(predicted, path)
    return predicted


def write_predictions(path: Path, query: Side, predicted: Mapping[Id, Sequence[Id]]) -> None:
    """Writes predictions as `make_topk_predictions.py` (texts as queries) or `make_topk_predictions_tr.py` does."""
    with path.open("w", encoding="utf-8") as file:
        for each, found in predicted.items():
            file.write(json.dumps({f"{query}_id": each, f"{OTHER[query]}_ids": list(found)[:DEPTH]}) + "\n")


def _ids(values: Sequence[Any], field: str, where: str) -> list[Id]:
    if wrong := [each for each in values if not isinstance(each, int) or isinstance(each, bool)]:
        raise InputError(f"{where} has {brief(wrong[0])} in {field}; whole numbers were wanted.")
    for each in values:
        _check_size(each, field, where)
    return list(values)


def _check_size(each: Any, field: str, where: str) -> None:
    if not -HASHED_BY_VALUE < each < HASHED_BY_VALUE:
        raise InputError(f"{where} has {brief(each)} in {field}; a whole number of at most 18 digits was wanted.")


def _check_new(each: Id, known: Mapping[Id, Any], field: str, where: str) -> None:
    _check_size(each, field, where)
    if each in known:
        raise InputError(f"{where} has the {field} {each} for the second time. Each id stands once.")


def _check_any(found: Mapping[Id, Any], path: Path) -> None:
    if not found:
        raise InputError(f"{path} is empty; one JSON object on each line was wanted.")
