"""A converted CLIPApp against what EasyNLP's own code gave (recorded/easynlp.json)."""

import hashlib
import json
from pathlib import Path

import torch
from transformers import AutoModel, AutoProcessor

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.proof import samples
from hf_zhclip.conversion.proof.reference import easynlp as reference
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests.parity.record_easynlp import extra
from tests.weights import fingerprint, seeded_state_dict

RECORDED = json.loads((Path(__file__).parent / "recorded" / "easynlp.json").read_text(encoding="utf-8"))
PICTURES = dict([*samples.pictures(), *extra()])


def weights() -> dict[str, torch.Tensor]:
    # The recipe names tensors without the prefix.
    shapes = {key.removeprefix("chinese_clip."): shape for key, shape in RECORDED["shapes"].items()}
    made = {f"chinese_clip.{key}": value for key, value in seeded_state_dict(shapes).items()}
    assert fingerprint(made) == RECORDED["weights_sha256"], "these are not the weights that upstream ran on"
    return made


def digest(pixels: torch.Tensor) -> str:
    return hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest()


@torch.no_grad()
def test_against_easynlp(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    torch.save(weights(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(RECORDED["config"]), encoding="utf-8")
    (folder / "vocab.txt").write_text("".join(f"{line}\n" for line in default_vocab()), encoding="utf-8")
    convert(folder, tmp_path / "out", skip_verify=True)
    model, processor = AutoModel.from_pretrained(tmp_path / "out"), AutoProcessor.from_pretrained(tmp_path / "out")

    ids = processor(text=list(samples.TEXTS), padding="max_length", return_tensors="pt")["input_ids"]
    assert list(samples.TEXTS) == RECORDED["texts"] and ids.tolist() == RECORDED["ids"]
    pixels = {
        key: processor(images=[image], return_tensors="pt")["pixel_values"][0] for key, image in PICTURES.items()
    }
    assert {key: digest(value) for key, value in pixels.items()} == RECORDED["pixels_sha256"]
    same(model.encode_text(ids), RECORDED["text_embeddings"])
    same(model.encode_image(torch.stack(list(pixels.values())[: samples.EMBEDDED])), RECORDED["image_embeddings"])


def test_the_reference_gives_what_easynlp_gave():
    tensors, config = weights(), RECORDED["config"]
    pixels = {key: reference.pixels(image, tensors, 224) for key, image in PICTURES.items()}
    ids = reference.token_ids(samples.TEXTS, default_vocab(), 52)

    assert [row + [0] * (52 - len(row)) for row in ids] == RECORDED["ids"]
    assert {key: digest(value) for key, value in pixels.items()} == RECORDED["pixels_sha256"]
    same(reference.encode_text(tensors, torch.tensor(RECORDED["ids"]), config), RECORDED["text_embeddings"])
    first = torch.stack(list(pixels.values())[: samples.EMBEDDED])
    same(reference.encode_image(tensors, first, config), RECORDED["image_embeddings"])


def same(found: torch.Tensor, recorded: list[list[float]]) -> None:
    wanted = torch.tensor(recorded)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-5
    assert (found * wanted).sum(-1).min() >= 0.999999
