from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hf_zhclip.conversion.detection.detect import detect
from hf_zhclip.conversion.errors import InputError, UnknownFormat
from hf_zhclip.conversion.reading.read import Checkpoint

from tests import checkpoints as c


def checkpoint(shapes, **config):
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    return Checkpoint(Path("folder/x.pt"), (), "zip", tensors, config=config)


BERT_CLIP = c.bert_clip.bert_clip()
OPENAI_CLIP_SCALARS: dict[str, tuple[int, ...]] = dict.fromkeys(c.openai_clip.OPENAI_CLIP_SCALARS, ())
PUBLISHED_TAIYI = c.taiyi.taiyi(head=True) | {"classifier.weight": (512, 768)}


@pytest.mark.parametrize(
    ("found", "source", "certainty", "why"),
    [
        (checkpoint(c.cn_clip.cn_clip_vit()), "cn_clip", "certain", "6 keys that no other known format has together"),
        (checkpoint(c.cn_clip.cn_clip_vit(flash=True)), "cn_clip", "certain", "6 keys"),
        (checkpoint(c.cn_clip.cn_clip_vit(pooler=True)), "cn_clip", "certain", "6 keys"),
        (checkpoint(c.cn_clip.cn_clip_resnet()), "cn_clip", "certain", "6 keys"),
        (checkpoint(c.prd2.prd2()), "prd2", "certain", "7 keys that no other"),
        (checkpoint(c.prd2.r2d2()), "prd2", "certain", "7 keys"),
        (checkpoint(c.taiyi_finetune.taiyi_finetune()), "taiyi_finetune", "certain", "8 keys that no other"),
        (
            checkpoint({f"model.{key}": shape for key, shape in c.taiyi_finetune.taiyi_finetune().items()}),
            "taiyi_finetune",
            "certain",
            "8 keys that no other",
        ),
        (
            checkpoint(BERT_CLIP, architectures=["BertCLIPModel"]),
            "bert_clip",
            "certain",
            "config.json names BertCLIPModel",
        ),
        (checkpoint(BERT_CLIP, architectures=["TextCLIPModel"]), "bert_clip", "certain", "names TextCLIPModel"),
        (checkpoint(BERT_CLIP, architectures=["TaiyiCLIPModel"]), "taiyi_clip", "certain", "names TaiyiCLIPModel"),
        (checkpoint(BERT_CLIP, architectures=["ChineseCLIPModel"]), "chinese_clip", "certain", "names Chinese"),
        (checkpoint(BERT_CLIP, model_type="chinese_clip"), "chinese_clip", "certain", "names chinese_clip"),
        (
            checkpoint(BERT_CLIP, architectures=["VisionTextDualEncoderModel"]),
            "bert_clip",
            "certain",
            "names VisionText",
        ),
        (checkpoint(BERT_CLIP, model_type="vision-text-dual-encoder"), "bert_clip", "certain", "names vision-text"),
        (
            checkpoint(c.dual_encoder.dual_encoder(), architectures=["VisionTextDualEncoderModel"]),
            "bert_clip",
            "certain",
            "names V",
        ),
        (
            checkpoint(c.chinese_clip.chinese_clip(), architectures=["ChineseCLIPModel"]),
            "chinese_clip",
            "certain",
            "6 keys",
        ),
        (checkpoint(c.chinese_clip.chinese_clip()), "chinese_clip", "certain", "6 keys that no other"),
        (checkpoint(PUBLISHED_TAIYI), "taiyi", "likely", "classifier.weight [512, 768]"),
        (
            checkpoint(PUBLISHED_TAIYI | {"classifier.weight": (768, 1024)}),
            "taiyi",
            "likely",
            "classifier.weight [768, 1024]",
        ),
        (
            checkpoint(c.openai_clip.openai_clip() | OPENAI_CLIP_SCALARS),
            "openai_clip",
            "certain",
            "11 keys that no other",
        ),
        (
            checkpoint(c.openai_clip.openai_clip(resnet=True) | OPENAI_CLIP_SCALARS),
            "openai_clip",
            "certain",
            "11 keys",
        ),
        (checkpoint(c.common.hf_clip_vision()), "hf_clip", "certain", "4 keys"),
        (checkpoint(c.hf_clip.hf_clip()), "hf_clip", "certain", "7 keys"),
        (
            checkpoint(
                {key: shape for key, shape in c.common.hf_clip_vision().items() if key != "logit_scale"},
                architectures=["CLIPVisionModelWithProjection"],
            ),
            "hf_clip",
            "certain",
            "names CLIPVisionModelWithProjection",
        ),
    ],
)
def test_a_format_is_found_by_its_keys_and_says_why(found, source, certainty, why):
    detection = detect(found)

    assert (detection.source.name, detection.certainty) == (source, certainty)
    assert why in detection.why


