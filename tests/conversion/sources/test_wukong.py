"""Wukong: its sizes, what they leave open, its two containers, its tokenizer, and its token-wise relatives."""

import json
from pathlib import Path

import pytest
import torch
from transformers import CLIPModel

from hf_zhclip.conversion import convert, export, inspect
from hf_zhclip.conversion.detection.detect import detect
from hf_zhclip.conversion.errors import InputError, UnknownFormat
from hf_zhclip.conversion.exports import exporting, native_process
from hf_zhclip.conversion.exports.natives import native_for
from hf_zhclip.conversion.proof import samples
from hf_zhclip.conversion.proof.reference import wordpiece
from hf_zhclip.conversion.reading.read import Checkpoint, read
from hf_zhclip.conversion.sources import wukong
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests import checkpoints
from tests.conversion.helpers import entries
from tests.weights import seeded_state_dict

TESTS = Path(__file__).parents[2]
RECORDED = json.loads((TESTS / "parity/recorded/wukong.json").read_text(encoding="utf-8"))
FACTS = checkpoints.wukong.WUKONG_FACTS


def checkpoint(shapes, container="zip"):
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    return Checkpoint(Path("x.ckpt"), (), container, tensors)


def published(name, **changed):
    keys = json.loads((TESTS / f"keys/{name}.json").read_text(encoding="utf-8"))["keys"]
    return {key: tuple(changed.get(key, shape)) for key, shape in keys.items()}


def filip(name, width):
    """As `_f` is: the same towers, which end in 256 numbers."""
    shapes = published(name)
    text, image = shapes["transformer.text_projection"][0], shapes["visual.proj"][0]
    return shapes | {"transformer.text_projection": (text, width), "visual.proj": (image, width)}


# configs/wukong_vit_b/wukong_vit_b_g.py and wukong_vit_l/wukong_vit_l_g.py.
@pytest.mark.parametrize(
    ("name", "architecture", "text_heads", "heads", "patch", "width"),
    [
        ("wukong-vit-b-g", "Wukong ViT-B-32 (global)", 8, 12, 32, 512),
        ("wukong-vit-l-g", "Wukong ViT-L-14 (global)", 12, 16, 14, 768),
    ],
)
def test_a_published_size_is_described_as_upstreams_code_has_it(name, architecture, text_heads, heads, patch, width):
    found = wukong.describe(checkpoint(published(name)), {})

    assert found.architecture == architecture
    vision, text = found.vision.config, found.text.config
    assert (vision["num_attention_heads"], vision["patch_size"], vision["image_size"]) == (heads, patch, 224)
    assert (text["num_attention_heads"], text["num_hidden_layers"], text["vocab_size"]) == (text_heads, 12, 21128)
    for tower in (vision, text):
        assert (tower["hidden_act"], tower["layer_norm_eps"]) == ("quick_gelu", 1e-5)
    assert (text["bos_token_id"], text["eos_token_id"], text["pad_token_id"]) == (101, 102, 0)
    assert (found.text.pooling, found.vision.pooling) == ("eos", "pooler")
    assert (found.text.projection, found.vision.projection) == ("linear", "linear")
    assert (found.text.width, found.vision.width) == (width, width)
    assert (found.image_order, found.image_size, found.context_length) == ("crop_then_rgb", 224, 32)


@pytest.mark.parametrize("cut", ["visual.transformer.resblocks.11.", "transformer.resblocks.11."])
def test_a_tower_of_fewer_layers_does_not_bear_the_published_name(cut):
    shapes = {key: shape for key, shape in published("wukong-vit-b-g").items() if not key.startswith(cut)}

    name = wukong.describe(checkpoint(shapes), {}).architecture

    text, image = ("512x12", "768x11") if cut.startswith("visual") else ("512x11", "768x12")
    assert name == f"Wukong ViT {image}/32 with text {text} (global)"


