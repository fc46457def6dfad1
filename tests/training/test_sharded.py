"""Two processes under FSDP train what they train under DDP."""

from types import SimpleNamespace

import pytest
from safetensors.torch import load_file
from transformers import AutoModel

from hf_zhclip.errors import InputError
from hf_zhclip.training.arguments import check_processes
from hf_zhclip.training.sharding import make_shardable

from tests.training.sharded_processes import WAYS
from tests.training.test_training import pictures, repo  # noqa: F401  the fixture
from tests.training.torchrun import two_processes_of


def test_version_1_of_fsdp_is_refused_and_version_2_is_taken(repo):  # noqa: F811
    model = AutoModel.from_pretrained(repo)
    with pytest.raises(InputError, match="version 1 of FSDP; version 2 was wanted. Give --fsdp_version 2."):
        make_shardable(model, SimpleNamespace(fsdp_version=1, transformer_cls_names_to_wrap=None))
    plugin = SimpleNamespace(fsdp_version=2, transformer_cls_names_to_wrap=None)
    make_shardable(model, plugin)
    assert plugin.transformer_cls_names_to_wrap == ["BertLayer", "CLIPEncoderLayer"]


def test_processes_that_would_each_train_by_themselves_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="found 2 processes .* of which transformers sees 1"):
        check_processes(1)
    check_processes(2)


def trained(repo, data, folder, *more):  # noqa: F811
    two_processes_of("tests.training.sharded_processes", repo, data, folder, *more)
    return folder


@pytest.fixture(scope="module")
def folders(repo, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("sharded")
    data = pictures(folder / "data", 16)
    return trained(repo, data, folder / "ddp"), trained(repo, data, folder / "fsdp", "--fsdp")


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.thorough
@pytest.mark.parametrize("way", WAYS)
def test_fsdp_trains_what_ddp_trains(way, folders, repo):  # noqa: F811
    wanted, found = (weights(folder / way / "trained") for folder in folders)
    start = weights(repo)
    assert {name: each.shape for name, each in found.items()} == {name: each.shape for name, each in start.items()}
    assert all((found[name] - each).abs().max() < 1e-5 for name, each in wanted.items())
    assert max((found[name] - each).abs().max() for name, each in start.items()) > 1e-4


@pytest.mark.thorough
def test_a_resumed_training_under_fsdp_ends_with_the_same_weights(folders):
    whole, resumed = weights(folders[1] / "first-trained"), weights(folders[1] / "at_once" / "trained")
    assert all(each.equal(resumed[name]) for name, each in whole.items())