def test_the_order_of_keys_does_not_matter():
    shapes = c.cn_clip.cn_clip_vit()

    assert detect(checkpoint({key: shapes[key] for key in sorted(shapes, reverse=True)})).source.name == "cn_clip"


@pytest.mark.parametrize(
    ("found", "candidate"),
    [
        (checkpoint(BERT_CLIP), "bert_clip"),
        (checkpoint(BERT_CLIP, architectures="BertCLIPModel"), "bert_clip"),
        (checkpoint(BERT_CLIP, architectures=None), "bert_clip"),
        (checkpoint(c.taiyi.taiyi(head=True)), "taiyi"),
        (checkpoint(c.taiyi.taiyi(head=False), architectures=["BertModel"]), "taiyi"),
    ],
)
def test_keys_that_cannot_decide_are_not_guessed(found, candidate):
    with pytest.raises(UnknownFormat, match=rf"do not decide its format(.|\n)*--format {candidate}"):
        detect(found)

    assert detect(found, candidate).certainty == "stated"


def test_a_stated_format_must_agree_with_the_keys():
    with pytest.raises(UnknownFormat) as error:
        detect(checkpoint(c.cn_clip.cn_clip_vit()), "taiyi")

    message = str(error.value)
    assert "is not Taiyi-CLIP" in message
    assert "Keys of this format that are missing here:\n  bert.pooler.dense.weight\n  classifier.weight" in message
    assert "Keys that this format does not have, but the checkpoint has:\n  visual.*" in message


def test_a_format_that_nobody_knows_is_refused_with_the_list():
    with pytest.raises(InputError, match="the formats are cn_clip, bert_clip, "):
        detect(checkpoint(c.cn_clip.cn_clip_vit()), "clip")


def test_the_nearest_format_is_named_with_the_keys_that_differ():
    shapes = c.cn_clip.cn_clip_vit() | {"extra.0.weight": (1,), "extra.1.weight": (1,)}
    del shapes["visual.proj"]

    with pytest.raises(UnknownFormat) as error:
        detect(checkpoint(shapes))

    message = str(error.value)
    assert "The nearest format is cn_clip" in message
    assert "Keys of this format that are missing here:\n  visual.proj\n" in message
    assert "Keys that no rule of this format claims:\n  extra.{0...1}.weight [1]" in message


@pytest.mark.parametrize("format", [None, "cn_clip"])
@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("bert.encoder.layer.0.attention.self.query.lora_A.weight", "unmerged LoRA weights"),
        ("base_model.model.bert.lora_A.default.weight", "unmerged LoRA weights"),
        ("bert.encoder.layer.0.output.dense._packed_params._packed_params", "quantised weights"),
        ("bert.encoder.layer.0.output.dense.weight.quant_state.bitsandbytes__nf4", "bitsandbytes"),
        ("bert.encoder.layer.0.output.dense.SCB", "8 bit"),
    ],
)
def test_altered_models_are_named_even_where_the_other_keys_fit(key, title, format):
    with pytest.raises(UnknownFormat, match=title):
        detect(checkpoint(c.cn_clip.cn_clip_vit() | {key: (1,)}), format)


def test_placeholders_are_named_even_if_only_some_weights_are():
    with pytest.raises(UnknownFormat, match=r"empty placeholders in place of weights \(visual\.proj"):
        detect(checkpoint(c.cn_clip.cn_clip_vit() | {"visual.proj": (0,)}))


