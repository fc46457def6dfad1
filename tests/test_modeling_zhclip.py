import copy
import inspect
import json
import logging
import math
import os
import subprocess
import sys
import textwrap
from itertools import product

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import normalize
from transformers import AutoModel, CLIPTextModel

import hf_zhclip
from hf_zhclip import (
    ZhCLIPConfig,
    ZhCLIPModel,
    ZhCLIPTextModel,
    ZhCLIPTextModelWithProjection,
    ZhCLIPVisionModel,
    ZhCLIPVisionModelWithProjection,
)
from hf_zhclip.modeling_zhclip import contrastive_loss

from tests.small_models import TEXT, VARIANTS, both, build, images, seeded, texts
from tests.thorough import thorough

BIDIRECTIONAL = ["cn_clip", "bert_clip", "taiyi", "mclip", "multilingual"]
ONE_EACH = ["cn_clip", "mclip", "multilingual", "wukong", "cn_clip_rn50"]
LENGTH = {"text_padded_length": 12}
# Between two orders of the same sums in double. Largest seen with AVX-512, AVX2 and SSE: 5e-15. In float32 the bound
# would be that of one processor.
DOUBLE = {"atol": 1e-13, "rtol": 0}
# Between transformers' eager and sdpa attention in double: see EAGER_AND_SDPA.
NARROWED = {"atol": 2e-7, "rtol": 0}


@pytest.fixture
def repository(tmp_path):
    """A folder that holds a saved cn_clip model, and the model."""
    model = build("cn_clip")
    model.save_pretrained(tmp_path)
    return tmp_path, model


# The embeddings


@pytest.mark.parametrize("variant", VARIANTS)
def test_embeddings_are_the_towers_outputs_pooled_and_projected(variant):
    model = build(variant).double()
    state, config = model.state_dict(), model.config
    ids, pixels = texts(model), images().double()
    mask = (ids != config.text_config.pad_token_id).long()
    causal = VARIANTS[variant][0] == "clip_text_model"

    def project(x, side):
        weight, bias = state.get(f"{side}_projection.weight"), state.get(f"{side}_projection.bias")
        if weight is not None:
            return x @ weight.t() + (0 if bias is None else bias)
        if f"{side}_projection.0.weight" in state:
            x = x @ state[f"{side}_projection.0.weight"].t()
            return (x * (1 + torch.erf(x / 2**0.5)) / 2) @ state[f"{side}_projection.2.weight"].t()
        return x

    with torch.no_grad():
        tower = model.text_model(input_ids=ids, attention_mask=None if causal else mask)
        hidden = tower.last_hidden_state
        pooled = {
            "cls": lambda: hidden[:, 0],
            "pooler": lambda: torch.tanh(
                hidden[:, 0] @ state["text_model.pooler.dense.weight"].t() + state["text_model.pooler.dense.bias"]
            ),
            "mean": lambda: torch.stack([row[keep.bool()].mean(0) for row, keep in zip(hidden, mask, strict=True)]),
            "eos": lambda: hidden[torch.arange(3), [5, 2, 3]],
        }[config.text_pooling]()
        text = normalize(project(pooled, "text"), dim=-1)
        tower = model.vision_model(pixel_values=pixels)
        cls_token = tower.last_hidden_state[:, 0] if config.vision_pooling == "cls" else tower.pooler_output
        image = normalize(project(cls_token, "visual"), dim=-1)
        output = model(input_ids=ids, pixel_values=pixels)

    scale = math.exp(state["logit_scale"])
    torch.testing.assert_close(output.text_embeds, text, **DOUBLE)
    torch.testing.assert_close(output.image_embeds, image, **DOUBLE)
    torch.testing.assert_close(output.logits_per_text / scale, text @ image.t(), **DOUBLE)
    assert torch.equal(output.logits_per_image, output.logits_per_text.t())
    assert (text[0] - text[1]).abs().max() > 1e-2 and (image[0] - image[1]).abs().max() > 1e-2


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_a_batch_of_nothing_gives_outputs_without_rows(variant):
    model = build(variant).eval()
    model.config.output_hidden_states = True
    full, given = model(**both(model)), both(model)
    empty = {name: each[:0] for name, each in given.items()}
    masked = empty | {"attention_mask": empty["input_ids"]}

    for outputs in (model(**masked), model(**empty)):
        assert outputs.text_embeds.shape == (0, full.text_embeds.shape[1])
        assert outputs.image_embeds.shape == (0, full.image_embeds.shape[1])
        assert outputs.logits_per_image.shape == (0, 0)
        for side in ("text_model_output", "vision_model_output"):
            found, wanted = getattr(outputs, side), getattr(full, side)
            assert found.keys() == wanted.keys()
            assert found.last_hidden_state.shape == (0, *wanted.last_hidden_state.shape[1:])
            assert [each.shape[1:] for each in found.hidden_states] == [
                each.shape[1:] for each in wanted.hidden_states
            ]
    assert model(**(given | {"pixel_values": empty["pixel_values"]})).logits_per_text.shape == (3, 0)
    assert model.encode_text(empty["input_ids"]).shape == model.encode_image(empty["pixel_values"]).shape


