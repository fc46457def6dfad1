"""What a witness is made of: its own defaults, and no code that the conversion concludes with."""

import ast
from pathlib import Path

import pytest
import transformers

from hf_zhclip.conversion.proof import peers, reference, witnesses
from hf_zhclip.conversion.proof.reference import hf_config, multilingual_clip

CLASSES = {
    "BERT": transformers.BertConfig,
    "XLM_ROBERTA": transformers.XLMRobertaConfig,
    "DISTILBERT": transformers.DistilBertConfig,
    "CLIP_TEXT": transformers.CLIPTextConfig,
    "CLIP_VISION": transformers.CLIPVisionConfig,
}

# What it is of the project that a package may import from, by the package.
ALLOWED = {
    # `widening` casts weights, and holds no fact of any model.
    "peers": ("errors", "words", "proof.witness", "proof.widening", "proof.reference", "proof.peers"),
    "reference": ("proof.reference",),
    # `evidence` is what lies in a source's folder, as it lies there.
    "witnesses": ("errors", "words", "proof.witness", "proof.reference", "reading.evidence"),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_default_of_the_reference_is_that_of_transformers_class(name):
    defaults, upstream = getattr(hf_config, name), CLASSES[name]()

    assert defaults == {field: getattr(upstream, field) for field in defaults}


@pytest.mark.parametrize("base", multilingual_clip.BASES)
def test_a_base_of_the_reference_states_no_more_than_what_differs_from_its_class(base):
    stated = multilingual_clip.BASES[base]
    upstream = {"bert": transformers.BertConfig, "xlm-roberta": transformers.XLMRobertaConfig}[stated["model_type"]]()

    # `model_type` says which class it is.
    assert [name for name, value in stated.items() if name != "model_type" and getattr(upstream, name) == value] == []


# huggingface.co/NAME/raw/main/config.json
PUBLISHED_BASES = {
    "xlm-roberta-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    "xlm-roberta-large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
    "LaBSE": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    "bert-base-multilingual-cased": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
}


@pytest.mark.parametrize("base", multilingual_clip.BASES)
def test_a_base_has_its_published_sizes_with_the_defaults_of_its_class(base):
    stated = multilingual_clip.BASES[base]
    upstream = {"bert": transformers.BertConfig, "xlm-roberta": transformers.XLMRobertaConfig}[stated["model_type"]]

    config = upstream(**stated)

    assert {name: getattr(config, name) for name in PUBLISHED_BASES[base]} == PUBLISHED_BASES[base]
    assert config.hidden_act == "gelu"
    assert config.intermediate_size == 4 * config.hidden_size


def modules_of(package):
    return sorted(Path(package.__file__).parent.glob("*.py"))


def imported(file, package):
    """Modules of this project that a file imports from, by their names under `conversion`.

    Args:
        package: the names under `conversion` of the package that the file lies in.
    """
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("hf_zhclip"))
        elif isinstance(node, ast.ImportFrom) and node.level:
            place = package[: len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (".".join((*place, name)) for name in names)
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("hf_zhclip"):
            yield node.module


def is_of(name, places):
    return any(f"{name}.".startswith(f"{place}.") for place in places)


@pytest.mark.parametrize("package", [peers, reference], ids=["peers", "reference"])
def test_who_bears_witness_imports_nothing_that_the_conversion_concludes_with(package):
    name = package.__name__.rpartition(".")[2]
    found = {(file.name, each) for file in modules_of(package) for each in imported(file, ("proof", name))}

    assert found, "no import was found at all: the test has gone blind"
    assert [(file, each) for file, each in sorted(found) if not is_of(each, ALLOWED[name])] == []


def test_the_witness_is_put_together_without_what_the_conversion_concludes_with():
    found = set(imported(Path(witnesses.__file__), ("proof",)))

    assert found, "no import was found at all: the test has gone blind"
    assert [each for each in sorted(found) if not is_of(each, ALLOWED["witnesses"])] == []
