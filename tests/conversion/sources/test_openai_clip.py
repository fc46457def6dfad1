"""OpenAI's own CLIP files: what their shapes say, what is refused, and its tokenizer with the packaged vocabulary."""

import gzip
import hashlib
import json
from dataclasses import replace

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.detection.detect import detect
from hf_zhclip.conversion.errors import InputError, UnknownFormat
from hf_zhclip.conversion.exports.natives import native_for
from hf_zhclip.conversion.reading.read import read
from hf_zhclip.conversion.sources import openai_clip
from hf_zhclip.conversion.tokenizers.builders import openai_clip_tokenizer
from hf_zhclip.conversion.tokenizers.vocabularies import OPENAI_BPE_FILE, read_openai_bpe
from hf_zhclip.json_files import read_json

from tests import checkpoints, published
from tests.conversion.sources.test_openai_clip_reference import IDS
from tests.weights import seeded_state_dict


@pytest.fixture
def bpe(tmp_path):
    return checkpoints.common.bpe_folder(tmp_path / "bpe")


# openai/CLIP: width // 64 heads, width * 32 // 64 of a ResNet; the sizes are also in open_clip's model_configs.
@pytest.mark.parametrize(
    ("name", "architecture", "heads", "text_heads", "size", "embed"),
    [
        ("vit-b-32", "ViT-B/32 with CLIP text 512x12", 12, 8, 224, 512),
        ("vit-b-16", "ViT-B/16 with CLIP text 512x12", 12, 8, 224, 512),
        ("vit-l-14", "ViT-L/14 with CLIP text 768x12", 16, 12, 224, 768),
        ("vit-l-14-336", "ViT-L/14@336px with CLIP text 768x12", 16, 12, 336, 768),
        ("rn50", "RN50 with CLIP text 512x12", 32, 8, 224, 1024),
        ("rn101", "RN101 with CLIP text 512x12", 32, 8, 224, 512),
        ("rn50x4", "RN50x4 with CLIP text 640x12", 40, 10, 288, 640),
        ("rn50x16", "RN50x16 with CLIP text 768x12", 48, 12, 384, 768),
        ("rn50x64", "RN50x64 with CLIP text 1024x12", 64, 16, 448, 1024),
    ],
)
def test_a_published_size_is_described_as_openais_code_builds_it(
    name, architecture, heads, text_heads, size, embed, tmp_path
):
    found = openai_clip.describe(published.checkpoint(f"openai_clip-{name}", tmp_path), {})

    assert found.architecture == f"OpenAI CLIP {architecture}"
    text, vision = found.text.config, found.vision.config
    assert (vision["num_attention_heads"], text["num_attention_heads"]) == (heads, text_heads)
    assert (text["hidden_act"], text["layer_norm_eps"]) == ("quick_gelu", 1e-5)
    assert (vision.get("hidden_act", "quick_gelu"), vision.get("layer_norm_eps", 1e-5)) == ("quick_gelu", 1e-5)
    assert (text["bos_token_id"], text["eos_token_id"], text["vocab_size"]) == (49406, 49407, 49408)
    assert (found.image_size, found.text.width, found.vision.width) == (size, embed, embed)
    assert (found.image_order, found.context_length, found.text.pooling) == ("crop_then_rgb", 77, "eos")


@pytest.mark.parametrize("cut", ["visual.transformer.resblocks.11.", "transformer.resblocks.11."])
def test_a_tower_of_fewer_layers_does_not_bear_the_published_name(cut, tmp_path):
    found = published.checkpoint("openai_clip-vit-b-32", tmp_path)
    tensors = {key: tensor for key, tensor in found.tensors.items() if not key.startswith(cut)}

    name = openai_clip.describe(replace(found, tensors=tensors), {}).architecture

    text, image = ("512x12", "768x11") if cut.startswith("visual") else ("512x11", "768x12")
    assert name == f"OpenAI CLIP ViT {image}/32 with CLIP text {text}"


def test_its_archive_is_certain_and_says_that_its_code_is_not_run(tmp_path):
    checkpoint = read(checkpoints.openai_clip.openai_clip_file(tmp_path / "ViT-B-32.pt"))

    found = detect(checkpoint)

    assert (found.source.name, found.certainty) == ("openai_clip", "certain")
    assert checkpoint.container == "TorchScript archive, its code not run"