def test_a_batch_of_nothing_leaves_gradients_of_zero():
    model = build("cn_clip")
    given = both(model)
    (model.encode_text(given["input_ids"][:0]).sum() + model.encode_image(given["pixel_values"][:0]).sum()).backward()
    assert not any(each.grad.any() for each in model.parameters() if each.grad is not None)


def test_the_raw_cls_token_has_passed_no_post_layernorm():
    state = build("prd2").state_dict()
    assert not [key for key in state if "post_layernorm" in key]

    tower = build("prd2").vision_model
    with torch.no_grad():
        hidden = tower.pre_layrnorm(tower.embeddings(images()))
        for layer in tower.encoder.layers:
            hidden = layer(hidden, None)
        assert torch.equal(tower(images()).pooler_output, hidden[:, 0])


def test_towers_hold_only_parameters_that_are_used():
    for variant, (text, pooling, *_) in VARIANTS.items():
        model = build(variant).train()
        assert (pooling == "pooler") == any("text_model.pooler" in key for key in model.state_dict())
        model(**both(model), return_loss=True).loss.backward()
        unused = [name for name, parameter in model.named_parameters() if parameter.grad is None]
        assert not unused, (variant, text, unused)


@pytest.mark.parametrize("variant", ONE_EACH)
def test_encode_gives_normalised_vectors_of_the_projection_width(variant):
    model = build(variant)

    text, image = model.encode_text(texts(model)), model.encode_image(images())

    for vectors in (text, image):
        assert isinstance(vectors, torch.Tensor) and vectors.shape == (3, 16)
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))
    output = model(**both(model))
    assert torch.equal(text, output.text_embeds) and torch.equal(image, output.image_embeds)
    features = model.get_text_features(texts(model)).pooler_output, model.get_image_features(images()).pooler_output
    assert torch.equal(normalize(features[0], dim=-1), text) and torch.equal(normalize(features[1], dim=-1), image)
    assert (features[0].norm(dim=-1) - 1).abs().max() > 1e-2


# Padding, token types, end tokens, length


@pytest.mark.parametrize("variant", BIDIRECTIONAL)
def test_padding_changes_nothing_whether_or_not_a_mask_is_given(variant):
    model = build(variant).double()
    ids = texts(model)
    mask = (ids != model.config.text_config.pad_token_id).long()

    with torch.no_grad():
        given, derived, unpadded = (
            model.encode_text(ids, mask),
            model.encode_text(ids),
            model.encode_text(ids[1:2, :3]),
        )
        all_ones = model.encode_text(ids, torch.ones_like(ids))

    assert torch.equal(given, derived)
    torch.testing.assert_close(derived[1:2], unpadded, **DOUBLE)
    assert (all_ones[1] - derived[1]).abs().max() > 1e-2


def test_a_causal_tower_derives_no_mask():
    model = build("wukong")
    stock = CLIPTextModel(copy.deepcopy(model.config.text_config)).eval()
    stock.load_state_dict(model.text_model.state_dict())
    seen = []
    model.text_model.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs), with_kwargs=True)
    ids = texts(model)
    # Id 0, this tower's pad id, is a character like any other.
    ids[0, 2] = 0

    with torch.no_grad():
        found = model.get_text_features(ids).pooler_output
        wanted = model.text_projection(stock(input_ids=ids).pooler_output)

    assert torch.equal(found, wanted)
    assert "attention_mask" not in seen[0]


@pytest.mark.parametrize("variant", BIDIRECTIONAL)
def test_text_attends_to_padding_where_the_config_says_so(variant):
    published, masked = build(variant, text_attends_to_padding=True), build(variant)
    ids = texts(masked)
    mask = (ids != masked.config.text_config.pad_token_id).long()

    with torch.no_grad():
        wanted = masked.encode_text(ids, torch.ones_like(ids))
        assert torch.equal(published.encode_text(ids), wanted)
        assert torch.equal(published.encode_text(ids, mask), wanted), "the processor always gives a mask"


@pytest.mark.parametrize("variant", BIDIRECTIONAL)
def test_the_pad_token_inside_a_text_is_masked_where_the_config_says_so(variant):
    by_ids, by_mask = build(variant, text_masks_pad_token=True), build(variant)
    pad = by_ids.config.text_config.pad_token_id
    ids = texts(by_ids)
    ids[0, 2] = pad
    given = torch.ones_like(ids)
    given[ids == pad] = 0
    given[0, 2] = 1  # as a tokenizer gives it

    with torch.no_grad():
        wanted = by_mask.encode_text(ids, (ids != pad).long())
        assert torch.equal(by_ids.encode_text(ids), wanted)
        assert torch.equal(by_ids.encode_text(ids, given), wanted)
        assert not torch.allclose(by_mask.encode_text(ids, given)[0], wanted[0], atol=1e-3)


