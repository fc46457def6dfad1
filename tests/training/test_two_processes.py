"""Two gloo processes that gather their vectors train as one process with the whole batch."""

import pytest
import torch

from tests.training import two_processes
from tests.training.torchrun import two_processes_of


@pytest.fixture(scope="module")
def gathered(tmp_path_factory):
    """The weights that two processes trained, by the name of the way."""
    folder = tmp_path_factory.mktemp("gathered")
    two_processes_of("tests.training.two_processes", folder)
    return torch.load(folder / "found.pt")


@pytest.mark.parametrize("way", [each for each in two_processes.WAYS if each not in ("dropped", "odd")])
def test_weights_are_those_of_one_process(way, gathered, tmp_path):
    wanted = two_processes.trained(tmp_path, way, 6)
    assert all((gathered[way][name] - value).abs().max() < 1e-9 for name, value in wanted.items())


@pytest.mark.parametrize("way", ["dropped", "odd"])
def test_a_batch_that_is_dealt_unevenly_or_by_chance_trains(way, gathered):
    """Nine pairs in batches of six: the last batch is filled up, so that both processes have rows."""
    assert all(value.isfinite().all() for value in gathered[way].values())
