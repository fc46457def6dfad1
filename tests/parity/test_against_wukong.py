"""Converted Wukong models against what Wukong's own PyTorch code gave (recorded/wukong.json)."""

import hashlib
import json
from pathlib import Path

import PIL
import pytest
import torch
from transformers import AutoModel, AutoProcessor

from hf_zhclip.conversion import convert

from tests.pictures import seeded_pictures
from tests.weights import fingerprint, seeded_state_dict

TESTS = Path(__file__).parents[1]
RECORDED = json.loads((TESTS / "parity/recorded/wukong.json").read_text(encoding="utf-8"))
# Other versions of Pillow resize some of these pictures to other values.
same_pillow = pytest.mark.skipif(
    PIL.__version__ != RECORDED["versions"]["pillow"], reason="the pixels were recorded with another Pillow"
)


def checkpoint(name: str, folder: Path) -> tuple[Path, dict]:
    """The file that upstream's code was run on, made again, and what `convert` has to be told of it."""
    recorded = RECORDED["models"][name]
    full = "keys" in recorded
    keys = (
        json.loads((TESTS / f"keys/{name}.json").read_text(encoding="utf-8"))["keys"] if full else recorded["shapes"]
    )
    weights = seeded_state_dict(keys)
    assert fingerprint(weights) == recorded["weights_sha256"], "these are not the weights that upstream ran on"
    folder.mkdir()
    torch.save({"state_dict": weights}, folder / "weights.ckpt")
    (folder / "facts.json").write_text(json.dumps(recorded["config"]), encoding="utf-8")
    # Of a published size nothing is stated: what the table says has to be what upstream's file says.
    return folder / "weights.ckpt", {} if full else {"config": folder / "facts.json"}


# One of the short ones is enough for the offline suite.
@same_pillow
@pytest.mark.parametrize(
    "name",
    [
        "short_b",
        pytest.param("short_l", marks=pytest.mark.parity),
        pytest.param("wukong-vit-b-g", marks=pytest.mark.parity),
    ],
)
@torch.no_grad()
def test_against_wukong(name, tmp_path):
    recorded = RECORDED["models"][name]
    source, arguments = checkpoint(name, tmp_path / "source")
    convert(source, tmp_path / "out", skip_verify=True, **arguments)
    model, processor = AutoModel.from_pretrained(tmp_path / "out"), AutoProcessor.from_pretrained(tmp_path / "out")
    texts, pictures = RECORDED["texts"][: len(recorded["text_embeddings"])], dict(seeded_pictures())

    found = [processor(text=[text], truncation=True)["input_ids"][0] for text in RECORDED["texts"]]
    assert found == RECORDED["ids"]
    pixels = {key: processor(images=[pictures[key]], return_tensors="pt")["pixel_values"] for key in pictures}
    hashes = {key: hashlib.sha256(value.numpy().tobytes()).hexdigest() for key, value in pixels.items()}
    assert hashes == RECORDED["pixels_sha256"]

    first = torch.cat(list(pixels.values())[: len(recorded["image_embeddings"])])
    outputs = model(**processor(text=texts, padding=True, return_tensors="pt"), pixel_values=first)
    same(outputs.text_embeds, recorded["text_embeddings"])
    same(outputs.image_embeds, recorded["image_embeddings"])
    assert model.logit_scale.item() == recorded["logit_scale"]


def same(found: torch.Tensor, recorded: list[list[float]]) -> None:
    wanted = torch.tensor(recorded)
    assert (found - wanted).abs().max() <= 1e-5
    assert (found.double() * wanted.double()).sum(-1).min() >= 0.999999