@pytest.mark.parametrize("variant", BIDIRECTIONAL)
def test_texts_are_padded_to_the_length_that_the_config_says_and_the_padding_is_seen(variant):
    padded, attending = (build(variant, text_attends_to_padding=True, **each).double() for each in (LENGTH, {}))
    pad = padded.config.text_config.pad_token_id
    ids = texts(padded)
    long = nn.functional.pad(ids, (0, 6), value=pad)

    with torch.no_grad():
        wanted, short = attending.encode_text(long), attending.encode_text(ids)
        assert (wanted - short).abs().max() > 1e-3, "padding would tell nothing"
        for given in (ids, long, long[:, :9]):
            assert torch.equal(padded.encode_text(given), wanted)
            assert torch.equal(padded.encode_text(given, (given != pad).long()), wanted), "a mask is not heeded"
            assert torch.equal(padded.encode_text(given, token_type_ids=torch.zeros_like(given)), wanted)
        # One by one, without any padding of the tokenizer's.
        ends = (ids != pad).sum(dim=1)
        alone = [padded.encode_text(row[None, :end]) for row, end in zip(ids, ends, strict=True)]
        torch.testing.assert_close(torch.cat(alone), wanted, **DOUBLE)


def test_states_and_attentions_are_as_long_as_the_padded_texts():
    model = build("taiyi", text_attends_to_padding=True, **LENGTH)

    output = model.get_text_features(texts(model), output_hidden_states=True)

    assert output.last_hidden_state.shape == (3, 12, 32)
    assert {state.shape for state in output.hidden_states} == {(3, 12, 32)}


def test_a_text_longer_than_the_padded_length_and_positions_of_another_are_refused():
    model = build("taiyi", text_attends_to_padding=True, **LENGTH)
    ids = texts(model)

    with pytest.raises(
        ValueError, match=r"13 tokens was given, but the model pads every text to 12 tokens: truncate.*=12\)"
    ):
        model.encode_text(torch.full((1, 13), 5))
    with pytest.raises(ValueError, match=r"position_ids for 6 tokens were given, but the model pads every text to 12"):
        model.encode_text(ids, position_ids=torch.arange(6)[None])
    plain = model.encode_text(ids)
    assert torch.equal(model.encode_text(ids, position_ids=torch.arange(12)[None]), plain)
    assert (model.encode_text(ids, position_ids=torch.arange(12).flip(0)[None]) - plain).abs().max() > 1e-3


def test_token_types_behind_a_text_that_is_padded_are_the_first():
    padded, attending = (build("taiyi", text_attends_to_padding=True, **each) for each in (LENGTH, {}))
    ids, types = torch.zeros((2, 3, 12), dtype=torch.long)
    ids[:, :6], types[:, :6] = texts(padded), 1

    found = padded.encode_text(ids[:, :6], token_type_ids=types[:, :6])

    assert torch.equal(found, attending.encode_text(ids, token_type_ids=types))


def test_a_text_of_padding_alone_gives_no_nan():
    model = build("multilingual")

    assert model.encode_text(torch.zeros(1, 4, dtype=torch.long)).isfinite().all()


@pytest.mark.parametrize("variant", ONE_EACH)
def test_token_type_ids_may_be_given_or_left_out(variant):
    model = build(variant)
    ids = texts(model)

    assert torch.equal(model.encode_text(ids, token_type_ids=torch.zeros_like(ids)), model.encode_text(ids))


def test_token_type_ids_and_position_ids_reach_a_tower_that_has_them():
    model = build("cn_clip")
    ids = texts(model)

    plain = model.encode_text(ids)
    assert (model.encode_text(ids, token_type_ids=torch.ones_like(ids)) - plain).abs().max() > 1e-3
    assert (model.encode_text(ids, position_ids=torch.arange(6).flip(0).expand(3, 6)) - plain).abs().max() > 1e-3


def test_the_end_token_is_the_first_one_or_the_highest_id_under_the_legacy_config():
    ids = torch.tensor([[2, 5, 30, 6, 30, 7], [2, 40, 5, 30, 6, 7]])
    text = {"model_type": "clip_text_model"} | TEXT["clip_text_model"]
    for eos, places in ((30, [2, 3]), (2, [2, 1])):
        config = ZhCLIPConfig(text_config=text | {"eos_token_id": eos}, text_pooling="eos")
        output = seeded(ZhCLIPTextModel(config))(ids)
        assert torch.equal(output.pooler_output, output.last_hidden_state[torch.arange(2), places])


@pytest.mark.parametrize("variant", ["cn_clip", "mclip", "multilingual", "wukong"])
def test_more_ids_than_positions_are_refused_in_our_words(variant):
    model = build(variant)
    longest = torch.full((1, 20), 5)
    longest[0, -1] = 49

    assert model.encode_text(longest).isfinite().all()
    with pytest.raises(
        ValueError, match="a text of 21 tokens was given, but the model has positions for 20 tokens: truncate"
    ):
        model(input_ids=torch.full((1, 21), 5), pixel_values=images(1))


# What a call returns


def test_the_loss_is_the_mean_of_both_directions():
    logits = torch.tensor([[2.0, 0.0, -1.0], [1.0, 3.0, 0.5], [0.0, 0.0, 0.0]])
    rows = [-math.log(math.exp(row[i]) / sum(map(math.exp, row))) for i, row in enumerate(logits.tolist())]
    columns = [-math.log(math.exp(row[i]) / sum(map(math.exp, row))) for i, row in enumerate(logits.t().tolist())]

    assert contrastive_loss(logits).item() == pytest.approx((sum(rows) + sum(columns)) / 6, abs=1e-6)
    model = build("cn_clip")
    output = model(**both(model), return_loss=True)
    assert torch.equal(output.loss, contrastive_loss(output.logits_per_text))
    assert model(**both(model)).loss is None


