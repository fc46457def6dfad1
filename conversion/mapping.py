"""The engine of the mapping: tables of full keys, applied strictly, and their inverse.

A table is a tuple of rules. In a pattern, `{}` is a layer number and `*` is the rest of the key. A pattern
always matches the whole key:

    rename("bert.embeddings.*", "text_model.embeddings.*")
    split(BLOCK + "attn.in_proj_*", LAYER + "q_proj.*", LAYER + "k_proj.*", LAYER + "v_proj.*")
    transpose("visual.proj", "visual_projection.weight")
    log_inverse("temp", "logit_scale")
    drop("bert.pooler.*")
    zero("logit_scale")
    squeeze(rename("logit_scale", "logit_scale"))

The laws: exactly one rule claims each source key. Each target key is written once. Every rule is used (only a drop may
be unused, and a zero needs no source). Targets and shapes equal the model's keys and shapes. A single error reports
every violation, with layers folded.
"""

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch

from hf_zhclip.telling import shown

from .errors import MappingError

Shape = tuple[int, ...]

MISSING = "missing keys (a rule needs them)"

LAYER_NUMBER = re.compile(r"(?<=\.)(?:0|[1-9][0-9]{0,8})(?=\.)")
_HOLE = "\0"
"""Marks a layer number in a pattern. Braces cannot mark it, because a key may contain braces."""


@dataclass(frozen=True)
class Rule:
    """A row of a table: `op` computes the tensors of `targets` from the tensors of `sources`.

    `squeezed` is 1 if the source has shape `(1,)` and the target is a scalar, and -1 in the inverse rule.
    """

    op: str
    sources: tuple[str, ...]
    targets: tuple[str, ...] = ()
    squeezed: int = 0

    def __str__(self):
        return f"{self.op}({', '.join(self.sources + self.targets)})"


def rename(source: str, target: str) -> Rule:
    """Keeps the tensor and changes its key."""
    return Rule("rename", (source,), (target,))


def transpose(source: str, target: str) -> Rule:
    """Transposes a matrix `(in, out)` to `(out, in)`, the layout of torch.nn.Linear."""
    return Rule("transpose", (source,), (target,))


def split(source: str, *targets: str) -> Rule:
    """Cuts a fused tensor along dimension 0 into equal parts, one part for each target."""
    return Rule("split", (source,), targets)


def concat(sources: Sequence[str], target: str) -> Rule:
    """Joins tensors along dimension 0 in the given order."""
    return Rule("concat", tuple(sources), (target,))


def log_inverse(source: str, target: str) -> Rule:
    """Turns a temperature x into the logarithm ln(1 / x) of a factor; the original divides its cosines by x.

    The logarithm is float32 or wider: half precision would change every logit. The inverse gives the float nearest to
    1 / e^x, and the logarithm of this float has the same bits again.
    """
    return Rule("log_inverse", (source,), (target,))


def drop(source: str) -> Rule:
    """Drops a tensor that the original never uses in an embedding."""
    return Rule("drop", (source,))


def zero(target: str) -> Rule:
    """Writes a scalar 0 without a source key, for an original that computes without this parameter.

    This invents no number: 0 is the logarithm of the factor 1, which changes nothing.
    """
    return Rule("zero", (), (target,))


def squeeze(rule: Rule) -> Rule:
    """The same rule for a source of shape `(1,)` and a scalar target; both hold the same single number."""
    return replace(rule, squeezed=1)


def squeezing(rules: Iterable[Rule], source_shapes: Mapping[str, Shape], target: str) -> tuple[Rule, ...]:
    """The table; if the source of the scalar target has shape `(1,)`, the rule for this target is squeezed."""
    return tuple(
        squeeze(rule) if rule.targets == (target,) and [*map(source_shapes.get, rule.sources)] == [(1,)] else rule
        for rule in rules
    )


