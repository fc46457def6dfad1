"""Hugging Face's ChineseCLIPModel and Fengshen's TaiyiCLIPModel: old files, other files of the folder, old names."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.errors import InputError, UnknownFormat
from hf_zhclip.conversion.exports.natives import native_for
from hf_zhclip.conversion.layouts.hf_folder import check_pictures, text_limit
from hf_zhclip.conversion.reading.read import read
from hf_zhclip.conversion.repos.repo import read_repo
from hf_zhclip.conversion.sources import SOURCES
from hf_zhclip.json_files import read_json

from tests import checkpoints as c
from tests.weights import seeded_state_dict


def weights_of(folder):
    return load_file(folder / "model.safetensors")


def copy_of(original, folder):
    return shutil.copytree(original.source, folder)


def write(path, value):
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def from_cn_clip(tensors):
    """cn_clip's tensors under ChineseCLIPModel's keys, written by hand from the two classes."""
    names = {
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "logit_scale": "logit_scale",
    }
    parts = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    parts |= {"attn.out_proj": "self_attn.out_proj"}
    norms = {"visual.ln_pre.": "vision_model.pre_layrnorm.", "visual.ln_post.": "vision_model.post_layernorm."}
    found = {}
    for key, tensor in tensors.items():
        if key in names:
            found[names[key]] = tensor
        elif key in ("visual.proj", "text_projection"):
            found["visual_projection.weight" if key == "visual.proj" else "text_projection.weight"] = tensor.T
        elif key.startswith("bert."):
            found[key.replace("bert.", "text_model.", 1)] = tensor
        elif key.startswith(tuple(norms)):
            old = next(name for name in norms if key.startswith(name))
            found[key.replace(old, norms[old])] = tensor
        else:
            _, _, _, number, rest = key.split(".", 4)
            layer = f"vision_model.encoder.layers.{number}."
            if rest.startswith("attn.in_proj_"):
                third = len(tensor) // 3
                for place, name in enumerate("qkv"):
                    cut = tensor[place * third : (place + 1) * third]
                    found[f"{layer}self_attn.{name}_proj.{rest.removeprefix('attn.in_proj_')}"] = cut
            else:
                part, kind = rest.rsplit(".", 1)
                found[f"{layer}{parts[part]}.{kind}"] = tensor
    return {key: tensor.contiguous() for key, tensor in found.items()}


def test_the_same_weights_as_cn_clip_file_and_as_chinese_clip_folder_become_the_same_tensors(tmp_path):
    tensors = seeded_state_dict(c.cn_clip.cn_clip_vit())
    config = c.cn_clip.cn_clip_config(tmp_path / "facts.json")
    convert(c.cn_clip.cn_clip_file(tmp_path / "a.pt"), tmp_path / "A", config=config, skip_verify=True)
    folder = c.chinese_clip.chinese_clip_folder(tmp_path / "b")
    torch.save(from_cn_clip(tensors), folder / "pytorch_model.bin")
    convert(folder, tmp_path / "B", skip_verify=True)

    ours, theirs = weights_of(tmp_path / "A"), weights_of(tmp_path / "B")
    assert ours.keys() == theirs.keys() and len(ours) > 60
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    configs = [json.loads((tmp_path / name / "config.json").read_text(encoding="utf-8")) for name in "AB"]
    assert configs[0] == configs[1]


def test_old_names_and_an_unused_pooler_change_nothing(original, repo, tmp_path):
    folder = copy_of(original("chinese_clip"), tmp_path / "old")
    state_dict = torch.load(folder / "pytorch_model.bin")
    old = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for key, tensor in state_dict.items()
    }
    old |= {"text_model.pooler.dense.weight": torch.randn(32, 32), "text_model.pooler.dense.bias": torch.randn(32)}
    torch.save(old, folder / "pytorch_model.bin")
    report = convert(folder, tmp_path / "OUT")

    assert (report.level, report.passed) == ("peer", True)
    assert report.sources[0]["dropped"] == [
        "text_model.embeddings.position_ids",
        "text_model.pooler.dense.bias",
        "text_model.pooler.dense.weight",
        "vision_model.embeddings.position_ids",
    ]
    ours, theirs = weights_of(tmp_path / "OUT"), weights_of(repo("chinese_clip").path)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_reference_reads_the_old_names_as_the_original_does(original):
    from hf_zhclip.conversion.proof.reference import chinese_clip as reference

    state_dict = torch.load(original("chinese_clip").source / "pytorch_model.bin")
    names = {".weight": ".gamma", ".bias": ".beta"}
    old = {
        key
        if "norm" not in key.lower()
        else next(key.removesuffix(a) + b for a, b in names.items() if key.endswith(a)): v
        for key, v in state_dict.items()
    }
    assert sum(key.endswith(".gamma") for key in old) > 10
    config, pixels = (
        read_json(original("chinese_clip").source / "config.json"),
        torch.rand(1, 3, c.common.SIZE, c.common.SIZE),
    )
    wanted = reference.encode_image(state_dict, pixels, config)
    assert torch.equal(reference.encode_image(old, pixels, config), wanted)
    ids = torch.tensor([[101, 7, 8, 102, 0]])
    assert torch.equal(reference.encode_text(old, ids, config), reference.encode_text(state_dict, ids, config))


def test_shards_of_a_bin_are_read_whole(original, repo, tmp_path):
    folder = copy_of(original("chinese_clip"), tmp_path / "shards")
    state_dict = torch.load(folder / "pytorch_model.bin")
    (folder / "pytorch_model.bin").unlink()
    places = {key: f"pytorch_model-{1 + ('vision' in key):05}-of-00002.bin" for key in state_dict}
    for name in set(places.values()):
        torch.save({key: state_dict[key] for key in state_dict if places[key] == name}, folder / name)
    write(folder / "pytorch_model.bin.index.json", {"metadata": {}, "weight_map": places})
    convert(folder, tmp_path / "OUT", skip_verify=True)

    ours, theirs = weights_of(tmp_path / "OUT"), weights_of(repo("chinese_clip").path)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_what_a_stale_config_dict_says_gives_way_to_what_the_shapes_allow(original):
    checkpoint = read(original("chinese_clip").source)
    config = dict(checkpoint.config)
    for stale in ({"hidden_size": 768}, None, {}):
        described = SOURCES["chinese_clip"].describe(checkpoint, {**config, "text_config_dict": stale})
        assert described.text.config["num_attention_heads"] == 4
    both = {**config, "vision_config_dict": {**c.common.VISION_CONFIG, "num_attention_heads": 8}}
    # Where both fit, transformers takes the _dict.
    assert SOURCES["chinese_clip"].describe(checkpoint, both).vision.config["num_attention_heads"] == 8
    with pytest.raises(InputError, match="There is no config.json beside the weights"):
        SOURCES["chinese_clip"].describe(checkpoint, {})


def test_the_limit_of_texts_is_52_unless_the_folder_or_the_user_says_otherwise(original, tmp_path):
    folder = copy_of(original("chinese_clip"), tmp_path / "folder")
    assert SOURCES["chinese_clip"].describe(read(folder), read(folder).config).context_length == 52
    for stated, wanted in ((int(1e30), 52), (40, 40), (500, c.common.POSITIONS)):
        write(folder / "tokenizer_config.json", {"model_max_length": stated})
        assert SOURCES["chinese_clip"].describe(read(folder), read(folder).config).context_length == wanted
    assert text_limit(None, 52) == text_limit(tmp_path, 52) == 52
    taiyi = read(original("taiyi_clip").source)
    assert SOURCES["taiyi_clip"].describe(taiyi, taiyi.config).context_length == c.common.POSITIONS  # 77 at most


# What transformers' classes take where a file leaves it out is a crop of 224.
SQUARE = {"do_center_crop": False, "size": {"height": 336, "width": 336}}
CROP = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}


@pytest.mark.parametrize(
    ("order", "stated", "refused"),
    [
        ("rgb_then_squash", SQUARE, None),
        ("rgb_then_squash", {**SQUARE, "crop_size": 224, "do_rescale": None, "resample": 3}, None),
        ("rgb_then_squash", {**SQUARE, "do_center_crop": True, "crop_size": {"height": 336, "width": 336}}, None),
        (
            "rgb_then_squash",
            {**SQUARE, "rescale_factor": 0.00392156862745098, "image_mean": [0.48145466, 0.4578275, 0.40821073]},
            None,
        ),
        (
            "rgb_then_squash",
            {},
            r"size {'shortest_edge': 224} \({'height': 336, 'width': 336} was wanted\), do_center_crop True \(F",
        ),
        ("rgb_then_squash", CROP, "size {'shortest_edge': 336}"),
        ("rgb_then_squash", {**SQUARE, "do_center_crop": True}, "do_center_crop True"),
        ("rgb_then_squash", {**SQUARE, "size": {"height": 224, "width": 224}}, "size {'height': 224"),
        ("rgb_then_squash", {**SQUARE, "size": 336}, "size 336"),
        ("rgb_then_squash", {**SQUARE, "resample": 2}, r"says resample 2 \(3 was wanted\)\. This"),
        ("rgb_then_squash", {**SQUARE, "image_mean": [0.5, 0.5, 0.5]}, r"image_mean \[0.5"),
        ("rgb_then_squash", {**SQUARE, "image_std": 1}, "image_std 1"),
        (
            "rgb_then_squash",
            {**SQUARE, "do_normalize": False, "do_rescale": False},
            r"do_rescale False \(True was wanted\), do_normalize False",
        ),
        (
            "rgb_then_squash",
            {**SQUARE, "do_resize": False, "do_convert_rgb": False},
            r"do_resize False \(True was wanted\), do_convert_rgb",
        ),
        ("rgb_then_squash", {**SQUARE, "rescale_factor": 1}, "rescale_factor 1"),
        ("rgb_then_squash", {**SQUARE, "do_pad": True}, r"do_pad True \(False was wanted\)"),
        ("squash_then_rgb", SQUARE, None),
        ("squash_then_rgb", CROP, r"size {'shortest_edge': 336} \({'height': 336, 'width': 336} was wanted\)"),
        ("crop_then_rgb", {**CROP, "do_pad": None, "do_pad_more": False}, None),
        ("crop_up_then_rgb", CROP, None),
        ("crop_up_then_rgb", SQUARE, r"size {'height': 336, 'width': 336} \({'shortest_edge': 336} was wanted\)"),
        ("rgb_then_crop", CROP, None),
        ("rgb_then_crop", {"size": 336, "crop_size": 336}, None),
        ("rgb_then_crop", {**CROP, "do_center_crop": False}, "do_center_crop False"),
        ("rgb_then_crop", SQUARE, "size {'height': 336"),
        ("rgb_then_crop", {}, "size {'shortest_edge': 224}"),
    ],
)
def test_an_image_processor_that_does_something_else_is_refused_field_by_field(order, stated, refused, tmp_path):
    write(tmp_path / "preprocessor_config.json", stated)
    if refused is None:
        check_pictures(tmp_path, order, 336)
    else:
        with pytest.raises(InputError, match=refused):
            check_pictures(tmp_path, order, 336)


def test_the_nested_image_processor_of_transformers_5_goes_first(tmp_path):
    check_pictures(None, "rgb_then_squash", 336)
    check_pictures(tmp_path, "rgb_then_squash", 336)  # nothing is stated
    write(tmp_path / "preprocessor_config.json", SQUARE)
    write(tmp_path / "processor_config.json", {"processor_class": "ChineseCLIPProcessor"})
    check_pictures(tmp_path, "rgb_then_squash", 336)
    write(tmp_path / "processor_config.json", {"image_processor": CROP})
    with pytest.raises(InputError, match=r"[/\\]processor_config.json says size {'shortest_edge': 336}"):
        check_pictures(tmp_path, "rgb_then_squash", 336)


def test_a_crop_is_refused_before_anything_is_written(original, tmp_path):
    folder = copy_of(original("chinese_clip"), tmp_path / "crop")
    write(
        folder / "preprocessor_config.json", {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}
    )
    with pytest.raises(InputError, match="without a crop"):
        convert(folder, tmp_path / "OUT")
    assert not (tmp_path / "OUT").exists()


@pytest.mark.parametrize("family", ["bert_clip", "taiyi_clip"])
def test_a_square_is_refused_where_the_family_crops(family, original, tmp_path):
    folder = copy_of(original(family), tmp_path / "square")
    write(folder / "preprocessor_config.json", {**SQUARE, "size": {"height": 64, "width": 64}})
    with pytest.raises(InputError, match="preprocessor_config.json says size"):
        convert(folder, tmp_path / "OUT")
    assert not (tmp_path / "OUT").exists()


def test_a_checkpoint_of_the_lightning_training_needs_its_format_and_config_said(original, repo, tmp_path):
    source = original("taiyi_clip").source
    state_dict = {f"model.{key}": tensor for key, tensor in torch.load(source / "pytorch_model.bin").items()}
    lightning = {"epoch": 0, "global_step": 5, "pytorch-lightning_version": "1.8.6", "state_dict": state_dict}
    torch.save(lightning, tmp_path / "last.ckpt")
    with pytest.raises(UnknownFormat, match="--format taiyi_clip"):
        convert(tmp_path / "last.ckpt", tmp_path / "OUT")
    stated = {"config": source / "config.json", "tokenizer": source / "vocab.txt"}
    report = convert(tmp_path / "last.ckpt", tmp_path / "OUT", format="taiyi_clip", **stated)

    assert (report.level, report.passed) == ("reference", True)
    ours, theirs = weights_of(tmp_path / "OUT"), weights_of(repo("taiyi_clip").path)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("family", ["chinese_clip", "taiyi_clip"])
def test_chinese_clip_model_is_exact_for_both(family, repo):
    assert native_for(read_repo(repo(family).path).config).name == "ChineseCLIPModel"