def test_one_modality_alone_gives_its_half():
    model = build("cn_clip")

    text, image = model(input_ids=texts(model)), model(pixel_values=images())

    assert set(text.keys()) == {"text_embeds", "text_model_output"}
    assert set(image.keys()) == {"image_embeds", "vision_model_output"}
    whole = model(**both(model))
    assert torch.equal(text[0], whole.text_embeds) and torch.equal(image[0], whole.image_embeds)


def test_a_call_that_lacks_a_modality_it_needs_is_refused():
    model = build("cn_clip")

    with pytest.raises(ValueError, match="neither input_ids nor pixel_values"):
        model()
    with pytest.raises(ValueError, match="return_loss needs"):
        model(input_ids=texts(model), return_loss=True)


@pytest.mark.parametrize("by_config", [False, True])
def test_hidden_states_and_attentions_come_on_request(by_config):
    model = build("cn_clip", attn_implementation="eager")
    asked = {"output_hidden_states": True, "output_attentions": True}
    assert model(**both(model)).text_model_output.hidden_states is None
    if by_config:
        for name, value in asked.items():
            setattr(model.config, name, value)

    output = model(**both(model), **({} if by_config else asked))

    for tower, tokens in ((output.text_model_output, 6), (output.vision_model_output, 17)):
        assert [state.shape for state in tower.hidden_states] == [(3, tokens, 32)] * 3
        assert [weights.shape for weights in tower.attentions] == [(3, 4, tokens, tokens)] * 2


def test_a_tuple_comes_on_request():
    model = build("cn_clip")

    output = model(**both(model), return_dict=False)

    assert isinstance(output, tuple) and torch.equal(output[0], model(**both(model)).logits_per_image)
    assert isinstance(model.get_text_features(texts(model), return_dict=False), tuple)
    assert isinstance(model.get_image_features(images(), return_dict=False), tuple)


@pytest.mark.parametrize("variant", ["cn_clip", "cn_clip_rn50"])
def test_images_of_another_size_need_interpolate_pos_encoding(variant):
    model = build(variant)
    larger = images(2, size=96)

    with pytest.raises(ValueError, match="size|96x96"):
        model.encode_image(larger)
    vectors = model.encode_image(larger, interpolate_pos_encoding=True)
    assert vectors.shape == (2, 16) and vectors.isfinite().all()
    assert torch.equal(model(pixel_values=larger, interpolate_pos_encoding=True).image_embeds, vectors)
    same = model.encode_image(images(), interpolate_pos_encoding=True)
    torch.testing.assert_close(same, model.encode_image(images()), atol=1e-5, rtol=0)


# Saving and loading

LOAD_AND_COMPUTE = """
    import sys
    import torch
    torch.set_num_threads(1)
    import hf_zhclip
    from transformers import AutoModel
    for folder in sys.argv[1:]:
        model, info = AutoModel.from_pretrained(folder, output_loading_info=True)
        assert not any(info.values()), (folder, info)
        state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        inputs = torch.load(f"{folder}/inputs.pt")
        with torch.no_grad():
            output = model(**inputs)
        torch.save((type(model).__name__, model.training, state, output.to_tuple()), f"{folder}/found.pt")
"""


@pytest.mark.parametrize("process", ["this", thorough("a fresh")])
def test_every_tensor_and_buffer_survives_from_pretrained(process, tmp_path, monkeypatch):
    models = {variant: build(variant) for variant in VARIANTS}
    models["text tower"] = seeded(ZhCLIPTextModel(models["bert_clip"].config))
    models["vision tower"] = seeded(ZhCLIPVisionModelWithProjection(copy.deepcopy(models["cn_clip_rn50"].config)))
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        inputs = both(model)
        for absent in {"input_ids", "pixel_values"} if " " in name else ():
            if absent.startswith("pixel") == name.startswith("text"):
                del inputs[absent]
        torch.save(inputs, tmp_path / name / "inputs.pt")

    folders = [str(tmp_path / name) for name in models]
    if process == "this":
        monkeypatch.setattr(sys, "argv", ["-c", *folders])
        exec(textwrap.dedent(LOAD_AND_COMPUTE), {})
    else:
        subprocess.run([sys.executable, "-c", textwrap.dedent(LOAD_AND_COMPUTE), *folders], check=True)

    for name, model in models.items():
        class_name, training, found, outputs = torch.load(tmp_path / name / "found.pt", weights_only=False)
        wanted = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        assert (class_name, training) == (type(model).__name__, False)
        assert found.keys() == wanted.keys()
        assert [key for key in wanted if not torch.equal(found[key], wanted[key])] == [], name
        with torch.no_grad():
            again = model(**torch.load(tmp_path / name / "inputs.pt")).to_tuple()
        assert len(outputs) == len(again)
        assert torch.equal(outputs[0], again[0]), name


def test_a_saved_model_is_a_flat_repository_of_safetensors_and_code(repository):
    folder, _ = repository

    assert sorted(name for name in os.listdir(folder) if not name.endswith(".py")) == [
        "config.json",
        "model.safetensors",
    ]
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["ZhCLIPModel"]
    with safe_open(folder / "model.safetensors", "pt") as file:
        tops = {key.split(".")[0] for key in file.keys()}
    assert tops == {"logit_scale", "text_model", "vision_model", "text_projection", "visual_projection"}


