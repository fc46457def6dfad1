import json
import math

import pytest

from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.repos.report import DIFFERENCE, FILE, Comparison, Report, changed_files, read_report
from hf_zhclip.conversion.words import Words

from tests.conversion.helpers import complete

LIMIT = Words("Texts are lower-cased.", "文本会转成小写。")
VECTORS = Words("embeddings in float32", "向量（float32）")
FILES = dict.fromkeys(("config.json", "tokenizer.json", "model.safetensors"), "00")


def report(*results: float) -> Report:
    comparisons = [
        Comparison("text", VECTORS, Words("reference", "参考实现"), DIFFERENCE, 1e-5, each, each <= 1e-5)
        for each in results
    ]
    source = {
        "format": "cn_clip",
        "role": "whole",
        "name": "x.pt",
        "hub": None,
        "files": {},
        "evidence": {"files": {}, "stated": {}},
    }
    conversion = {
        **{
            "architecture": "x",
            "dtype": "keep",
            "context_length": 52,
            "trained_context_length": 52,
            "limits": [LIMIT],
        },
        **{"stated_context_length": None, "vocabulary": {"vocab.txt": "00"}},
        **{"image_order": "squash_then_rgb", "catalogue": None, "command": "zhclip", "verification_skipped": False},
    }
    return Report([source], conversion, "reference", complete(*comparisons) if results else [], FILES)


def whole() -> Report:
    return report(0.0)


@pytest.mark.parametrize("results", [(0.0, 1e-6), (0.0, math.nan), (math.inf,)])
def test_a_report_comes_back_from_its_file(tmp_path, results):
    written = report(*results)
    (tmp_path / FILE).write_text(json.dumps(written.to_json(), allow_nan=False), encoding="utf-8")

    back = read_report(tmp_path)

    assert back.passed == written.passed
    assert back.to_json() == written.to_json()
    assert back.conversion["limits"] == [LIMIT] and back.comparisons[0].what == VECTORS


def test_a_report_says_its_sentences_in_both_languages():
    value = report(0.0).to_json()

    assert value["conversion"]["limits"] == [{"en": "Texts are lower-cased.", "zh": "文本会转成小写。"}]
    comparison, *_ = value["comparisons"]
    assert comparison["what"] == {"en": "embeddings in float32", "zh": "向量（float32）"}
    assert comparison["witness"] == {"en": "reference", "zh": "参考实现"}
    assert (comparison["step"], comparison["measure"]) == ("text", "max abs difference")


def test_a_report_without_comparisons_proves_nothing():
    assert not report().passed


@pytest.mark.parametrize("text", ['{"format_version": 1}', '{"format_version": 99}', "{}"])
def test_a_report_of_another_version_is_refused(tmp_path, text):
    (tmp_path / FILE).write_text(text, encoding="utf-8")

    with pytest.raises(
        InputError, match=r"has an unknown version; version 3 was wanted\. `zhclip convert .* OUT --base REPO`"
    ):
        read_report(tmp_path)


def test_a_report_that_lacks_a_part_is_refused(tmp_path):
    value = report(0.0).to_json()
    del value["files"]
    (tmp_path / FILE).write_text(json.dumps(value), encoding="utf-8")

    with pytest.raises(InputError, match="is no valid report: 'files'"):
        read_report(tmp_path)


def test_a_folder_without_a_report_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no conversion_report.json"):
        read_report(tmp_path)


def test_files_that_are_gone_or_different_are_named(tmp_path):
    # printf a | sha256sum
    digest = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    for name, text in (("same", "a"), ("other", "b")):
        (tmp_path / name).write_text(text)
    proof = Report([], {}, "reference", [], dict.fromkeys(("same", "other", "gone"), digest))

    assert changed_files(tmp_path, proof) == ["other", "gone"]


