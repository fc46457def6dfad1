"""Figures, predictions and features are those of cn_clip's own scripts on the same files; only CUDA does nothing there.

Where they differ, on purpose:

- cn_clip compares scores of float32 products, in which equal vectors of a pool may have different scores by their
  places. Here the scores are computed in float64 and rounded to float32, so that equal vectors tie. The tests take
  vectors of small whole numbers where scores tie, because their products are exact.
- cn_clip refuses queries with fewer than ten predictions. Here they are scored, with a word.
- cn_clip's scripts read the same id twice; the last line counts. Here it is an error.
- In ELEVATER's file, `model_name` is the repo's name.
"""

import base64
import json
import runpy
import shutil
import sys
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image

from hf_zhclip.conversion import convert
from hf_zhclip.evaluation import charts, evaluate, files, lists
from hf_zhclip.evaluation.retrieval import predict, score

from tests.checkpoints import FAMILIES
from tests.checkpoints.cn_clip import CN_CLIP_FACTS
from tests.conversion.helpers import save_time
from tests.image_modes import PICTURES
from tests.parity.peers import cn_clip

pytestmark = pytest.mark.parity


def run_script(monkeypatch, name: str, *arguments: str, folder: Path | None = None) -> None:
    """Runs a script of cn_clip/eval, or its copy in another folder, as its main program."""
    package = cn_clip("eval.data").__file__
    for kind in (torch.nn.Module, torch.Tensor):
        monkeypatch.setattr(kind, "cuda", lambda self, *args, **kwargs: self)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str((folder or Path(package).parent) / f"{name}.py"), run_name="__main__")


# Retrieval from files


def random_split(folder: Path, kind: str) -> None:
    """60 texts and 45 pictures: random vectors, or vectors of small whole numbers, whose scores are exact and tie."""
    generator = torch.Generator().manual_seed(len(kind))
    texts, images = (torch.randn(count, 8, generator=generator) for count in (60, 45))
    if kind != "random":
        texts, images = texts.round(), images.round()
    if kind == "duplicates":
        images = images[torch.randint(0, 6, (45,), generator=generator)]
    if kind == "zeros":
        texts, images = texts * 0, images
    text_ids = torch.randperm(1000, generator=generator)[:60].tolist()
    image_ids = torch.randperm(1000, generator=generator)[:45].tolist()
    files.write_features(folder / "texts.txt_feat.jsonl", "text", text_ids, texts)
    files.write_features(folder / "imgs.img_feat.jsonl", "image", image_ids, images)
    lines = []
    for number, each in enumerate(text_ids):
        some = torch.randperm(45, generator=generator)[: number % 4 + 1].tolist()
        named = [image_ids[row] for row in some]
        if kind == "ties":
            named += named[:1]  # a picture that a text names twice
        lines.append({"text_id": each, "text": "猫", "image_ids": named})
    if kind == "missing":
        lines = lines[:40]  # features of texts that are no queries, and of pictures that no text names
        lines[3]["image_ids"] = lines[7]["image_ids"] = []
    (folder / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def scored_by_its_scripts(folder: Path, monkeypatch) -> dict[str, dict]:
    run_script(monkeypatch, "transform_ir_annotation_to_tr", f"--input={folder / 'texts.jsonl'}")
    for script, answers, name in (("evaluation", "texts", "ir"), ("evaluation_tr", "texts.tr", "tr")):
        paths = (folder / f"{answers}.jsonl", folder / f"{name}.jsonl", folder / f"{name}.json")
        run_script(monkeypatch, script, *map(str, paths))
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in ("ir", "tr")}


@pytest.mark.parametrize("kind", ["random", "ties", "duplicates", "zeros", "missing"])
def test_predictions_and_recall_are_those_of_its_scripts(kind, tmp_path, monkeypatch):
    random_split(tmp_path, kind)
    texts, images = tmp_path / "texts.txt_feat.jsonl", tmp_path / "imgs.img_feat.jsonl"
    features = [f"--image-feats={images}", f"--text-feats={texts}"]
    run_script(monkeypatch, "make_topk_predictions", *features, f"--output={tmp_path / 'ir.jsonl'}")
    run_script(monkeypatch, "make_topk_predictions_tr", *features, f"--output={tmp_path / 'tr.jsonl'}")
    told = scored_by_its_scripts(tmp_path, monkeypatch)
    assert told["ir"]["success"] and told["tr"]["success"]

    given = {"text_features": str(texts), "image_features": str(images), "texts": str(tmp_path / "texts.jsonl")}
    found = evaluate(**given, as_cn_clip=True, out=tmp_path / "ours")

    sides = {"text": ("ir", ""), "image": ("tr", "tr_")}
    for side, (name, infix) in sides.items():
        ours = tmp_path / "ours" / f"texts_{infix}predictions.jsonl"
        assert ours.read_text() == (tmp_path / f"{name}.jsonl").read_text()
        scores = json.loads((tmp_path / "ours" / f"texts_{infix}scores.json").read_text())
        assert scores.pop("scoreJson") == pytest.approx(told[name].pop("scoreJson"), abs=1e-12)
        assert scores == pytest.approx(told[name], abs=1e-12)
    predictions = [str(tmp_path / f"{name}.jsonl") for name in ("ir", "tr")]
    assert evaluate(texts=given["texts"], predictions=predictions, as_cn_clip=True) == found
    assert found.of["text"].unanswered == (2 if kind == "missing" else 0)


