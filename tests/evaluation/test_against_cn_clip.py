"""Predictions and recall are those of cn_clip's own scripts on the same files; only `.cuda()` does nothing there."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from hf_zhclip.evaluation import files
from hf_zhclip.evaluation.retrieval import predictions, retrieval

from tests.parity.peers import cn_clip

pytestmark = pytest.mark.parity


def run_script(monkeypatch, name: str, *arguments: str) -> None:
    """Runs a script of cn_clip/eval as its main program."""
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self: self)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(Path(cn_clip("eval").__file__).parent / f"{name}.py"), run_name="__main__")


def random_split(folder: Path, kind: str) -> None:
    """60 texts and 45 pictures: random vectors, or vectors of small whole numbers, whose scores are exact and tie.

    Equal vectors with rounded scores are left out: cn_clip's product may give them different scores by their place.
    """
    generator = torch.Generator().manual_seed(len(kind))
    texts, images = (torch.randn(count, 8, generator=generator) for count in (60, 45))
    if kind != "random":
        texts, images = texts.round(), images.round()
    if kind == "duplicates":
        images = images[torch.randint(0, 6, (45,), generator=generator)]
    text_ids = torch.randperm(1000, generator=generator)[:60].tolist()
    image_ids = torch.randperm(1000, generator=generator)[:45].tolist()
    files.write_features(folder / "texts.txt_feat.jsonl", "text", text_ids, texts)
    files.write_features(folder / "imgs.img_feat.jsonl", "image", image_ids, images)
    with (folder / "texts.jsonl").open("w") as file:
        for number, each in enumerate(text_ids):
            some = torch.randperm(45, generator=generator)[: number % 4 + 1].tolist()
            file.write(
                json.dumps({"text_id": each, "text": "猫", "image_ids": [image_ids[row] for row in some]}) + "\n"
            )


@pytest.mark.parametrize("kind", ["random", "ties", "duplicates"])
def test_predictions_and_recall_are_those_of_its_scripts(kind, tmp_path, monkeypatch):
    random_split(tmp_path, kind)
    texts, images = tmp_path / "texts.txt_feat.jsonl", tmp_path / "imgs.img_feat.jsonl"
    features = [f"--image-feats={images}", f"--text-feats={texts}"]
    run_script(monkeypatch, "make_topk_predictions", *features, f"--output={tmp_path / 'ir.jsonl'}")
    run_script(monkeypatch, "make_topk_predictions_tr", *features, f"--output={tmp_path / 'tr.jsonl'}")
    run_script(monkeypatch, "transform_ir_annotation_to_tr", f"--input={tmp_path / 'texts.jsonl'}")
    run_script(monkeypatch, "evaluation", *(str(tmp_path / name) for name in ("texts.jsonl", "ir.jsonl", "ir.json")))
    run_script(
        monkeypatch, "evaluation_tr", *(str(tmp_path / name) for name in ("texts.tr.jsonl", "tr.jsonl", "tr.json"))
    )

    of_texts, of_images = files.read_features(texts, "text"), files.read_features(images, "image")
    found = retrieval(of_texts, of_images, files.read_texts(tmp_path / "texts.jsonl"))
    for query, pool, name, score in (
        (of_texts, of_images, "ir", found.text_to_image),
        (of_images, of_texts, "tr", found.image_to_text),
    ):
        side = "text" if name == "ir" else "image"
        files.write_predictions(tmp_path / "ours.jsonl", side, predictions(query, pool))
        assert (tmp_path / "ours.jsonl").read_text() == (tmp_path / f"{name}.jsonl").read_text()
        assert files.read_predictions(tmp_path / f"{name}.jsonl", side) == predictions(query, pool)
        told = json.loads((tmp_path / f"{name}.json").read_text())
        assert files.score(score)["scoreJson"] == pytest.approx(told.pop("scoreJson"), abs=1e-12)
        assert told == {"success": True, "score": pytest.approx(score.mean_recall, abs=1e-12)}