def test_a_repository_in_shards_loads_whole(tmp_path):
    model = build("cn_clip")
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2

    loaded = AutoModel.from_pretrained(tmp_path)

    assert torch.equal(loaded(**both(model)).logits_per_text, model(**both(model)).logits_per_text)


@pytest.mark.parametrize("load", [AutoModel.from_pretrained, ZhCLIPModel.from_pretrained])
def test_a_pickle_is_not_read_unless_the_caller_asks_for_it(load, tmp_path):
    model = build("cn_clip")
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")

    with pytest.raises(OSError, match="no file named model.safetensors"):
        load(tmp_path)
    loaded = load(tmp_path, use_safetensors=False)
    assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in model.state_dict().items())


@pytest.mark.quick(6)
@pytest.mark.parametrize("variant", ["bert_clip", "cn_clip_rn50", "wukong"])
@pytest.mark.parametrize(
    "tower",
    [ZhCLIPTextModel, ZhCLIPTextModelWithProjection, ZhCLIPVisionModel, ZhCLIPVisionModelWithProjection],
)
def test_one_tower_loads_from_the_whole_repository_without_a_warning(tmp_path, caplog, tower, variant):
    model = build(variant)
    model.save_pretrained(tmp_path)
    logging.getLogger("transformers").addHandler(caplog.handler)
    try:
        loaded, info = tower.from_pretrained(tmp_path, output_loading_info=True)
    finally:
        logging.getLogger("transformers").removeHandler(caplog.handler)

    assert not any(info.values())
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    is_text = "Text" in tower.__name__
    output = loaded(texts(model)) if is_text else loaded(images())
    if "Projection" in tower.__name__:
        wanted = model.get_text_features(texts(model)) if is_text else model.get_image_features(images())
        assert torch.equal(output[0], wanted.pooler_output)
        encoded = loaded.encode_text(texts(model)) if is_text else loaded.encode_image(images())
        assert torch.equal(encoded, normalize(wanted.pooler_output, dim=-1))
    else:
        whole = model.text_model if is_text else model.vision_model
        assert {*loaded.state_dict()} == {f"{tower._parts[0]}.{key}" for key in whole.state_dict()}
        projection = model.text_projection if is_text else model.visual_projection
        wanted = model.get_text_features(texts(model)) if is_text else model.get_image_features(images())
        assert torch.equal(projection(output.pooler_output), wanted.pooler_output)


def test_both_towers_are_not_made_up_from_a_folder_of_one(tmp_path):
    ZhCLIPTextModel(build("cn_clip").config).save_pretrained(tmp_path)

    with pytest.raises(ValueError, match="was saved by ZhCLIPTextModel and holds no .*vision_model"):
        ZhCLIPModel.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds no text_projection"):
        ZhCLIPTextModelWithProjection.from_pretrained(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)) is ZhCLIPTextModel


def test_a_logit_scale_that_the_file_lacks_is_the_configs(tmp_path):
    build("cn_clip", logit_scale_init_value=3.25).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["logit_scale"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})

    assert AutoModel.from_pretrained(tmp_path).logit_scale.item() == 3.25


def test_logit_scale_is_the_first_parameter():
    assert next(iter(build("cn_clip").state_dict())) == "logit_scale"


# Precision; devices are in test_device_map.py


def test_a_towers_own_dtype_does_not_split_the_model():
    config = build("cn_clip").config
    config.text_config.dtype = torch.float16

    assert {parameter.dtype for parameter in ZhCLIPModel(config).parameters()} == {torch.float32}


# Attention kernels


def test_each_tower_takes_its_own_attention(repository):
    folder, model = repository

    mixed = AutoModel.from_pretrained(folder, attn_implementation={"text_config": "eager", "vision_config": "sdpa"})

    assert mixed.text_model.config._attn_implementation == "eager"
    assert mixed.vision_model.config._attn_implementation == "sdpa"
    eager = AutoModel.from_pretrained(folder, attn_implementation="eager")
    assert eager.vision_model.config._attn_implementation == "eager"
    wanted = model.double()(**both(model))
    for other in (mixed, eager):
        output = other.double()(**both(model))
        torch.testing.assert_close(output.text_embeds, wanted.text_embeds, **DOUBLE)
        torch.testing.assert_close(output.image_embeds, wanted.image_embeds, **NARROWED)


@pytest.mark.parametrize("variant", ["cn_clip", "cn_clip_rn50"])
def test_attention_can_be_changed_on_a_loaded_model(variant, caplog):
    model = build(variant).double()
    wanted = model.encode_image(images())
    logging.getLogger("transformers").addHandler(caplog.handler)
    try:
        model.set_attn_implementation({"vision_config": "eager"})
    finally:
        logging.getLogger("transformers").removeHandler(caplog.handler)

    assert model.vision_model.config._attn_implementation == "eager"
    assert model.text_model.config._attn_implementation == "sdpa"
    assert caplog.records == []
    torch.testing.assert_close(model.encode_image(images()), wanted, **NARROWED)


