"""A recipe of under 1 KB ends in words, in little time and memory, whatever its values are."""

import re
import time

import pytest
from transformers import AutoModel

from hf_zhclip.errors import InputError
from hf_zhclip.training.adapters import is_pattern, with_lora

from tests.training.test_training import data, refused, repo, run  # noqa: F401  the fixtures

HOSTILE = {
    "a_thousand_processes": ("dataloader_num_workers: 100000", "at most [0-9]+ was wanted"),
    "a_thousand_batches": (
        "{dataloader_num_workers: 1, dataloader_prefetch_factor: 100000}",
        "dataloader_prefetch_factor 100000; at most 64",
    ),
    "a_seed_that_numpy_does_not_take": ("seed: 99999999999999", "found seed 99999999999999; at most 4294967295"),
    "a_huge_rank": ("lora: {target_modules: all-linear, r: 1000000}", "the rank 1000000; what it adapts has [0-9]+ "),
    "a_huge_rank_of_a_name": (
        "lora: {target_modules: [query], rank_pattern: {query: 1000000}}",
        "the rank 1000000; what it adapts has",
    ),
    "an_expression_that_takes_for_ever": (r"lora: {target_modules: '((\w|\.)*)*!'}", "no repeated group, was wanted"),
    "an_expression_of_choices": ("lora: {target_modules: '%s!'}" % ("(.|.)" * 30), "3 repetitions and alternatives"),
    "an_expression_that_is_none": ('lora: {target_modules: "("}', "the target_modules '\\(';"),
    "a_huge_rank_of_a_parameter": (
        "lora: {target_parameters: [query.weight], r: 1000000}",
        "the rank 1000000; what it adapts has",
    ),
    "a_rank_of_no_expression": ('lora: {target_modules: [query], rank_pattern: {"(": 3}}', "the rank_pattern"),
    "layers_of_no_expression": (
        'lora: {target_modules: [query], layers_to_transform: [0], layers_pattern: "["}',
        "the layers_pattern '\\['; a name",
    ),
    "a_rank_of_text": ("lora: {target_modules: [query], r: x}", "the r 'x'; a whole number"),
    "a_module_to_import": ("lora: {target_modules: [query], megatron_config: {}, megatron_core: this}", "megatron_co"),
    "layers_without_end": ("lora: {target_modules: [query], layer_replication: [[0, 99999999]]}", "layer_replication"),
    "weights_from_data": ("lora: {target_modules: [query], init_lora_weights: eva}", "the init_lora_weights 'eva'"),
    "nothing_to_adapt": ("lora: {target_modules: [nowhere]}", "which PEFT does not take"),
    "a_power_of_text": (
        "{lr_scheduler_type: polynomial, lr_scheduler_kwargs: {power: x}, warmup_steps: 1}",
        "found lr_scheduler_type polynomial with lr_scheduler_kwargs .*'power': 'x'.*cannot be used",
    ),
    "cycles_of_text": (
        "{lr_scheduler_type: cosine_with_restarts, lr_scheduler_kwargs: {num_cycles: x}, warmup_steps: 1}",
        "found lr_scheduler_type cosine_with_restarts .*cannot be used",
    ),
    "a_rate_below_0": (
        "{lr_scheduler_type: polynomial, lr_scheduler_kwargs: {power: -1}}",
        "found lr_scheduler_type polynomial .*cannot be used",
    ),
    "an_argument_of_no_schedule": (
        "{lr_scheduler_type: polynomial, lr_scheduler_kwargs: {zz: 1}}",
        "found lr_scheduler_type polynomial .*cannot be used",
    ),
    "an_optimizer_s_argument_without_a_value": (
        "{optim: adamw_torch, optim_args: 'x'}",
        "found optim adamw_torch with optim_args 'x', which cannot be used",
    ),
}
"""By its name, a recipe, and what is said of it."""


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_recipe_ends_in_words_before_the_first_step(name, repo, data, tmp_path):  # noqa: F811
    text, told = HOSTILE[name]
    (tmp_path / "r.yaml").write_text(text)
    begun = time.monotonic()
    found = refused(repo, data, tmp_path / "T", recipe=str(tmp_path / "r.yaml"))
    assert re.search(told, found), found
    assert time.monotonic() - begun < 10 and not (tmp_path / "T" / "trained").exists()


@pytest.mark.parametrize(
    "pattern",
    [
        *("query", "all-linear", r".*\.(q_proj|v_proj)", r"text_model.*query", r"(.*\.)?query"),
        *(r".*layers\.[0-9]\..*q_proj", r".*\.layer\.\d+\.attention"),
    ],
)
def test_the_expressions_that_people_write_are_taken(pattern):
    assert is_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            r"(a|a)*b",
            "(a?a?)+b",
            "(ab){2}",
            ".?" * 30 + "!",
            "(.|.)" * 30 + "!",
            ".*.*.*.*!",
            "(a*)*",
            "[",
            "a" * 201,
        ),
        *("(?P<a>.*)(?P=a)", "(?x) a", "((.*)*)*", "(a*?)*?b", "(a+){9}", ""),
    ],
)
def test_expressions_of_many_choices_are_refused(pattern):
    assert not is_pattern(pattern)


def test_the_worst_expression_that_is_taken_ends_soon():
    begun = time.process_time()
    assert is_pattern(".*.*.*!") and not any(re.fullmatch(".*.*.*!", "a." * 50) for _ in range(10))
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    "fields",
    [
        {"target_modules": "all-linear", "r": 2},
        {"target_modules": r".*\.(query|value)", "r": 4, "rank_pattern": {"query": 2}, "use_dora": True},
        {"target_modules": ["query"], "exclude_modules": ["value"], "layers_to_transform": [0], "bias": "none"},
        {"target_modules": ["query"], "init_lora_weights": "gaussian", "lora_dropout": 0.1, "use_rslora": True},
    ],
)
def test_fields_within_the_limits_give_an_adapter(fields, repo):  # noqa: F811
    model = with_lora(AutoModel.from_pretrained(repo), fields)
    assert any("lora_A" in name for name, _ in model.named_parameters())


def test_a_field_that_is_near_a_known_field_is_named(repo):  # noqa: F811
    with pytest.raises(InputError, match="Did you mean lora_alpha"):
        with_lora(AutoModel.from_pretrained(repo), {"lora_alfa": 3})
