"""A LoRA trained on a converted repo: PEFT merges it, and the result is a repo like any other."""

import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModel

import hf_zhclip  # noqa: F401 (registers the Auto classes)
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.exports import exporting
from hf_zhclip.conversion.exports.exporting import export
from hf_zhclip.conversion.proof import samples
from hf_zhclip.conversion.reading.read import read

from tests import checkpoints
from tests.conversion.helpers import answer_here
from tests.inputs import seeded_ids, seeded_pixels

TARGETS = ["q_proj", "v_proj", "query", "value"]


def adapted(folder):
    """The repo's model with a LoRA that changes it."""
    model = AutoModel.from_pretrained(folder)
    model = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules=TARGETS, init_lora_weights=False))
    return model.eval()


def embeddings(model):
    ids, pixels = seeded_ids(checkpoints.common.VOCAB), seeded_pixels(checkpoints.common.SIZE)
    return torch.cat([model.encode_text(input_ids=ids), model.encode_image(pixel_values=pixels)])


@torch.no_grad()
def test_a_merged_lora_saves_loads_and_goes_to_other_houses(repo, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "in_fresh_process", answer_here)
    monkeypatch.setattr(exporting.native_process.runpy, "run_path", lambda _: vars(samples))
    folder = shutil.copytree(repo("cn_clip_vit").path, tmp_path / "tuned")
    torch.manual_seed(0)
    model = adapted(folder)
    expected = embeddings(model)

    merged = model.merge_and_unload()
    merged.save_pretrained(folder)

    again = AutoModel.from_pretrained(folder)
    torch.testing.assert_close(embeddings(again), expected, atol=1e-5, rtol=0)
    assert (embeddings(AutoModel.from_pretrained(repo("cn_clip_vit").path)) - expected).abs().max() > 0.01
    written = read(folder)
    assert written.shapes == read(repo("cn_clip_vit").path).shapes
    export(folder, tmp_path / "NATIVE", to="transformers")
    export(folder, tmp_path / "back.pt", to="cn_clip")
    fused = read(tmp_path / "back.pt").tensors["visual.transformer.resblocks.0.attn.in_proj_weight"]
    parts = [written.tensors[f"vision_model.encoder.layers.0.self_attn.{part}_proj.weight"] for part in "qkv"]
    assert torch.equal(fused, torch.cat(parts))


def test_a_lora_that_is_not_merged_is_refused_with_the_merge(repo, tmp_path):
    model = adapted(repo("cn_clip_vit").path)
    model.save_pretrained(tmp_path / "adapter")

    with pytest.raises(InputError, match=r"PEFT / LoRA adapter(.|\n)*merge_and_unload\(\)"):
        read(tmp_path / "adapter")
