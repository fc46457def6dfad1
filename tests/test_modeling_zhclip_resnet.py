import copy

import pytest
import torch
from torch import nn
from transformers import AutoModel, CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPVisionEmbeddings

from hf_zhclip import ZhCLIPResNetConfig, ZhCLIPResNetModel
from hf_zhclip.modeling_zhclip_resnet import eager_attention_forward

from tests.weights import seeded_state_dict

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 4 - 2


def resnet(**changes) -> ZhCLIPResNetModel:
    facts = {"layers": [1, 2, 1, 1], "width": 8, "image_size": 64, "num_attention_heads": 8, "output_dim": 12}
    model = ZhCLIPResNetModel(ZhCLIPResNetConfig(**(facts | changes))).eval()
    model.load_state_dict(seeded_state_dict({key: value.shape for key, value in model.state_dict().items()}))
    return model


def by_hand(model: ZhCLIPResNetModel, x: torch.Tensor) -> torch.Tensor:
    """The forward pass of openai/CLIP's ModifiedResNet, written from its description on the state dict alone."""
    state = model.state_dict()

    def conv_norm(x, conv, norm, stride=1):
        kernel = state[f"{conv}.weight"]
        x = nn.functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        x = (x - mean.view(-1, 1, 1)) / (variance.view(-1, 1, 1) + 1e-5).sqrt()
        return x * state[f"{norm}.weight"].view(-1, 1, 1) + state[f"{norm}.bias"].view(-1, 1, 1)

    for number in (1, 2, 3):
        x = conv_norm(x, f"conv{number}", f"bn{number}", stride=2 if number == 1 else 1).clamp(min=0)
    x = nn.functional.avg_pool2d(x, 2)
    for stage, blocks in enumerate(model.config.layers, start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = conv_norm(x, f"{name}.conv1", f"{name}.bn1").clamp(min=0)
            y = conv_norm(y, f"{name}.conv2", f"{name}.bn2").clamp(min=0)
            y = conv_norm(nn.functional.avg_pool2d(y, stride), f"{name}.conv3", f"{name}.bn3")
            if block == 0:
                x = conv_norm(nn.functional.avg_pool2d(x, stride), f"{name}.downsample.0", f"{name}.downsample.1")
            x = (x + y).clamp(min=0)

    tokens = x.flatten(2).permute(2, 0, 1)
    tokens = torch.cat([tokens.mean(0, keepdim=True), tokens]) + state["attnpool.positional_embedding"][:, None]
    q, k, v, c = ([state[f"attnpool.{n}_proj.{part}"] for part in ("weight", "bias")] for n in "qkvc")
    pooled, _ = nn.functional.multi_head_attention_forward(
        tokens[:1], tokens, tokens, tokens.shape[-1], model.config.num_attention_heads,
        None, torch.cat([q[1], k[1], v[1]]), None, None, False, 0.0, *c, training=False, need_weights=False,
        use_separate_proj_weight=True, q_proj_weight=q[0], k_proj_weight=k[0], v_proj_weight=v[0],
    )  # fmt: skip
    return pooled[0]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_output_is_that_of_clips_modified_resnet(attention):
    model = resnet(attn_implementation=attention)

    with torch.no_grad():
        found, wanted = model(IMAGES).pooler_output, by_hand(model, IMAGES)

    assert found.shape == (2, 12)
    torch.testing.assert_close(found, wanted, atol=1e-5 * wanted.abs().max().item(), rtol=0)
    torch.testing.assert_close(found[0].dot(found[1]), wanted[0].dot(wanted[1]), rtol=1e-4, atol=0)


def test_keys_and_shapes_of_rn50_are_those_of_the_upstream():
    with torch.device("meta"):
        shapes = {
            key: tuple(value.shape) for key, value in ZhCLIPResNetModel(ZhCLIPResNetConfig()).state_dict().items()
        }

    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    wanted = {}
    for name, shape in (("1", (32, 3, 3, 3)), ("2", (32, 32, 3, 3)), ("3", (64, 32, 3, 3))):
        wanted |= {f"conv{name}.weight": shape}
        wanted |= {f"bn{name}.{part}": () if part == norm[-1] else shape[:1] for part in norm}
    inside = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        planes = 64 * 2**stage
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}."
            convolutions = {
                "conv1": ("bn1", (planes, inside, 1, 1)),
                "conv2": ("bn2", (planes, planes, 3, 3)),
                "conv3": ("bn3", (planes * 4, planes, 1, 1)),
            }
            if block == 0:
                convolutions["downsample.0"] = ("downsample.1", (planes * 4, inside, 1, 1))
            for convolution, (normalisation, shape) in convolutions.items():
                wanted[f"{name}{convolution}.weight"] = shape
                wanted |= {f"{name}{normalisation}.{part}": () if part == norm[-1] else shape[:1] for part in norm}
            inside = planes * 4
    wanted["attnpool.positional_embedding"] = (50, 2048)
    for letter, width in (("q", 2048), ("k", 2048), ("v", 2048), ("c", 1024)):
        wanted |= {f"attnpool.{letter}_proj.weight": (width, 2048), f"attnpool.{letter}_proj.bias": (width,)}
    assert shapes == wanted


