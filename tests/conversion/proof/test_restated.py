"""`verify --against` takes what the report recorded of the user's statements."""

import json
import shutil
from importlib import resources

import pytest

from hf_zhclip.conversion import convert, verify
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.proof.restated import restated
from hf_zhclip.conversion.repos.report import read_report
from hf_zhclip.conversion.stated import Stated


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    "family",
    ["cn_clip_vit", "cn_clip_resnet", "multilingual_clip", "taiyi_head", "taiyi_plain", "open_clip", "modelscope"],
)
def test_an_original_needs_no_statement_but_its_paths(repo, family):
    found = repo(family)
    paths = {name: value for name, value in found.original.arguments.items() if name in ("vision", "tokenizer")}

    report = verify(found.path, found.original.source, **paths)

    assert report.passed and report.level in ("reference", "peer")


def test_the_shipped_model_needs_no_config(tmp_path):
    scenes = resources.files("hf_zhclip.examples") / "scenes"
    convert(scenes / "epoch_latest.pt", tmp_path / "out", config=scenes / "model_config.json")

    assert verify(tmp_path / "out", scenes / "epoch_latest.pt").passed
    with pytest.raises(InputError):
        verify(tmp_path / "out", scenes / "epoch_latest.pt", config=tmp_path / "missing.json")


def test_what_the_user_states_wins_over_what_was_recorded(repo, tmp_path):
    found = repo("cn_clip_vit")
    report = read_report(found.path)
    mine = Stated("a", config=tmp_path / "mine.json", ema="use")

    assert restated(mine, report, tmp_path).config == tmp_path / "mine.json"
    assert restated(mine, report, tmp_path).ema == "use"


def test_recorded_facts_are_written_as_they_were_stated(repo, tmp_path):
    found = repo("cn_clip_vit")
    facts = read_report(found.path).sources[0]["evidence"]["stated"]

    again = restated(Stated("a"), read_report(found.path), tmp_path)

    assert (again.config is None) == (not facts)
    assert not facts or json.loads(again.config.read_text(encoding="utf-8")) == facts


def test_an_original_that_does_not_fit_is_refused_by_what_was_recorded(repo, tmp_path):
    found = repo("cn_clip_vit")
    shutil.copy(repo("openai_clip").original.source, tmp_path / "other.pt")

    with pytest.raises(InputError) as caught:
        verify(found.path, tmp_path / "other.pt")
    assert "Leave --config out" not in str(caught.value)
