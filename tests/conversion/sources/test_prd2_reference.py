"""The reference against what R2D2's own code gave; see tests/parity/record_r2d2.py."""

import hashlib
import json
from pathlib import Path

import PIL
import pytest
import torch

from hf_zhclip.conversion.proof.reference import prd2

from tests.pictures import seeded_pictures
from tests.weights import fingerprint, seeded_state_dict

ROOT = Path(__file__).parents[3]
RECORDED = json.loads((ROOT / "tests/parity/recorded/r2d2.json").read_text(encoding="utf-8"))
SHORT = ["prd2_short", "r2d2_short"]
# Other versions of Pillow resize some of these pictures to other values.
same_pillow = pytest.mark.skipif(
    PIL.__version__ != RECORDED["versions"]["pillow"], reason="the pixels were recorded with another Pillow"
)


@pytest.fixture(
    scope="module",
    params=[
        *SHORT,
        pytest.param("r2d2-base", marks=pytest.mark.parity),
        pytest.param("prd2", marks=[pytest.mark.parity, pytest.mark.slow]),
    ],
)
def model(request):
    recorded = RECORDED["models"][request.param]
    tensors = seeded_state_dict(shapes(recorded))
    assert fingerprint(tensors) == recorded["weights_sha256"], "tests/weights.py makes other weights than it did"
    return recorded, tensors, recorded["config"] if request.param in SHORT else {}


def shapes(recorded):
    if "shapes" in recorded:
        return recorded["shapes"]
    return json.loads((ROOT / f"tests/keys/{recorded['keys']}.json").read_text(encoding="utf-8"))["keys"]


@pytest.fixture(scope="module")
def embeddings(model):
    recorded, tensors, config = model
    rows = [torch.tensor(ids) for ids in RECORDED["ids"][: len(recorded["text_embeddings"])]]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    pictures = [picture for _, picture in seeded_pictures()][: len(recorded["image_embeddings"])]
    pixels = torch.stack([prd2.pixels(picture, tensors, prd2.image_size(tensors, config)) for picture in pictures])
    return prd2.encode_text(tensors, ids, config), prd2.encode_image(tensors, pixels, config)


@same_pillow
def test_the_embeddings_are_the_recorded_ones(model, embeddings):
    for ours, side in zip(embeddings, ("text", "image"), strict=True):
        recorded = torch.tensor(model[0][f"{side}_embeddings"])
        assert ours.shape == recorded.shape
        assert float((ours - recorded).abs().max()) <= 1e-5
        assert float((ours.double() * recorded.double()).sum(-1).min()) >= 0.999999


@same_pillow
def test_the_scale_turns_the_recorded_cosines_into_the_recorded_logits(model, embeddings):
    recorded, tensors, config = model
    text, image = embeddings
    scale = torch.tensor(prd2.logit_scale(tensors, config)).exp()

    assert torch.allclose(scale * image @ text.T, torch.tensor(recorded["logits_per_image"]), atol=3e-4, rtol=0)
    assert float(scale * recorded["temp"]) == pytest.approx(1, abs=1e-6)


def test_the_token_ids_are_the_recorded_ones_cut_as_upstream_cuts_them():
    content = (ROOT / "conversion/tokenizers/vocab.txt").read_bytes()
    assert hashlib.sha256(content).hexdigest() == RECORDED["upstream_vocab_sha256"]

    assert prd2.token_ids(RECORDED["texts"], content.decode("utf-8").split("\n")[:-1], 64) == RECORDED["ids"]
    assert RECORDED["padded_to"] == 64 == max(map(len, RECORDED["ids"]))


@same_pillow
def test_the_pixels_are_the_recorded_ones_to_the_bit():
    ours = {
        name: hashlib.sha256(prd2.pixels(picture, {}, 224).numpy().tobytes()).hexdigest()
        for name, picture in seeded_pictures()
    }
    assert ours == RECORDED["pixels_sha256"]


def test_a_width_that_was_not_published_needs_its_heads_stated():
    tensors = {"visual_encoder.embeddings.class_embedding": torch.zeros(80)}
    with pytest.raises(LookupError, match="a width of 80 is of no published size"):
        prd2.encode_image(tensors, torch.zeros(1, 3, 28, 28), {})
