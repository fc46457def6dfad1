"""Weights in another dtype, one layer at a time."""

import copy

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, CLIPVisionConfig, CLIPVisionModel

from hf_zhclip.conversion.proof import widening
from hf_zhclip.conversion.proof.widening import cast

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}


@pytest.fixture
def bert():
    torch.manual_seed(0)
    return BertModel(BertConfig(vocab_size=50, max_position_embeddings=12, **SIZES)).eval()


@pytest.fixture
def vit():
    torch.manual_seed(0)
    return CLIPVisionModel(CLIPVisionConfig(image_size=8, patch_size=4, **SIZES)).eval()


IDS = torch.tensor([[3, 7, 7, 49], [0, 1, 2, 3]])
PIXELS = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)


@torch.no_grad()
def pooled(model, inputs):
    return model(inputs).pooler_output


@pytest.mark.parametrize("large", [1, widening.LARGE])
@pytest.mark.parametrize(("name", "inputs"), [("bert", IDS), ("vit", PIXELS.double())])
def test_a_model_computes_as_if_all_of_it_were_cast(name, inputs, large, request, monkeypatch):
    monkeypatch.setattr(widening, "LARGE", large)
    model = request.getfixturevalue(name)
    expected = pooled(copy.deepcopy(model).double(), inputs)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}

    with cast([model], torch.float64):
        assert model.dtype is torch.float64
        found = [pooled(model, inputs) for _ in range(2)]

    assert all(torch.equal(each, expected) for each in found)
    assert {key: tensor.dtype for key, tensor in model.state_dict().items()} == {
        key: tensor.dtype for key, tensor in before.items()
    }
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_a_layer_takes_memory_only_while_it_runs(bert):
    seen = []
    layers = bert.encoder.layer
    layers[1].register_forward_hook(lambda *_: seen.append([bytes_of(layer) for layer in layers]))
    full = 2 * bytes_of(layers[0])

    with cast([bert], torch.float64):
        # The hook of the test runs before the hook of the block, while the layer is still cast.
        pooled(bert, IDS)
        idle = [bytes_of(layer) for layer in layers]

    [[first, second, third]] = seen
    assert second == full
    assert {first, third, *idle} == {8 * len(list(layers[0].parameters()))}


def bytes_of(module):
    return sum(each.untyped_storage().nbytes() for each in module.parameters())


def test_of_a_large_embedding_the_rows_that_are_looked_up_are_cast(monkeypatch):
    monkeypatch.setattr(widening, "LARGE", 100)
    table = nn.Embedding(1000, 4)
    own = table.weight.data.clone()

    with cast([table], torch.float64):
        found = table(torch.tensor([[5, 999, 5]]))
        assert torch.equal(table.weight[5], own[5].double())
    assert torch.equal(found, own[torch.tensor([[5, 999, 5]])].double())
    assert torch.equal(table.weight, own)


def test_an_error_gives_the_weights_back(bert):
    before = {key: tensor.clone() for key, tensor in bert.state_dict().items()}
    bert.encoder.layer[1].output.dense.forward = None

    with pytest.raises(TypeError), cast([bert], torch.float64):
        pooled(bert, IDS)

    assert all(torch.equal(tensor, before[key]) for key, tensor in bert.state_dict().items())


def test_statistics_of_a_batch_norm_are_cast_and_counters_are_not():
    norm = nn.Sequential(nn.BatchNorm2d(3))
    with cast([norm], torch.float64):
        assert {str(each.dtype) for each in norm.state_dict().values()} == {"torch.float64", "torch.int64"}
    assert norm[0].running_mean.dtype is torch.float32