def inverse(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The inverse table. A dropped tensor cannot be restored, and a zero becomes a drop."""
    backwards = {"rename": "rename", "transpose": "transpose", "split": "concat", "concat": "split"}
    backwards |= {"log_inverse": "inverse_exp", "inverse_exp": "log_inverse", "zero": "drop"}
    return tuple(
        Rule(backwards[rule.op], rule.targets, rule.sources, -rule.squeezed) for rule in rules if rule.op != "drop"
    )


@dataclass(frozen=True)
class Step:
    """A rule applied to real keys."""

    op: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    squeezed: int = 0

    def shapes(self, source_shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """The target shapes.

        Raises:
            ValueError: the operation does not accept a source shape; the message names the shape.
        """
        if self.op == "zero":
            return {self.targets[0]: ()}
        first = source_shapes[self.sources[0]]
        if self.squeezed:
            there, wanted = ((1,), ()) if self.squeezed > 0 else ((), (1,))
            if first != there:
                raise ValueError(f"{self.sources[0]} has shape {list(first)}; {list(there)} was wanted")
            return {self.targets[0]: wanted}
        match self.op:
            case "rename" | "log_inverse" | "inverse_exp":
                shapes = [first]
            case "transpose":
                if len(first) != 2:
                    raise ValueError(f"{self.sources[0]} has shape {list(first)}; wanted a matrix to transpose")
                shapes = [first[::-1]]
            case "split":
                if not first or first[0] % len(self.targets):
                    raise ValueError(
                        f"{self.sources[0]} has shape {list(first)}; wanted a shape that splits into "
                        f"{len(self.targets)} equal parts"
                    )
                shapes = [(first[0] // len(self.targets), *first[1:])] * len(self.targets)
            case "concat":
                scalar = any(not source_shapes[key] for key in self.sources)
                if scalar or len({source_shapes[key][1:] for key in self.sources}) > 1:
                    raise ValueError(f"{', '.join(self.sources)} have shapes that cannot be joined")
                shapes = [(sum(source_shapes[key][0] for key in self.sources), *first[1:])]
        return dict(zip(self.targets, shapes, strict=True))

    def run(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The target tensors. Renames and splits are views: nothing is copied before it is written."""
        if self.op == "zero":
            return {self.targets[0]: _zero_like(tensors)}
        first = tensors[self.sources[0]]
        match self.op:
            case "rename":
                results: Sequence[torch.Tensor] = [first]
            case "transpose":
                results = [first.t()]
            case "split":
                results = first.chunk(len(self.targets), dim=0)
            case "concat":
                results = [torch.cat([tensors[key] for key in self.sources])]
            case "log_inverse":
                results = [_computed(first, lambda x: -x.log())]
            case "inverse_exp":
                results = [_computed(first, lambda x: (-x).exp())]
        if self.squeezed:
            results = [results[0].reshape(() if self.squeezed > 0 else (1,))]
        return dict(zip(self.targets, results, strict=True))


@dataclass(frozen=True)
class Plan:
    """What a table does with a set of keys, and every violation of a law."""

    steps: tuple[Step, ...]
    dropped: tuple[str, ...]
    shapes: Mapping[str, Shape]
    problems: Mapping[str, tuple[str, ...]]

    @property
    def zeros(self) -> tuple[str, ...]:
        """Target keys that have no source key."""
        return tuple(target for step in self.steps if step.op == "zero" for target in step.targets)

    def run(self, tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
        """The target keys and tensors, step by step."""
        for step in self.steps:
            yield from step.run(tensors).items()


def plan(rules: Sequence[Rule], source_shapes: Mapping[str, Shape]) -> Plan:
    """Applies a table to keys and shapes only."""
    problems: dict[str, list[str]] = defaultdict(list)
    claims = {key: [rule for rule in rules if _claims(rule, key)] for key in source_shapes}
    for key, claimants in claims.items():
        if not claimants:
            problems["unknown keys (no rule claims them)"].append(f"{key} {list(source_shapes[key])}")
        elif len(claimants) > 1:
            problems["keys claimed by more than one rule"].append(f"{key} ({'; '.join(map(str, claimants))})")
    used = {rule for claimants in claims.values() for rule in claimants}
    problems[MISSING] += [
        pattern for rule in rules if rule not in used and rule.op != "drop" for pattern in rule.sources
    ]

    single = {key: claimants[0] for key, claimants in claims.items() if len(claimants) == 1}
    steps = []
    zeros = (Step(rule.op, (), rule.targets) for rule in rules if rule.op == "zero")
    for step in (*_steps(single, problems), *zeros):
        try:
            steps.append((step, step.shapes(source_shapes)))
        except ValueError as error:
            problems["wrong shapes"].append(str(error))
    written = Counter(target for step, _ in steps for target in step.targets)
    problems["target keys written more than once"] += [key for key, count in written.items() if count > 1]
    return Plan(
        steps=tuple(step for step, _ in steps),
        dropped=tuple(key for key, rule in single.items() if rule.op == "drop"),
        shapes={key: shape for _, shapes in steps for key, shape in shapes.items()},
        problems={title: tuple(lines) for title, lines in problems.items() if lines},
    )


def check_claims(found: Plan) -> None:
    """Refuses a table if a row of it found no key: without these keys the model cannot be described.

    Raises:
        MappingError: a row found no key; the message names every violation found so far.
    """
    if MISSING in found.problems:
        raise MappingError(_table(found.problems))


def check(plans: Sequence[Plan], target_shapes: Mapping[str, Shape]) -> None:
    """Checks the plans together against the model that they must fill.

    Raises:
        MappingError: a law is broken; the message names every violation.
    """
    problems: dict[str, list[str]] = defaultdict(list)
    for each in plans:
        for title, lines in each.problems.items():
            problems[title] += lines
    written = Counter(key for each in plans for key in each.shapes)
    problems["target keys written more than once"] += [key for key, count in written.items() if count > 1]
    shapes = {key: shape for each in plans for key, shape in each.shapes.items()}
    problems["keys that the model does not have"] += [
        f"{key} {list(shape)}" for key, shape in shapes.items() if key not in target_shapes
    ]
    problems["keys of the model that no rule fills"] += [
        f"{key} {list(shape)}" for key, shape in target_shapes.items() if key not in shapes
    ]
    problems["wrong shapes"] += [
        f"{key}: found {list(shapes[key])}, wanted {list(shape)}"
        for key, shape in target_shapes.items()
        if key in shapes and tuple(shapes[key]) != tuple(shape)
    ]
    if any(problems.values()):
        raise MappingError(_table({title: lines for title, lines in problems.items() if lines}))


def matrix(shapes: Mapping[str, Shape], key: str) -> tuple[int, int]:
    """The rows and columns of a weight.

    Raises:
        MappingError: the weight does not have two dimensions.
    """
    shape = shapes[key]
    if len(shape) != 2:
        raise MappingError(f"{key} has the shape {list(shape)}; wanted a matrix.")
    return shape[0], shape[1]


def claimed(rules: Iterable[Rule], keys: Iterable[str]) -> list[str]:
    """The keys that a rule in the table claims."""
    rules = tuple(rules)
    return [key for key in keys if any(_claims(rule, key) for rule in rules)]


def fold(lines: Iterable[str]) -> list[str]:
    """Sorts keys, and folds keys that differ only in layer numbers: `resblocks.{0...11}.ln_1.weight`."""
    groups: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for line in map(shown, lines):
        numbers = tuple(int(number) for number in LAYER_NUMBER.findall(line))
        groups[LAYER_NUMBER.sub(_HOLE, line)].add(numbers)
    return sorted(
        _filled(pattern, ranges) for pattern, numbers in groups.items() for ranges in _ranges(frozenset(numbers))
    )


def has_match(pattern: str, ordered: Sequence[str]) -> bool:
    """Whether the pattern matches one of the sorted keys; only keys with the pattern's beginning are tried."""
    head = _literal_head(pattern)
    start = bisect_left(ordered, head)
    if head == pattern:
        return start < len(ordered) and ordered[start] == pattern
    fullmatch = _regex(pattern).fullmatch
    for place in range(start, len(ordered)):
        if not ordered[place].startswith(head):
            return False
        if fullmatch(ordered[place]):
            return True
    return False


@cache
def _literal_head(pattern: str) -> str:
    """The pattern's text before its first layer number or rest of a key."""
    return re.split(r"\{\}|\*", pattern, maxsplit=1)[0]


def matches(pattern: str, key: str) -> bool:
    """Whether the pattern matches the whole key."""
    return _regex(pattern).fullmatch(key) is not None


@cache
def _regex(pattern: str) -> re.Pattern:
    return re.compile(re.escape(pattern).replace(r"\{\}", r"(\d+)").replace(r"\*", r"(.+)"))


def _computed(tensor: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Applies a function to each number in float64 and rounds once, so that all machines give the same bits."""
    return function(tensor.double()).to(torch.promote_types(tensor.dtype, torch.float32))


def _zero_like(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """A scalar 0 in a float dtype of the checkpoint, so that a half-precision model keeps its dtype."""
    floats = (tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
    return torch.zeros((), dtype=next(floats, torch.float32))


def _claims(rule: Rule, key: str) -> bool:
    return any(matches(pattern, key) for pattern in rule.sources)


def _steps(single: Mapping[str, Rule], problems: dict[str, list[str]]) -> Iterator[Step]:
    # A concat takes several keys. Keys belong together if they agree in layer numbers and in the text that `*`
    # matches.
    groups: dict[tuple[Rule, tuple[str, ...]], dict[str, str]] = defaultdict(dict)
    for key, rule in single.items():
        for pattern in rule.sources:
            if match := _regex(pattern).fullmatch(key):
                groups[rule, match.groups()][pattern] = key
    for (rule, values), found in groups.items():
        if rule.op == "drop":
            continue
        if absent := [pattern for pattern in rule.sources if pattern not in found]:
            problems[MISSING] += [_fill(pattern, values) for pattern in absent]
            continue
        sources = tuple(found[pattern] for pattern in rule.sources)
        yield Step(rule.op, sources, tuple(_fill(target, values) for target in rule.targets), rule.squeezed)


def _fill(pattern: str, values: Sequence[str]) -> str:
    remaining = iter(values)
    return re.sub(r"\{\}|\*", lambda _: next(remaining), pattern)


def _ranges(numbers: frozenset[tuple[int, ...]]) -> Iterator[tuple[str, ...]]:
    """Ranges for each position; their product contains exactly these numbers."""
    if numbers == {()}:
        yield ()
        return
    rests: dict[int, set[tuple[int, ...]]] = defaultdict(set)
    for first, *rest in numbers:
        rests[first].add(tuple(rest))
    together: dict[frozenset[tuple[int, ...]], list[int]] = defaultdict(list)
    for first in sorted(rests):
        together[frozenset(rests[first])].append(first)
    for others, values in together.items():
        for ranges in _ranges(others):
            yield _range(values), *ranges


def _range(values: Sequence[int]) -> str:
    if len(values) == 1:
        return str(values[0])
    if list(values) == list(range(values[0], values[-1] + 1)):
        return f"{{{values[0]}...{values[-1]}}}"
    return f"{{{', '.join(map(str, values))}}}"


def _filled(pattern: str, texts: Iterable[str]) -> str:
    for text in texts:
        pattern = pattern.replace(_HOLE, text, 1)
    return pattern


def _table(problems: Mapping[str, Sequence[str]]) -> str:
    sections = ["The checkpoint does not fit its format. Nothing was written."]
    for title, lines in problems.items():
        sections.append(f"{title}:\n" + "\n".join(f"  {line}" for line in fold(lines)))
    sections.append("`zhclip inspect` prints all keys and shapes of the file.")
    return "\n".join(sections)
