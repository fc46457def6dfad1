"""cn_clip's model in other projects' hands: QA-CLIP's files are its own by their shapes, EasyNLP's stand apart."""

import json
from pathlib import Path

import pytest
import torch

from hf_zhclip.conversion import convert, inspect
from hf_zhclip.conversion.detection.detect import detect
from hf_zhclip.conversion.detection.parts import identify
from hf_zhclip.conversion.errors import InputError, UnknownFormat
from hf_zhclip.conversion.layouts import cn_clip as cn_clip_model
from hf_zhclip.conversion.proof import verification
from hf_zhclip.conversion.reading import catalogue
from hf_zhclip.conversion.reading.read import Checkpoint, read
from hf_zhclip.conversion.stated import Stated

from tests import checkpoints
from tests.conversion.helpers import compare_here

KEYS = Path(__file__).parents[2] / "keys"

# QA-CLIP, clip/utils.py: what its own names build, in cn_clip's words.
QA_CLIP = {
    "QA-CLIP-base.pt": ("ViT-B-16@RoBERTa-wwm-ext-base-chinese", 224),
    "QA-CLIP-large.pt": ("ViT-L-14@RoBERTa-wwm-ext-base-chinese", 224),
    "QA-CLIP-large-336.pt": ("ViT-L-14-336@RoBERTa-wwm-ext-base-chinese", 336),
    "QA-CLIP-RN50.pt": ("RN50@RBT3-chinese", 224),
}


@pytest.mark.parametrize("file", QA_CLIP)
def test_a_file_of_qa_clip_is_known_by_its_shapes_and_by_where_it_is_published(file):
    structure, size = QA_CLIP[file]
    entry = catalogue.find_by_hub("TencentARC/QA-CLIP", file)
    recorded = json.loads((KEYS / f"cn_clip-{entry.image.tower.lower()}.json").read_text(encoding="utf-8"))
    tensors = {key: torch.empty(shape, device="meta") for key, shape in recorded["keys"].items()}
    detection = detect(Checkpoint(Path(file), (), "zip", tensors))
    described = detection.source.describe(Checkpoint(Path(file), (), "zip", tensors), {})

    assert (detection.source.name, detection.certainty) == ("cn_clip", "certain")
    assert (described.architecture, described.image_size) == (structure, size)
    assert f"{entry.image.tower}@{entry.text.tower}" == structure and entry.family == "QA-CLIP"


def test_the_report_of_such_a_file_names_the_format_its_training_and_no_catalogue_entry(tmp_path):
    # As QA-CLIP's files are pickled: numpy numbers beside the weights (the hub lists numpy.core.multiarray.scalar).
    source = checkpoints.cn_clip.cn_clip_file(tmp_path / "QA-CLIP-tiny.pt", step=torch.tensor(5).numpy()[()])
    found = inspect(source)
    report = convert(source, tmp_path / "out", config=checkpoints.cn_clip.cn_clip_config(tmp_path / "facts.json"))

    assert (found.format, found.training["step"]) == ("cn_clip", 5)
    assert report.passed and report.conversion["catalogue"] is None
    assert (report.sources[0]["format"], report.sources[0]["name"]) == ("cn_clip", "QA-CLIP-tiny.pt")


@pytest.mark.parametrize("bare", ["visual.", "bert.", "logit_scale", "bert.pooler."])
def test_easynlps_prefix_on_only_some_keys_is_an_error_that_lists_them(bare, tmp_path):
    keys = checkpoints.cn_clip.cn_clip_vit(pooler=True)
    mixed = {key if key.startswith(bare) else f"chinese_clip.{key}": torch.ones(shape) for key, shape in keys.items()}
    torch.save(mixed, tmp_path / "mixed.bin")
    told = "nearest format is easynlp.*Keys that no rule of this format claims:"
    if bare == "bert.pooler.":  # which the model does without
        told = r"\[easynlp\] under the prefix 'chinese_clip\.'\nOther keys:"
    with pytest.raises(UnknownFormat, match=rf"(?s){told}\n  {bare}"):
        detect(read(tmp_path / "mixed.bin"))