def test_an_empty_head_beside_the_weights_is_called_what_it_is():
    shapes = c.cn_clip.cn_clip_vit() | {"head.weight": (0, 48), "head.bias": (0,)}
    with pytest.raises(UnknownFormat, match=r"holds empty tensors .*head.bias \[0\], head.weight \[0, 48\]") as error:
        detect(checkpoint(shapes))

    assert "ZeRO" not in str(error.value) and "numel()" in str(error.value)


@pytest.mark.parametrize(
    ("prefix", "candidates"),
    [("", ("bert_clip", "chinese_clip", "taiyi_clip")), ("model.", ("taiyi_clip",))],
)
def test_without_a_config_every_model_of_the_same_keys_is_a_candidate(prefix, candidates):
    with pytest.raises(UnknownFormat) as error:
        detect(checkpoint({prefix + key: shape for key, shape in BERT_CLIP.items()}))

    assert all(f"--format {name} (" in str(error.value) for name in candidates)
    assert str(error.value).count("--format ") == len(candidates)


WITHOUT_POOLER = {key: shape for key, shape in BERT_CLIP.items() if "pooler" not in key}


@pytest.mark.parametrize(
    ("shapes", "config", "said"),
    [
        (c.common.hf_clip_vision(), {"architectures": ["MetaClip2Model"]}, "MetaClip2Model, which is not converted"),
        (BERT_CLIP, {"architectures": ["BlipModel"]}, "BlipModel, which is not converted"),
        (BERT_CLIP, {"model_type": "blip"}, "blip, which is not converted"),
        (WITHOUT_POOLER, {"architectures": ["TaiyiCLIPModel"]}, "TaiyiCLIPModel(.|\n)*text_model.pooler.dense.weight"),
        (WITHOUT_POOLER, {"model_type": "vision-text-dual-encoder"}, "vision-text-dual(.|\n)*text_model.pooler.dense"),
    ],
)
def test_keys_do_not_outweigh_a_config_that_names_another_model_and_no_format_is_offered(shapes, config, said):
    with pytest.raises(UnknownFormat, match=f"config.json names {said}") as error:
        detect(checkpoint(shapes, **config))

    assert "--format" not in str(error.value)


@pytest.mark.parametrize("name", ["BertModel", "BertForSequenceClassification"])
def test_a_plain_berts_class_does_not_decide_and_the_formats_of_its_keys_are_offered(name):
    with pytest.raises(UnknownFormat, match="--format bert_from_clip|--format taiyi"):
        detect(checkpoint(c.taiyi.taiyi(head=name != "BertModel"), architectures=[name]))


@pytest.mark.parametrize(
    ("shapes", "config", "format", "title"),
    [
        (BERT_CLIP, {"architectures": ["BertCLIPModel"]}, "chinese_clip", "BertCLIPModel, which is BertCLIP"),
        (BERT_CLIP, {"architectures": ["TaiyiCLIPModel"], "model_type": "clip"}, "bert_clip", "TaiyiCLIPModel, which"),
        (BERT_CLIP, {"model_type": "vision-text-dual-encoder"}, "chinese_clip", "vision-text-dual-encoder, which is"),
        (WITHOUT_POOLER, {"architectures": ["TaiyiCLIPModel"]}, "chinese_clip", "TaiyiCLIPModel, which is Fengshen"),
    ],
)
def test_a_stated_format_does_not_outweigh_a_config_that_names_another(shapes, config, format, title):
    with pytest.raises(
        UnknownFormat, match=f"config.json names {title}.*--format says {format}.*Correct config.json or --format"
    ):
        detect(checkpoint(shapes, **config), format)


@pytest.mark.parametrize(
    ("shapes", "config", "format"),
    [
        (BERT_CLIP, {"architectures": ["MyBertCLIP"]}, "bert_clip"),
        (BERT_CLIP, {"architectures": ["BertCLIPModel"], "model_type": "clip"}, "bert_clip"),
        (BERT_CLIP, {"model_type": "clip"}, "bert_clip"),
        # EasyNLP writes ChineseCLIP's model type beside keys that the class does not have.
        (
            {f"chinese_clip.{key}": shape for key, shape in c.cn_clip.cn_clip_vit().items()},
            {"model_type": "chinese_clip"},
            "easynlp",
        ),
    ],
)
def test_a_stated_format_decides_where_the_config_names_no_other_that_is_known(shapes, config, format):
    assert detect(checkpoint(shapes, **config), format).certainty == "stated"


