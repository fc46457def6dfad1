"""Folders of which one field of one JSON file is another one: whatever it is, a user hears words, not a traceback."""

import contextlib
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import BertTokenizer

from hf_zhclip.conversion import card, convert, inspect, pipeline
from hf_zhclip.conversion.errors import InputError, WorkError

from tests import checkpoints
from tests.checkpoints import FAMILIES

MUTATED = (
    *("bert_clip", "chinese_clip", "easynlp", "hf_clip", "modelscope", "multilingual_clip", "open_clip"),
    *("open_clip_xlm_roberta", "sentence_transformers", "taiyi_head"),
)

DEEP: list[Any] = []
for _ in range(300):
    DEEP = [DEEP]

REMOVED = object()

VALUES: dict[str, Any] = {
    "removed": REMOVED,
    "null": None,
    "true": True,
    "zero": 0,
    "negative": -7,
    "an id of 2^30": 2**30,
    "an id of 2^70": 2**70,
    "a fraction": 0.5,
    "a long number": 10**4000,
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "an empty text": "",
    "a text": "\x1b[31m\n```",
    "half a character": "\ud800",
    "an empty list": [],
    "a list": [None, {"type": 3}],
    "an empty object": {},
    "an object": {"type": [], "id": {}, "content": 7},
    "depth": DEEP,
}

BESIDE: dict[str, Any] = {
    "special_tokens_map.json": {"unk_token": {"content": "[UNK]", "lstrip": False}, "pad_token": "[PAD]"},
    "trainer_state.json": {"epoch": 1.5, "global_step": 3, "log_history": [{"loss": 0.5}]},
}
"""What published folders hold beside what the small ones do."""

SETTINGS: dict[str, Any] = {
    "model_max_length": 512,
    "extra_special_tokens": [],
    "additional_special_tokens": [],
    "added_tokens_decoder": {},
    "clean_up_tokenization_spaces": True,
}

PICTURES: dict[str, Any] = {
    "do_normalize": True,
    "rescale_factor": 1 / 255,
    "resample": 3,
    "size": {"shortest_edge": checkpoints.common.SIZE},
    "crop_size": {"height": checkpoints.common.SIZE, "width": checkpoints.common.SIZE},
}
"""preprocessor_config.json of the family that is cropped."""

CASES = [1, pytest.param(4, marks=pytest.mark.thorough)]
"""Of each file, drawn from a seed; hundreds of each family were tried once."""


class Reached(Exception):
    """The step behind the last one that is tried: from there on a process of its own works."""


def stop(*_, **__):
    raise Reached


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every field of a JSON; of a vocabulary's thousands the first ones."""
    yield path
    inner = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    for key, each in inner[: 3 if len(inner) > 60 else None]:
        yield from places(each, (*path, key))


def fill(folder: Path) -> None:
    """Adds what published folders hold to every folder with a BERT's vocabulary."""
    for vocabulary in list(folder.rglob("vocab.txt")):
        for name, content in BESIDE.items():
            (vocabulary.parent / name).write_text(json.dumps(content), encoding="utf-8")
        if vocabulary.parent.name == "bert_clip":
            vocabulary.with_name("preprocessor_config.json").write_text(json.dumps(PICTURES), encoding="utf-8")
        settings = vocabulary.with_name("tokenizer_config.json")
        stated = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
        settings.write_text(json.dumps({**SETTINGS, **stated}), encoding="utf-8")
        if vocabulary.parent.name == "bert_clip":  # one is enough: it has 21,128 words and costs time
            tokenizer = BertTokenizer.from_pretrained(vocabulary.parent)
            tokenizer.backend_tokenizer.save(str(vocabulary.with_name("tokenizer.json")))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    value = value.copy()
    if len(path) == 1 and new is REMOVED:
        del value[path[0]]
    elif len(path) == 1:
        value[path[0]] = new  # also a field that this version of transformers does not write
    else:
        value[path[0]] = changed(value[path[0]], path[1:], new)
    return value


def mutations(folder: Path) -> list[tuple[Path, tuple[Any, ...], str]]:
    files = sorted(folder.rglob("*.json"))
    return [
        (file, path, name)
        for file in files
        for path in places(json.loads(file.read_text(encoding="utf-8")))
        for name in VALUES
        if path or VALUES[name] is not REMOVED
    ]


def outcome(original: Any, out: Path) -> str:
    """How `inspect` and `convert` end, each by the name of what it raises."""
    ends = []
    for work in (lambda: inspect(original.source), lambda: convert(original.source, out, **original.arguments)):
        try:
            work()
            ends.append("done")
        except (InputError, WorkError, Reached) as error:
            assert not isinstance(error, WorkError) or str(error)
            ends.append(type(error).__name__)
    return " ".join(ends)


@pytest.mark.quick(3)
@pytest.mark.parametrize("number", CASES)
@pytest.mark.parametrize("family", MUTATED)
def test_a_field_that_is_another_one_ends_in_words(family, number, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "staging", stop)
    original = FAMILIES[family](tmp_path / "source")
    fill(tmp_path / "source")
    assert outcome(original, tmp_path / "out") == "done Reached"
    cases, draw = mutations(tmp_path / "source"), random.Random(family)
    files = sorted({file for file, _, _ in cases})
    drawn = [case for file in files for case in draw.sample([each for each in cases if each[0] == file], number)]

    failures = list(tried(original, drawn, tmp_path))

    assert failures == []


def tried(original: Any, cases: list[tuple[Path, tuple[Any, ...], str]], tmp_path: Path) -> Iterator[str]:
    """Those of the cases that end in something else than words."""
    for file, path, name in cases:
        kept = file.read_bytes()
        value = changed(json.loads(kept), path, VALUES[name])
        file.write_text(written(value), encoding="utf-8")
        try:
            outcome(original, tmp_path / "out")
        except BaseException as error:  # PyO3 raises panics past Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            yield f"{file.name} {path} {name}: {type(error).__name__}: {error}"
        finally:
            file.write_bytes(kept)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)


def written(value: Any) -> str:
    """JSON of it; a number longer than Python writes is spelt out."""
    marker = "10^4000"
    text = json.dumps(spelt(value, marker))
    return text.replace(f'"{marker}"', "1" + "0" * 5000)


def spelt(value: Any, marker: str) -> Any:
    if isinstance(value, dict):
        return {key: spelt(each, marker) for key, each in value.items()}
    if isinstance(value, list):
        return [spelt(each, marker) for each in value]
    return marker if isinstance(value, int) and not isinstance(value, bool) and value > 10**1000 else value


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("processor_config.json", ("image_processor", "image_mean", 0), {}),
        ("processor_config.json", ("image_processor", "resample"), ""),
        ("config.json", ("text_config", "id2label"), []),
        ("conversion_report.json", ("versions",), ""),
        ("conversion_report.json", ("conversion", "limits"), [{}]),
        ("tokenizer_config.json", ("model_max_length",), "x"),
    ],
)
def test_the_card_of_a_repo_with_such_a_field_ends_in_words(name, path, value, repo, tmp_path):
    folder = shutil.copytree(repo("bert_clip").path, tmp_path / "repo")
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps(changed(content, path, value)), encoding="utf-8")

    with contextlib.suppress(InputError):  # a file that the report no longer vouches for may still have a card
        card(folder, license="mit", force=True)