def test_easynlp_has_its_own_pictures_tokens_and_head_width(tmp_path):
    description = identify(Stated(checkpoints.easynlp.easynlp_folder(tmp_path / "app")))[0].describe()

    assert description.image_order == "crop_up_then_rgb"
    assert description.vision.config["num_attention_heads"] == 1  # 64 / 64, where cn_clip would have to be told
    assert any("sequence_length" in limit.en for limit in description.limits)


def test_easynlps_config_json_is_held_against_the_shapes(tmp_path):
    folder = checkpoints.easynlp.easynlp_folder(tmp_path / "app", vision_layers=12)
    with pytest.raises(
        InputError, match=r"config\.json contradicts the weights: vision_layers: stated 12, the shapes"
    ):
        identify(Stated(folder))[0].describe()


@pytest.mark.parametrize(
    ("keys", "title"),
    [
        (("open_clip.visual.conv1.weight", "open_clip.token_embedding.weight"), "EasyNLP's open_clip"),
        (
            ("vision_encoder.a", "vision_projection.weight", "text_encoder.b", "text_projection.weight"),
            "EasyNLP's CLIP",
        ),
        (("model.visual_encoder.a", "model.text_encoder.b", "model.logit_scale"), "EasyNLP's Wukong"),
    ],
)
def test_easynlps_other_layouts_are_refused_by_name_with_the_reason(keys, title):
    tensors = {key: torch.ones(1) for key in keys}
    with pytest.raises(UnknownFormat, match=rf"is {title}.*\..+ is not converted"):
        detect(Checkpoint(Path("x.bin"), (), "zip", tensors))


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("family", "planted", "step"),
    [
        ("modelscope", {"vision_head_width": 32}, "image"),
        ("modelscope", {"text_num_attention_heads": 2}, "text"),
        ("modelscope", {"text_hidden_act": "relu"}, "text"),
        ("easynlp", {"text_num_attention_heads": 2}, "text"),
    ],
)
def test_a_wrong_fact_in_the_files_is_seen_by_the_comparison(family, planted, step, repo):
    found = repo(family)
    (source,) = found.report.sources
    files = {
        name: {**each, "content": {**each["content"], **planted}} for name, each in source["evidence"]["files"].items()
    }
    recorded = [{**source, "evidence": {**source["evidence"], "files": files}}]
    request = verification.Request(
        out=str(found.path),
        parts=[],
        dtype="keep",
        vocabulary=str(found.path),
        context_length=None,
        recorded=recorded,
    )
    _, comparisons = compare_here(request)
    assert step in {each.step for each in comparisons if not each.passed}


def test_of_a_published_size_the_published_heads_stand_where_a_config_states_only_its_width():
    recorded = json.loads((KEYS / "cn_clip-vit-h-14.json").read_text(encoding="utf-8"))
    shapes = {key: tuple(shape) for key, shape in recorded["keys"].items()}

    described = cn_clip_model.describe(shapes, {"vision_width": 1280})

    assert described.vision.config["num_attention_heads"] == 16


def test_every_field_of_its_published_configs_is_known():
    # cn_clip 1.6.0, clip/model_configs: the union of the fields of its nine files.
    image = {f"vision_{field}" for field in ("layers", "width", "patch_size", "head_width")}
    image |= {"embed_dim", "image_resolution"}
    sizes = {"hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers"}
    others = {"attention_probs_dropout_prob", "hidden_act", "hidden_dropout_prob", "initializer_range"}
    text = {f"text_{field}" for field in sizes | others | {"type_vocab_size"}} | {"vocab_size"}

    cn_clip_model.check_fields(dict.fromkeys(image | text))
    with pytest.raises(
        InputError, match="--config states unknown fields: vision_with. The known fields are embed_dim, "
    ):
        cn_clip_model.check_fields({"vision_with": 768})


def test_a_vocabulary_of_another_size_is_asked_for_and_not_taken_from_the_package(tmp_path):
    shapes = {
        **checkpoints.cn_clip.cn_clip_vit(),
        "bert.embeddings.word_embeddings.weight": (21130, checkpoints.common.HIDDEN),
    }
    source = checkpoints.cn_clip.cn_clip_file(tmp_path / "x.pt", shapes)

    with pytest.raises(
        InputError, match="The packaged vocabulary has 21128 words, but the model has 21130 rows.*--tokenizer"
    ):
        convert(source, tmp_path / "OUT", config=checkpoints.cn_clip.cn_clip_config(tmp_path / "facts.json"))
