"""Converted full-size models against cn_clip's public API: the same files, texts and pictures into both."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoProcessor

from hf_zhclip.conversion import convert, verify
from hf_zhclip.conversion.proof import samples

from tests.checkpoints import FAMILIES
from tests.parity.peers import cn_clip
from tests.weights import seeded_state_dict

pytestmark = pytest.mark.parity

KEYS = Path(__file__).parents[1] / "keys"
SIZES = {
    "cn_clip-vit-b-16": 224,
    "cn_clip-rn50": 224,
    **{"cn_clip-vit-b-32": 224, "cn_clip-vit-l-14": 224, "cn_clip-vit-l-14-336": 336, "cn_clip-vit-h-14": 224},
}
QUICK = ("cn_clip-vit-b-16",)  # test_export_to_cn_clip.py has the smallest ResNet


def checkpoint(name: str, path: Path) -> str:
    """A file as cn_clip's trainer writes it; returns the structure's name."""
    recorded = json.loads((KEYS / f"{name}.json").read_text(encoding="utf-8"))
    weights = seeded_state_dict(recorded["keys"])
    # load_from_name rounds most weights through float16 (cn_clip/clip/utils.py, create_model). Values that float16
    # holds come out of it as they are in the file.
    weights = {key: value.half().float() if value.is_floating_point() else value for key, value in weights.items()}
    state_dict = {f"module.{key}": value for key, value in weights.items()}
    torch.save({"epoch": 1, "step": 2, "name": name, "state_dict": state_dict, "optimizer": {}}, path)
    return recorded["architecture"]


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=() if each in QUICK else pytest.mark.slow) for each in SIZES]
)
@torch.no_grad()
def test_against_cn_clip(name, tmp_path):
    path, out = tmp_path / "epoch_latest.pt", tmp_path / "out"
    vision, text = checkpoint(name, path).split("@")
    convert(path, out, skip_verify=True)
    utils = cn_clip("clip.utils")
    peer, preprocess = utils.load_from_name(
        str(path), "cpu", vision_model_name=vision, text_model_name=text, input_resolution=SIZES[name]
    )
    peer.eval()
    pictures = [picture for _, picture in samples.pictures()]
    ids = utils.tokenize(list(samples.TEXTS))
    pixels = torch.stack([preprocess(picture) for picture in pictures])
    wanted_text = torch.nn.functional.normalize(peer.encode_text(ids), dim=-1)
    wanted_image = torch.nn.functional.normalize(peer.encode_image(pixels[:4]), dim=-1)
    wanted_logits, _ = peer.get_similarity(pixels[:4], ids)
    del peer

    model, processor = AutoModel.from_pretrained(out), AutoProcessor.from_pretrained(out)
    inputs = processor(text=list(samples.TEXTS), images=pictures, padding="max_length", return_tensors="pt")
    assert torch.equal(inputs["input_ids"], ids)
    assert torch.equal(inputs["pixel_values"], pixels)
    same(model.encode_text(inputs["input_ids"]), wanted_text)
    same(model.encode_image(inputs["pixel_values"][:4]), wanted_image)
    logits = model(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"][:4]).logits_per_image
    assert (logits.softmax(-1) - wanted_logits.softmax(-1)).abs().max() <= 2e-3
    # Dynamic padding is what the processor does by default; it must not change an embedding.
    short = processor(text=list(samples.TEXTS[:2]), return_tensors="pt")
    assert short["input_ids"].shape[1] < 52
    same(model.encode_text(**short), wanted_text[:2])


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    spread = (wanted @ wanted.t()).fill_diagonal_(0).abs().max()
    assert spread < 0.99, f"weights under which all inputs look alike ({spread}) prove nothing"
    assert (found - wanted).abs().max() <= 1e-5
    assert (found * wanted).sum(-1).min() >= 0.999999


def test_verify_calls_the_original_where_it_is_installed(tmp_path, monkeypatch, request):
    original, out = FAMILIES["cn_clip_resnet"](tmp_path), tmp_path / "out"
    assert convert(original.source, out, **original.arguments).level == "peer"
    assert {each.witness.en for each in verify(out).comparisons if each.step == "image"} == {"cn_clip 1.6.0"}

    request.getfixturevalue("fresh_process")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "shim"))
    assert verify(out, original.source, **original.arguments).level == "peer"