def test_of_another_size_the_heads_and_the_similarity_have_to_be_stated():
    found = checkpoint(checkpoints.wukong.wukong())
    with pytest.raises(InputError, match="not a published size") as error:
        wukong.describe(found, {"text": {"heads": 4}})
    assert '{"is_token_wise": false, "text": {"heads": NUMBER}}' in str(error.value)
    with pytest.raises(InputError, match="not a published size"):
        wukong.describe(found, {"is_token_wise": False})

    assert wukong.describe(found, FACTS).text.config["num_attention_heads"] == FACTS["text"]["heads"]


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"is_token_wise": True}, r"states is_token_wise true\. .* token by token"),
        ({"is_token_wise": "no"}, "states is_token_wise 'no'; true or false was wanted"),
        ({"text": {"heads": 5}}, "states text.heads 5; wanted a divisor of the width 32"),
        ({"text": {"heads": 0}}, "states text.heads 0; wanted a divisor"),
        ({"text": {"heads": "4"}}, "states text.heads '4'; a whole number was wanted"),
        ({"text": "transformer"}, "states text 'transformer'; an object with the field heads was wanted"),
    ],
)
def test_what_is_stated_is_held_against_the_shapes(stated, message):
    with pytest.raises(InputError, match=message):
        wukong.describe(checkpoint(checkpoints.wukong.wukong()), {**FACTS, **stated})


def test_an_image_tower_that_heads_of_64_do_not_divide_is_refused():
    shapes = checkpoints.wukong.wukong() | {"visual.conv1.weight": (96, 3, 16, 16)}
    with pytest.raises(InputError, match="is 96 wide; wanted a multiple of 64"):
        wukong.describe(checkpoint(shapes), FACTS)


def test_a_file_without_the_scale_is_told_how_to_get_one():
    shapes = published("wukong-vit-b-g")
    del shapes["loss.logit_scale"]
    with pytest.raises(InputError, match=r"x.ckpt holds no loss.logit_scale(.|\n)*torch.tensor\(FACTOR\).log\(\)"):
        wukong.describe(checkpoint(shapes), {})


@pytest.mark.parametrize(
    ("shapes", "name"),
    [
        (filip("wukong-vit-b-g", 256), "FILIP Wukong"),
        (filip("wukong-vit-l-g", 256), "FILIP Wukong"),
        (filip("wukong-vit-l-g", 256) | {"visual.token_reduction.norm.weight": (256,)}, "with token reduction"),
        (filip("wukong-vit-b-g", 256) | {"visual.token_learner.norm.weight": (256,)}, "with token reduction"),
        (
            {
                "visual.patch_embed.proj.weight": (192, 3, 4, 4),
                "visual.layers.0.blocks.0.norm1.weight": (192,),
                "transformer.token_embedding.weight": (21128, 768),
            },
            "Wukong with a Swin image tower",
        ),
    ],
)
@pytest.mark.parametrize("format", [None, "wukong"])
def test_a_relative_is_refused_by_its_name(shapes, name, format):
    with pytest.raises(UnknownFormat, match=name if format is None or "Swin" not in name else "is not Wukong"):
        detect(checkpoint(shapes), format)


def test_global_sizes_are_certain_and_cn_clip_is_not_mistaken_for_one():
    assert detect(checkpoint(published("wukong-vit-l-g"))).certainty == "certain"
    assert detect(checkpoint(checkpoints.cn_clip.cn_clip_vit())).source.name == "cn_clip"


@pytest.mark.usefixtures("written_card")
def test_the_numpy_pickle_of_the_mindspore_release_converts_to_the_same_bits(repo, tmp_path):
    source = checkpoints.wukong.wukong_file(tmp_path / "wukong_vit_b_g.pkl")
    config = checkpoints.wukong.wukong_config(tmp_path / "facts.json")
    assert inspect(source, config=config).architecture == "Wukong ViT 64x2/16 with text 32x2 (global)"
    assert read(source).container == "pickle of numpy arrays, read into memory"

    report = convert(source, tmp_path / "OUT", config=config)

    assert report.passed
    weights = [(folder / "model.safetensors").read_bytes() for folder in (repo("wukong").path, tmp_path / "OUT")]
    assert weights[0] == weights[1]
    limits = wukong.describe(read(source), FACTS).limits
    assert limits == (*wukong.LIMITS, wukong.MINDSPORE_LIMIT)
    assert wukong.MINDSPORE_LIMIT.en in (tmp_path / "OUT" / "README.md").read_text(encoding="utf-8")