@pytest.mark.parametrize("tower", ["text_config", "vision_config"])
@pytest.mark.parametrize("variant", ["cn_clip", "cn_clip_rn50"])
def test_flash_attention_reaches_the_tower_that_asked_for_it(tmp_path, variant, tower):
    build(variant).save_pretrained(tmp_path)

    # It cannot run here; what refuses it is transformers' own check, inside the tower.
    with pytest.raises((ImportError, ValueError), match="[Ff]lash"):
        AutoModel.from_pretrained(tmp_path, attn_implementation={tower: "flash_attention_2"}, dtype=torch.bfloat16)


# Precision

# How far eager and sdpa attention may part: (text, image) embeddings in float64, then in float32. Each bound is about
# four times what was measured with AVX-512, AVX2 and SSE.
# - float64: 4.6e-8 for CLIP's towers, because transformers' eager attention takes their softmax in float32 even where
#   the scores are doubles (modeling_clip.py). 5e-15 for BERT, XLM-R and DistilBERT, and 4e-16 for our ResNet: their
#   softmax keeps a double.
# - float32: 9e-6 for the texts of BERT, XLM-R and DistilBERT, whose seeded weights make a sharp attention. Else 5e-7.
EAGER_AND_SDPA = {
    "cn_clip": ((2e-14, 2e-7), (4e-5, 2e-6)),
    "cn_clip_rn50": ((2e-14, 2e-15), (4e-5, 1e-6)),
    "bert_clip": ((2e-14, 2e-7), (4e-5, 2e-6)),
    "taiyi": ((2e-14, 2e-7), (4e-5, 2e-6)),
    "taiyi_large": ((2e-14, 2e-7), (4e-5, 2e-6)),
    "prd2": ((2e-14, 2e-7), (4e-5, 2e-6)),
    "mclip": ((2e-14, 2e-7), (4e-5, 2e-6)),
    "open_clip": ((2e-14, 2e-7), (4e-5, 2e-6)),
    "multilingual": ((2e-14, 2e-7), (4e-5, 2e-6)),
    "wukong": ((2e-7, 2e-7), (2e-6, 2e-6)),
    "openai_rn50": ((2e-7, 2e-15), (2e-6, 1e-6)),
}


@pytest.mark.quick(4)
@pytest.mark.parametrize("variant", VARIANTS)
def test_eager_and_sdpa_attention_are_no_further_apart_than_the_table_says(variant):
    for dtype, bounds in zip((torch.float64, torch.float32), EAGER_AND_SDPA[variant], strict=True):
        models = [build(variant, attn_implementation=attention).to(dtype) for attention in ("eager", "sdpa")]
        with torch.no_grad():
            eager, sdpa = (model(input_ids=texts(model), pixel_values=images().to(dtype)) for model in models)
        for name, bound in zip(("text_embeds", "image_embeds"), bounds, strict=True):
            assert (eager[name] - sdpa[name]).abs().max() <= bound, (name, dtype)


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_loss_in_double_are_those_of_a_plain_computation_in_double(variant):
    model = build(variant).double()
    scale = math.exp(model.logit_scale.item())

    with torch.no_grad():
        output = model(input_ids=texts(model), pixel_values=images().double(), return_loss=True)
    text, image = (vectors.numpy() for vectors in (output.text_embeds, output.image_embeds))
    logits = scale * text @ image.T
    rows, columns = (np.log(np.exp(each).sum(axis=1)) - np.diag(each) for each in (logits, logits.T))

    assert {value.dtype for value in (output.text_embeds, output.logits_per_text, output.loss)} == {torch.float64}
    np.testing.assert_allclose(output.logits_per_text.numpy(), logits, rtol=0, atol=1e-14 * scale)
    assert output.loss.item() == pytest.approx((rows.mean() + columns.mean()) / 2, abs=1e-14 * scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_is_widened_to_float32_for_the_scale_and_the_loss(dtype):
    model = build("cn_clip").to(dtype)

    output = model(input_ids=texts(model), pixel_values=images().to(dtype), return_loss=True)

    wanted = output.text_embeds @ output.image_embeds.t() * model.logit_scale.float().exp()
    assert torch.equal(output.logits_per_text, wanted) and wanted.dtype == dtype
    wide, pairs = wanted.float(), torch.arange(3)
    loss = (nn.functional.cross_entropy(wide, pairs) + nn.functional.cross_entropy(wide.t(), pairs)) / 2
    assert torch.equal(output.loss, loss) and loss.dtype == torch.float32


def test_the_gradient_of_the_loss_in_double_is_that_of_small_steps():
    logits = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)

    # A loss in float32 does not see gradcheck's steps of 1e-6.
    assert torch.autograd.gradcheck(contrastive_loss, logits)


def test_a_scale_that_the_config_states_keeps_all_its_digits_in_double():
    stated = 2.659260036932778

    model = build("cn_clip").config_class
    config = model.from_dict(build("cn_clip").config.to_dict() | {"logit_scale_init_value": stated})

    assert ZhCLIPModel._from_config(config, dtype=torch.float64).logit_scale.item() == stated


# Training


@pytest.mark.parametrize("variant", ["cn_clip", "multilingual", "wukong", "cn_clip_rn50"])
def test_gradient_checkpointing_gives_the_same_gradients(variant):
    # No dropout, so that both passes see the same network.
    plain = build(variant)
    checkpointed = copy.deepcopy(plain)
    checkpointed.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for model in (plain, checkpointed):
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            for name in ("attention_dropout", "dropout"):
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, 0.0)
        model.train()
        model(**both(model), return_loss=True).loss.backward()

    for (name, wanted), found in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, msg=name)