@pytest.mark.parametrize("name", checkpoints.openai_clip.OPENAI_CLIP_SCALARS)
def test_an_archive_whose_numbers_are_not_of_its_weights_is_refused(name, tmp_path):
    path = checkpoints.openai_clip.openai_clip_file(tmp_path / "x.pt", **{name: 100})

    with pytest.raises(InputError, match=f"contradicts itself: it states {name} 100, but the shapes say"):
        openai_clip.describe(read(path), {})


def bare(path, resnet=False):
    torch.save(seeded_state_dict(checkpoints.openai_clip.openai_clip(resnet)), path)
    return path


def test_a_bare_state_dict_is_never_claimed_and_is_converted_where_the_format_is_stated(bpe, repo, tmp_path):
    path = bare(tmp_path / "x.pt")
    try:
        assert detect(read(path)).source.name != "openai_clip"
    except UnknownFormat as error:
        assert "--format openai_clip" in str(error)

    convert(path, tmp_path / "out", format="openai_clip", tokenizer=bpe)

    first, second = read(tmp_path / "out").tensors, read(repo("openai_clip").path).tensors
    assert first.keys() == second.keys() and all(torch.equal(first[key], tensor) for key, tensor in second.items())


def test_a_config_has_nothing_to_state(tmp_path):
    with pytest.raises(InputError, match="--config has nothing to state.*--format open_clip"):
        openai_clip.describe(read(bare(tmp_path / "x.pt")), {"heads": 8})


@pytest.mark.quick(1)
@pytest.mark.parametrize("role", ["source", "vision"])
def test_a_folder_of_open_clip_states_its_own_facts_and_is_taken_without_the_format(role, tmp_path):
    """Its activation may be another, and its heads: what lies beside the weights is not passed over."""
    folder = checkpoints.open_clip.open_clip_folder(tmp_path / "open_clip")
    source, options, word = folder, {"format": "openai_clip"}, "--format"
    if role == "vision":
        source = checkpoints.taiyi.taiyi_folder(tmp_path / "text", head=True)
        options, word = {"vision": folder, "vision_format": "openai_clip"}, "--vision-format"
        options["format"] = "taiyi"
    with pytest.raises(InputError, match=rf"open_clip_config\.json lies? beside the weights.* Leave {word} out"):
        convert(source, tmp_path / "OUT", **options)

    options.pop("format" if role == "source" else "vision_format")
    assert convert(source, tmp_path / "OUT", **options).passed


@pytest.mark.parametrize(
    ("side", "field", "value", "wanted"),
    [("text_config", "hidden_act", "gelu", "quick_gelu"), ("vision_config", "num_attention_heads", 99, 2)],
)
def test_a_config_json_beside_the_weights_may_not_contradict(side, field, value, wanted, tmp_path):
    path = bare(tmp_path / "pytorch_model.bin")
    config = tmp_path / "config.json"
    for said in ({"model_type": "clip"}, {"model_type": "clip", side: {field: wanted}}):
        config.write_text(json.dumps(said))
        openai_clip.describe(read(tmp_path), {})
    config.write_text(json.dumps({"model_type": "clip", side: {field: value}}))
    with pytest.raises(InputError, match=f"{side} states {field} {value!r}, but OpenAI's CLIP has {wanted!r}"):
        openai_clip.describe(read(tmp_path), {})
    assert path.exists()


def test_a_width_that_openais_heads_do_not_divide_is_refused(tmp_path):
    shapes = checkpoints.open_clip.open_clip()
    torch.save(seeded_state_dict(shapes), tmp_path / "x.pt")

    with pytest.raises(InputError, match="The text tower is 32 wide.* a multiple of 64.*--format open_clip"):
        openai_clip.describe(read(tmp_path / "x.pt"), {})


def test_without_the_users_vocabulary_it_takes_openais_which_has_to_have_the_models_rows(tmp_path):
    path = checkpoints.openai_clip.openai_clip_file(tmp_path / "x.pt")
    with pytest.raises(InputError, match="The packaged vocabulary has 49408 words, but the model has 525 rows"):
        convert(path, tmp_path / "out")


