"""OpenAI's CLIP at full size against its own package: TorchScript archives, texts, pixels and embeddings."""

import html
import json
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoProcessor, CLIPModel, CLIPTokenizer

from hf_zhclip.conversion import convert, export
from hf_zhclip.conversion.proof import samples
from hf_zhclip.conversion.proof.reference import openai_clip as reference
from hf_zhclip.conversion.proof.reference.added import Added
from hf_zhclip.conversion.proof.reference.bpe import clip_ids, openai_ids
from hf_zhclip.conversion.reading.containers import open_file
from hf_zhclip.conversion.tokenizers.builders import clip_tokenizer, openai_clip_tokenizer

from tests import checkpoints
from tests.parity.peers import package
from tests.parity.record_keys import OPENAI_CLIP, openai_clip
from tests.weights import seeded_state_dict

pytestmark = pytest.mark.parity

SMALL = "openai_clip-vit-b-32", "openai_clip-rn50"
TEXTS = ["a cat", "two dogs, and the photo's cat!", "一只猫，在“雪地”里", "a photo of a tiger " * 30]
SCALARS = "input_resolution", "context_length", "vocab_size"


def published(name: str) -> torch.nn.Module:
    """The model of a published size with seeded weights, of which the matrices are rounded to 16 bits."""
    model = openai_clip(name).eval()
    tensors = seeded_state_dict({key: tensor.shape for key, tensor in model.state_dict().items()})
    rounded = {key: tensor.half().float() if tensor.dim() > 1 else tensor for key, tensor in tensors.items()}
    scalars = {key: getattr(model, key) for key in SCALARS}
    model.load_state_dict({**rounded, **scalars}, strict=True)
    return model


def archive(model: torch.nn.Module, path) -> dict[str, torch.Tensor]:
    """Traces and saves it as OpenAI does, its matrices in 16 bits; gives what torch itself reads."""
    size = int(model.input_resolution)
    with torch.no_grad():
        traced = torch.jit.trace(
            model, (torch.zeros(1, 3, size, size), package("clip").tokenize(["a"])), check_trace=False
        )
    for parameter in traced.parameters():
        parameter.requires_grad_(False)
        if parameter.dim() > 1:
            parameter.data = parameter.data.half()
    torch.jit.save(traced, path)
    for parameter in model.parameters():  # which the traced one shares
        parameter.data = parameter.data.float()
    return torch.jit.load(path).state_dict()


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=() if each == SMALL[0] else pytest.mark.slow) for each in OPENAI_CLIP]
)
@torch.no_grad()
def test_against_openai_clip(name, tmp_path):
    original, file = published(name), tmp_path / "model.pt"
    theirs, ours = archive(original, file), open_file(file).top
    assert list(ours) == list(theirs) and {tensor.dtype for tensor in ours.values()} >= {torch.float16, torch.float32}
    assert all(torch.equal(ours[key], tensor) and ours[key].dtype == tensor.dtype for key, tensor in theirs.items())
    del theirs, ours

    whole = name in SMALL  # of the larger ones the towers, not once more the doors
    report = convert(file, tmp_path / "out", skip_verify=not whole)
    model = AutoModel.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    pictures = [picture for _, picture in samples.pictures()]
    transform = package("clip.clip")._transform(int(original.input_resolution))
    pixels = torch.stack([processor(images=[each], return_tensors="pt")["pixel_values"][0] for each in pictures])
    assert torch.equal(pixels, torch.stack([transform(each) for each in pictures]))

    ids = package("clip").tokenize(TEXTS, truncate=True)
    batch = processor(text=TEXTS, return_tensors="pt")
    for text, wanted in zip(TEXTS, ids.tolist(), strict=True):
        assert processor(text=[text])["input_ids"] == [wanted[: wanted.index(49407) + 1]]
    same(model.encode_text(**batch), original.encode_text(ids))
    same(model.encode_image(pixels[:3]), original.encode_image(pixels[:3]))
    assert model.logit_scale.item() == original.logit_scale.item()

    if whole:
        assert report.level == "peer"
        if "vit" in name:
            assert export(tmp_path / "out", tmp_path / "native", to="transformers").wrote == "CLIPModel"
            native = CLIPModel.from_pretrained(tmp_path / "native", dtype=torch.float32).eval()
            same(unit(native.get_text_features(**batch).pooler_output), original.encode_text(ids))


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    wanted = unit(wanted)
    difference, smallest = float((found - wanted).abs().max()), float((found.double() * wanted.double()).sum(-1).min())
    print(f"max abs {difference:.1e}, cosine {smallest:.8f}")
    assert difference <= 1e-5 and smallest >= 0.999999