@pytest.mark.parametrize(
    ("shapes", "config", "format"),
    [
        (c.taiyi.taiyi(head=False), {"model_type": "roberta", "architectures": ["RobertaModel"]}, "taiyi"),
        (c.taiyi.taiyi(head=False), {"model_type": "xlm-roberta"}, "bert_from_clip"),
        (c.taiyi.taiyi(head=True), {"model_type": "ernie"}, "taiyi"),
        (BERT_CLIP, {"model_type": "blip"}, "bert_clip"),
        (BERT_CLIP, {"model_type": "blip"}, "chinese_clip"),
        (BERT_CLIP, {"model_type": "blip"}, "taiyi_clip"),
        ({f"model.{key}": shape for key, shape in BERT_CLIP.items()}, {"model_type": "blip"}, "taiyi_clip"),
    ],
)
def test_a_stated_format_does_not_outweigh_a_model_type_that_computes_something_else(shapes, config, format):
    kind = config["model_type"]
    with pytest.raises(
        UnknownFormat, match=f"model_type '{kind}'.*--format says {format}.*put the right config.json"
    ) as error:
        detect(checkpoint(shapes, **config), format)

    assert error.value.verdict == "contradicted"
    own = "bert" if "embeddings.word_embeddings.weight" in shapes or "classifier.bias" in shapes else "clip"
    for right in ({}, {"model_type": own}):
        assert detect(checkpoint(shapes, **right), format).certainty == "stated"


def test_a_lightning_file_of_a_class_that_pools_otherwise_is_not_taken_for_taiyis():
    shapes = {f"model.{key}": shape for key, shape in BERT_CLIP.items()}
    with pytest.raises(UnknownFormat, match="names BertCLIPModel, which is BertCLIP.*--format says taiyi_clip"):
        detect(checkpoint(shapes, architectures=["BertCLIPModel"]), "taiyi_clip")


@pytest.mark.parametrize(
    ("shapes", "beside", "format", "other"),
    [
        (c.cn_clip.cn_clip_vit(), ("vision_model_config.json", "text_model_config.json"), "cn_clip", "modelscope"),
        (c.openai_clip.openai_clip(), ("open_clip_config.json",), "openai_clip", "open_clip"),
    ],
)
def test_a_stated_format_does_not_outweigh_the_files_that_lie_beside_the_weights(shapes, beside, format, other):
    found = replace(checkpoint(shapes), files=tuple(Path(name) for name in ("x.bin", *beside)))
    with pytest.raises(UnknownFormat, match=rf"{beside[0]}.* lies? beside the weights.*Leave --format out"):
        detect(found, format)

    assert detect(found).source.name == other


def test_for_openais_bare_keys_it_is_said_how_to_choose():
    with pytest.raises(UnknownFormat) as error:
        detect(checkpoint(c.openai_clip.openai_clip()))

    message = str(error.value)
    assert "trained with open_clip, pass --format open_clip --config FILE" in message and "model_configs" in message
    assert "fine-tuned from them, pass --format openai_clip" in message


@pytest.mark.parametrize(
    ("keys", "title"),
    [
        (("visual.conv1.weight", "text.transformer.block.0.layer.0.layer_norm.weight", "text.proj.weight"), "mT5"),
        (("embeddings.word_embeddings.weight", "transformer.layer.0.attention.q_lin.weight"), "DistilBERT"),
        (
            ("transformer.embeddings.word_embeddings.weight", "transformer.encoder.layer.0.output.dense.weight"),
            "Multilingual-CLIP without its LinearTransformation",
        ),
        (("embeddings.word_embeddings.weight", "encoder.layer.0.output.dense.weight"), "BERT without a pooler"),
        (("text_model.head.weight", "vision_model.head.probe", "logit_bias"), "SigLIP"),
    ],
)
def test_text_towers_and_relatives_that_are_not_converted_are_refused_by_name(keys, title):
    with pytest.raises(UnknownFormat, match=title):
        detect(checkpoint(dict.fromkeys(keys, (1,))))
