"""`zhclip evaluate` on the written scenes gives the figures of the demo, which counts by itself."""

import pytest

from hf_zhclip.conversion import convert
from hf_zhclip.evaluation import evaluate as measure
from hf_zhclip.examples import demo, evaluate, held_out, scenes

from tests.conversion.helpers import save_time


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held")
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        convert(demo.CHECKPOINT, folder / "model", config=demo.MODEL_CONFIG, skip_verify=True)
    held_out.write(folder)
    return folder


def test_retrieval_of_both_parts_is_the_demos(folder):
    found = measure(str(folder / "model"), str(folder / "retrieval" / "both")).to_json()["text_to_image"]
    parts = evaluate.retrieval(evaluate.search(demo.Converted(folder / "model")))
    total = sum(part.queries for part in parts)
    for k in evaluate.TOP:
        share = sum(part.at[k] * part.queries for part in parts) / total
        assert found[f"r{k}"] == pytest.approx(100 * share, abs=1e-6)


def test_classification_of_both_parts_is_the_demos(folder):
    objects = folder / "objects"
    names, templates = str(objects / "both.txt"), str(objects / "templates.txt")
    found = measure(str(folder / "model"), str(objects / "both"), classes=names, templates=templates).to_json()
    model = demo.Converted(folder / "model")
    parts = [evaluate.zero_shot(model, split)[0] for split in scenes.SPLITS]
    assert {part.task for part in parts} == {"objects"}
    total = sum(part.pictures for part in parts)
    share = sum(part.top1 * part.pictures for part in parts) / total
    assert found["classification"]["pictures"] == total
    assert found["classification"]["top1"] == pytest.approx(100 * share, abs=1e-6)
