"""Fused layers, beside the model's own layers of every small model."""

import pytest
import torch
from torch import nn

from hf_zhclip import ZhCLIPModel
from hf_zhclip.inference import fused
from hf_zhclip.inference.fused import FusedLayer, PackedProduct, Product, fuse

from tests.small_models import VARIANTS, build, images, texts

PRODUCTS = [Product, PackedProduct]


def encoded(model) -> list[torch.Tensor]:
    ids = texts(model)
    mask = (ids != model.config.text_config.pad_token_id).long()
    with torch.inference_mode():
        return [model.encode_text(ids, mask), model.encode_text(ids[:1]), model.encode_image(images())]


def largest_difference(one, other) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(encoded(one), encoded(other), strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_fused_model_gives_the_vectors_of_the_model(variant):
    assert largest_difference(fuse(build(variant).double()), build(variant).double()) < 1e-12
    # The weights of small models magnify the rounding of float32.
    single = largest_difference(build(variant), build(variant).double())
    assert largest_difference(fuse(build(variant)), build(variant)) < max(1e-6, 2 * single)


def kinds(model) -> set[type]:
    return {type(each) for each in model.modules()}


def test_layers_are_fused_and_the_last_layer_asks_for_the_first_row_where_the_vector_comes_from_it():
    model = fuse(build("cn_clip"), Product)
    layers = [*model.text_model.encoder.layer, *model.vision_model.encoder.layers]
    assert [type(each) for each in layers] == [FusedLayer] * 4
    assert [each.first_alone for each in layers] == [False, True] * 2
    mean = fuse(build("mclip"), Product).text_model.encoder.layer
    assert [each.first_alone for each in mean] == [False, False]


def test_a_tower_that_no_fusion_fits_stays_as_it_is():
    model = fuse(build("cn_clip_rn50"))
    assert FusedLayer in kinds(model.text_model) and FusedLayer not in kinds(model.vision_model)
    model = build("cn_clip")
    model.text_model.encoder.layer[1].output.dense = nn.Sequential(model.text_model.encoder.layer[1].output.dense)
    assert FusedLayer not in kinds(fuse(model).text_model)


def test_a_decoder_stays_as_it_is():
    model = build("cn_clip")
    model.text_model.config.is_decoder = True
    assert FusedLayer not in kinds(fuse(model).text_model)


def test_a_model_in_parts_stays_as_it_is():
    model = build("cn_clip")
    model.text_model._hf_hook = object()
    assert FusedLayer not in kinds(fuse(model))


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("name", [*fused.ACTIVATIONS, "gelu_new"])
def test_a_product_ends_in_the_activation_of_transformers(product, name):
    states, weight, bias = torch.randn(4, 6), torch.randn(5, 6), torch.randn(5)
    activation = fused._activation(name)
    scaled = product(weight * activation.scale, bias * activation.scale, activation)
    wanted = fused.ACT2FN[name](states.double() @ weight.double().T + bias).float()
    assert (scaled(states) / activation.scale - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_lower_precision_is_no_worse_when_it_is_fused(dtype):
    wanted, plain = build("cn_clip").double(), build("cn_clip").to(dtype)
    fused_one = fuse(build("cn_clip").to(dtype))
    assert FusedLayer in kinds(fused_one.vision_model)
    pixels = images()
    with torch.inference_mode():
        exact = wanted.encode_image(pixels.double())
        of_plain, of_fused = (
            float((each.encode_image(pixels.to(dtype)).double() * exact).sum(-1).min()) for each in (plain, fused_one)
        )
    assert of_fused > min(0.999, 1 - 2 * (1 - of_plain))


def test_without_onednn_the_products_are_plain(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert PackedProduct not in kinds(fuse(build("cn_clip")))
    assert largest_difference(fuse(build("cn_clip")), build("cn_clip")) < 1e-5


@pytest.mark.parametrize(
    ("variant", "changes"),
    [
        ("cn_clip", {"text_attends_to_padding": True}),
        ("cn_clip", {"text_attends_to_padding": True, "text_padded_length": 20}),
        ("mclip", {"text_masks_pad_token": True}),
    ],
)
def test_every_padding_rule_holds_in_fused_layers(variant, changes):
    assert largest_difference(fuse(build(variant, **changes).double()), build(variant, **changes).double()) < 1e-12


@pytest.mark.parametrize("product", PRODUCTS)
def test_weights_of_the_usual_scale_give_the_same_vectors_within_1e_6(product):
    torch.manual_seed(0)
    model = ZhCLIPModel(build("cn_clip").config).eval()
    wanted = encoded(model)
    for found, own in zip(encoded(fuse(model, product)), wanted, strict=True):
        assert (found - own).abs().max() < 1e-6


def test_attention_that_was_asked_for_by_name_does_not_disturb():
    model = build("cn_clip").double()
    model.set_attn_implementation("eager")
    assert largest_difference(fuse(model), build("cn_clip").double()) < 1e-12
