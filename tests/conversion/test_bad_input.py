"""Everything that users bring by mistake: exit code 2, nothing written, and words instead of a traceback."""

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import zhclip_cli

from tests import checkpoints as c
from tests.weights import seeded_state_dict

CASES: dict[str, tuple[Callable[[Path], list[Any]], tuple[str, ...]]] = {}


def case(*wanted: str):
    """A case: a function that makes arguments of `convert` (without OUT), and what its error has to say."""

    def keep(make: Callable[[Path], list[Any]]) -> Callable[[Path], list[Any]]:
        CASES[make.__name__] = make, wanted
        return make

    return keep


def cn_clip(tmp: Path, tensors: dict[str, torch.Tensor], **facts: Any) -> list[Any]:
    """Arguments for a cn_clip file of these tensors."""
    torch.save({"state_dict": tensors}, tmp / "x.pt")
    (tmp / "facts.json").write_text(json.dumps({**c.cn_clip.CN_CLIP_FACTS, **facts}), encoding="utf-8")
    return [tmp / "x.pt", "--config", tmp / "facts.json"]


def vit() -> dict[str, torch.Tensor]:
    return seeded_state_dict(c.cn_clip.cn_clip_vit())


def text_file(tmp: Path, content: str | bytes, name: str = "x.pt") -> list[Any]:
    (tmp / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return [tmp / name]


def edited_config(tmp: Path, **changes: Any) -> list[Any]:
    """A BertCLIP folder whose config.json says something else."""
    folder = c.bert_clip.bert_clip_config(tmp / "bert_clip")
    config = json.loads((folder / "config.json").read_text())
    for key, value in changes.items():
        config[key] = (
            {**config[key], **value} if isinstance(config.get(key), dict) and isinstance(value, dict) else value
        )
    (folder / "config.json").write_text(json.dumps(config))
    return [folder]


# Not a checkpoint


@case("no checkpoint", "torch.save or safetensors was wanted")
def a_text_file(tmp):
    return text_file(tmp, "Lorem ipsum dolor sit amet. " * 40)


@case("(0 bytes) is no checkpoint", "torch.save or safetensors was wanted")
def an_empty_file(tmp):
    return text_file(tmp, "")


@case("is a web page", "Fetch the checkpoint again")
def a_web_page(tmp):
    return text_file(tmp, "\n <!DOCTYPE html><html><body>Sign in</body></html>")


@case("is a Git LFS pointer", "git lfs pull")
def a_git_lfs_pointer(tmp):
    return text_file(tmp, "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 753165\n", "model.bin")


@case("is a zip file without a data.pkl", "torch.save wrote was wanted")
def a_zip_that_is_no_checkpoint(tmp):
    with zipfile.ZipFile(tmp / "x.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    return [tmp / "x.pt"]


@case("x.pt", "compressed", "torch.save")
def a_checkpoint_that_was_zipped_again(tmp):
    torch.save({"state_dict": vit()}, tmp / "y.pt")
    with zipfile.ZipFile(tmp / "y.pt") as old, zipfile.ZipFile(tmp / "x.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return [tmp / "x.pt"]


@case("holds none of model.safetensors", "pytorch_model.bin")
def a_folder_without_weights(tmp):
    (tmp / "folder").mkdir()
    return [tmp / "folder"]


@case("holds epoch_latest.pt: name epoch_latest.pt instead of the folder")
def a_folder_of_training_checkpoints(tmp):
    (tmp / "folder").mkdir()
    shutil.copy(c.cn_clip.cn_clip_file(tmp / "x.pt"), tmp / "folder" / "epoch_latest.pt")
    return [tmp / "folder"]


@case(
    "nowhere.pt does not exist",
    "Wanted: a file, a folder, a name that `zhclip list` prints, user/repo[:file] on the hub, or modelscope:",
)
def a_file_that_does_not_exist(tmp):
    return [tmp / "nowhere.pt"]


@case("does not exist")
def a_name_that_is_too_long_for_a_file(tmp):
    return ["a" * 5000]


@case("does not exist")
def the_home_of_nobody(tmp):
    return ["~nobody-at-all/x.pt"]


@case("holds a Tensor", "wanted a state dict, or a dict that holds a state dict")
def a_single_tensor(tmp):
    torch.save(torch.ones(3), tmp / "x.pt")
    return [tmp / "x.pt"]


@case("holds a list", "wanted a state dict, or a dict that holds a state dict")
def a_list_of_tensors(tmp):
    torch.save([torch.ones(3)], tmp / "x.pt")
    return [tmp / "x.pt"]


@case("holds no state dict", "nothing")
def an_empty_dict(tmp):
    torch.save({}, tmp / "x.pt")
    return [tmp / "x.pt"]


@case("holds no state dict", "lr (float)", "tensors alone were wanted")
def a_dict_of_settings(tmp):
    torch.save({"lr": 1e-3, "w": torch.ones(2)}, tmp / "x.pt")
    return [tmp / "x.pt"]


@case("holds no state dict", "0 (int)", "names of tensors were wanted")
def a_dict_whose_keys_are_numbers(tmp):
    torch.save({0: torch.ones(2), 1: torch.ones(2)}, tmp / "x.pt")
    return [tmp / "x.pt"]


@case("holds weights under state_dict and model", "save only the set of weights that you want")
def two_state_dicts(tmp):
    torch.save({"state_dict": vit(), "model": vit()}, tmp / "x.pt")
    return [tmp / "x.pt"]


@case("two sets of weights: the raw weights, and 'state_dict_ema'", "--ema use", "--ema ignore")
def an_average_beside_the_weights(tmp):
    torch.save({"state_dict": vit(), "state_dict_ema": vit()}, tmp / "x.pt")
    return [tmp / "x.pt"]


@case("not.a.number is no valid JSON")
def a_config_that_is_no_json(tmp):
    (tmp / "not.a.number").write_text("{'vision_head_width': 16}")
    return [c.cn_clip.cn_clip_file(tmp / "x.pt"), "--config", tmp / "not.a.number"]


@case("holds list; a JSON object was wanted")
def a_config_that_is_a_list(tmp):
    (tmp / "facts.json").write_text("[1]")
    return [c.cn_clip.cn_clip_file(tmp / "x.pt"), "--config", tmp / "facts.json"]


@case("facts.json does not exist", "a JSON file was wanted")
def a_config_that_does_not_exist(tmp):
    return [c.cn_clip.cn_clip_file(tmp / "x.pt"), "--config", tmp / "facts.json"]


@case("is a folder", "a JSON file was wanted")
def a_config_that_is_a_folder(tmp):
    (tmp / "facts").mkdir()
    return [c.cn_clip.cn_clip_file(tmp / "x.pt"), "--config", tmp / "facts"]


# Damage


@case("damaged or truncated", "Fetch it again")
def a_torch_file_cut_in_half(tmp):
    c.cn_clip.cn_clip_file(tmp / "x.pt")
    os.truncate(tmp / "x.pt", (tmp / "x.pt").stat().st_size // 2)
    return [tmp / "x.pt"]


@case("names missing shards: model-00002-of-00002.safetensors", "Fetch these files")
def an_index_that_names_an_absent_shard(tmp):
    folder = sharded(tmp)
    (folder / "model-00002-of-00002.safetensors").unlink()
    return [folder]


@case("do not hold the same keys: logit_scale")
def an_index_that_forgets_a_key(tmp):
    folder = sharded(tmp)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    del index["weight_map"]["logit_scale"]
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return [folder]


@case("has no weight_map; a Hugging Face index was wanted")
def an_index_without_a_map(tmp):
    folder = sharded(tmp)
    (folder / "model.safetensors.index.json").write_text("{}")
    return [folder]


@case("weight_map", "wanted names of files in the index's own folder")
def an_index_of_numbers(tmp):
    folder = sharded(tmp)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"logit_scale": 3}}')
    return [folder]


@case("model.safetensors.index.json", "../../etc/passwd", "wanted names of files in the index's own folder")
def an_index_that_points_out_of_its_folder(tmp):
    folder = sharded(tmp)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"logit_scale": "../../etc/passwd"}}')
    return [folder]


