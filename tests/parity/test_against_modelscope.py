"""Converted ModelScope folders and fine-tunes against what ModelScope's own code gave (recorded/modelscope.json)."""

import hashlib
import json
import math
from pathlib import Path

import PIL
import pytest
import torch
from transformers import AutoModel, AutoProcessor

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.proof import samples
from hf_zhclip.conversion.proof.reference import modelscope as reference
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests.weights import fingerprint, seeded_state_dict

RECORDED = json.loads((Path(__file__).parent / "recorded" / "modelscope.json").read_text(encoding="utf-8"))
# Other versions of Pillow resize some of these pictures to other values.
same_pillow = pytest.mark.skipif(
    PIL.__version__ != RECORDED["versions"]["pillow"], reason="the pixels were recorded with another Pillow"
)


def weights_of(recorded: dict) -> dict[str, torch.Tensor]:
    # Loading rounds most weights through float16 (models/multi_modal/clip/model.py): values that it holds come out
    # of it as they are in the file.
    weights = {key: value.half().float() for key, value in seeded_state_dict(recorded["shapes"]).items()}
    assert fingerprint(weights) == recorded["weights_sha256"], "these are not the weights that upstream ran on"
    return weights


def folder_of(recorded: dict, folder: Path, prefix: str) -> Path:
    """The folder that upstream's code was run on, made again; its trainer saves the keys with the prefix."""
    folder.mkdir()
    torch.save({prefix + key: value for key, value in weights_of(recorded).items()}, folder / "pytorch_model.bin")
    for name in ("text_model_config", "vision_model_config"):
        (folder / f"{name}.json").write_text(json.dumps(recorded[name]), encoding="utf-8")
    (folder / "configuration.json").write_text('{"framework": "pytorch"}', encoding="utf-8")
    (folder / "vocab.txt").write_text("".join(f"{line}\n" for line in default_vocab()), encoding="utf-8")
    return folder


# The small one is enough for the offline suite.
@same_pillow
@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("tiny", "clip_model."),
        *(pytest.param(name, "", marks=pytest.mark.parity) for name in RECORDED["models"]),
    ],
)
@torch.no_grad()
def test_against_modelscope(name, prefix, tmp_path):
    recorded = RECORDED["models"][name]
    convert(folder_of(recorded, tmp_path / "source", prefix), tmp_path / "out", skip_verify=True)
    model, processor = AutoModel.from_pretrained(tmp_path / "out"), AutoProcessor.from_pretrained(tmp_path / "out")
    pictures = dict(samples.pictures())

    ids = processor(text=list(samples.TEXTS), padding="max_length", return_tensors="pt")["input_ids"]
    assert list(samples.TEXTS) == RECORDED["texts"] and ids.tolist() == RECORDED["ids"]
    pixels = {key: processor(images=[pictures[key]], return_tensors="pt")["pixel_values"][0] for key in pictures}
    hashes = {key: hashlib.sha256(value.numpy().tobytes()).hexdigest() for key, value in pixels.items()}
    assert hashes == recorded["pixels_sha256"]

    same(model.encode_text(ids), recorded["text_embeddings"])
    same(model.encode_image(torch.stack(list(pixels.values())[: samples.EMBEDDED])), recorded["image_embeddings"])
    assert math.isclose(1 / model.logit_scale.exp().item(), recorded["temperature"], rel_tol=1e-6)


@pytest.mark.parametrize("name", ["tiny", "no_head_width"])
def test_the_reference_gives_what_modelscope_gave(name):
    recorded = RECORDED["models"][name]
    # A fact that is not stated is the class's own default, which describe() fills in.
    config = {"vision_head_width": 64, **recorded["vision_model_config"], **recorded["text_model_config"]}
    tensors = {f"clip_model.{key}": value for key, value in weights_of(recorded).items()}
    size = reference.image_size(tensors, config)
    pictures = [picture for _, picture in samples.pictures()][: samples.EMBEDDED]

    ids = reference.token_ids(samples.TEXTS, default_vocab(), 52)
    assert [row + [0] * (52 - len(row)) for row in ids] == RECORDED["ids"]
    pixels = torch.stack([reference.pixels(picture, tensors, size) for picture in pictures])
    same(reference.encode_image(tensors, pixels, config), recorded["image_embeddings"])
    same(reference.encode_text(tensors, torch.tensor(RECORDED["ids"]), config), recorded["text_embeddings"])


def same(found: torch.Tensor, recorded: list[list[float]]) -> None:
    wanted = torch.tensor(recorded)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-5
    assert (found * wanted).sum(-1).min() >= 0.999999