def unit(embeddings: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(embeddings, dim=-1)


@cache
def tokenizer() -> Any:
    """The original's."""
    return package("clip.simple_tokenizer").SimpleTokenizer()


@cache
def ours() -> Any:
    return openai_clip_tokenizer(None, 77)


ODD = [chr(code) for code in range(0xFF01, 0xFFF0)] + list("ĲŉǱǈﬀﬃﬅﬆʼ‘’‛“‟\x1b\x07\x85\ufeff\u2028\u3000\u0345ΣσςſİK")
ODD += ["<|startoftext|>", "<|endoftext|>", "<|ENDOFTEXT|>", "<|", "|>", "'s", "'ſ", "'LL", "\x1b[31m", "ΟΔΟΣ "]
WRITTEN = st.characters(exclude_categories=("Cs", "Cn"))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(WRITTEN | st.sampled_from(ODD) | st.text(WRITTEN, max_size=5), max_size=20).map("".join))
def test_ids_are_the_originals_wherever_neither_bad_decoding_nor_html_is_mended(text):
    ftfy = package("ftfy")
    mended = ftfy.fix_text(text, fix_encoding=False, unescape_html=False)
    assume(ftfy.fix_text(text) == mended and html.unescape(mended) == mended)

    wanted = tokenizer().encode(text)

    assert ours()(text, add_special_tokens=False)["input_ids"] == wanted
    assert openai_ids([text], tokenizer().encoder, list(tokenizer().bpe_ranks), 10**6) == [[49406, *wanted, 49407]]


def test_the_packaged_vocabulary_is_the_originals():
    assert ours().get_vocab() == tokenizer().encoder and len(ours()) == 49408


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory):
    """OpenAI's vocabulary in the files of a Hugging Face repo, as ours and as transformers read it."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "vocab.json").write_text(json.dumps(tokenizer().encoder), encoding="utf-8")
    lines = ["#version: 0.2", *map(" ".join, tokenizer().bpe_ranks), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    return clip_tokenizer(folder, 77), CLIPTokenizer.from_pretrained(folder)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(text=st.lists(WRITTEN | st.sampled_from(ODD) | st.text(WRITTEN, max_size=5), max_size=20).map("".join))
def test_on_the_same_vocabulary_a_hugging_face_repo_has_the_ids_of_transformers(hugging_face, text):
    ours, theirs = hugging_face
    wanted = theirs(text)["input_ids"]
    special = {"<|startoftext|>", "<|endoftext|>"}

    assert ours(text)["input_ids"] == wanted
    assert clip_ids([text], tokenizer().encoder, list(tokenizer().bpe_ranks), list(map(Added, special)), 10**6) == [
        wanted
    ]


@pytest.mark.parametrize("resnet", [False, True])
@torch.no_grad()
def test_the_reference_computes_what_the_original_computes(resnet):
    tensors = seeded_state_dict(checkpoints.openai_clip.openai_clip(resnet))
    model = package("clip.model").build_model(dict(tensors)).float()
    model.load_state_dict(tensors, strict=True)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, checkpoints.common.SIZE, checkpoints.common.SIZE, generator=generator)
    ids = torch.randint(
        checkpoints.openai_clip.OPENAI_CLIP_SCALARS["vocab_size"] - 1,
        (3, checkpoints.common.POSITIONS),
        generator=generator,
    )
    ids[torch.arange(3), torch.tensor([5, 20, 63])] = checkpoints.openai_clip.OPENAI_CLIP_SCALARS["vocab_size"] - 1

    same(reference.encode_text(tensors, ids, {}), model.encode_text(ids))
    same(reference.encode_image(tensors, pixels, {}), model.encode_image(pixels))
    assert reference.image_size(tensors, {}) == model.visual.input_resolution
