"""The reference against what Wukong's own code gave; see tests/parity/record_wukong.py."""

import hashlib
import json
from pathlib import Path

import PIL
import pytest
import torch

from hf_zhclip.conversion.proof.reference import layers, openai_text, openai_vision, wukong

from tests.pictures import seeded_pictures
from tests.planted import SEEN, Case, cosine, fact, joint_split_as, part, transposed
from tests.weights import fingerprint, seeded_state_dict

ROOT = Path(__file__).parents[3]
RECORDED = json.loads((ROOT / "tests/parity/recorded/wukong.json").read_text(encoding="utf-8"))
SHORT = ["short_b", "short_l"]
# Other versions of Pillow resize some of these pictures to other values.
same_pillow = pytest.mark.skipif(
    PIL.__version__ != RECORDED["versions"]["pillow"], reason="the pixels were recorded with another Pillow"
)


@pytest.fixture(scope="module", params=[*SHORT, pytest.param("wukong-vit-b-g", marks=pytest.mark.parity)])
def model(request):
    recorded = RECORDED["models"][request.param]
    tensors = seeded_state_dict(shapes(recorded))
    assert fingerprint(tensors) == recorded["weights_sha256"], "tests/weights.py makes other weights than it did"
    return recorded, tensors, recorded["config"] if request.param in SHORT else {}


def shapes(recorded):
    if "shapes" in recorded:
        return recorded["shapes"]
    return json.loads((ROOT / f"tests/keys/{recorded['keys']}.json").read_text(encoding="utf-8"))["keys"]


def token_ids(recorded, pad_to=0):
    rows = [torch.tensor(ids) for ids in RECORDED["ids"][: len(recorded["text_embeddings"])]]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return torch.nn.functional.pad(ids, (0, max(pad_to - ids.shape[1], 0)))


def pixels(recorded):
    pictures = [picture for _, picture in seeded_pictures()][: len(recorded["image_embeddings"])]
    return torch.stack([wukong.pixels(picture, {}, 224) for picture in pictures])


@same_pillow
def test_the_embeddings_are_the_recorded_ones(model):
    recorded, tensors, config = model
    found = {
        "text": wukong.encode_text(tensors, token_ids(recorded), config),
        "image": wukong.encode_image(tensors, pixels(recorded), config),
    }
    for side, ours in found.items():
        wanted = torch.tensor(recorded[f"{side}_embeddings"])
        assert ours.shape == wanted.shape
        assert float((ours - wanted).abs().max()) <= 1e-5
        assert float((ours.double() * wanted.double()).sum(-1).min()) >= 0.999999
    assert wukong.logit_scale(tensors, config) == recorded["logit_scale"]
    assert wukong.image_size(tensors, config) == 224


def _at(place):
    """Another place of a text pooled."""

    def plant(case, original=openai_text.embed):
        def embed(tensors, prefix, blocks, ids, ends, *rest):
            return original(tensors, prefix, blocks, ids, place(ids), *rest)

        case.patch.setattr(openai_text, "embed", embed)
        return case

    return plant


def _no_mask(length):
    return torch.zeros(length, length)


BOTH = {
    "erf GELU": fact(wukong, "quick_gelu", layers.gelu),
    "eps of MindSpore": fact(wukong, "EPS", 1e-7),
    "query and key swapped": joint_split_as("kqv"),
    "key and value swapped": joint_split_as("qvk"),
}
TEXT = {
    **BOTH,
    "head count": part("text", heads=2),
    "no causal mask": fact(openai_text, "future_bias", _no_mask),
    "highest id pooled": _at(lambda ids: ids.argmax(dim=1)),
    "last position pooled": _at(lambda ids: torch.full((len(ids),), ids.shape[1] - 1)),
    "first position pooled": _at(lambda ids: torch.zeros(len(ids), dtype=torch.long)),
}
VISION = {**BOTH, "heads half as wide": fact(openai_vision, "width", lambda tensors: 256)}


def test_every_planted_error_is_seen():
    recorded = RECORDED["models"]["short_b"]
    tensors, config = seeded_state_dict(recorded["shapes"]), recorded["config"]
    # The last of the texts fills its row, where no error of the padding could show.
    ids, pictures = token_ids(recorded, pad_to=32)[:-1], pixels(recorded)
    cosines = {}
    for side, encode, errors in (
        ("text", lambda case: wukong.encode_text(case.tensors, ids, case.config), TEXT),
        ("image", lambda case: wukong.encode_image(case.tensors, pictures, case.config), VISION),
    ):
        wanted = torch.tensor(recorded[f"{side}_embeddings"])[: len(ids) if side == "text" else None]
        for name, plant in errors.items():
            with pytest.MonkeyPatch.context() as patch:
                cosines[side, name] = cosine(encode(plant(Case(tensors, config, patch))), wanted)
    assert {name: value for name, value in cosines.items() if value >= SEEN} == {}


def test_a_square_projection_that_is_not_transposed_is_seen():
    recorded = RECORDED["models"]["short_l"]
    tensors = seeded_state_dict(recorded["shapes"])
    with pytest.MonkeyPatch.context() as patch:
        case = transposed("transformer.text_projection")(Case(tensors, recorded["config"], patch))
    found = wukong.encode_text(case.tensors, token_ids(recorded), case.config)
    assert cosine(found, torch.tensor(recorded["text_embeddings"])) < SEEN


def test_the_token_ids_are_the_recorded_ones_cut_as_upstream_cuts_them():
    content = (ROOT / "conversion/tokenizers/vocab.txt").read_bytes()
    assert hashlib.sha256(content).hexdigest() == RECORDED["upstream_vocab_sha256"]

    vocab = content.decode("utf-8").split("\n")[:-1]
    assert wukong.token_ids(RECORDED["texts"], vocab, 32) == RECORDED["ids"]
    assert wukong.token_ids(RECORDED["special_texts"], vocab, 32) == RECORDED["special_ids"]
    assert RECORDED["padded_to"] == 32 == max(map(len, RECORDED["ids"]))


@same_pillow
def test_the_pixels_are_the_recorded_ones_to_the_bit():
    ours = {
        name: hashlib.sha256(wukong.pixels(picture, {}, 224).numpy().tobytes()).hexdigest()
        for name, picture in seeded_pictures()
    }
    assert ours == RECORDED["pixels_sha256"]


def test_a_width_that_was_not_published_needs_its_heads_stated():
    with pytest.raises(LookupError, match="a text width of 80 is of no published size"):
        wukong.encode_text({"transformer.text_projection": torch.zeros(80, 8)}, torch.ones(1, 3, dtype=torch.long), {})
