"""A vocabulary or stated facts beside weights: nothing says that the two belong together."""

import shlex
from pathlib import Path

from ..errors import InputError
from ..reading.evidence import TOKENIZER_CONFIG
from ..reading.files import STATED
from ..reading.read import Checkpoint
from ..source import Source
from ..tokenizers.vocabularies import BERT_SETTINGS, DEFAULT_VOCAB, optional_json, read_vocab, read_wordpieces

PACKAGED = "packaged"
"""The value of `--tokenizer` for the packaged vocabulary; an existing file with this name takes precedence."""


def is_packaged(tokenizer: str | Path | None) -> bool:
    """Whether `--tokenizer` means the packaged vocabulary, and no file has this name."""
    return str(tokenizer) == PACKAGED and not Path(PACKAGED).exists()


def packaged(source: Source) -> Path:
    """A source's packaged vocabulary.

    Raises:
        InputError: no vocabulary ships for this source.
    """
    if source.vocabulary.default is None:
        raise InputError(
            f"--tokenizer {PACKAGED}: no vocabulary ships with the package for {source.title}. Pass the vocabulary "
            "that the model was trained with: --tokenizer PATH."
        )
    return source.vocabulary.default


def refuse_other_vocabulary(source: Source, checkpoint: Checkpoint) -> None:
    """Refuses an unclear choice: the vocabulary beside the weights differs from the one that would be used.

    A weight file with a free name may lie in any folder: the vocabulary there is neither used nor silently ignored.

    Raises:
        InputError: the two differ; the message names both.
    """
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    found = next((folder / name for name in source.vocabulary.files if (folder / name).is_file()), None)
    if found is None:
        return
    settings = (folder / TOKENIZER_CONFIG).is_file()
    place = folder if settings else found
    theirs = f"--tokenizer {shlex.quote(str(place))} if {checkpoint.name} was trained with {found.name}"
    if (default := source.vocabulary.default) is None:
        raise InputError(
            f"{found.name} lies beside {checkpoint.name}, and nothing says that the two belong together. Say which "
            f"vocabulary is meant: {theirs}; or --tokenizer PATH with the vocabulary that the model was trained with."
        )
    ours = f"--tokenizer {PACKAGED} for the packaged vocabulary, which {source.title} was published with"
    try:
        same = source.vocabulary.read(found) == source.vocabulary.read(default)
    except InputError as error:
        raise InputError(
            f"{found.name} lies beside {checkpoint.name} and can't be read as its vocabulary: {error} Say which "
            f"vocabulary is meant: {ours}; or --tokenizer PATH with the vocabulary that the model was trained with."
        ) from error
    if not same:
        raise InputError(
            f"{found.name} lies beside {checkpoint.name}, but convert would take the packaged vocabulary. The two "
            f"differ in words or ids. The vocabulary is not guessed. Say which vocabulary is meant: {theirs}, or "
            f"{ours}."
        )
    if settings:
        _refuse_other_settings(source, folder, ours, theirs)


def refuse_unheeded_settings(source: Source, folder: Path) -> None:
    """Refuses a folder of `--tokenizer` whose settings the source's tokenizer does not heed.

    Raises:
        InputError: the folder states a setting that BertTokenizer does not have by itself, and it would be ignored.
    """
    if source.vocabulary.read is not read_vocab:
        return
    found = read_wordpieces(folder)
    stated = (found.lowercase, found.strip_accents, found.cjk_alone)
    other = [f"{name} false" for name, value in zip(BERT_SETTINGS, stated, strict=True) if not value]
    file = next(folder / name for name in source.vocabulary.files if (folder / name).is_file())
    if other and _prepared(source, folder) == _prepared(source, file):
        raise InputError(
            f"--tokenizer {folder}: its files state {', '.join(other)}. {source.title} lower-cases every text, "
            "removes its accents and splits at each Chinese character, and takes no other settings. If the model was "
            f"trained like {source.title}, pass the words alone: --tokenizer {shlex.quote(str(file))}. A "
            f"{source.title} that was trained with other settings is not converted."
        )


def refuse_unread_facts(checkpoint: Checkpoint) -> None:
    """Refuses an unclear choice: facts that an export wrote beside the weights, and that the user does not name.

    Without them, a published model's facts could take their place without a word.

    Raises:
        InputError: there is such a file.
    """
    file = checkpoint.files[0].parent / STATED
    if file.is_file():
        raise InputError(
            f"{STATED} lies beside {checkpoint.files[0].name}. `zhclip export --to source` writes this file for facts "
            f"that the weights do not show. If it belongs to these weights, add `--config {shlex.quote(str(file))}` "
            f"to the command. If it belongs to other weights, move {file} to another folder."
        )


def _prepared(source: Source, vocabulary: Path) -> str:
    """A text as the source's tokenizer prepares it before it looks for words."""
    return source.tokenizer(vocabulary, 8).backend_tokenizer.normalizer.normalize_str("Été 猫狗")


def _refuse_other_settings(source: Source, folder: Path, ours: str, theirs: str) -> None:
    """Refuses an unclear choice: the same vocabulary, and another preparation of texts than the packaged one's.

    Raises:
        InputError: tokenizer_config.json states a setting that BertTokenizer does not have by itself.
    """
    file = folder / TOKENIZER_CONFIG
    stated = optional_json(file)
    other = [f"{name} false" for name in BERT_SETTINGS if stated.get(name) is False]
    if not other or source.vocabulary.default != DEFAULT_VOCAB:
        return
    heeds = source.tokenizer(folder, 8)("Été 猫狗")["input_ids"] != source.tokenizer(None, 8)("Été 猫狗")["input_ids"]
    way = f", or {theirs}" if heeds else f". A {source.title} that was trained with other settings is not converted"
    raise InputError(
        f"{file} states {', '.join(other)} beside the packaged vocabulary. {source.title} lower-cases every "
        f"text, removes its accents and splits at each Chinese character. The settings are not guessed. Say which "
        f"vocabulary is meant: {ours}{way}."
    )