def test_input_embeddings_are_the_text_towers_and_can_be_resized(repository):
    folder, model = repository

    assert model.get_input_embeddings() is model.text_model.embeddings.word_embeddings
    model.resize_token_embeddings(60)
    assert model.get_input_embeddings().weight.shape == (60, 32) and model.config.text_config.vocab_size == 60
    model.save_pretrained(folder)
    assert AutoModel.from_pretrained(folder).text_model.embeddings.word_embeddings.num_embeddings == 60
    vision = ZhCLIPVisionModel(model.config)
    assert vision.get_input_embeddings() is vision.vision_model.embeddings.patch_embedding


def test_lora_finds_its_modules_trains_and_comes_back(tmp_path):
    base = build("cn_clip")
    inputs = both(base)
    before = base(**inputs).logits_per_text.detach()
    lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj", "query", "value"], lora_dropout=0.0)
    model = get_peft_model(copy.deepcopy(base), lora)

    adapted = {name for name, _ in model.named_modules() if name.endswith(("lora_A",))}
    assert len([name for name in adapted if "text_model" in name]) == 4
    assert len([name for name in adapted if "vision_model" in name]) == 4
    assert torch.equal(model(**inputs).logits_per_text, before)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all("lora_" in name for name, parameter in model.named_parameters() if parameter.requires_grad)
    optimizer = torch.optim.SGD(trained, lr=1.0)
    model(**inputs, return_loss=True).loss.backward()
    optimizer.step()
    after = model(**inputs).logits_per_text.detach()
    assert not torch.equal(after, before)

    model.save_pretrained(tmp_path)
    torch.testing.assert_close(PeftModel.from_pretrained(base, tmp_path)(**inputs).logits_per_text, after)


def test_lora_with_a_task_type_passes_arguments_that_no_tower_needs():
    model = build("wukong")
    wanted = model(**both(model)).logits_per_text
    lora = LoraConfig(r=2, target_modules=["q_proj"], task_type="FEATURE_EXTRACTION")

    adapted = get_peft_model(model, lora)

    assert torch.equal(adapted(**both(model)).logits_per_text, wanted)


def test_trainer_does_not_rescale_the_loss():
    assert ZhCLIPModel.accepts_loss_kwargs is False
    assert ZhCLIPConfig.keys_to_ignore_at_inference == ["text_model_output", "vision_model_output"]


# Compile and export


@pytest.mark.parametrize(
    ("dtype", "attention"),
    [
        (torch.float32, "sdpa"),
        *(
            pytest.param(dtype, attention, marks=pytest.mark.thorough)
            for dtype, attention in product((torch.float64, torch.float32, torch.bfloat16), ("eager", "sdpa"))
            if (dtype, attention) != (torch.float32, "sdpa")
        ),
    ],
)
def test_compile_makes_one_graph(dtype, attention):
    model = build("openai_rn50", attn_implementation=attention).to(dtype)
    torch._dynamo.reset()

    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend="eager")(**both(model), return_loss=True)
        wanted = model(**both(model), return_loss=True)
    torch.testing.assert_close(compiled.logits_per_text, wanted.logits_per_text)
    torch.testing.assert_close(compiled.loss, wanted.loss)


