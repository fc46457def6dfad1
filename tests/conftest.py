"""What every test starts from: an empty, offline Hugging Face home, one thread, and the same random numbers."""

import functools
import gc
import os
import random
import shutil
import tempfile

# Before anything imports huggingface_hub, which reads them once.
HF_HOME = tempfile.mkdtemp(prefix="hf_zhclip_tests_")
os.environ["HF_HOME"] = HF_HOME
for name in ("HF_HUB_CACHE", "HF_MODULES_CACHE", "HF_ENDPOINT", "HF_TOKEN", "TRANSFORMERS_CACHE"):
    os.environ.pop(name, None)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import jinja2  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

import hf_zhclip  # noqa: E402, F401  (hides a broken torchvision before a test imports transformers)

from tests.thorough import leave_to_thorough  # noqa: E402

torch.set_num_threads(1)


def values_only_where_there_is_memory(kind: type[torch.nn.Module]) -> None:
    """Lets a layer on the meta device, which has no values, draw none: that is half the time of building a model."""
    draw = kind.reset_parameters

    def reset_parameters(layer: torch.nn.Module) -> None:
        if not layer.weight.is_meta:
            draw(layer)

    kind.reset_parameters = reset_parameters


for kind in (torch.nn.Linear, torch.nn.Embedding):
    values_only_where_there_is_memory(kind)
# The cards' template is compiled once: each conversion writes a card, and a quarter of its time went there.
jinja2.Environment.compile = functools.lru_cache(jinja2.Environment.compile)


FORKING = ("test_kills.py", "test_signals.py", "test_fuzzing.py", "test_killed_pushes.py")
"""These fork the process that runs them hundreds of times, which takes long once it has grown to gigabytes."""


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    leave_to_thorough(items)
    items.sort(key=lambda item: item.path.name not in FORKING)


def pytest_collection_finish() -> None:
    # What is there stays: thousands of modules and tests, which each collection of garbage would go through again.
    gc.freeze()
    # A model has thousands of objects and few cycles: to look for cycles after every 700 objects costs a tenth.
    gc.set_threshold(50_000, 20, 20)


def pytest_sessionfinish() -> None:
    shutil.rmtree(HF_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def server():
    """Runs calls in forked children, under limits; it has made the imports, which take seconds of a worker."""
    from tests.fork_server import Server

    server = Server()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    random.seed(0)
    torch.default_generator.manual_seed(0)  # without the other devices, which cost more than most tests