@case("several shards hold logit_scale", "not from the same model")
def two_shards_with_the_same_key(tmp):
    folder = sharded(tmp)
    second = folder / "model-00002-of-00002.safetensors"
    save_file(load_file(second) | {"logit_scale": torch.tensor(1.0)}, second)
    return [folder]


def sharded(tmp: Path) -> Path:
    (tmp / "folder").mkdir()
    tensors = vit()
    keys = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": keys[:40], "model-00002-of-00002.safetensors": keys[40:]}
    for name, own in parts.items():
        save_file({key: tensors[key].contiguous() for key in own}, tmp / "folder" / name)
    assert "logit_scale" in parts["model-00001-of-00002.safetensors"]
    index = {"metadata": {}, "weight_map": {key: name for name, own in parts.items() for key in own}}
    (tmp / "folder" / "model.safetensors.index.json").write_text(json.dumps(index))
    return tmp / "folder"


# Keys and shapes


@case("unknown keys", "adapter.{0...2}.weight [2]", "zhclip inspect")
def unknown_keys(tmp):
    return cn_clip(tmp, vit() | {f"adapter.{layer}.weight": torch.ones(2) for layer in range(3)})


@case("missing keys", "visual.ln_post.*", "zhclip inspect")
def missing_keys(tmp):
    return cn_clip(tmp, {key: tensor for key, tensor in vit().items() if "ln_post" not in key})


