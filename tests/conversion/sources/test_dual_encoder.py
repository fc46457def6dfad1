"""VisionTextDualEncoderModel of a BERT and a CLIP ViT: BertCLIP's computation under a class of transformers itself."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoProcessor, VisionTextDualEncoderModel

from hf_zhclip.conversion import convert, inspect, verify
from hf_zhclip.conversion.errors import InputError

from tests import checkpoints as c
from tests.inputs import seeded_pixels

LAYOUTS = {"transformers 5": c.bert_clip.bert_clip, "transformers 4": c.dual_encoder.dual_encoder}


@pytest.mark.quick(1)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_the_class_is_converted_and_transformers_bears_witness(layout, tmp_path):
    folder = c.dual_encoder.dual_encoder_folder(tmp_path / "dual", LAYOUTS[layout]())
    report = convert(folder, tmp_path / "out")

    assert (report.level, report.sources[0]["format"]) == ("peer", "bert_clip")
    assert report.conversion["context_length"] == 20
    assert (verify(tmp_path / "out").level, verify(tmp_path / "out", folder).level) == ("peer", "peer")


@pytest.mark.quick(1)
@pytest.mark.parametrize("layout", LAYOUTS)
@torch.no_grad()
def test_the_result_computes_what_from_pretrained_of_transformers_computes(layout, tmp_path):
    folder = c.dual_encoder.dual_encoder_folder(tmp_path / "dual", LAYOUTS[layout]())
    convert(folder, tmp_path / "out")
    theirs = VisionTextDualEncoderModel.from_pretrained(folder).eval()
    ours = AutoModel.from_pretrained(tmp_path / "out").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    words = processor(text=["一只猫", "两条狗在草地上"], padding=True, return_tensors="pt")
    words = {key: words[key] for key in ("input_ids", "attention_mask")}
    pixels = seeded_pixels(c.common.SIZE)
    pairs = (
        (ours.get_text_features(**words), theirs.get_text_features(**words)),
        (ours.get_image_features(pixel_values=pixels), theirs.get_image_features(pixel_values=pixels)),
    )

    for found, wanted in pairs:
        torch.testing.assert_close(
            torch.nn.functional.normalize(found.pooler_output, dim=-1),
            torch.nn.functional.normalize(wanted.pooler_output, dim=-1),
            atol=1e-5,
            rtol=0,
        )
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(written["vision_model.pre_layrnorm.weight"], theirs.vision_model.pre_layrnorm.weight)


@pytest.mark.parametrize(
    ("where", "kind"), [("text_config", "roberta"), ("text_config", None), ("vision_config", "siglip_vision_model")]
)
def test_towers_that_only_have_the_keys_are_refused(where, kind, tmp_path):
    folder = c.dual_encoder.dual_encoder_folder(tmp_path / "dual", c.bert_clip.bert_clip())
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    stated[where]["model_type"] = kind
    (folder / "config.json").write_text(json.dumps(stated), encoding="utf-8")

    with pytest.raises(InputError, match=f"{where} of config.json names the model type {kind!r}.*bert and clip"):
        convert(folder, tmp_path / "out")


def test_another_format_cannot_be_forced_on_it(tmp_path):
    folder = c.dual_encoder.dual_encoder_folder(tmp_path / "dual", c.bert_clip.bert_clip())

    assert inspect(folder).format == "bert_clip"
    with pytest.raises(InputError, match="VisionTextDualEncoderModel, which is BertCLIP.*--format says chinese_clip"):
        convert(folder, tmp_path / "out", format="chinese_clip")


def test_pictures_that_are_prepared_in_another_way_are_refused(tmp_path):
    folder = c.dual_encoder.dual_encoder_folder(tmp_path / "dual", c.bert_clip.bert_clip())
    images = {"image_processor_type": "ViTImageProcessor", "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": images}), encoding="utf-8")

    with pytest.raises(InputError, match="processor_config.json says .*image_mean"):
        convert(folder, tmp_path / "out")
