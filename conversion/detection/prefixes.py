"""Prefixes that a user's own class puts before every key, and that no format and no wrapper has."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from hf_zhclip.budget import MOST_PREFIXES

from ..mapping import MISSING, fold, plan
from ..reading.read import Checkpoint, without
from ..source import Source

FEWEST = 10
"""The least number of keys; no known model has fewer."""

Fits = Callable[[Checkpoint], Sequence[Source]]
"""Gives the sources whose signature matches a checkpoint's keys."""


@dataclass(frozen=True)
class Model:
    """A known model among the keys: the keys under `prefix`; if it is empty, the keys under no other prefix."""

    prefix: str
    sources: tuple[Source, ...]

    def __str__(self):
        titles = " or ".join(f"{source.title} [{source.name}]" for source in self.sources)
        return f"{titles} {f'under the prefix {self.prefix!r}' if self.prefix else 'without a prefix'}"


def common(keys: Collection[str]) -> list[str]:
    """The prefixes that all keys have, the shortest first."""
    return [prefix for prefix, count in _counts(keys) if count == len(keys)]


def find_models(checkpoint: Checkpoint, fits: Fits) -> list[Model]:
    """The known models under prefixes of some keys, no prefix within another, and a model beside them."""
    found: list[Model] = []
    shared = [prefix for prefix, count in _counts(checkpoint.tensors) if count >= FEWEST]
    for prefix in shared[:MOST_PREFIXES]:
        if any(prefix.startswith(each.prefix) for each in found):
            continue
        inside = only(checkpoint, _beginning(checkpoint.ordered, prefix))
        if sources := _whole(inside, fits) or _whole(without(inside, prefix), fits):
            found.append(Model(prefix, sources))
    beside = only(checkpoint, [key for key in checkpoint.tensors if not _is_in(key, found)])
    return [Model("", sources), *found] if found and (sources := _whole(beside, fits)) else found


def _beginning(ordered: Sequence[str], prefix: str) -> Sequence[str]:
    """The keys with a prefix, of sorted keys."""
    return ordered[bisect_left(ordered, prefix) : bisect_left(ordered, f"{prefix}\U0010ffff")]


def only(checkpoint: Checkpoint, keys: Iterable[str]) -> Checkpoint:
    """The same checkpoint with only these keys."""
    return replace(checkpoint, tensors={key: checkpoint.tensors[key] for key in keys})


def words(checkpoint: Checkpoint, models: Sequence[Model]) -> str:
    """The message about models that are not alone: where they lie, what is left over, how to save each alone."""
    left = [f"{key} {list(shape)}" for key, shape in checkpoint.shapes.items() if not _is_in(key, models)]
    lines = [f"{checkpoint.name} holds {'several models' if len(models) > 1 else 'a model and other keys'}:"]
    lines += [f"  {model}" for model in models]
    lines += ["Other keys:", *(f"  {line}" for line in fold(left))] if left and models[0].prefix else []
    lines += ["The model is not guessed. Save the weights of a single model, in Python:", *_reading(checkpoint)]
    return "\n".join([*lines, *(f"  {_command(checkpoint, model, models)}" for model in models)])


def without_empty(checkpoint: Checkpoint, empty: Sequence[str]) -> str:
    """The message about tensors without a number beside weights, such as a head of no outputs."""
    shapes = fold(f"{key} {list(checkpoint.shapes[key])}" for key in empty)
    save = "torch.save({key: state_dict[key].clone() for key in state_dict if state_dict[key].numel()}, "
    lines = [
        f"{checkpoint.name} holds empty tensors beside its weights: {', '.join(shapes)}. No known model has an empty "
        "tensor. Save the weights without the empty tensors, in Python:",
        *_reading(checkpoint),
        f"  {save}{_beside(checkpoint, 'weights')!r})",
    ]
    return "\n".join(lines)


def _beside(checkpoint: Checkpoint, name: str) -> str:
    """The path of a new file beside the source, or in its folder."""
    path = checkpoint.path
    file = path / f"{name}.pt" if path.is_dir() else path.with_name(f"{path.stem}-{name}.pt")
    return str(file)


def _reading(checkpoint: Checkpoint) -> list[str]:
    """The code that reads the state dict as its keys are named here: without wrappers and without a common prefix."""
    lines = [
        "  import pathlib, torch",
        "  from hf_zhclip.conversion.reading.read import read",
        f"  state_dict = read(pathlib.Path({str(checkpoint.path)!r})).tensors",
    ]
    if checkpoint.prefix:
        lines.append(
            f"  state_dict = {{key.removeprefix({checkpoint.prefix!r}): state_dict[key] for key in state_dict}}"
        )
    return lines


def _command(checkpoint: Checkpoint, model: Model, models: Sequence[Model]) -> str:
    """The code that saves one of the models alone; its prefix may stay."""
    others = tuple(each.prefix for each in models if each is not model)
    chosen = f"key.startswith({model.prefix!r})" if model.prefix else f"not key.startswith({others!r})"
    file = _beside(checkpoint, model.prefix.strip(".") or "weights")
    return f"torch.save({{key: state_dict[key].clone() for key in state_dict if {chosen}}}, {file!r})"


def _counts(keys: Iterable[str]) -> list[tuple[str, int]]:
    """Every prefix that ends before a word of a key, the shortest first, with its number of keys."""
    counts = Counter(prefix for key in keys for prefix in accumulate(f"{word}." for word in key.split(".")[:-1]))
    return sorted(counts.items(), key=lambda each: (each[0].count("."), each[0]))


def _is_in(key: str, models: Iterable[Model]) -> bool:
    return any(model.prefix and key.startswith(model.prefix) for model in models)


def _whole(checkpoint: Checkpoint, fits: Fits) -> tuple[Source, ...]:
    """The sources whose tables find all their keys in a checkpoint."""
    keys, shapes = checkpoint.tensors, checkpoint.shapes
    return tuple(source for source in fits(checkpoint) if MISSING not in plan(source.rules(keys), shapes).problems)