@case("keys of the model that no rule fills", "vision_model.encoder.layers.1.mlp.fc2.bias [64]")
def a_missing_bias(tmp):
    tensors = vit()
    del tensors["visual.transformer.resblocks.1.mlp.c_proj.bias"]
    return cn_clip(tmp, tensors)


@case(
    "wrong shapes",
    "text_model.encoder.layer.{0...1}.attention.self.key.weight: found [32, 31], wanted [32, 32]",
    "vision_model.post_layernorm.bias: found [63], wanted [64]",
)
def wrong_shapes(tmp):
    tensors = vit()
    for layer in range(2):
        tensors[f"bert.encoder.layer.{layer}.attention.self.key.weight"] = torch.ones(32, 31)
    tensors["visual.ln_post.bias"] = torch.ones(63)
    return cn_clip(tmp, tensors)


@case("18 positions", "wanted a square number plus 1")
def positions_that_are_no_square(tmp):
    return cn_clip(tmp, vit() | {"visual.positional_embedding": torch.ones(18, c.common.WIDTH)})


@case("pictures of 4 channels", "three (RGB) were wanted")
def a_picture_of_four_channels(tmp):
    return cn_clip(tmp, vit() | {"visual.conv1.weight": torch.ones(c.common.WIDTH, 4, c.common.PATCH, c.common.PATCH)})


@case("vectors of 48 numbers", "vectors of 40 numbers", "not from the same model")
def towers_of_different_widths(tmp):
    return cn_clip(tmp, vit() | {"visual.proj": torch.ones(c.common.WIDTH, 40)})


@case("some keys begin with 'module.' and some do not", "visual.proj", "Save one model's state dict alone")
def a_mixture_of_prefixes(tmp):
    tensors = vit()
    return cn_clip(tmp, {key if key == "visual.proj" else f"module.{key}": tensors[key] for key in tensors})


# Pickles with code


class Innocent:
    pass


