"""The reference against what ZH-CLIP's own code gave; see tests/parity/record_zh_clip.py."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from hf_zhclip.conversion.proof.reference import layers, zh_clip
from hf_zhclip.conversion.proof.reference.vocabularies import WordPieces

from tests import checkpoints, planted
from tests.inputs import seeded_ids, seeded_pixels
from tests.pictures import seeded_pictures
from tests.planted import SEEN, Case, cosine
from tests.weights import fingerprint, seeded_state_dict

ROOT = Path(__file__).parents[3]
RECORDED = json.loads((ROOT / "tests/parity/recorded/zh_clip.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=["tiny", "whole_clip", pytest.param("wide", marks=pytest.mark.parity)])
def model(request):
    recorded = RECORDED["models"][request.param]
    tensors = seeded_state_dict(recorded["shapes"])
    assert fingerprint(tensors) == recorded["weights_sha256"], "tests/weights.py makes other weights than it did"
    return recorded, tensors


def assert_same(features, embeddings, recorded):
    """Features as the original gives them, relative to their length; and the embeddings that they make."""
    wanted = torch.tensor(recorded)
    lengths = wanted.norm(dim=-1, keepdim=True)
    assert features.shape == wanted.shape and float(lengths.min()) > 2, "a unit vector would not show a normalisation"
    assert float(((features - wanted) / lengths).abs().max()) <= 1e-5
    assert float((embeddings - wanted / lengths).abs().max()) <= 1e-5


def test_text_features_are_the_recorded_ones(model):
    recorded, tensors = model
    rows = [torch.tensor(ids) for ids in RECORDED["ids"][: len(recorded["text_features"])]]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    given = tensors, ids, recorded["config"]

    assert_same(zh_clip.text_features(*given), zh_clip.encode_text(*given), recorded["text_features"])


def test_image_features_are_the_recorded_ones(model):
    recorded, tensors = model
    size = zh_clip.image_size(tensors, recorded["config"])
    pictures = [picture for _, picture in seeded_pictures()][: len(recorded["image_features"])]
    pixels = torch.stack([zh_clip.pixels(picture, tensors, size) for picture in pictures])
    given = tensors, pixels, recorded["config"]

    assert_same(zh_clip.image_features(*given), zh_clip.encode_image(*given), recorded["image_features"])


def test_the_recorded_probabilities_are_those_of_features_without_norm_and_scale(model):
    recorded, tensors = model
    text, image = (torch.tensor(recorded[f"{side}_features"]) for side in ("text", "image"))

    torch.testing.assert_close((image @ text.T).softmax(dim=-1), torch.tensor(recorded["probabilities"]))
    assert zh_clip.logit_scale(tensors, recorded["config"]) == 0


def test_token_ids_are_the_recorded_ones():
    content = (ROOT / "conversion/tokenizers/vocab.txt").read_bytes()
    assert hashlib.sha256(content).hexdigest() == RECORDED["vocab_sha256"]

    assert (
        zh_clip.token_ids(RECORDED["texts"], WordPieces(content.decode("utf-8").split("\n")[:-1]), 77)
        == RECORDED["ids"]
    )
    assert max(map(len, RECORDED["ids"])) == 77


def test_pixels_are_the_recorded_ones_to_the_bit():
    ours = {
        name: hashlib.sha256(zh_clip.pixels(picture, {}, 224).numpy().tobytes()).hexdigest()
        for name, picture in seeded_pictures()
        if name in RECORDED["pixels_sha256"]
    }
    assert ours == RECORDED["pixels_sha256"]


# Errors that load without a word

CONFIG = {"text_config": checkpoints.common.BERT_CONFIG, "vision_config": checkpoints.common.VISION_CONFIG}
TEXT = {name: plant for name, plant in planted.BERT_CLIP_TEXT.items() if name != "first state"}
TEXT["projection without its activation"] = planted.fact(zh_clip, "gelu", lambda x: x)
IMAGE = {name: plant for name, plant in planted.HF_VISION.items() if name != "projection not transposed"}
IMAGE["projection without its bias"] = planted.zeroed("visual_projection.bias")
SUBTLE = {
    "QuickGELU in the projection": planted.fact(zh_clip, "gelu", layers.quick_gelu),
    "tanh GELU in the projection": planted.fact(
        zh_clip, "gelu", lambda x: torch.nn.functional.gelu(x, approximate="tanh")
    ),
}


def moved(side, plant):
    """Embeddings with an error planted in the reference, and without."""
    encode, inputs = {
        "text": (zh_clip.encode_text, seeded_ids(checkpoints.common.VOCAB)),
        "image": (zh_clip.encode_image, seeded_pixels(checkpoints.common.SIZE)),
    }[side]
    tensors = seeded_state_dict(checkpoints.zh_clip.zh_clip())
    right = encode(tensors, inputs, CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        case = plant(Case(tensors, CONFIG, patch))
        return encode(case.tensors, inputs, case.config), right


@pytest.mark.parametrize(("side", "name"), [*(("text", name) for name in TEXT), *(("image", name) for name in IMAGE)])
def test_every_planted_error_is_seen_in_the_small_checkpoint(side, name):
    wrong, right = moved(side, {"text": TEXT, "image": IMAGE}[side][name])

    assert cosine(wrong, right) < SEEN


@pytest.mark.parametrize("name", SUBTLE)
def test_another_gelu_in_the_projection_is_far_beyond_the_bound_of_the_proof(name):
    wrong, right = moved("text", SUBTLE[name])

    assert float((wrong - right).abs().max()) > 1e-5


def test_the_mean_is_over_what_the_mask_keeps():
    tensors, ids = seeded_state_dict(checkpoints.zh_clip.zh_clip()), seeded_ids(checkpoints.common.VOCAB)
    alone = torch.cat([zh_clip.encode_text(tensors, row[row != 0][None], CONFIG) for row in ids])

    torch.testing.assert_close(zh_clip.encode_text(tensors, ids, CONFIG), alone, atol=1e-5, rtol=0)
