"""A split as a `datasets.Dataset`, whose pictures stay where they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..extras import extra
from .split import Pictures, Split


@dataclass(frozen=True)
class _Decoded:
    """Puts pictures in the place of their numbers."""

    pictures: Pictures

    def __call__(self, rows: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        if "image" not in rows:
            return dict(rows)
        return {**rows, "image": [self.pictures[number][1] for number in rows["image"]]}


def to_dataset(split: Split) -> Any:
    """See `Split.to_dataset`."""
    datasets = extra("datasets", "A datasets.Dataset")
    pairs = list(split.pairs())
    ids = {
        "text_id": same_kind([text.id for text, _ in pairs]),
        "image_id": same_kind([split.image_ids[number] for _, number in pairs]),
    }
    columns = {"image": [number for _, number in pairs], "text": [text.text for text, _ in pairs], **ids}
    return datasets.Dataset.from_dict(columns).with_transform(_Decoded(split.pictures))


def same_kind(ids: Sequence[Any]) -> list[Any]:
    """The ids as numbers, or as texts if any of them is a text: a column has values of one kind."""
    return list(ids) if all(isinstance(each, int) for each in ids) else [str(each) for each in ids]
