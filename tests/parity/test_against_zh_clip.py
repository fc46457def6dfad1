"""Converted ZH-CLIP models against what ZH-CLIP's own code gave (recorded/zh_clip.json)."""

import hashlib
import json
from pathlib import Path

import PIL
import pytest
import torch
from transformers import AutoModel, AutoProcessor

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests.pictures import seeded_pictures
from tests.weights import fingerprint, seeded_state_dict

RECORDED = json.loads((Path(__file__).parent / "recorded" / "zh_clip.json").read_text(encoding="utf-8"))
# Other versions of Pillow resize some of these pictures to other values.
same_pillow = pytest.mark.skipif(
    PIL.__version__ != RECORDED["versions"]["pillow"], reason="the pixels were recorded with another Pillow"
)


def repository(name: str, folder: Path) -> Path:
    """The repo that upstream's code was run on, made again."""
    recorded = RECORDED["models"][name]
    weights = seeded_state_dict(recorded["shapes"])
    assert fingerprint(weights) == recorded["weights_sha256"], "these are not the weights that upstream ran on"
    folder.mkdir()
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(recorded["config"]), encoding="utf-8")
    (folder / "vocab.txt").write_text("".join(f"{line}\n" for line in default_vocab()), encoding="utf-8")
    return folder


# One of the small ones is enough for the offline suite.
@same_pillow
@pytest.mark.parametrize(
    "name", ["tiny", *(pytest.param(each, marks=pytest.mark.parity) for each in ("whole_clip", "wide"))]
)
@torch.no_grad()
def test_against_zh_clip(name, tmp_path):
    recorded = RECORDED["models"][name]
    convert(repository(name, tmp_path / "source"), tmp_path / "out", skip_verify=True)
    model, processor = AutoModel.from_pretrained(tmp_path / "out"), AutoProcessor.from_pretrained(tmp_path / "out")
    texts, pictures = RECORDED["texts"], dict(seeded_pictures())

    assert [processor(text=[text])["input_ids"][0] for text in texts] == RECORDED["ids"]
    pixels = {key: processor(images=[pictures[key]], return_tensors="pt")["pixel_values"] for key in pictures}
    hashes = {key: hashlib.sha256(value.numpy().tobytes()).hexdigest() for key, value in pixels.items()}
    assert {key: hashes[key] for key in RECORDED["pixels_sha256"]} == RECORDED["pixels_sha256"]

    first = torch.cat(list(pixels.values())[: len(recorded["image_features"])])
    ids = processor(text=texts[: len(recorded["text_features"])], return_tensors="pt")
    text, image = model.get_text_features(**ids).pooler_output, model.get_image_features(first).pooler_output
    outputs = model(**ids, pixel_values=first)
    same(text, outputs.text_embeds, recorded["text_features"])
    same(image, outputs.image_embeds, recorded["image_features"])

    # Upstream multiplies the features as they are; here logits are cosines, for no factor was trained.
    published = (image @ text.T).softmax(dim=-1)
    assert torch.allclose(published, torch.tensor(recorded["probabilities"]), atol=2e-3, rtol=0)
    assert torch.allclose(outputs.logits_per_image, outputs.image_embeds @ outputs.text_embeds.T, atol=1e-6, rtol=0)


def same(features: torch.Tensor, embeddings: torch.Tensor, recorded: list[list[float]]) -> None:
    """Features relative to their length, and the embeddings that they make."""
    wanted = torch.tensor(recorded)
    lengths = wanted.norm(dim=-1, keepdim=True)
    assert ((features - wanted) / lengths).abs().max() <= 1e-5
    assert (embeddings - wanted / lengths).abs().max() <= 1e-5
