"""What a user states of a card's metadata, and what was published."""

import re

import pytest
from huggingface_hub import ModelCard

from hf_zhclip.conversion import card
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.publishing.rendering import render
from hf_zhclip.conversion.repos.report import FILE

from tests.conversion.publishing.reading import (
    as_published,
    check_header,
    fine_tune,
    halves,
    header,
    text_of,
)


def test_what_a_user_states_is_kept_when_the_card_is_refreshed(copy):
    folder = copy()
    assert card(folder, license="cc-by-nc-4.0", base_model="somebody/clip") == folder / "README.md"
    card(folder)
    data = header(folder)
    assert (data["license"], data["base_model"], data["base_model_relation"]) == (
        "cc-by-nc-4.0",
        ["somebody/clip"],
        "finetune",
    )
    assert "stated by whoever made this repository" in text_of(folder)
    assert ModelCard(render(folder, repo="a/b")).data.license == "cc-by-nc-4.0"


def test_a_licence_by_its_name_alone_keeps_name_and_link_until_another_is_stated(copy):
    folder = copy()
    named = "license: other\nlicense_name: my-own\nlicense_link: LICENSE\nbase_model: somebody/clip\n"
    (folder / "README.md").write_text(f"---\n{named}---\nmine\n", encoding="utf-8")
    card(folder, force=True)
    assert header(folder)["license_name"] == "my-own" and header(folder)["base_model"] == ["somebody/clip"]
    card(folder, license="mit")
    assert "license_name" not in header(folder)


def test_what_was_published_is_not_contradicted(copy):
    folder = as_published(copy(), "ViT-B-16")
    with pytest.raises(InputError, match="published under mit or apache-2.0"):
        card(folder, license="gpl-3.0")
    assert not (folder / "README.md").exists()
    card(folder, license="apache-2.0")
    assert header(folder)["license"] == "apache-2.0"
    fine_tune(folder)
    card(folder, license="gpl-3.0")
    assert header(folder)["license"] == "gpl-3.0"


def test_a_licence_that_nobody_stated_is_told_as_that_of_the_model_it_was_made_from(copy):
    folder = as_published(copy(), "ViT-B-16")
    card(folder)
    fine_tune(folder)
    inherited = "`mit` (the licence of the base model)."
    for remove in ((), (FILE,)):  # with its report, and with its header alone
        for name in remove:
            (folder / name).unlink()
        card(folder)
        chinese, english = halves(text_of(folder))
        assert header(folder)["license"] == "mit" and inherited in english
        assert "`mit`（沿用其来源模型的许可证）。" in chinese and "stated by whoever" not in english
    card(folder, license="mit")
    assert "stated by whoever made this repository" in text_of(folder)


def test_an_unknown_licence_of_a_published_checkpoint_stays_unknown_until_it_is_stated(copy):
    folder = as_published(copy("bert_clip"), "BertCLIP")
    card(folder)
    assert "license" not in header(folder) and "Unknown: neither" in text_of(folder)
    card(folder, license="mit")
    assert header(folder)["license"] == "mit"


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"license": "MIT"}, "--license MIT is no licence id of the hub"),
        ({"base_model": "clip"}, "--base-model clip is no model on the hub"),
        ({"base_model": "a/b:c.pt"}, "--base-model a/b:c.pt is no model on the hub"),
    ],
)
def test_a_value_that_the_hub_does_not_know_is_refused(stated, message, copy):
    folder = copy()
    before = text_of(folder)
    with pytest.raises(InputError, match=re.escape(message)):
        card(folder, **stated)
    assert text_of(folder) == before


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("stated", "message", "mended"),
    [
        ("license: MIT", "license: MIT in the header of", {"license": "mit"}),
        ("license: [mit]", "license: ['mit'] in the header of", {"license": "mit"}),
        ("base_model: [not a repo]", "base_model: not a repo in the header of", {"base_model": "a/b"}),
        ("base_model: a/b:c.pt", "base_model: a/b:c.pt in the header of", {"base_model": "a/b"}),
    ],
)
def test_a_header_that_the_hub_would_refuse_is_not_taken_over(stated, message, mended, copy):
    folder = copy()
    (folder / "README.md").write_text(f"---\n{stated}\n---\nmine\n", encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)):
        card(folder, force=True)
    assert text_of(folder).endswith("mine\n")
    card(folder, force=True, **mended)
    check_header(header(folder))
