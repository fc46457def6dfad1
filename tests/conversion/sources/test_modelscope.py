"""ModelScope's folders: how they are known, what their JSON states, and what is refused."""

import json

import pytest
import torch

from hf_zhclip.conversion import convert, inspect
from hf_zhclip.conversion.detection.detect import detect
from hf_zhclip.conversion.detection.parts import identify
from hf_zhclip.conversion.errors import InputError, UnknownFormat
from hf_zhclip.conversion.reading.read import read
from hf_zhclip.conversion.stated import Stated

from tests import checkpoints

PREFIX = "clip_model."


def saved(path, state_dict):
    torch.save(state_dict, path)
    return path


def prefixed(shapes, *bare):
    """Tensors under the prefix, but for those that begin with one of `bare`."""
    return {key if key.startswith(bare or ("\0",)) else PREFIX + key: torch.ones(shapes[key]) for key in shapes}


@pytest.mark.quick(4)
@pytest.mark.parametrize("prefix", ["", PREFIX, "module.", f"module.{PREFIX}"])
@pytest.mark.parametrize("nested", [True, False])
def test_a_folder_is_known_with_and_without_the_trainers_prefixes(prefix, nested, tmp_path):
    found = inspect(checkpoints.modelscope.modelscope_folder(tmp_path / "zh", prefix, nested))

    assert (found.format, found.certainty) == ("modelscope", "certain")
    assert found.architecture == "ViT 64x2/16@BERT 32x2"
    assert found.wrappers == (("module.",) if prefix.startswith("module.") else ())


def test_the_weight_file_of_a_folder_says_the_same_as_the_folder(tmp_path):
    folder = checkpoints.modelscope.modelscope_folder(tmp_path / "zh")
    assert inspect(folder / "pytorch_model.bin").format == "modelscope"


def test_the_same_keys_without_the_folders_files_are_cn_clips(tmp_path):
    folder = checkpoints.modelscope.modelscope_folder(tmp_path / "zh")
    alone = (folder / "pytorch_model.bin").rename(tmp_path / "alone.bin")
    assert inspect(alone, config=checkpoints.cn_clip.cn_clip_config(tmp_path / "facts.json")).format == "cn_clip"

    with pytest.raises(
        UnknownFormat, match=r"that are missing beside the weights:\n  vision_model_config\.json\n  text_model_co"
    ):
        detect(read(alone), "modelscope")


def test_a_configuration_json_alone_does_not_make_a_folder_modelscopes(tmp_path):
    folder = checkpoints.bert_clip.bert_clip_config(tmp_path / "mirror")
    (folder / "configuration.json").write_text('{"framework": "pytorch"}', encoding="utf-8")
    assert inspect(folder).format == "bert_clip"


def test_a_fine_tune_alone_needs_its_facts_stated_like_any_size_that_is_not_published(tmp_path):
    path = saved(tmp_path / "ft.bin", prefixed(checkpoints.cn_clip.cn_clip_vit(pooler=True)))
    assert inspect(path).format == "modelscope"
    with pytest.raises(InputError, match=r"(?s)size was never published.*vision_head_width.*--config FILE"):
        identify(Stated(path))[0].describe()

    stated = identify(Stated(path, config=checkpoints.cn_clip.cn_clip_config(tmp_path / "facts.json")))[0].describe()
    assert stated.vision.config["num_attention_heads"] == 64 // 16


@pytest.mark.parametrize(
    ("bare", "listed"),
    [
        (("visual.",), "visual.transformer.resblocks.{0...1}.mlp.c_fc.weight"),
        (("bert.",), "bert.encoder.layer.{0...1}.intermediate.dense.weight"),
        (("logit_scale",), "logit_scale"),
        (("visual.ln_post",), "visual.ln_post.bias"),
    ],
)
def test_the_prefix_on_only_some_keys_is_an_error_that_lists_them(bare, listed, tmp_path):
    path = saved(tmp_path / "mixed.bin", prefixed(checkpoints.cn_clip.cn_clip_vit(pooler=True), *bare))
    with pytest.raises(UnknownFormat) as error:
        detect(read(path))
    assert "The nearest format is modelscope" in str(error.value)
    assert f"\n  {listed} [" in str(error.value)