@pytest.mark.thorough
def test_padding_inside_the_model_leaves_one_graph_and_every_length_free():
    model = build("taiyi", text_attends_to_padding=True, **LENGTH)
    torch._dynamo.reset()

    class Embed(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids):
            return self.model.encode_text(input_ids)

    embed = Embed()
    free = {"input_ids": {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens", max=12)}}
    with torch.no_grad():
        compiled = torch.compile(embed, fullgraph=True, backend="eager", dynamic=True)
        exported = torch.export.export(embed, (texts(model),), dynamic_shapes=free, strict=False).module()
        for ids in (texts(model), texts(model)[:2, :4], torch.full((4, 12), 5)):
            wanted = embed(ids)
            torch.testing.assert_close(compiled(ids), wanted, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(exported(ids), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [pytest.param(torch.float64, marks=pytest.mark.thorough), torch.float32])
def test_export_keeps_both_batch_sizes_free(dtype):
    model = build("mclip").to(dtype)

    class Embed(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, pixel_values):
            output = self.model(input_ids=input_ids, pixel_values=pixel_values)
            return output.text_embeds, output.image_embeds, output.logits_per_text

    free = {"input_ids": {0: torch.export.Dim("texts")}, "pixel_values": {0: torch.export.Dim("images")}}
    with torch.no_grad():
        inputs = (texts(model), images().to(dtype))
        exported = torch.export.export(Embed(), inputs, dynamic_shapes=free, strict=False).module()
        ids, pixels = torch.cat([texts(model), texts(model)[:2]]), images(2).to(dtype)
        for found, wanted in zip(exported(ids, pixels), Embed()(ids, pixels), strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


# What transformers expects of every model


# XLM-R takes positions from the ids, and cannot tell padding among embeddings: no family pads it inside the model.
@pytest.mark.parametrize(
    ("variant", "padded"),
    [(variant, {}) for variant in ("cn_clip", "mclip", "multilingual")]
    + [(variant, {"text_attends_to_padding": True, **LENGTH}) for variant in ("cn_clip", "multilingual")],
)
def test_word_embeddings_give_what_their_ids_give(variant, padded):
    model = build(variant, **padded)
    ids = texts(model)
    mask = (ids != model.config.text_config.pad_token_id).long()
    embeds = model.get_input_embeddings()(ids)

    found, wanted = model.encode_text(inputs_embeds=embeds, attention_mask=mask), model.encode_text(ids, mask)
    torch.testing.assert_close(found, wanted)
    whole = model(inputs_embeds=embeds, attention_mask=mask, pixel_values=images(), return_loss=True)
    assert torch.equal(whole.text_embeds, found) and whole.loss.isfinite()
    tower = ZhCLIPTextModelWithProjection(model.config)
    tower.load_state_dict({key: tensor for key, tensor in model.state_dict().items() if key in tower.state_dict()})
    text = tower.eval()(inputs_embeds=embeds, attention_mask=mask).text_embeds
    torch.testing.assert_close(normalize(text, dim=-1), found)


def test_a_text_side_needs_ids_or_embeddings_and_not_both():
    model = build("cn_clip")
    ids = texts(model)
    embeds = model.get_input_embeddings()(ids)

    for call in (ZhCLIPTextModel(model.config), model.get_text_features, model.encode_text):
        with pytest.raises(ValueError, match="neither input_ids nor inputs_embeds were given; give one of them"):
            call(input_ids=None)
        with pytest.raises(ValueError, match="both input_ids and inputs_embeds were given; give one of them"):
            call(input_ids=ids, inputs_embeds=embeds)
    with pytest.raises(ValueError, match="finds the end of a text by its id: give input_ids"):
        build("wukong").encode_text(inputs_embeds=embeds)
    with pytest.raises(ValueError, match="a text of 21 tokens was given"):
        model.encode_text(inputs_embeds=torch.zeros(1, 21, 32))
    for call in (ZhCLIPVisionModel(model.config), model.get_image_features, model.encode_image):
        with pytest.raises(ValueError, match="no pixel_values were given"):
            call(pixel_values=None)


@pytest.mark.parametrize("variant", ["cn_clip", "cn_clip_rn50"])
@pytest.mark.parametrize("tower", [ZhCLIPVisionModel, ZhCLIPVisionModelWithProjection])
def test_the_input_embeddings_of_a_vision_tower_can_be_set(variant, tower):
    model = tower(build(variant).config)
    new = copy.deepcopy(model.get_input_embeddings())

    model.set_input_embeddings(new)

    assert model.get_input_embeddings() is new and new in list(model.modules())


def test_what_a_partial_checkpoint_lacks_is_drawn_as_transformers_clip_draws_it(tmp_path):
    wide = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = wide | {"model_type": "clip_vision_model", "image_size": 32, "patch_size": 16}
    text = {"model_type": "bert", "vocab_size": 50, "max_position_embeddings": 20} | wide
    model = ZhCLIPModel(ZhCLIPConfig(text_config=text, vision_config=vision, projection_dim=128))
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    lacking = [key for key in state if "layers.1." in key or key.endswith("projection.weight")]
    save_file(
        {key: state[key] for key in state if key not in lacking}, tmp_path / "model.safetensors", {"format": "pt"}
    )

    loaded = ZhCLIPModel.from_pretrained(tmp_path)

    # transformers/models/clip/modeling_clip.py, CLIPPreTrainedModel._init_weights, for width 256 and two layers.
    layer = loaded.vision_model.encoder.layers[1]
    for weight, std in (
        (layer.self_attn.q_proj.weight, 256**-0.5 * 4**-0.5),
        (layer.self_attn.out_proj.weight, 256**-0.5),
        (layer.mlp.fc1.weight, 512**-0.5),
        (layer.mlp.fc2.weight, 256**-0.5 * 4**-0.5),
        (loaded.text_projection.weight, 256**-0.5),
        (loaded.visual_projection.weight, 256**-0.5),
    ):
        assert weight.std().item() == pytest.approx(std, rel=0.03)
    kept = {key: value for key, value in loaded.state_dict().items() if key not in lacking}
    assert all(torch.equal(value, state[key]) for key, value in kept.items())


@pytest.mark.parametrize("variant", ["cn_clip", "cn_clip_rn50", "mclip"])
@pytest.mark.parametrize("tower", [ZhCLIPTextModel, ZhCLIPVisionModelWithProjection])
def test_the_attention_of_a_tower_alone_is_set_without_a_word_about_the_other(variant, tower, caplog):
    model = tower(build(variant).config)
    side = "text" if tower is ZhCLIPTextModel else "vision"

    for attention in ("eager", "sdpa", {f"{side}_config": "eager"}):
        model.set_attn_implementation(attention)

        wanted = attention if isinstance(attention, str) else "eager"
        assert getattr(model, f"{side}_model").config._attn_implementation == wanted
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("name", sorted(hf_zhclip.modeling_zhclip._CLASSES))
def test_every_argument_of_a_forward_says_what_it_takes(name):
    parameters = inspect.signature(getattr(hf_zhclip, name).forward).parameters

    assert [each for each in parameters if parameters[each].annotation is inspect.Parameter.empty] == ["self"]
