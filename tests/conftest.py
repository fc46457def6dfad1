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

torch.set_num_threads(1)
# The cards' template is compiled once: each conversion writes a card, and a quarter of its time went there.
jinja2.Environment.compile = functools.lru_cache(jinja2.Environment.compile)


def pytest_collection_finish() -> None:
    # What is there stays: thousands of modules and tests, which each collection of garbage would go through again.
    gc.freeze()


def pytest_sessionfinish() -> None:
    shutil.rmtree(HF_HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    random.seed(0)
    torch.manual_seed(0)