def test_halves_stay_halves_and_the_model_loads_in_what_loses_nothing(bpe, tmp_path):
    """OpenAI's archives keep matrices in 16 bits, norms and embeddings in 32."""
    tensors = seeded_state_dict(checkpoints.openai_clip.openai_clip())
    halves = {key: tensor.half() if ".in_proj_" in key else tensor for key, tensor in tensors.items()}
    scalars = {name: torch.tensor(value) for name, value in checkpoints.openai_clip.OPENAI_CLIP_SCALARS.items()}
    path = checkpoints.openai_clip.torchscript_file(tmp_path / "x.pt", {**halves, **scalars})

    convert(path, tmp_path / "out", tokenizer=bpe)

    written = read(tmp_path / "out").tensors
    layer = "text_model.encoder.layers.0."
    assert written[layer + "self_attn.q_proj.weight"].dtype == torch.float16
    assert written[layer + "mlp.fc1.weight"].dtype == torch.float32
    assert AutoModel.from_pretrained(tmp_path / "out", dtype="auto").dtype == torch.float32


def test_a_resnet_converts_and_no_class_of_transformers_holds_it(bpe, tmp_path):
    path = checkpoints.openai_clip.openai_clip_file(
        tmp_path / "RN50.pt", checkpoints.openai_clip.openai_clip(resnet=True)
    )
    report = convert(path, tmp_path / "out", tokenizer=bpe)

    assert report.passed and report.level in ("reference", "peer")
    assert AutoModel.from_pretrained(tmp_path / "out").config.vision_config.num_attention_heads == 512 // 64
    with pytest.raises(InputError, match="modified ResNet, which no class of transformers has"):
        native_for(read_json(tmp_path / "out" / "config.json"))


def test_clip_model_of_transformers_holds_a_vit(repo):
    assert native_for(read_json(repo("openai_clip").path / "config.json")).name == "CLIPModel"


def test_its_image_tower_serves_as_vision_beside_a_text_model(tmp_path):
    vision = checkpoints.openai_clip.openai_clip_file(
        tmp_path / "clip.pt", checkpoints.openai_clip.openai_clip(resnet=True)
    )
    text = checkpoints.taiyi.taiyi_folder(tmp_path / "taiyi", head=True)

    report = convert(text, tmp_path / "out", vision=vision, format="taiyi")

    assert report.passed and "OpenAI CLIP" in report.conversion["architecture"]


# The tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    openai_clip_tokenizer(None, 77).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_the_packaged_vocabulary_is_openais_file():
    # That of openai-clip 1.0.1 and open_clip_torch 3.2.0.
    found = hashlib.sha256(OPENAI_BPE_FILE.read_bytes()).hexdigest()
    assert found == "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"


@pytest.mark.parametrize("text", IDS)
def test_its_saved_tokenizer_gives_the_ids_that_openais_own_code_gave(text, tokenizer):
    assert tokenizer(text)["input_ids"] == IDS[text]


def test_its_special_tokens_are_openais_and_a_long_text_is_cut_before_its_end(tokenizer):
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (49406, 49407, 49407)
    assert (len(tokenizer), tokenizer.model_max_length) == (49408, 77)
    ids = tokenizer("a diagram " * 50, truncation=True)["input_ids"]
    assert (len(ids), ids[:3], ids[-1]) == (77, [49406, 320, 22697], 49407)
    assert tokenizer.decode([320, 22697]) == "a diagram"


def test_a_users_vocabulary_takes_the_place_of_the_packaged_one(bpe):
    ids, _ = checkpoints.common.bpe()
    found = openai_clip_tokenizer(bpe, 77)("The cat")["input_ids"]
    assert found == [ids["<|startoftext|>"], ids["the</w>"], ids["cat</w>"], ids["<|endoftext|>"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "is no gzip of UTF-8 text, or is damaged"),
        (gzip.compress(b"\xff\xfe"), "is no gzip of UTF-8 text, or is damaged"),
        (gzip.compress(b"title\na b c\n"), "found the merge 'a b c'"),
        (
            gzip.compress(b"title\nt he\nh e\n"),
            "x.txt.gz has 2 merges, but OpenAI's vocabulary needs 48894. The file is damaged",
        ),
        (OPENAI_BPE_FILE.read_bytes()[:1000], "is no gzip of UTF-8 text, or is damaged"),
    ],
    # Not their bytes, which hold the time.
    ids=["no gzip", "no text", "no pair", "too few", "cut off"],
)
def test_a_damaged_file_of_merges_is_refused(content, message, tmp_path):
    (tmp_path / "x.txt.gz").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_openai_bpe(tmp_path / "x.txt.gz")


def test_a_file_of_merges_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="found no file .*wanted OpenAI's merges"):
        read_openai_bpe(tmp_path / "x.gz")