class Evil:
    """Writes a file when it is unpickled; its marker must never appear."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@case("is a pickle that needs code", "Innocent", "never run", "torch.save(model.state_dict(), FILE)")
def a_whole_object(tmp):
    torch.save({"state_dict": vit(), "hyper": Innocent()}, tmp / "x.pt")
    return [tmp / "x.pt"]


@case("is a pickle that needs code", "torch.nn.modules.linear.Linear", "torch.save(model.state_dict(), FILE)")
def a_whole_module(tmp):
    torch.save(torch.nn.Linear(2, 2), tmp / "x.pt")
    return [tmp / "x.pt"]


@case("is a pickle that needs code", "system", "never run")
def a_command_in_a_torch_file(tmp):
    torch.save({"state_dict": vit(), "x": Evil(tmp / "marker")}, tmp / "x.pt")
    return [tmp / "x.pt"]


@case("is a pickle that needs code", "system", "never run")
def a_command_in_a_legacy_torch_file(tmp):
    torch.save(Evil(tmp / "marker"), tmp / "x.pt", _use_new_zipfile_serialization=False)
    return [tmp / "x.pt"]


@case("is a pickle that needs code", "system", "never run")
def a_command_in_a_plain_pickle(tmp):
    return text_file(tmp, pickle.dumps(Evil(tmp / "marker")))


@case("is no checkpoint", "torch.save or safetensors was wanted")
def a_command_in_an_ascii_pickle(tmp):
    return text_file(tmp, pickle.dumps(Evil(tmp / "marker"), protocol=0))


@case("needs code", "system")
def a_command_in_a_shard(tmp):
    folder = tmp / "folder"
    folder.mkdir()
    torch.save({"a": Evil(tmp / "marker")}, folder / "pytorch_model-00001-of-00001.bin")
    index = {"weight_map": {"a": "pytorch_model-00001-of-00001.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return [folder]


# Relatives that are not converted


@case("LoRA", "merge_and_unload()")
def unmerged_lora_weights(tmp):
    key = "bert.encoder.layer.0.attention.self.query.lora_A.default.weight"
    return cn_clip(tmp, vit() | {key: torch.ones(8, 32)})


@case("PEFT / LoRA adapter", "merge_and_unload()")
def a_lora_folder(tmp):
    (tmp / "lora").mkdir()
    (tmp / "lora" / "adapter_config.json").write_text("{}")
    return [tmp / "lora"]


@case("The format of", "is not known", "weight")
def a_torchscript_archive_of_another_model(tmp):
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(tmp / "x.pt")
    return [tmp / "x.pt"]


@case("DeepSpeed", "zero_to_fp32.py")
def placeholders_of_zero_3(tmp):
    return cn_clip(tmp, {key: torch.empty(0) for key in vit()})


@case("DeepSpeed", "zero_to_fp32.py")
def a_deepspeed_part(tmp):
    top = {"module": {key: torch.empty(0) for key in vit()}, "ds_version": "0.15.0", "param_shapes": []}
    torch.save(top, tmp / "zero_pp_rank_0_mp_rank_00_model_states.pt")
    return [tmp / "zero_pp_rank_0_mp_rank_00_model_states.pt"]


@case("DeepSpeed", "zero_to_fp32.py")
def a_deepspeed_folder(tmp):
    (tmp / "folder").mkdir()
    (tmp / "folder" / "zero_to_fp32.py").write_text("")
    return [tmp / "folder"]


@case(".metadata is no metadata of torch.distributed.checkpoint, or is damaged")
def a_distributed_checkpoint(tmp):
    (tmp / "folder").mkdir()
    (tmp / "folder" / ".metadata").write_bytes(b"\x80\x04")
    return [tmp / "folder"]


@case("quantised", "before the quantisation")
def dynamically_quantised_weights(tmp):
    return cn_clip(tmp, vit() | {"bert.encoder.layer.0.output.dense._packed_params.dtype": torch.ones(1)})


@case("quantised", "before the quantisation")
def weights_in_8_bits(tmp):
    return cn_clip(tmp, vit() | {"bert.encoder.layer.0.output.dense.SCB": torch.ones(1)})


@case("quantised", "bert.encoder.layer.{0...1}.output.dense.weight", "before the quantisation")
def quantised_tensors(tmp):
    tensors = vit()
    for layer in range(2):
        key = f"bert.encoder.layer.{layer}.output.dense.weight"
        tensors[key] = torch.quantize_per_tensor(tensors[key], 0.1, 0, torch.qint8)
    return cn_clip(tmp, tensors)


@case("not floating-point numbers", "text_model.encoder.layer.0.output.dense.weight (int8)", "before the quantisation")
def whole_numbers_in_place_of_weights(tmp):
    tensors = vit()
    key = "bert.encoder.layer.0.output.dense.weight"
    return cn_clip(tmp, tensors | {key: tensors[key].to(torch.int8)})


@case("sparse", "bert.encoder.layer.0.output.dense.weight", "to_dense()")
def sparse_tensors(tmp):
    tensors = vit()
    key = "bert.encoder.layer.0.output.dense.weight"
    return cn_clip(tmp, tensors | {key: tensors[key].to_sparse()})


@case("meta", "bert.encoder.layer.0.output.dense.weight")
def tensors_without_values(tmp):
    tensors = vit()
    key = "bert.encoder.layer.0.output.dense.weight"
    return cn_clip(tmp, tensors | {key: tensors[key].to("meta")})


@case("quantised (gptq)", "before the quantisation")
def a_quantised_folder(tmp):
    return edited_config(tmp, quantization_config={"quant_method": "gptq"})


def relative(*keys: str) -> Callable[[Path], list[Any]]:
    def make(tmp: Path) -> list[Any]:
        torch.save({key: torch.ones(2, 2) for key in keys}, tmp / "x.pt")
        return [tmp / "x.pt"]

    return make


RELATIVES = {
    "Wukong with token reduction": ("visual.conv1.weight", "visual.token_reduction.0.weight"),
    "EasyNLP's Wukong": ("model.visual_encoder.a", "model.text_encoder.b", "model.logit_scale"),
    "EasyNLP's Chinese CLIP": ("chinese_clip.bert.embeddings.word_embeddings.weight", "chinese_clip.visual.proj"),
    "EasyNLP's CLIP": ("vision_encoder.a", "vision_projection.weight", "text_encoder.b", "text_projection.weight"),
    "ModelScope": ("clip_model.bert.embeddings.word_embeddings.weight", "clip_model.visual.proj"),
    "before August 2022": ("vision_encoder.a", "text_encoder.b", "logit_scale"),
    "PRD2 / R2D2": ("visual_encoder.a", "text_encoder.b", "vision_proj.weight", "text_proj.weight", "temp"),
    "AltCLIP": ("text_model.roberta.a", "text_model.transformation.weight", "vision_model.b"),
    "open_clip with a Hugging Face text tower": ("visual.a", "text.transformer.b", "text.proj.weight"),
    "open_clip with an image tower of timm": ("visual.trunk.a", "text.ln_final.weight"),
    "SigLIP in open_clip's format": ("visual.trunk.a", "logit_bias"),
    "CoCa in open_clip's format": ("visual.attn_pool.query", "text_decoder.text_projection"),
}
for title, keys in RELATIVES.items():
    CASES[title] = relative(*keys), (title,)


@case("holds none of", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
def an_open_clip_folder_without_weights(tmp):
    (tmp / "folder").mkdir()
    (tmp / "folder" / "open_clip_config.json").write_text("{}")
    return [tmp / "folder"]


@case("The format of", "is not known", "encoder.{0...2}.w")
def something_else_altogether(tmp):
    torch.save({f"encoder.{layer}.w": torch.ones(2) for layer in range(3)}, tmp / "x.pt")
    return [tmp / "x.pt"]


@case("do not decide", "config.json names BertModel", "--format taiyi", "'... Linear Weights.pkl'")
def a_plain_bert(tmp):
    return [c.taiyi.taiyi_folder(tmp / "text", head=False)]


@case("do not decide", "no config.json", "--format bert_clip")
def a_bert_clip_file_without_its_config(tmp):
    shutil.copy(c.bert_clip.bert_clip_config(tmp / "folder") / "pytorch_model.bin", tmp / "x.bin")
    return [tmp / "x.bin"]


@case(
    "config.json names CLIPModel",
    "is not Hugging Face CLIPModel",
    "that are missing here:\n    text_model.embeddings.token",
)
def another_model_of_bert_clip_s_keys(tmp):
    return edited_config(tmp, architectures=["CLIPModel"])


@case("There is no format 'clip'; the formats are cn_clip, bert_clip, ")
def a_format_that_does_not_exist(tmp):
    return [c.cn_clip.cn_clip_file(tmp / "x.pt"), "--format", "clip"]


@case("is not BertCLIP", "text_model.embeddings.word_embeddings.weight", "bert.embeddings")
def a_format_that_is_not_the_file_s(tmp):
    return [c.cn_clip.cn_clip_file(tmp / "x.pt"), "--format", "bert_clip"]


# Pairs


@case("a text tower alone", "--vision")
def taiyi_without_its_image_tower(tmp):
    return [c.taiyi.taiyi_folder(tmp / "text", head=True), "--format", "taiyi"]


@case("--vision, for example --vision sentence-transformers/clip-ViT-B-32 for clip-ViT-B-32-multilingual-v1")
def another_text_tower_without_its_image_tower(tmp):
    return [c.sentence_transformers.sentence_transformers_folder(tmp / "text")]


@case("vectors of 32 numbers", "vectors of 48 numbers", "--vision")
def a_pair_of_different_widths(tmp):
    return [
        c.taiyi.taiyi_folder(tmp / "text", head=False),
        "--format",
        "taiyi",
        "--vision",
        c.hf_clip.clip_folder(tmp / "clip"),
    ]


@case("holds both towers; leave out --vision")
def one_part_too_many(tmp):
    return [c.bert_clip.bert_clip_config(tmp / "both"), "--vision", c.hf_clip.clip_folder(tmp / "clip")]


@case("Pass it as --vision beside a text tower", "multilingual_clip, sentence_transformers, taiyi")
def an_image_tower_alone(tmp):
    return [c.hf_clip.clip_vision_folder(tmp / "clip")]


@case("--vision", "taiyi", "a text tower alone", "CLIPModel folder")
def an_image_part_that_is_none(tmp):
    text = c.taiyi.taiyi_folder(tmp / "text", True)
    tensors = torch.load(text / "pytorch_model.bin")
    other = {"classifier.weight": torch.zeros(512, 768), "classifier.bias": torch.zeros(512)}
    torch.save({**tensors, **other}, tmp / "taiyi.bin")  # of the published shape, by which it is known
    return [text, "--format", "taiyi", "--vision", tmp / "taiyi.bin"]


@case("hold no logit_scale", "whole CLIP")
def a_pair_without_a_scale(tmp):
    vision = c.hf_clip.clip_vision_folder(tmp / "clip")
    config = {**c.common.VISION_CONFIG, "architectures": ["CLIPVisionModelWithProjection"]}
    (vision / "config.json").write_text(json.dumps(config))
    tensors = load_file(vision / "model.safetensors")
    save_file({key: value for key, value in tensors.items() if key != "logit_scale"}, vision / "model.safetensors")
    return [c.taiyi.taiyi_folder(tmp / "text", head=True), "--format", "taiyi", "--vision", vision]


@case("image_size: config.json says 32, the shapes say 64")
def an_image_part_whose_config_contradicts_it(tmp):
    vision = c.hf_clip.clip_folder(tmp / "clip", image_size=32)
    return [c.taiyi.taiyi_folder(tmp / "text", head=True), "--format", "taiyi", "--vision", vision]


# Values


@case("NaN or Inf", "visual_projection.weight", "--allow-nonfinite")
def a_nan(tmp):
    tensors = vit()
    tensors["visual.proj"][3, 4] = float("nan")
    return cn_clip(tmp, tensors)


@case("NaN or Inf", "text_model.encoder.layer.{0...1}.output.dense.bias", "--allow-nonfinite")
def infinities(tmp):
    tensors = vit()
    for layer in range(2):
        tensors[f"bert.encoder.layer.{layer}.output.dense.bias"][0] = -float("inf")
    return cn_clip(tmp, tensors)


@case("NaN or Inf", "visual_projection.weight", "too narrow")
def numbers_too_large_for_the_dtype(tmp):
    tensors = vit()
    tensors["visual.proj"][0, 0] = 1e6
    return [*cn_clip(tmp, tensors), "--dtype", "float16"]


@case("logit_scale is nan. Wanted: the logarithm of the factor on the cosines", "into the file")
def a_scale_that_is_no_number(tmp):
    return cn_clip(tmp, vit() | {"logit_scale": torch.tensor(float("nan"))})


@case("logit_scale is nan. Wanted: the logarithm of the factor on the cosines", "into the file")
def a_scale_that_is_no_number_where_others_may_be_none(tmp):
    return [*a_scale_that_is_no_number(tmp), "--allow-nonfinite"]


# What a config states


@case("vision_head_width", "2, 4, 8, 16, 32", "text_num_attention_heads", "--config FILE")
def a_size_that_nobody_published(tmp):
    return [c.cn_clip.cn_clip_file(tmp / "x.pt")]


@case("vision_layers: stated 12, the shapes say 2", "vision_width: stated 768, the shapes say 64")
def a_config_of_another_size(tmp):
    return cn_clip(tmp, vit(), vision_layers=12, vision_width=768)


@case("text_hidden_size: stated 768, the shapes say 32")
def a_config_of_another_text_tower(tmp):
    return cn_clip(tmp, vit(), text_hidden_size=768)


@case("vision_head_width 24; wanted a divisor of the width 64")
def a_head_width_that_does_not_divide(tmp):
    return cn_clip(tmp, vit(), vision_head_width=24)


@case("states vision_head_width '16'; a whole number was wanted")
def a_head_width_in_quotes(tmp):
    return cn_clip(tmp, vit(), vision_head_width="16")


@case("states vision_head_width True; a whole number was wanted")
def a_head_width_that_is_a_truth(tmp):
    return cn_clip(tmp, vit(), vision_head_width=True)


@case("--config states unknown fields: typo_field", "known fields are", "vision_head_width")
def a_field_that_cn_clip_does_not_know(tmp):
    return cn_clip(tmp, vit(), typo_field=1)


@case("text_num_attention_heads '4'; a whole number was wanted")
def heads_that_are_no_number(tmp):
    return cn_clip(tmp, vit(), text_num_attention_heads="4")


@case("--config states the activation 'geluu'", "supported are gelu")
def an_activation_that_does_not_exist(tmp):
    return cn_clip(tmp, vit(), text_hidden_act="geluu")


@case("hidden_dropout_prob", "much")
def a_dropout_that_is_no_number(tmp):
    return cn_clip(tmp, vit(), text_hidden_dropout_prob="much")


@case("vision_layers: stated '[3,4,', the shapes say 2")
def layers_that_are_no_list(tmp):
    return cn_clip(tmp, vit(), vision_layers="[3,4,")


@case("state the model's facts beside the weights", "--config has nothing to state")
def two_configs(tmp):
    (tmp / "facts.json").write_text("{}")
    (tmp / "facts.json").write_text('{"vision_head_width": 16}')
    return [c.bert_clip.bert_clip_config(tmp / "both"), "--config", tmp / "facts.json"]


@case(
    "text_config",
    "hidden_size: config.json says 64, the shapes say 32",
    "Take weights and config.json from the same folder",
)
def a_config_json_that_contradicts_the_text_tower(tmp):
    return edited_config(tmp, text_config={"hidden_size": 64})


@case("vision_config", "patch_size: config.json says 32, the shapes say 16")
def a_config_json_that_contradicts_the_image_tower(tmp):
    return edited_config(tmp, vision_config={"patch_size": 32})


@case("text_config of config.json", "config.json has no text_config")
def a_config_json_without_a_tower(tmp):
    return edited_config(tmp, text_config=None)


def without_config(folder: Path, format: str) -> list[Any]:
    (folder / "config.json").unlink()
    return [folder, "--format", format]


@case("There is no config.json beside the weights", "Fetch config.json from the page of the weights")
def a_folder_without_its_config_json(tmp):
    return without_config(c.bert_clip.bert_clip_config(tmp / "bert_clip"), "bert_clip")


@case("There is no config.json beside the weights")
def a_clip_folder_without_its_config_json(tmp):
    return without_config(c.hf_clip.clip_folder(tmp / "clip"), "hf_clip")


@case("There is no config.json beside the weights")
def a_taiyi_folder_without_its_config_json(tmp):
    folder, vision = c.taiyi.taiyi_folder(tmp / "text", head=True), c.hf_clip.clip_folder(tmp / "clip")
    return [*without_config(folder, "taiyi"), "--vision", vision]


@case("text_config of config.json is 'bert'", "a JSON object was wanted")
def a_config_json_with_a_word_for_a_tower(tmp):
    return edited_config(tmp, text_config="bert")


@case("text_config of config.json states num_attention_heads '4'", "a number was wanted")
def a_config_json_with_heads_in_quotes(tmp):
    return edited_config(tmp, text_config={"num_attention_heads": "4"})


@case("vision_config of config.json states 0 heads", "Correct num_attention_heads")
def a_config_json_without_heads(tmp):
    return edited_config(tmp, vision_config={"num_attention_heads": 0})


@case("vision_config", "5 heads", "wanted a divisor of the width 64")
def a_config_json_whose_heads_do_not_divide(tmp):
    return edited_config(tmp, vision_config={"num_attention_heads": 5})


@case("vision_config of config.json states the activation 'swoosh'", "supported are gelu")
def a_config_json_with_an_unknown_activation(tmp):
    return edited_config(tmp, vision_config={"hidden_act": "swoosh"})


@case("text_config of config.json states layer_norm_eps -1.0", "a number between 0 and 1 was wanted")
def a_negative_eps(tmp: Path) -> list[Any]:
    return edited_config(tmp, text_config={"layer_norm_eps": -1.0})


@case("vision_config of config.json states layer_norm_eps 1", "a number between 0 and 1 was wanted")
def an_eps_of_one(tmp: Path) -> list[Any]:
    return edited_config(tmp, vision_config={"layer_norm_eps": 1})


@case("text_config of config.json states layer_norm_eps 'tiny'", "a number was wanted")
def a_config_json_with_a_word_for_eps(tmp):
    return edited_config(tmp, text_config={"layer_norm_eps": "tiny"})


@case("position_embedding_type 'relative_key' ('absolute' was wanted)")
def relative_positions(tmp):
    return edited_config(tmp, text_config={"position_embedding_type": "relative_key"})


@case("pads with id 0, but the model pads with id 7", "--tokenizer PATH")
def a_padding_that_is_not_the_tokenizer_s(tmp):
    return edited_config(tmp, text_config={"pad_token_id": 7})


@case("config.json is no valid JSON")
def a_config_json_that_is_cut(tmp):
    folder = c.bert_clip.bert_clip_config(tmp / "both")
    (folder / "config.json").write_text('{"model_type": ')
    return [folder]


@case(
    "model_type 'roberta'", "--format says taiyi, whose model_type is bert", "put the right config.json in its place"
)
def a_roberta_that_is_stated_as_taiyi(tmp):
    folder = c.taiyi.taiyi_folder(tmp / "text", head=False)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "roberta"}))
    return [folder, "--format", "taiyi", "--vision", c.hf_clip.clip_folder(tmp / "clip")]


# Vocabularies


@case("21130 words, but the model has only 21128 rows", "--tokenizer PATH")
def a_vocabulary_that_is_too_large(tmp):
    folder = c.bert_clip.bert_clip_config(tmp / "both")
    with (folder / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("zhclip\nzhclip2\n")
    return [folder]


def with_id(tmp: Path, number: Any) -> list[Any]:
    """A CLIP folder of which one token has another id; as many tokens as rows stay."""
    folder = c.hf_clip.clip_folder(tmp / "clip")
    ids = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    (folder / "vocab.json").write_text(json.dumps({**ids, "!": number}), encoding="utf-8")
    return [folder]


@case("The tokenizer gives ids up to 1000000, but the model has", "--tokenizer PATH")
def a_vocabulary_with_an_id_beyond_the_rows(tmp):
    return with_id(tmp, 10**6)


@case("found the id 1073741824 of '!'", "vocab.json", "wanted a whole number from 0 to 4194303")
def a_vocabulary_with_an_id_that_would_fill_the_memory(tmp):
    return with_id(tmp, 2**30)


@case("found the id '0' of '!'", "vocab.json", "wanted a whole number from 0 to 4194303")
def a_vocabulary_with_an_id_in_quotes(tmp):
    return with_id(tmp, "0")


@case("found a byte order mark at the beginning of", "vocab.txt", "UTF-8 without a byte order mark")
def a_vocabulary_with_a_byte_order_mark(tmp):
    folder = c.bert_clip.bert_clip_config(tmp / "both")
    (folder / "vocab.txt").write_bytes(b"\xef\xbb\xbf" + (folder / "vocab.txt").read_bytes())
    return [folder]


@case("no file", "nowhere.txt", "vocab.txt")
def a_vocabulary_that_does_not_exist(tmp):
    return [*cn_clip(tmp, vit()), "--tokenizer", tmp / "nowhere.txt"]


@case("nowhere.txt", "vocab.txt")
def a_bert_vocabulary_that_does_not_exist(tmp):
    return [c.bert_clip.bert_clip_config(tmp / "both"), "--tokenizer", tmp / "nowhere.txt"]


@case("[PAD]", "BERT vocabulary")
def a_vocabulary_that_is_none(tmp):
    (tmp / "words.txt").write_text("one\ntwo\n")
    return [*cn_clip(tmp, vit()), "--tokenizer", tmp / "words.txt"]


@case("no vocabulary", "tokenizer.json or vocab.txt", "--tokenizer PATH")
def a_folder_without_its_vocabulary(tmp):
    folder = c.bert_clip.bert_clip_config(tmp / "both")
    (folder / "vocab.txt").unlink()
    return [folder]


@case("no vocabulary", "--tokenizer PATH")
def a_bert_clip_file_without_a_vocabulary(tmp):
    folder = c.bert_clip.bert_clip_config(tmp / "both")
    (folder / "pytorch_model.bin").rename(tmp / "x.bin")
    return [tmp / "x.bin", "--format", "bert_clip", "--config", folder / "config.json"]


# Arguments


@case("--context-length is 65, but the model takes 3 to 64 tokens")
def a_context_longer_than_the_model(tmp):
    return [*cn_clip(tmp, vit()), "--context-length", 65]


@case("--context-length is 2, but the model takes 3 to 64 tokens")
def a_context_without_room_for_a_word(tmp):
    return [*cn_clip(tmp, vit()), "--context-length", 2]


@case("--max-shard-size '5XB' is no size; wanted a size such as 5GB or 500MB")
def a_shard_size_in_unknown_units(tmp):
    return [*cn_clip(tmp, vit()), "--max-shard-size", "5XB"]


@case("--max-shard-size '' is no size")
def an_empty_shard_size(tmp):
    return [*cn_clip(tmp, vit()), "--max-shard-size", ""]


@case("--max-shard-size 'GB' is no size")
def a_shard_size_without_a_number(tmp):
    return [*cn_clip(tmp, vit()), "--max-shard-size", "GB"]


@case("--max-shard-size '0GB' is no size")
def a_shard_size_of_nothing(tmp):
    return [*cn_clip(tmp, vit()), "--max-shard-size", "0GB"]


@case("--report", "the folder does not exist")
def a_report_into_a_folder_that_does_not_exist(tmp):
    return [*cn_clip(tmp, vit()), "--report", tmp / "nowhere" / "report.json"]


@case("--report", "x.pt", "exists already")
def a_report_over_the_checkpoint(tmp):
    return [*cn_clip(tmp, vit()), "--report", tmp / "x.pt"]


def run(command: str, arguments: list[Any], capsys) -> tuple[int, str, str]:
    code = zhclip_cli.main([command, *map(str, arguments)])
    output = capsys.readouterr()
    return code, output.out, output.err


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*") if not path.is_dir()
    }


OF_THE_WRITING = {
    **dict.fromkeys((a_nan, infinities, numbers_too_large_for_the_dtype), "only the numbers show it"),
    **dict.fromkeys(
        (
            *(a_context_longer_than_the_model, a_context_without_room_for_a_word),
            *(a_shard_size_in_unknown_units, an_empty_shard_size, a_shard_size_without_a_number),
            a_scale_that_is_no_number_where_others_may_be_none,
            *(a_shard_size_of_nothing, a_report_into_a_folder_that_does_not_exist, a_report_over_the_checkpoint),
        ),
        "an option that says how the repo is written",
    ),
}
"""Cases that `inspect` can't see, and why: it reads headers, and writes nothing."""


