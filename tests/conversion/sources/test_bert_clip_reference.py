"""The reference against what CLIP-Chinese's own code gave; see tests/parity/record_clip_chinese.py."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from hf_zhclip.conversion.proof.reference import bert_clip
from hf_zhclip.conversion.proof.reference.vocabularies import WordPieces

from tests.pictures import seeded_pictures
from tests.weights import fingerprint, seeded_state_dict

ROOT = Path(__file__).parents[3]
RECORDED = json.loads((ROOT / "tests/parity/recorded/clip_chinese.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=["tiny", "overridden", pytest.param("base", marks=pytest.mark.parity)])
def model(request):
    recorded = RECORDED["models"][request.param]
    tensors = seeded_state_dict(recorded["shapes"])
    assert fingerprint(tensors) == recorded["weights_sha256"], "tests/weights.py makes other weights than it did"
    return recorded, tensors


@pytest.fixture(scope="module")
def vocab():
    content = (ROOT / "conversion/tokenizers/vocab.txt").read_bytes()
    assert hashlib.sha256(content).hexdigest() == RECORDED["vocab_sha256"]
    return content.decode("utf-8").split("\n")[:-1]


def assert_equal(ours, recorded):
    recorded = torch.tensor(recorded)
    assert ours.shape == recorded.shape
    assert float((ours - recorded).abs().max()) <= 1e-5
    assert float((ours.double() * recorded.double()).sum(-1).min()) >= 0.999999


def test_text_embeddings_are_the_recorded_ones(model):
    recorded, tensors = model
    rows = [torch.tensor(ids) for ids in RECORDED["ids"][: len(recorded["text_embeddings"])]]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)

    assert_equal(bert_clip.encode_text(tensors, ids, recorded["config"]), recorded["text_embeddings"])


def test_image_embeddings_are_the_recorded_ones(model):
    recorded, tensors = model
    size = bert_clip.image_size(tensors, recorded["config"])
    pictures = [picture for _, picture in seeded_pictures()][: len(recorded["image_embeddings"])]
    pixels = torch.stack([bert_clip.pixels(picture, tensors, size) for picture in pictures])

    assert_equal(bert_clip.encode_image(tensors, pixels, recorded["config"]), recorded["image_embeddings"])


def test_logit_scale_is_the_recorded_one(model):
    recorded, tensors = model
    assert bert_clip.logit_scale(tensors, recorded["config"]) == recorded["logit_scale"]


def test_token_ids_are_the_recorded_ones(vocab):
    assert bert_clip.token_ids(RECORDED["texts"], WordPieces(vocab), 512) == RECORDED["ids"]


def test_pixels_are_the_recorded_ones_to_the_bit():
    ours = {
        name: hashlib.sha256(bert_clip.pixels(picture, {}, 224).numpy().tobytes()).hexdigest()
        for name, picture in seeded_pictures()
        if name in RECORDED["pixels_sha256"]
    }
    assert ours == RECORDED["pixels_sha256"]
