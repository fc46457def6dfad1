"""The reference of OpenAI's CLIP: ids that OpenAI's own code gave, and errors that it would not survive."""

import pytest
import torch

from hf_zhclip.conversion.proof.reference import layers, openai_clip, openai_text, openai_vision
from hf_zhclip.conversion.tokenizers.vocabularies import OPENAI_BPE_FILE, read_openai_bpe

from tests import checkpoints
from tests.weights import seeded_state_dict

END = checkpoints.openai_clip.OPENAI_CLIP_SCALARS["vocab_size"] - 1
SEEN = 0.99

# tokenize() of openai-clip 1.0.1.
IDS = {
    "a diagram": [49406, 320, 22697, 49407],
    "一只猫，“你好”": [49406, 19759, 222, 34517, 103, 163, 234, 360, 3823, 47466, 254, 29290, 377, 257, 49407],
    "Hello, World! 2022": [49406, 3306, 267, 1002, 256, 273, 271, 273, 273, 49407],
    "!<|endoftext|> <|ENDOFTEXT|>": [49406, 0, 27, 347, 40786, 4160, 91, 285, 49407, 49407],
    "it'S ﬁne ＡＢ": [49406, 585, 568, 3797, 3937, 49407],
    "ΟΔΟΣ": [49406, 138, 123, 138, 112, 138, 123, 139, 480, 49407],
}


def test_the_ids_are_those_that_openais_own_code_gave():
    assert openai_clip.token_ids(list(IDS), read_openai_bpe(OPENAI_BPE_FILE), 77) == list(IDS.values())


def test_a_long_text_is_cut_and_ends_in_its_end():
    (ids,) = openai_clip.token_ids(["a diagram " * 9], read_openai_bpe(OPENAI_BPE_FILE), 6)
    assert ids == [49406, 320, 22697, 320, 22697, 49407]


@pytest.fixture(scope="module", params=["ViT", "ResNet"])
def tensors(request):
    return seeded_state_dict(checkpoints.openai_clip.openai_clip(resnet=request.param == "ResNet"))


def embeddings(tensors):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(END, (4, 32), generator=generator)
    ids[torch.arange(4), torch.tensor([4, 9, 20, 31])] = END
    pixels = torch.randn(3, 3, checkpoints.common.SIZE, checkpoints.common.SIZE, generator=generator)
    return openai_clip.encode_text(tensors, ids, {}), openai_clip.encode_image(tensors, pixels, {})


def cosines(tensors, wanted):
    return [float((ours * theirs).sum(-1).min()) for ours, theirs in zip(embeddings(tensors), wanted, strict=True)]


# What is planted, and which of the two towers it moves.
PLANTED = {
    "heads of half the width": (lambda patch: patch.setattr(openai_clip, "HEAD_WIDTH", 32), ("text", "image")),
    "one head": (lambda patch: patch.setattr(openai_clip, "HEAD_WIDTH", 128), ("text", "image")),
    "the exact GELU": (lambda patch: patch.setattr(openai_clip, "quick_gelu", layers.gelu), ("text", "image")),
    "another eps": (lambda patch: patch.setattr(openai_clip, "EPS", 1e-12), ("text", "image")),
    "no causal mask": (
        lambda patch: patch.setattr(openai_text, "future_bias", lambda n: torch.zeros(n, n)),
        ("text",),
    ),
    "another eps of the batch norms": (
        lambda patch: patch.setattr(openai_vision, "BATCH_NORM_EPS", 1.0),
        ("image",),
    ),
}
NOT_OF_A_RESNET = "the exact GELU", "another eps"
NOT_OF_A_VIT = ("another eps of the batch norms",)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_error_is_seen(tensors, name, monkeypatch):
    resnet = openai_vision.is_resnet(tensors)
    wanted = embeddings(tensors)
    plant, sides = PLANTED[name]
    plant(monkeypatch)

    text, image = cosines(tensors, wanted)

    if "text" in sides:
        assert text < SEEN
    if "image" in sides and name not in (NOT_OF_A_RESNET if resnet else NOT_OF_A_VIT):
        assert image < SEEN


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("text_projection", lambda each: each.flip(0)),
        ("transformer.resblocks.1.attn.in_proj_weight", lambda each: torch.cat(each.chunk(3)[::-1])),
        ("positional_embedding", lambda each: torch.zeros_like(each)),
        ("ln_final.weight", torch.ones_like),
        ("ln_final.bias", torch.zeros_like),
    ],
)
def test_a_changed_tensor_of_the_text_tower_is_seen(tensors, key, change):
    assert cosines({**tensors, key: change(tensors[key])}, embeddings(tensors))[0] < SEEN