def test_it_saves_and_loads_through_automodel_with_its_batch_statistics(tmp_path):
    model = resnet()
    model.save_pretrained(tmp_path)

    loaded, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)

    assert type(loaded) is ZhCLIPResNetModel
    assert not any(info.values())
    found, wanted = loaded.state_dict(), model.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_a_new_model_is_initialised_everywhere_and_its_signal_lives():
    torch.manual_seed(0)
    model = ZhCLIPResNetModel(ZhCLIPResNetConfig(image_size=64)).eval()

    with torch.no_grad():
        output = model(IMAGES)

    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert model.attnpool.positional_embedding.std().item() == pytest.approx(2048**-0.5, rel=0.1)
    assert output.last_hidden_state.std() > 0.1
    assert (output.pooler_output[0] - output.pooler_output[1]).abs().max() > 1e-3


def test_hidden_states_are_the_stem_and_the_four_stages():
    states = resnet()(IMAGES, output_hidden_states=True).hidden_states

    assert [tuple(state.shape) for state in states] == [
        (2, 8, 16, 16), (2, 32, 16, 16), (2, 64, 8, 8), (2, 128, 4, 4), (2, 256, 2, 2),
    ]  # fmt: skip
    assert resnet()(IMAGES).hidden_states is None


def test_eager_attention_gives_its_weights():
    model = resnet(attn_implementation="eager")

    (weights,) = model(IMAGES, output_attentions=True).attentions

    assert weights.shape == (2, 8, 1, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 8, 1))


def test_another_size_is_refused_unless_the_position_embeddings_may_be_resized():
    larger = torch.rand(1, 3, 96, 128)

    with pytest.raises(ValueError, match="96x128 pixels, but the model takes 64x64"):
        resnet()(larger)
    with pytest.raises(ValueError, match="at least 32x32"):
        resnet()(torch.rand(1, 3, 31, 64), interpolate_pos_encoding=True)
    output = resnet()(larger, interpolate_pos_encoding=True)
    assert output.last_hidden_state.shape == (1, 256, 3, 4)
    assert output.pooler_output.isfinite().all()


def test_position_embeddings_are_resized_as_transformers_resizes_a_vits():
    pool = resnet().attnpool
    vit = CLIPVisionEmbeddings(CLIPVisionConfig(hidden_size=256, num_attention_heads=8, image_size=64, patch_size=32))
    vit.position_embedding.weight.data.copy_(pool.positional_embedding.data)
    tokens = torch.zeros(1, 1 + 4 * 6, 256)

    with torch.no_grad():
        found, wanted = pool.interpolate_pos_encoding(4, 6), vit.interpolate_pos_encoding(tokens, 4 * 32, 6 * 32)[0]

    torch.testing.assert_close(found, wanted)
    assert pool.interpolate_pos_encoding(2, 2) is pool.positional_embedding


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_neither_gradients_nor_batch_statistics(reentrant):
    plain = resnet().train()
    checkpointed = copy.deepcopy(plain)
    checkpointed.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    images = IMAGES.clone().requires_grad_()

    for model in (plain, checkpointed):
        model(images).pooler_output.square().sum().backward()

    for (name, wanted), found in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, msg=name)
    for (name, wanted), found in zip(plain.named_buffers(), checkpointed.buffers(), strict=True):
        assert torch.equal(found, wanted), name
    assert checkpointed.bn1.num_batches_tracked == 1001
    assert checkpointed.layer1[0].bn1.num_batches_tracked == 1001


def test_half_precision_weights_take_float_images():
    model = resnet().to(torch.bfloat16)

    assert model(IMAGES).pooler_output.dtype == torch.bfloat16


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_double_stays_a_double_to_the_end(attention):
    model, pixels = resnet(attn_implementation=attention).double(), IMAGES.double()

    with torch.no_grad():
        found, wanted = model(pixels).pooler_output, by_hand(model, pixels)

    assert found.dtype == torch.float64
    torch.testing.assert_close(found, wanted, atol=1e-14 * wanted.abs().max().item(), rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_eager_softmax_of_half_precision_is_taken_in_float32(dtype):
    query, key, value = torch.randn(3, 2, 4, 5, 8).to(dtype)

    _, weights = eager_attention_forward(None, query, key, value, None, scaling=8**-0.5)

    scores = query @ key.transpose(-1, -2) * 8**-0.5
    assert torch.equal(weights, scores.float().softmax(-1).to(dtype))


def test_the_gradient_of_eager_attention_in_double_is_that_of_small_steps():
    inputs = [torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]

    def attend(query, key, value):
        return eager_attention_forward(None, query, key, value, None, scaling=0.5)

    assert torch.autograd.gradcheck(attend, inputs)
