"""The references of ChineseCLIPModel and TaiyiCLIPModel: against transformers, and against what Fengshen's code gave.

See tests/parity/record_taiyi_clip.py.
"""

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ChineseCLIPConfig, ChineseCLIPImageProcessorPil, ChineseCLIPModel

from hf_zhclip.conversion.proof.reference import chinese_clip, taiyi_clip
from hf_zhclip.conversion.proof.reference.vocabularies import WordPieces

from tests import planted
from tests.inputs import seeded_ids, seeded_pixels
from tests.pictures import seeded_pictures
from tests.planted import SEEN, Case, cosine
from tests.weights import fingerprint, seeded_state_dict

ROOT = Path(__file__).parents[3]
RECORDED = json.loads((ROOT / "tests/parity/recorded/taiyi_clip.json").read_text(encoding="utf-8"))
VOCAB = 300
CONFIG = {
    "text_config": {
        **{"vocab_size": VOCAB, "hidden_size": 96, "num_hidden_layers": 6, "num_attention_heads": 4},
        **{"intermediate_size": 384, "max_position_embeddings": 40, "layer_norm_eps": 1e-12, "hidden_act": "gelu"},
    },
    "vision_config": {
        **{"hidden_size": 96, "num_hidden_layers": 5, "num_attention_heads": 4, "intermediate_size": 384},
        **{"image_size": 56, "patch_size": 14, "layer_norm_eps": 1e-5, "hidden_act": "quick_gelu"},
    },
    "projection_dim": 96,
}
TEXT_ERRORS = {name: plant for name, plant in planted.BERT_CLIP_TEXT.items() if name != "first state"}
TEXT_ERRORS["projection not transposed"] = planted.transposed("text_projection.weight")
# The state of [CLS] through the pooler that lies beside it, as TaiyiCLIPModel.forward does.
POOLED = {"tanh pooler": planted.cn_clip_text(2)["tanh pooler"]}


@cache
def small() -> ChineseCLIPModel:
    model = ChineseCLIPModel(ChineseCLIPConfig(**CONFIG))
    model.load_state_dict(seeded_state_dict({key: tuple(value.shape) for key, value in model.state_dict().items()}))
    return model.eval()


def assert_equal(ours, wanted):
    wanted = torch.nn.functional.normalize(torch.as_tensor(wanted), dim=-1)
    assert ours.shape == wanted.shape
    assert float((ours - wanted).abs().max()) <= 1e-5
    assert float((ours.double() * wanted.double()).sum(-1).min()) >= 0.999999


@pytest.mark.parametrize("reference", [chinese_clip, taiyi_clip])
@torch.no_grad()
def test_the_references_are_equal_to_transformers_class(reference):
    model, ids, pixels = small(), seeded_ids(VOCAB), seeded_pixels(56)
    tensors = model.state_dict()
    text = model.get_text_features(input_ids=ids, attention_mask=(ids != 0).long()).pooler_output

    assert_equal(reference.encode_text(tensors, ids, CONFIG), text)
    assert_equal(reference.encode_image(tensors, pixels, CONFIG), model.get_image_features(pixels).pooler_output)
    assert reference.logit_scale(tensors, CONFIG) == model.logit_scale.item()
    assert reference.image_size(tensors, CONFIG) == 56


def test_the_pixels_of_a_square_are_those_of_transformers_processor_to_the_bit():
    processor = ChineseCLIPImageProcessorPil(
        size={"height": 224, "width": 224}, do_center_crop=False, do_convert_rgb=False
    )
    for name, picture in seeded_pictures():
        if name == "one_pixel":  # transformers can't tell its channels from its rows
            continue
        # transformers 5 lays transparency on white, transformers 4 dropped it.
        wanted = processor(picture.convert("RGB"), return_tensors="np")["pixel_values"][0]
        assert np.array_equal(chinese_clip.pixels(picture, {}, 224).numpy(), wanted), name


@pytest.mark.parametrize("reference", [chinese_clip, taiyi_clip])
@pytest.mark.parametrize("side", ["text", "image"])
def test_every_planted_error_is_seen(reference, side):
    dense = {"text_model.pooler.dense.weight": (96, 96), "text_model.pooler.dense.bias": (96,)}
    tensors = {**small().state_dict(), **seeded_state_dict(dense)}
    inputs = seeded_ids(VOCAB) if side == "text" else seeded_pixels(56)
    encode = reference.encode_text if side == "text" else reference.encode_image
    errors = {**TEXT_ERRORS, **POOLED} if side == "text" else planted.HF_VISION
    right = encode(tensors, inputs, CONFIG)
    cosines = {}
    for name, plant in errors.items():
        with pytest.MonkeyPatch.context() as patch:
            case = plant(Case(tensors, CONFIG, patch))
            cosines[name] = cosine(encode(case.tensors, inputs, case.config), right)
    assert {name: value for name, value in cosines.items() if value >= SEEN} == {}


@pytest.fixture(scope="module", params=["tiny", pytest.param("base", marks=pytest.mark.parity)])
def recorded(request):
    found = RECORDED["models"][request.param]
    tensors = seeded_state_dict(found["shapes"])
    assert fingerprint(tensors) == found["weights_sha256"], "tests/weights.py makes other weights than it did"
    return found, tensors


def test_taiyi_clips_embeddings_are_those_that_fengshens_code_gave(recorded):
    found, tensors = recorded
    wanted = torch.tensor(found["text_embeddings"])
    rows = [torch.tensor(ids) for ids in RECORDED["ids"][: len(wanted)]]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    pictures = [picture for _, picture in seeded_pictures()][: len(found["image_embeddings"])]
    pixels = torch.stack([taiyi_clip.pixels(picture, tensors, 224) for picture in pictures])

    text = taiyi_clip.encode_text(tensors, ids, found["config"])
    assert_equal(text, wanted)
    assert_equal(taiyi_clip.encode_image(tensors, pixels, found["config"]), found["image_embeddings"])
    assert taiyi_clip.logit_scale(tensors, found["config"]) == found["logit_scale"]
    # Its own forward goes another way than its features and its training.
    assert cosine(text, torch.tensor(found["forward_text_embeddings"])) < 0.5
    lightning = {f"model.{key}": tensor for key, tensor in tensors.items()}
    assert torch.equal(taiyi_clip.encode_text(lightning, ids, found["config"]), text)


def test_taiyi_clips_ids_and_pixels_are_those_that_fengshens_code_gave():
    vocab = (ROOT / "conversion/tokenizers/vocab.txt").read_bytes()
    assert hashlib.sha256(vocab).hexdigest() == RECORDED["vocab_sha256"]
    assert (
        taiyi_clip.token_ids(RECORDED["texts"], WordPieces(vocab.decode("utf-8").split("\n")[:-1]), 512)
        == RECORDED["ids"]
    )
    ours = {
        name: hashlib.sha256(taiyi_clip.pixels(picture, {}, 224).numpy().tobytes()).hexdigest()
        for name, picture in seeded_pictures()
        if name in RECORDED["pixels_sha256"]
    }
    assert len(ours) > 8 and ours == RECORDED["pixels_sha256"]
