"""Converted TaiyiCLIPModel folders against what Fengshen's own code gave (recorded/taiyi_clip.json)."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoProcessor

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests.conversion.helpers import save_time
from tests.pictures import seeded_pictures
from tests.weights import fingerprint, seeded_state_dict

RECORDED = json.loads((Path(__file__).parent / "recorded" / "taiyi_clip.json").read_text(encoding="utf-8"))


def folder_of(name: str, folder: Path) -> Path:
    """The folder that upstream's code was run on, made again."""
    recorded = RECORDED["models"][name]
    weights = seeded_state_dict(recorded["shapes"])
    assert fingerprint(weights) == recorded["weights_sha256"], "these are not the weights that upstream ran on"
    folder.mkdir()
    torch.save(weights, folder / "pytorch_model.bin")
    for file in ("config", "preprocessor_config", "tokenizer_config"):
        (folder / f"{file}.json").write_text(json.dumps(recorded[file]), encoding="utf-8")
    (folder / "vocab.txt").write_text("".join(f"{line}\n" for line in default_vocab()), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["tiny", pytest.param("base", marks=pytest.mark.parity)])
@torch.no_grad()
def test_against_taiyi_clip(name, tmp_path, monkeypatch):
    save_time(monkeypatch)
    recorded = RECORDED["models"][name]
    convert(folder_of(name, tmp_path / "source"), tmp_path / "out", skip_verify=True)
    model, processor = AutoModel.from_pretrained(tmp_path / "out"), AutoProcessor.from_pretrained(tmp_path / "out")
    texts, count = RECORDED["texts"], len(recorded["text_embeddings"])
    pictures = dict(seeded_pictures())

    # Upstream's tokenizer has no limit, ours cuts at the 77 of its training.
    wanted = [ids if len(ids) <= 77 else [*ids[:76], ids[-1]] for ids in RECORDED["ids"]]
    assert [processor(text=[text])["input_ids"][0] for text in texts] == wanted
    pixels = {key: processor(images=[pictures[key]], return_tensors="pt")["pixel_values"] for key in pictures}
    hashes = {key: hashlib.sha256(value.numpy().tobytes()).hexdigest() for key, value in pixels.items()}
    assert {key: hashes[key] for key in RECORDED["pixels_sha256"]} == RECORDED["pixels_sha256"]

    same(model.encode_text(**processor(text=texts[:count], return_tensors="pt")), recorded["text_embeddings"])
    first = torch.cat(list(pixels.values())[: len(recorded["image_embeddings"])])
    same(model.encode_image(first), recorded["image_embeddings"])
    assert model.logit_scale.item() == recorded["logit_scale"]


def same(found: torch.Tensor, recorded: list[list[float]]) -> None:
    wanted = torch.tensor(recorded)
    assert (found - wanted).abs().max() <= 1e-5
    assert (found * wanted).sum(-1).min() >= 0.999999
