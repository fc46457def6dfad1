"""The computations that a proof announces are the computations that it does."""

import pytest

from hf_zhclip import amounts
from hf_zhclip.conversion import convert, export
from hf_zhclip.conversion.exports import exporting, native_process
from hf_zhclip.conversion.proof import samples, verification

from tests import checkpoints

WITH_TOWERS = verification._with_towers


@pytest.mark.parametrize(("family", "dtype"), [("cn_clip_vit", "keep"), ("cn_clip_vit", "float16"), (None, "keep")])
def test_a_proof_does_as_many_computations_as_it_has_announced(family, dtype, original, tmp_path, monkeypatch):
    monkeypatch.setattr(verification, "_with_towers", WITH_TOWERS)
    monkeypatch.setenv(amounts.STEPS, str(tmp_path / "steps"))
    if family is None:
        checkpoints.taiyi.taiyi_folder(tmp_path / "SOURCE", head=False)
        convert(tmp_path / "SOURCE", tmp_path / "OUT", format="bert_from_clip")
    else:
        convert(original(family).source, tmp_path / "OUT", dtype=dtype, **original(family).arguments)

    done, expected = amounts.steps_of(tmp_path / "steps")
    assert done == expected > 10


def test_an_export_does_as_many_steps_as_it_has_announced(repo, tmp_path, monkeypatch):
    found = repo("cn_clip_vit").path
    monkeypatch.setattr(exporting, "in_fresh_process", lambda request: native_process.compute(request))
    monkeypatch.setattr(native_process.runpy, "run_path", lambda _: vars(samples))
    monkeypatch.setenv(amounts.STEPS, str(tmp_path / "steps"))

    export(found, tmp_path / "OUT", to="transformers")

    done, expected = amounts.steps_of(tmp_path / "steps")
    assert done == expected > 1
