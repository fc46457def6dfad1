"""Holds what training saved beside its weights against the base: what is told, and what is refused."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from hf_zhclip.json_files import brief, read_any_json, read_json
from hf_zhclip.saving_zhclip import VERSION_FIELD

from ..errors import InputError
from ..reading.read import Checkpoint
from .lineage import Base
from .report import FILE

WITHOUT_EFFECT = (
    *("transformers_version", "auto_map", "_name_or_path", "return_dict", "output_attentions", "output_hidden_states"),
    *("use_cache", "torchscript", "num_labels", "id2label", "label2id", "problem_type", "chunk_size_feed_forward"),
    *(VERSION_FIELD, "gradient_checkpointing", "_attn_implementation", "attn_implementation", "dtype", "torch_dtype"),
)
"""Fields of config.json that change no vector; the dtype is told by the tensors themselves."""

IN_TRAINING = (
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout", "dropout", "classifier_dropout"),
    *("qa_dropout", "seq_classif_dropout", "initializer_range", "initializer_factor", "logit_scale_init_value"),
)
"""Fields of config.json that act in training alone; the base's values are written, and the difference is told."""

MODULES = "modules.json"

TOKENIZER_STATE = ("truncation", "padding")
"""Fields of tokenizer.json that a call of the tokenizer leaves there."""

IMAGE_PROCESSOR = ("image_order", "size", "resample", "image_mean", "image_std")
"""Fields of processor_config.json's image processor that change pixels."""

HINTS = {
    "vocab_size": "The number of words changed (resize_token_embeddings). No verified vocabulary holds the words of "
    "the new rows. If the new rows were not trained, remove them: `model.resize_token_embeddings({base})`.",
    "vocabulary": "No verified vocabulary holds the words that were added. Train with the base's tokenizer.",
    "image_size": "Train with pictures of the base's size: positions for another size have no original.",
    "model_max_length": "To change the length of texts, convert the original with it: `zhclip convert SOURCE REPO "
    "--context-length {found}`. Then pass this REPO as the base.",
}
"""What to do about a field, by its last name."""

Difference = tuple[str, Any, Any]
"""A field, what training saved, and what the base has."""


def check_same(trained: Checkpoint, base: Base) -> list[str]:
    """Sentences about what training changed beside the weights without an effect on any number.

    Raises:
        InputError: a field that changes numbers differs from the base's; the message names each such field.
    """
    folder = trained.folder
    configs = list(_configs(trained.config, base.config)) if trained.config else []
    told = [each for each in configs if _last(each) in IN_TRAINING]
    refused = [each for each in configs if each not in told]
    if folder is not None and folder != base.folder:
        refused += [*_tokenizers(folder, base.folder), *_processors(folder, base.folder)]
        refused += _modules(folder, base.folder)
    if refused:
        raise InputError("\n".join([_refusal(trained, base), *map(_line, refused), *_hints(refused)]))
    return [
        f"{field} was {brief(found)} in training and changes no vector; the base's value {brief(own)} is written"
        for field, found, own in told
    ]


def _modules(folder: Path, base: Path) -> list[Difference]:
    """What sentence-transformers computes behind the model: an added module has no original."""
    if not (folder / MODULES).is_file() or not (base / MODULES).is_file():
        return []
    found, own = (_types(read_any_json(place / MODULES)) for place in (folder, base))
    return [] if found == own else [(f"{MODULES} types", found, own)]


def _types(modules: Any) -> Any:
    """The class names of the modules; the value itself if it is no list of modules."""
    if not isinstance(modules, list) or not all(isinstance(each, dict) for each in modules):
        return modules
    return [str(each.get("type")).rsplit(".", 1)[-1] for each in modules]


def _refusal(trained: Checkpoint, base: Base) -> str:
    than = base.name if base.tensors is not None else f"{FILE} in it, which says what {base.name} was"
    return (
        f"{trained.name} states other facts than {than}, from which it was trained. The facts of the result come from "
        "the base's report, because only this report is verified. If the weights were trained with the base's value, "
        "correct the file of the field. If the weights were trained with the other value, no original computes the "
        "same, and the weights are not converted. Check that the base is the right repo. Found:"
    )


