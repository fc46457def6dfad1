"""The recipes hold the values with which the originals train (recorded/arguments.json)."""

import pytest

from hf_zhclip.training.recipes import FIELDS, names, read_recipe
from hf_zhclip.training.training import _arguments

from tests.training.recording import read

RECORDED = read("arguments")
OURS = {
    # cn_clip's names
    **{"batch_size": "per_device_train_batch_size", "lr": "learning_rate", "wd": "weight_decay"},
    **{"beta1": "adam_beta1", "beta2": "adam_beta2", "eps": "adam_epsilon", "warmup": "warmup_steps"},
    **{"max_epochs": "num_train_epochs", "use_augment": "augment", "grad_checkpointing": "gradient_checkpointing"},
    # CLIP-Chinese's
    "max_seq_length": "context_length",
}
ELSEWHERE = {
    # What `negatives: cn_clip` says, and what a recipe without the argument says.
    **{"gather_with_grad": False, "skip_aggregate": False, "freeze_vision": False, "mask_ratio": 0, "accum_freq": 1},
    # Only on a GPU: the recipe's first line names --fp16.
    **{"precision": "amp", "fp16": True},
    # transformers' cosine, which is a single cycle of its cosine_with_restarts.
    **{"lr_scheduler_type": "cosine", "gradient_accumulation_steps": 1, "num_gpus": 1},
}
"""The values that no value of a recipe repeats."""


@pytest.mark.parametrize("recipe", RECORDED)
def test_a_published_recipe_has_the_values_of_its_source(recipe):
    ours, theirs = read_recipe(recipe), RECORDED[recipe]["arguments"]

    assert {name: theirs[name] for name in theirs if name in ELSEWHERE}.items() <= ELSEWHERE.items()
    told = {OURS.get(name, name): value for name, value in theirs.items() if name not in ELSEWHERE}
    assert {name: ours.get(name, False) for name in told} == told
    assert f"{RECORDED[recipe]['upstream']}/blob/{RECORDED[recipe]['commit'][:7]}/" in ours["source"]
    if "wd" in theirs:
        assert (ours["negatives"], ours["decay"], ours["max_grad_norm"]) == ("cn_clip", "cn_clip", 0.0)
    assert not {"patch_dropping", "as_cn_clip"} & ours.keys()


@pytest.mark.parametrize("recipe", names())
def test_every_recipe_is_read_without_an_error_and_names_its_source(recipe, tmp_path):
    values = read_recipe(recipe)
    assert values["source"]
    _arguments(tmp_path, {name: value for name, value in values.items() if name not in FIELDS}, False)