def test_a_model_with_and_one_without_the_prefix_in_one_file_are_not_chosen_between(tmp_path):
    shapes = checkpoints.cn_clip.cn_clip_vit()
    both = {key: torch.ones(shape) for key, shape in shapes.items()} | prefixed(shapes)
    with pytest.raises(
        UnknownFormat, match=r"(?s)several models:\n.*\[cn_clip\] without a prefix\n.*'clip_model\.'\n"
    ):
        detect(read(saved(tmp_path / "both.bin", both)))


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"vision_layers": 3}, r"vision_layers: stated 3, the shapes say 2"),
        ({"image_resolution": 224}, r"image_resolution: stated 224, the shapes say 64"),
        ({"text_hidden_size": 64}, r"text_hidden_size: stated 64, the shapes say 32"),
        ({"embed_dim": 512}, r"embed_dim: stated 512, the shapes say 48"),
        ({"vision_head_width": 10}, r"states vision_head_width 10; wanted a divisor of the width 64"),
        ({"text_hidden_act": "gleu"}, r"gleu"),
    ],
)
def test_files_that_contradict_the_weights_are_refused_by_their_names(stated, message, tmp_path):
    folder = checkpoints.modelscope.modelscope_folder(tmp_path / "zh", **stated)
    with pytest.raises(InputError, match=f"vision_model_config.json or text_model_config.json.*{message}"):
        identify(Stated(folder))[0].describe()


def test_the_facts_are_those_of_the_folders_files(tmp_path):
    folder = checkpoints.modelscope.modelscope_folder(
        tmp_path / "zh", vision_head_width=None, text_num_attention_heads=2, text_hidden_act="relu"
    )
    description = identify(Stated(folder))[0].describe()

    assert description.vision.config["num_attention_heads"] == 1  # its class takes heads of width 64
    assert description.text.config["num_attention_heads"] == 2
    assert description.text.config["hidden_act"] == "relu"
    assert (description.text.config["layer_norm_eps"], description.vision.config["layer_norm_eps"]) == (1e-12, 1e-5)
    assert (description.image_order, description.context_length) == ("squash_then_rgb", 52)


def test_a_folder_that_lacks_one_of_the_two_files_says_which(tmp_path):
    folder = checkpoints.modelscope.modelscope_folder(tmp_path / "zh")
    (folder / "text_model_config.json").unlink()
    with pytest.raises(InputError, match=r"holds vision_model_config\.json but no text_model_config\.json"):
        read(folder)


def test_the_folders_own_vocabulary_is_the_tokenizers(tmp_path):
    folder = checkpoints.modelscope.modelscope_folder(tmp_path / "zh")
    words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    first, second = words.index("猫"), words.index("狗")
    words[first], words[second] = words[second], words[first]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    report = convert(folder, tmp_path / "out")

    from transformers import AutoTokenizer

    assert report.level == "reference" and report.passed
    assert AutoTokenizer.from_pretrained(tmp_path / "out")(["狗"])["input_ids"] == [[101, first, 102]]


def test_the_model_of_before_august_2022_is_refused_by_name(tmp_path):
    keys = ("vision_encoder.conv1.weight", "text_encoder.bert.embeddings.word_embeddings.weight", "logit_scale")
    path = saved(tmp_path / "pytorch_model.bin", {key: torch.ones(2) for key in keys})
    with pytest.raises(UnknownFormat, match="a ModelScope model from before August 2022"):
        detect(read(path))

    (tmp_path / "encoder_config.json").write_text(json.dumps({"feat_dim": 512}), encoding="utf-8")
    with pytest.raises(InputError, match="a ModelScope model from before August 2022"):
        read(tmp_path)
