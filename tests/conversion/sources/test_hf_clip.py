"""CLIPModel folders: whole, as an image part, and in the variants that are published."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor, CLIPConfig, CLIPModel, CLIPTokenizer, CLIPTokenizerFast

from hf_zhclip.conversion import convert, verify
from hf_zhclip.conversion.detection.parts import describe, identify, image_rules
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.layouts import cn_clip as cn_clip_model
from hf_zhclip.conversion.mapping import concat, drop, rename, split
from hf_zhclip.conversion.proof.reference import bpe, clip_text, cn_clip, hf_clip, vocabularies
from hf_zhclip.conversion.reading.read import read
from hf_zhclip.conversion.stated import Stated
from hf_zhclip.conversion.tokenizers.builders import clip_tokenizer
from hf_zhclip.conversion.tokenizers.vocabularies import read_bpe

from tests import checkpoints as c
from tests.inputs import seeded_pixels
from tests.planted import SEEN, Case, cosine, fact, part, swapped, transposed
from tests.thorough import thorough
from tests.weights import seeded_state_dict

CONFIG = {"text_config": c.hf_clip.CLIP_TEXT_CONFIG, "vision_config": c.common.VISION_CONFIG}
TEXTS = (
    "",
    "The cat's 2 dogs don't cost 100%!!'s",
    "phototo otphoto  tabs\tand\nlines\u2028more\x85 \x1c",
    "Ünï café ΑΣ İ 中文，１２３ 😀 é",
    "<|endoftext|> in the middle <|startoftext|> <|EndOfText|>",
    "long " * 100,
)
START, END = len(c.common.bpe()[0]) - 2, len(c.common.bpe()[0]) - 1


def ids(pad: int) -> torch.Tensor:
    """`(4, 20)`: texts of different lengths between start and end."""
    rows = torch.randint(0, START, (4, 20), generator=torch.Generator().manual_seed(3))
    rows[:, 0] = START
    for row, length in enumerate((20, 13, 7, 3)):
        rows[row, length - 1] = END
        rows[row, length:] = pad
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return c.hf_clip.clip_folder(tmp_path_factory.mktemp("clip") / "clip")


def edited(folder, place, **config):
    """A copy of the folder with other fields in its config.json."""
    shutil.copytree(folder, place)
    found = json.loads((place / "config.json").read_text(encoding="utf-8"))
    (place / "config.json").write_text(json.dumps({**found, **config}), encoding="utf-8")
    return place


# The reference, against transformers' own class


@pytest.mark.parametrize("end", [2, END])
@torch.no_grad()
def test_the_reference_computes_what_transformers_own_class_computes(end):
    config = {**CONFIG, "text_config": {**c.hf_clip.CLIP_TEXT_CONFIG, "eos_token_id": end}}
    fields = {side: {k: v for k, v in each.items() if k != "model_type"} for side, each in config.items()}
    model = CLIPModel(CLIPConfig(**fields, projection_dim=c.common.EMBED)).eval()
    tensors = seeded_state_dict(c.hf_clip.hf_clip())
    model.load_state_dict(tensors)
    pixels = seeded_pixels(c.common.SIZE)
    out = model(input_ids=ids(pad=END), pixel_values=pixels)

    for ours, theirs in (
        (hf_clip.encode_text(tensors, ids(pad=END), config), out.text_embeds),
        (hf_clip.encode_text(tensors, ids(pad=0), config), out.text_embeds),
        (hf_clip.encode_image(tensors, pixels, config), out.image_embeds),
    ):
        assert float((ours - theirs).abs().max()) <= 1e-5
        assert float((ours.double() * theirs.double()).sum(-1).min()) >= 0.999999


def _last_place(ids: torch.Tensor, end: int) -> torch.Tensor:
    return torch.full((len(ids),), ids.shape[1] - 1)


def _start(ids: torch.Tensor, end: int) -> torch.Tensor:
    return torch.zeros(len(ids), dtype=torch.long)


ERRORS = {
    "head count": part("text_config", num_attention_heads=2),
    "erf GELU": part("text_config", hidden_act="gelu"),
    "eps 1e-12": part("text_config", layer_norm_eps=1e-12),
    "no causal mask": fact(clip_text, "future_bias", lambda length: torch.zeros(length, length)),
    "query and key swapped": swapped("q_proj", "k_proj"),
    "first position pooled": fact(clip_text, "end_places", _start),
    "projection not transposed": transposed("text_projection.weight"),
}


def test_every_planted_error_of_the_text_tower_is_seen(monkeypatch):
    shapes = {**c.hf_clip.hf_clip(), "text_projection.weight": (c.common.HIDDEN, c.common.HIDDEN)}
    tensors = seeded_state_dict(shapes)
    right = hf_clip.encode_text(tensors, ids(END), CONFIG)
    cosines = {}
    for name, plant in ERRORS.items():
        with pytest.MonkeyPatch.context() as patch:
            case = plant(Case(tensors, CONFIG, patch))
            cosines[name] = cosine(hf_clip.encode_text(case.tensors, ids(END), case.config), right)
    with monkeypatch.context() as patch:
        patch.setattr(clip_text, "end_places", _last_place)
        padded = slice(1, None)  # the first text fills its row
        found = hf_clip.encode_text(tensors, ids(END)[padded], CONFIG)
        cosines["last position pooled"] = cosine(found, right[padded])
    assert {name: value for name, value in cosines.items() if value >= SEEN} == {}


# Tokens


@pytest.mark.parametrize("files", ["vocab.json", "tokenizer.json"])
def test_ids_are_those_of_clip_tokenizer_fast_in_the_frozen_tokenizer_and_in_the_reference(files, folder, tmp_path):
    original = CLIPTokenizerFast.from_pretrained(folder)
    place = folder
    if files == "tokenizer.json":
        place = tmp_path
        original.save_pretrained(place)
    wanted = original(list(TEXTS), truncation=True, max_length=40)["input_ids"]
    frozen = clip_tokenizer(place, 40)

    assert frozen(list(TEXTS), truncation=True)["input_ids"] == wanted
    assert hf_clip.token_ids(TEXTS, vocabularies.clip_bpe(place), 40) == wanted
    assert [len(row) for row in wanted][-1] == 40 and {row[-1] for row in wanted} == {END}


def test_a_frozen_tokenizer_pads_and_decodes_as_the_original(folder, tmp_path):
    clip_tokenizer(folder, 40).save_pretrained(tmp_path)
    original, frozen = CLIPTokenizerFast.from_pretrained(folder), CLIPTokenizerFast.from_pretrained(tmp_path)
    texts = ["the cat", "to"]
    assert frozen(texts, padding=True)["input_ids"] == original(texts, padding=True)["input_ids"]
    assert frozen.pad_token_id == original.pad_token_id == END
    assert clip_tokenizer(folder, 40).decode(frozen("the cat and é")["input_ids"], skip_special_tokens=True) == (
        "the cat and é"
    )


def test_merges_are_made_in_their_order_and_not_from_the_left():
    merges = [("b", "c</w>"), ("a", "b")]
    assert bpe._merged("abc", {pair: rank for rank, pair in enumerate(merges)}) == ["a", "bc</w>"]


def _no_merges(folder):
    (folder / "merges.txt").unlink()


def _half_a_merge(folder):
    (folder / "merges.txt").write_text("#version: 0.2\na\n")


def _of_tokenizer_json(folder, **changes):
    """In place of vocab.json and merges.txt, the same as a tokenizer.json, with another model."""
    CLIPTokenizerFast.from_pretrained(folder).backend_tokenizer.save(str(folder / "tokenizer.json"))
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["model"] |= changes
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")


def _empty_merges(folder):
    (folder / "merges.txt").write_text("")


def _truncated_merges(folder):
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    (folder / "merges.txt").write_text("\n".join(lines[:-4]), encoding="utf-8")


def _merges_of_another_vocabulary(folder):
    with (folder / "merges.txt").open("a", encoding="utf-8") as file:
        file.write("q q\n")


def _truncated_tokenizer_json(folder):
    _of_tokenizer_json(folder, merges=[["t", "h"]])


def _no_ends(folder):
    (folder / "vocab.json").write_text("{}")


def _no_bytes(folder):
    (folder / "vocab.json").write_text(json.dumps({"<|startoftext|>": 0, "<|endoftext|>": 1}))


def _another_class(folder):
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')


def _word_pieces(folder):
    (folder / "tokenizer.json").write_text('{"model": {"type": "WordPiece", "vocab": {}}}')


@pytest.mark.parametrize(
    ("break_", "message"),
    [
        (_no_merges, "found no file .*merges.txt; wanted the merges"),
        (_half_a_merge, "found the merge 'a' in .*merges.txt; wanted two tokens"),
        (
            _empty_merges,
            r"merges.txt has 0 merges, but vocab.json needs 11 .* damaged or truncated. Fetch .*merges.txt again",
        ),
        (_truncated_merges, "merges.txt has 7 merges, but vocab.json needs 11 .*damaged or truncated"),
        (_merges_of_another_vocabulary, "merges.txt has merges with qq, but vocab.json does not hold"),
        (_truncated_tokenizer_json, "tokenizer.json has 1 merges, but its vocabulary needs 11 "),
        (_no_ends, r"found no <\|startoftext\|>, <\|endoftext\|> among the 0 tokens"),
        (_no_bytes, "wanted a byte-level BPE with every byte"),
        (_another_class, "found tokenizer_class 'GPT2Tokenizer'"),
        (_word_pieces, "found a tokenizer of type 'WordPiece' in .*; wanted BPE"),
    ],
)
def test_a_folder_without_clips_vocabulary_is_refused(break_, message, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "folder")
    break_(tmp_path / "folder")
    with pytest.raises(InputError, match=message):
        clip_tokenizer(tmp_path / "folder", 40)


def test_a_row_that_no_text_reaches_needs_no_merge(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "folder")
    ids, _ = c.common.bpe()
    (tmp_path / "folder" / "vocab.json").write_text(json.dumps({**ids, "<not used>": len(ids)}), encoding="utf-8")
    assert read_bpe(tmp_path / "folder").ids["<not used>"] == len(ids)


def test_a_model_without_a_vocabulary_is_refused_and_a_lone_file_must_be_the_one_that_counts(folder, tmp_path):
    with pytest.raises(InputError, match="--tokenizer PATH"):
        clip_tokenizer(None, 40)
    assert clip_tokenizer(folder / "vocab.json", 40)("cat")["input_ids"][1] == c.common.bpe()[0]["cat</w>"]
    with pytest.raises(InputError, match="wanted the folder of both files"):
        read_bpe(folder / "merges.txt")


@pytest.mark.quick(1)
@pytest.mark.parametrize("found", [7, None])
def test_an_end_that_the_tokenizer_does_not_give_is_refused_and_the_named_field_is_the_way_out(
    found, folder, tmp_path
):
    text = {key: value for key, value in c.hf_clip.CLIP_TEXT_CONFIG.items() if key != "eos_token_id"}
    wrong = edited(folder, tmp_path / "wrong", text_config={**text, **({"eos_token_id": found} if found else {})})
    with pytest.raises(InputError, match=rf"takes the state of its eos_token_id, {found or 49407}.") as error:
        convert(wrong, tmp_path / "out", tokenizer=wrong)
    (advice,) = re.findall(r'("\w+": \d+) in the text_config of config.json', str(error.value))

    mended = edited(wrong, tmp_path / "mended", text_config={**text, **json.loads(f"{{{advice}}}")})
    assert convert(mended, tmp_path / "out").level == "peer"
    assert json.loads(advice.join("{}")) == {"eos_token_id": END}


def with_added_words(folder, place):
    """A copy whose tokenizer has two words more behind the end of a text, and whose embedding has their rows."""
    shutil.copytree(folder, place)
    tokenizer = CLIPTokenizer.from_pretrained(place)
    assert tokenizer.add_tokens(["zhclip", "新词"]) == 2
    for name in ("vocab.json", "merges.txt"):
        (place / name).unlink()
    tokenizer.save_pretrained(place)
    rows = "text_model.embeddings.token_embedding.weight"
    shapes = c.hf_clip.hf_clip()
    shapes[rows] = (shapes[rows][0] + 2, c.common.HIDDEN)
    save_file(seeded_state_dict(shapes), place / "model.safetensors", metadata={"format": "pt"})
    return place


@pytest.mark.quick(1)
@pytest.mark.parametrize("field", ["text_config", "text_config_dict"])
def test_words_behind_the_end_need_the_end_stated_and_with_it_they_are_converted(field, folder, tmp_path):
    grown, text = with_added_words(folder, tmp_path / "grown"), {**c.hf_clip.CLIP_TEXT_CONFIG, "vocab_size": END + 3}
    both = {"text_config": text, field: text}
    if field == "text_config_dict":
        both["vision_config_dict"] = c.common.VISION_CONFIG
    old = edited(grown, tmp_path / "old", **both)
    said = rf"ends a text with id {END} but has words up to id {END + 2}, .*eos_token_id\W+{END} in the text_config of"
    with pytest.raises(InputError, match=said):
        convert(old, tmp_path / "out")

    new = edited(old, tmp_path / "new", **{name: {**text, "eos_token_id": END} for name in both if "text" in name})
    assert convert(new, tmp_path / "out").level == "peer"

    theirs = CLIPModel.from_pretrained(new).eval()
    processor, model = AutoProcessor.from_pretrained(tmp_path / "out"), AutoModel.from_pretrained(tmp_path / "out")
    batch = processor(text=["the cat zhclip", "新词"], return_tensors="pt", padding=True)
    assert {END + 1, END + 2} <= set(batch["input_ids"].flatten().tolist())
    with torch.no_grad():
        wanted = theirs.get_text_features(**batch).pooler_output
        found = model.eval().encode_text(**batch)
    torch.testing.assert_close(found, torch.nn.functional.normalize(wanted), atol=1e-6, rtol=0)


# Whole models


def test_padding_and_batches_change_no_embedding(repo):
    path = repo("hf_clip").path
    model, processor = AutoModel.from_pretrained(path).eval(), AutoProcessor.from_pretrained(path)
    texts = ["the cat", "a longer text about the dog and the photo"]
    with torch.no_grad():
        batch = model.encode_text(**processor(text=texts, return_tensors="pt"))
        padded = model.encode_text(**processor(text=texts, padding="max_length", return_tensors="pt"))
        alone = torch.cat([model.encode_text(**processor(text=[text], return_tensors="pt")) for text in texts])
    torch.testing.assert_close(batch, alone, atol=1e-6, rtol=0)
    torch.testing.assert_close(padded, alone, atol=1e-6, rtol=0)
    assert processor.tokenizer.pad_token == "<|endoftext|>"


def test_fields_that_old_configs_override_and_buffers_that_old_files_hold(folder, tmp_path):
    text = {key: value for key, value in c.hf_clip.CLIP_TEXT_CONFIG.items() if key != "eos_token_id"}
    wrong = {
        "text_config": {**text, "hidden_act": "gelu"},
        "vision_config": {**c.common.VISION_CONFIG, "hidden_act": "gelu"},
    }
    right = {"text_config_dict": {**text, "eos_token_id": END}, "vision_config_dict": c.common.VISION_CONFIG}
    old = edited(folder, tmp_path / "old", **wrong, **right)
    tensors = load_file(old / "model.safetensors")
    tensors["text_model.embeddings.position_ids"] = torch.arange(c.common.POSITIONS)[None]
    tensors["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    (old / "model.safetensors").unlink()
    torch.save(tensors, old / "pytorch_model.bin")

    report = convert(old, tmp_path / "out")

    assert report.sources[0]["dropped"] == [
        "text_model.embeddings.position_ids",
        "vision_model.embeddings.position_ids",
    ]
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["text_config"]["hidden_act"] == config["vision_config"]["hidden_act"] == "quick_gelu"
    theirs = CLIPConfig.from_pretrained(old)
    assert config["text_config"]["eos_token_id"] == theirs.text_config.eos_token_id == END


def test_erf_gelu_of_laions_repos_is_kept(folder, tmp_path):
    towers = {side: {**each, "hidden_act": "gelu"} for side, each in CONFIG.items()}
    report = convert(edited(folder, tmp_path / "laion", **towers), tmp_path / "out")
    assert report.level == "peer"
    content = report.sources[0]["evidence"]["files"]["config.json"]["content"]
    assert [content[side]["hidden_act"] for side in towers] == ["gelu", "gelu"]


def test_an_alien_text_tower_is_no_whole_model(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "alien")
    tensors = load_file(tmp_path / "alien" / "model.safetensors")
    kept = {key: value for key, value in tensors.items() if not key.startswith("text_model.encoder.")}
    save_file(kept, tmp_path / "alien" / "model.safetensors")
    with pytest.raises(InputError, match="an image tower alone"):
        convert(tmp_path / "alien", tmp_path / "out")


# As an image part


def test_the_table_of_an_image_part_keeps_the_image_side_and_drops_what_feeds_the_text():
    table = (
        rename("bert.*", "text_model.*"),
        concat(("a.0", "a.1"), "text_projection.weight"),
        split("visual.qkv", "vision_model.q", "vision_model.k"),
        rename("visual.proj", "visual_projection.weight"),
        rename("scale", "logit_scale"),
        drop("buffer"),
    )
    assert image_rules(table) == (*table[2:], drop("bert.*"), drop("a.0"), drop("a.1"))


@pytest.mark.quick(1)
@pytest.mark.parametrize("kind", ["cn_clip", thorough("bert_clip"), "CLIPModel", "image tower alone"])
def test_any_model_with_an_image_tower_serves_as_the_image_part(kind, tmp_path, monkeypatch):
    # A cn_clip file as --vision has nobody to state its heads: let the small sizes be published ones.
    monkeypatch.setattr(
        cn_clip_model, "VISION_HEAD_WIDTH", {("tiny", c.common.WIDTH, c.common.LAYERS, c.common.PATCH): 16}
    )
    monkeypatch.setattr(
        cn_clip_model, "TEXT_HEADS", {("tiny", c.common.HIDDEN, c.common.LAYERS, c.common.INTERMEDIATE): 4}
    )
    monkeypatch.setattr(cn_clip, "VIT_HEAD_WIDTHS", {c.common.WIDTH: 16})
    make = {
        "cn_clip": lambda: c.cn_clip.cn_clip_file(tmp_path / "x.pt"),
        "bert_clip": lambda: c.bert_clip.bert_clip_config(tmp_path / "bert_clip"),
        "CLIPModel": lambda: c.hf_clip.clip_folder(tmp_path / "clip"),
        "image tower alone": lambda: c.hf_clip.clip_vision_folder(tmp_path / "clip"),
    }
    vision = make[kind]()
    text = c.taiyi.taiyi_folder(tmp_path / "taiyi", head=True)
    report = convert(text, tmp_path / "out", vision=vision, format="taiyi")

    assert [each["role"] for each in report.sources] == ["whole", "image"]
    assert report.level == ("peer" if "clip" == vision.name else "reference")
    assert verify(tmp_path / "out").level == report.level
    assert verify(tmp_path / "out", text, vision=vision, format="taiyi").passed
    written = load_file(tmp_path / "out" / "model.safetensors")
    source = read(vision).tensors
    norm, scale = written["vision_model.pre_layrnorm.weight"], written["logit_scale"]
    assert torch.equal(
        norm, source["visual.ln_pre.weight" if kind == "cn_clip" else "vision_model.pre_layrnorm.weight"]
    )
    assert torch.equal(scale, source["logit_scale"])
    assert "text_model.embeddings.token_embedding.weight" not in written


def with_processor(folder, **fields):
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "x", **fields}), "utf-8")
    return folder


@pytest.mark.parametrize(
    "fields",
    [
        {"size": {"shortest_edge": 999}},
        {"do_center_crop": False},
        {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]},
        {"resample": 2},
    ],
)
def test_a_folder_whose_pictures_are_prepared_in_another_way_is_refused(fields, tmp_path):
    size = {"height": c.common.SIZE, "width": c.common.SIZE}
    own = {"size": {"shortest_edge": c.common.SIZE}, "crop_size": size}
    folder = with_processor(c.hf_clip.clip_folder(tmp_path / "clip"), **{**own, **fields})

    with pytest.raises(InputError, match=f"preprocessor_config.json says .*{next(iter(fields))}"):
        convert(folder, tmp_path / "OUT")


CROPPED = {"size": {"shortest_edge": c.common.SIZE}, "crop_size": {"height": c.common.SIZE, "width": c.common.SIZE}}


@pytest.mark.quick(4)
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"image_mean": [0.5] * 3}, r"image_mean \[0.5, 0.5, 0.5\] \(\(0.48145466"),
        ({"resample": 2}, r"resample 2 \(3 was wanted\)"),
        ({"do_center_crop": False}, r"do_center_crop False \(True was wanted\)"),
        ({"do_normalize": False}, r"do_normalize False \(True was wanted\)"),
        (
            {"size": {"height": c.common.SIZE, "width": c.common.SIZE}},
            r"size {'height': 64, 'width': 64} \({'shortest_edge': 64} was",
        ),
        ({"size": {"shortest_edge": 224}}, r"size {'shortest_edge': 224} \({'shortest_edge': 64} was wanted\)"),
    ],
)
@pytest.mark.parametrize("side", ["vision", "text"])
def test_a_part_whose_file_prepares_pictures_otherwise_than_the_texts_family_is_refused(side, fields, said, tmp_path):
    vision, text = c.hf_clip.clip_folder(tmp_path / "clip"), c.taiyi.taiyi_folder(tmp_path / "text", head=True)
    folder = {"vision": vision, "text": text}[side]
    with_processor(folder, **{**CROPPED, **fields})

    with pytest.raises(InputError, match=f"preprocessor_config.json says {said}.*correct the file"):
        describe(identify(Stated(text, vision, "taiyi")))

    with_processor(folder, **CROPPED)
    assert describe(identify(Stated(text, vision, "taiyi"))).image_order == "rgb_then_crop"


def test_the_way_out_of_a_contradicting_file_is_to_correct_it(tmp_path):
    vision, text = c.hf_clip.clip_folder(tmp_path / "clip"), c.taiyi.taiyi_folder(tmp_path / "text", head=True)
    with_processor(vision, **CROPPED, do_center_crop=False)
    with pytest.raises(InputError, match="correct the file"):
        convert(text, tmp_path / "OUT", vision=vision, format="taiyi")

    with_processor(vision, **CROPPED)
    assert convert(text, tmp_path / "OUT", vision=vision, format="taiyi").passed


# As openai/clip-vit-base-patch32 (2022), laion/CLIP-ViT-H-14 and a repo that transformers 5 saved have them.
@pytest.mark.parametrize(
    "fields",
    [
        {
            "crop_size": c.common.SIZE,
            "do_center_crop": True,
            "do_normalize": True,
            "do_resize": True,
            "resample": 3,
            "size": 64,
        },
        {**CROPPED, "do_convert_rgb": True, "do_rescale": True, "rescale_factor": 0.00392156862745098, "resample": 3},
        {
            **CROPPED,
            "do_pad": None,
            "data_format": "channels_first",
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
        },
    ],
)
def test_what_published_image_parts_state_is_taken(fields, tmp_path):
    vision, text = c.hf_clip.clip_folder(tmp_path / "clip"), c.taiyi.taiyi_folder(tmp_path / "text", head=True)
    with_processor(vision, **fields)
    describe(identify(Stated(text, vision, "taiyi")))


def test_a_chinese_clip_is_no_image_part_of_a_family_that_crops(tmp_path):
    vision, text = (
        c.chinese_clip.chinese_clip_folder(tmp_path / "clip"),
        c.taiyi.taiyi_folder(tmp_path / "text", head=True),
    )
    with pytest.raises(InputError, match=r"size {'height': 64, 'width': 64} \({'shortest_edge': 64} was wanted\)"):
        describe(identify(Stated(text, vision, "taiyi")))