def spoilt(**changes):
    value = json.loads(json.dumps(whole().to_json()))
    for path, change in changes.items():
        *names, last = path.split("__")
        place = value
        for name in names:
            place = place[0] if name == "first" else place[name]
        place[last] = change
    return value


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"level": "banana"}, "level is 'banana'; wanted one of peer, reference, tensors"),
        ({"files": ["a"]}, "files does not give a hash for each name"),
        ({"files": {"a": 1}}, "files does not give a hash for each name"),
        ({"conversion__command": None}, "conversion: command is None"),
        ({"sources__first__hub": "x"}, "sources: hub is 'x'"),
        ({"comparisons__first__result": "x"}, "comparisons: result is 'x'"),
        ({"conversion": {}}, "'architecture'"),
        ({"versions": "x"}, "versions is 'x'"),
        ({"conversion__limits": [{}]}, "{} has not the fields en and zh alone"),
        ({"conversion__limits": ["a sentence"]}, "'a sentence' has not the fields en and zh alone"),
        ({"conversion__limits": [{"en": "a sentence"}]}, "has not the fields en and zh alone"),
        ({"conversion__limits": [{"en": "a sentence", "zh": 1}]}, "is no text in en and zh"),
        ({"comparisons__first__what": "embeddings"}, "comparisons: what is 'embeddings'"),
        ({"comparisons__first__witness": {"en": "reference"}}, "has not the fields en and zh alone"),
        ({"comparisons__first__measure": {}}, "comparisons: measure is {}"),
        ({"sources__first__hub": {"repo": 1, "file": None, "revision": None}}, "hub: repo is 1"),
        ({"sources__first__hub": {"repo": "a/b"}}, "'file'"),
        ({"conversion__command": "zhclip 'convert"}, "command is .*: No closing quotation"),
        ({"sources": ["x"]}, "indices"),
    ],
)
def test_a_report_of_another_kind_is_refused(tmp_path, changes, told):
    (tmp_path / FILE).write_text(json.dumps(spoilt(**changes)), encoding="utf-8")

    with pytest.raises(InputError, match=f"is no valid report: .*{told}"):
        read_report(tmp_path)


def without(name):
    return lambda value: value["files"].pop(name)


def conversion(**changes):
    return lambda value: value["conversion"].update(changes)


def comparison(**changes):
    return lambda value: value["comparisons"][0].update(changes)


def lacking(**kind):
    """Removes the comparisons with these fields."""
    return lambda value: value.update(
        comparisons=[each for each in value["comparisons"] if not kind.items() <= each.items()]
    )


def where(step, measure="max abs difference", copies=0, **changes):
    """Changes the comparisons of a step and a measure, or adds changed copies of the step's first comparison."""

    def change(value):
        found = [each for each in value["comparisons"] if each["step"] == step]
        value["comparisons"] += [{**found[0], **changes} for _ in range(copies)]
        for each in found:
            each.update(changes if each["measure"] == measure else {})

    return change


LIES = {
    "passed, which nothing shows": (lambda value: value.update(comparisons=[]), "passed is True, but the comparisons"),
    "failed, which nothing shows": (lambda value: value.update(passed=False), "passed is False, but the comparisons"),
    "a result beyond its bound": (comparison(result=1.0), "passed is True, but the result is 1.0"),
    "a bound below its result": (comparison(bound=-1.0), "passed is True, but the result is 0.0"),
    "numbers that were skipped": (conversion(verification_skipped=True), "verification_skipped is true"),
    "no token at all": (conversion(context_length=0), "context_length is 0"),
    "a length that is no number": (conversion(context_length=True), "context_length is True"),
    "a vocabulary without hashes": (conversion(vocabulary={"vocab.txt": 1}), "vocabulary is"),
    "a level that no witness reached": (
        lambda value: value.update(level="peer"),
        "level is 'peer', but .* with reference",
    ),
    "a witness of another level": (comparison(witness={"en": "cn_clip", "zh": "cn_clip"}), "compared with cn_clip"),
    "pictures that were not compared": (lacking(step="pixels"), "nothing of the step pixels was compared"),
    "texts that were not compared": (lacking(step="text"), "nothing of the step text was compared"),
    "logits that were not compared": (lacking(step="logits"), "nothing of the step logits was compared"),
    "no cosine": (lacking(step="image", measure="smallest cosine"), "step image was not compared in float64"),
    "no number in float64": (lacking(step="text", bound=1e-9), "step text was not compared in float64"),
    "a bound that no proof has": (where("pixels", bound=0.5, result=0.1), "of 0.1 with the bound 0.5"),
    "a cosine's bound that no proof has": (where("image", "smallest cosine", bound=0.5), "with the bound 0.5"),
    "a difference below nothing": (where("image", bound=1e-9, result=-1.0), "of -1.0 with"),
    "a number that is not there": (where("image", result=None), "of nan with the bound 1e-09"),
    "three dtypes": (where("image", "", bound=1.0, copies=3), "has more than 2 bounds above 1e-09"),
    "no versions": (lambda value: value.update(versions={}), "does not give the version of python, hf-zhclip"),
    "another version than the witness's": (
        where("pixels", witness={"en": "transformers 4.0", "zh": "transformers 4.0"}),
        "but the witness is transformers 4.0",
    ),
    "no weights": (without("model.safetensors"), "files names 2 files; config.json, tokenizer.json or the"),
    "no config": (without("config.json"), "files names 2 files"),
    "no file": (lambda value: value.update(files={}), "files names 0 files"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_report_that_contradicts_itself_is_no_report(name, tmp_path):
    change, said = LIES[name]
    value = whole().to_json()
    change(value)
    (tmp_path / FILE).write_text(json.dumps(value), encoding="utf-8")

    with pytest.raises(InputError, match=f"is no valid report: .*{said}.*`zhclip convert .* OUT --base REPO`"):
        read_report(tmp_path)