def _line(difference: Difference) -> str:
    field, found, own = difference
    return f"  {field}: {brief(found)}; the base has {brief(own)}"


def _hints(differences: list[Difference]) -> list[str]:
    """The advice for each kind of field, once."""
    hints = {
        _last(each): HINTS[_last(each)].format(found=each[1], base=each[2])
        for each in differences
        if _last(each) in HINTS
    }
    return list(hints.values())


def _last(difference: Difference) -> str:
    return difference[0].rpartition(" ")[2].rpartition(".")[2]


def _configs(trained: Mapping[str, Any], base: Mapping[str, Any]) -> Iterator[Difference]:
    ours, theirs = (dict(_flat(_whole(config))) for config in (base, trained))
    for field in sorted(ours.keys() | theirs.keys()):
        if field.rpartition(".")[2] not in WITHOUT_EFFECT and ours.get(field) != theirs.get(field):
            yield field, theirs.get(field), ours.get(field)


def _whole(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A config.json with every field stated."""
    from hf_zhclip import ZhCLIPConfig

    try:
        return ZhCLIPConfig.from_dict(dict(config)).to_dict()
    except (StrictDataclassError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise InputError(f"No model can be built from the config.json that training saved. {error}") from error


def _flat(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping) and name.endswith("_config"):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield above + name, list(value) if isinstance(value, tuple) else value


def _tokenizers(trained: Path, base: Path) -> Iterator[Difference]:
    found, own = (_read(folder / "tokenizer.json") for folder in (trained, base))
    if found:
        words, known = (_words(each) for each in (found, own))
        if words != known:
            yield "tokenizer.json vocabulary", f"{len(words)} words", f"{len(known)}"
        rest = [key for key in found.keys() | own.keys() if key not in (*TOKENIZER_STATE, "model", "added_tokens")]
        yield from _differing("tokenizer.json", found, own, sorted(rest))
    found, own = (_read(folder / "tokenizer_config.json") for folder in (trained, base))
    if found:
        yield from _differing("tokenizer_config.json", found, own, ("model_max_length", "padding_side"))


def _words(tokenizer: Mapping[str, Any]) -> set[str]:
    """The vocabulary and the tokens that were added to it, each with its id or its score."""
    model, added = tokenizer.get("model"), tokenizer.get("added_tokens")
    vocab = model.get("vocab") if isinstance(model, Mapping) else None
    words = vocab.items() if isinstance(vocab, Mapping) else enumerate(vocab if isinstance(vocab, list) else ())
    added = added if isinstance(added, list) else []
    tokens = [(each.get("content"), each.get("id")) for each in added if isinstance(each, Mapping)]
    return {str(each) for each in (*words, *tokens)}


def _processors(trained: Path, base: Path) -> Iterator[Difference]:
    found, own = (_read(folder / "processor_config.json").get("image_processor") for folder in (trained, base))
    if isinstance(found, Mapping) and isinstance(own, Mapping):
        yield from _differing("processor_config.json", found, own, IMAGE_PROCESSOR)
    found, own = (_read(folder / "config_sentence_transformers.json") for folder in (trained, base))
    prompts = found.get("prompts")
    if any(prompts.values() if isinstance(prompts, Mapping) else [prompts]) or found.get("default_prompt_name"):
        yield from _differing("config_sentence_transformers.json", found, own, ("prompts", "default_prompt_name"))


def _differing(
    file: str, found: Mapping[str, Any], own: Mapping[str, Any], names: tuple[str, ...] | list[str]
) -> Iterator[Difference]:
    for name in names:
        if found.get(name) != own.get(name):
            yield f"{file} {name}", found.get(name), own.get(name)


def _read(file: Path) -> Mapping[str, Any]:
    return read_json(file) if file.is_file() else {}