@pytest.mark.quick(46)
@pytest.mark.parametrize("name", CASES)
def test_bad_input_ends_with_2_in_words_and_writes_nothing(name, tmp_path, capsys):
    make, wanted = CASES[name]
    source, *options = make(tmp_path)
    before = listing(tmp_path)

    code, out, err = run("convert", [source, tmp_path / "OUT", *options], capsys)

    assert "Traceback" not in err
    assert [piece for piece in wanted if piece not in err] == [], err
    assert (code, out) == (2, "")
    if make not in OF_THE_WRITING:
        assert said_by_inspect([source, *options], capsys) == err[err.index("zhclip: ") :]
    assert listing(tmp_path) == before
    assert not (tmp_path / "OUT").exists()
    assert not (tmp_path / "marker").exists()


def said_by_inspect(arguments: list[Any], capsys) -> str:
    """What `inspect` says that convert would print; where it can't read the input at all, what it prints itself."""
    code, out, err = run("inspect", [*arguments, "--json"], capsys)
    assert code == 2
    if not out:
        return err
    lines = f"zhclip: {json.loads(out)['refusal']}".split("\n")
    return "\n  ".join(lines) + "\n"  # as a command indents what it says


def test_the_command_in_these_tests_would_have_run(tmp_path):
    pickle.loads(pickle.dumps(Evil(tmp_path / "marker")))

    assert (tmp_path / "marker").exists()