def test_its_scripts_read_the_features_that_are_written(tmp_path, monkeypatch):
    random_split(tmp_path, "random")
    given = {"text_features": "texts.txt_feat.jsonl", "image_features": "imgs.img_feat.jsonl", "texts": "texts.jsonl"}
    evaluate(**{name: str(tmp_path / place) for name, place in given.items()}, out=tmp_path / "ours")
    for name in ("texts.txt_feat.jsonl", "imgs.img_feat.jsonl"):
        ours = tmp_path / "ours" / ("texts_" + name)
        assert ours.read_text() == (tmp_path / name).read_text()


def test_what_it_refuses_to_score_for_missing_predictions_is_refused(tmp_path, monkeypatch):
    random_split(tmp_path, "random")
    split = files.read_texts(tmp_path / "texts.jsonl")
    predicted = predict(
        files.read_features(tmp_path / "texts.txt_feat.jsonl", "text"),
        files.read_features(tmp_path / "imgs.img_feat.jsonl", "image"),
        split,
    )
    left = dict(list(predicted["text"].items())[1:])
    files.write_predictions(tmp_path / "ir.jsonl", "text", left)
    files.write_predictions(tmp_path / "tr.jsonl", "image", predicted["image"])
    told = scored_by_its_scripts(tmp_path, monkeypatch)
    missing = next(iter(predicted["text"]))
    assert not told["ir"]["success"] and str(missing) in told["ir"]["errorMsg"] and told["tr"]["success"]

    with pytest.raises(ValueError, match=f"1 ids have no prediction: text_id {missing}"):
        score({"text": left}, split)


def test_queries_with_fewer_than_ten_predictions_which_it_refuses_are_scored(tmp_path, monkeypatch):
    random_split(tmp_path, "random")
    split = files.read_texts(tmp_path / "texts.jsonl")
    few = {each: list(images)[:1] for each, images in split.images.items()}
    files.write_predictions(tmp_path / "ir.jsonl", "text", few)
    files.write_predictions(tmp_path / "tr.jsonl", "image", {1: [2]})
    assert not scored_by_its_scripts(tmp_path, monkeypatch)["ir"]["success"]

    told: list[str] = []
    predictions = [str(tmp_path / "ir.jsonl")]
    found = evaluate(texts=str(tmp_path / "texts.jsonl"), predictions=predictions, tell=told.append)

    assert found.to_json() == {"text_to_image": dict.fromkeys(("r1", "r5", "r10", "mean_recall"), 100.0)}
    assert told == ["60 queries have fewer than 10 predictions: recall at 10 says little there."]


# A model on data


@pytest.fixture(scope="module", params=["cn_clip_vit", "cn_clip_resnet"])
def model(request, tmp_path_factory):
    """A small checkpoint, the repo that it became, and a copy of cn_clip's scripts with configs of this size."""
    folder = tmp_path_factory.mktemp(request.param)
    original = FAMILIES[request.param](folder)
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        convert(original.source, folder / "repo", skip_verify=True, **original.arguments)
    from hf_zhclip.conversion.exports.exporting import export

    told = export(folder / "repo", folder / "home.pt", to="cn_clip", ddp=True)
    package = Path(cn_clip("eval.data").__file__).parents[1]
    shutil.copytree(package / "eval", folder / "cn_clip" / "eval")
    return folder, told


EXTRA = {"RGB on its side", "RGBA", "LA", "P", "P, one colour transparent", "P, alpha for each colour", "1", "I;16"}
NAMES = ["“猫” CAT", "Dog 狗", "红色 ＣＡＲ"]


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Three class folders with pictures of several modes, and the file of their names."""
    folder = tmp_path_factory.mktemp("classes")
    for number, (name, make) in enumerate(PICTURES.items()):
        if name in EXTRA or name.startswith("RGB 2"):
            place = folder / "pictures" / f"{number % len(NAMES):03}"
            place.mkdir(parents=True, exist_ok=True)
            make().save(place / f"{number}.png")
    (folder / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    return folder


def test_debug(model):
    folder, told = model
    print(told)
    raise SystemExit