def test_a_state_dict_without_its_nest_is_read_too(tmp_path):
    torch.save(seeded_state_dict(checkpoints.wukong.wukong()), tmp_path / "x.pth")
    assert detect(read(tmp_path / "x.pth")).source.name == "wukong"


# Tokens


def test_special_words_in_a_text_are_characters_so_that_no_text_ends_early():
    tokenizer = wukong.tokenizer(None, 32)
    found = [tokenizer(text)["input_ids"] for text in RECORDED["special_texts"]]

    assert all(ids.index(102) == len(ids) - 1 for ids in found)
    # What the originals give, but for the words that stand alone.
    words = {102: "[SEP]", 101: "[CLS]", 100: "[UNK]"}
    for ids, original in zip(found, RECORDED["special_ids"], strict=True):
        spelled = [tokenizer(words[each], add_special_tokens=False)["input_ids"] if each in words else [each]
                   for each in original[1:-1]]  # fmt: skip
        assert ids == [101, *(number for part in spelled for number in part), 102]


TEXTS = (
    "",
    "ΟΔΟΣ ΑΣ, Σ Σ.",
    "零\u0000宽\u200b\ufeff空\u3000格\u00a0行\u2028段\u2029",
    "私\ue000用 \U000f0001",
    "x" * 100 + " " + "y" * 101,
    "İstanbul ǅ ﬀ ½ e\u0301 \u1e9e",
    "\U00020000\U0002b820\U0002cea1\ufa0e",
)


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_the_reference_on_what_tokenizers_treat_differently(text):
    assert (
        wukong.tokenizer(None, 32)(text, truncation=True)["input_ids"]
        == wordpiece.wukong_ids([text], default_vocab(), 32)[0]
    )


@pytest.mark.parametrize("place", [0, 102])
def test_a_vocabulary_whose_padding_or_end_has_another_id_is_refused(place, tmp_path):
    vocab = default_vocab()
    vocab[place], vocab[200] = vocab[200], vocab[place]
    (tmp_path / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="pads with id 0 and ends a text with id 102"):
        wukong.tokenizer(tmp_path / "vocab.txt", 32)


# The repo, and where it goes


def compute(request):
    """What the process that verifies an export computes, in this one, where it costs no seconds."""
    return native_process.compute(json.loads(json.dumps(request)))


@torch.no_grad()
def test_padding_and_batches_change_no_embedding(repo):
    from transformers import AutoModel, AutoProcessor

    folder = repo("wukong").path
    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    texts = ["猫", "两只可爱的小狗在草地上奔跑", "很长的句子要被截断" * 9]
    alone = torch.cat([model.encode_text(**processor(text=[text], return_tensors="pt")) for text in texts])
    together = model.encode_text(**processor(text=texts, padding="max_length", return_tensors="pt"))
    assert torch.allclose(alone, together, atol=1e-6)


@torch.no_grad()
def test_clip_model_holds_it_exactly(repo, tmp_path, monkeypatch):
    from transformers import AutoModel, AutoProcessor

    monkeypatch.setattr(exporting, "in_fresh_process", lambda request: json.loads(json.dumps(compute(request))))
    monkeypatch.setattr(native_process.runpy, "run_path", lambda _: vars(samples))
    folder = repo("wukong").path
    assert native_for(json.loads((folder / "config.json").read_text(encoding="utf-8"))).name == "CLIPModel"
    export(folder, tmp_path / "native", to="transformers")

    assert "vocab.txt" not in entries(tmp_path / "native")
    model, native = AutoModel.from_pretrained(folder), CLIPModel.from_pretrained(tmp_path / "native")
    ours = AutoProcessor.from_pretrained(folder)(text=["一只猫", "狗"], return_tensors="pt")
    theirs = AutoProcessor.from_pretrained(tmp_path / "native")(
        text=["一只猫", "狗"], padding=True, return_tensors="pt"
    )
    assert torch.equal(ours["input_ids"], theirs["input_ids"])
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    found, wanted = native(**theirs, pixel_values=pixels), model(**ours, pixel_values=pixels)
    assert torch.allclose(found.logits_per_image, wanted.logits_per_image, atol=1e-4)
    assert (native.config.text_config.eos_token_id, native.config.text_config.vocab_size) == (102, 21128)
