"""A vocabulary that lies beside a weight file by itself: nothing says that it is the file's."""

from pathlib import Path

from ..errors import InputError
from ..reading.evidence import TOKENIZER_CONFIG
from ..reading.read import Checkpoint
from ..source import Source

PACKAGED = "packaged"
"""What `--tokenizer` is told for the vocabulary that ships with the package; a file of that name goes first."""


def is_packaged(tokenizer: str | Path | None) -> bool:
    """Whether `--tokenizer` means the vocabulary that ships, and no file of that name."""
    return str(tokenizer) == PACKAGED and not Path(PACKAGED).exists()


def packaged(source: Source) -> Path:
    """The vocabulary that ships with the package for a source.

    Raises:
        InputError: when none does.
    """
    if source.vocabulary.default is None:
        raise InputError(
            f"--tokenizer {PACKAGED}: no vocabulary ships with the package for {source.title}. Pass the one that it "
            "was trained with: --tokenizer PATH."
        )
    return source.vocabulary.default


def refuse_other_vocabulary(source: Source, checkpoint: Checkpoint) -> None:
    """Asks which vocabulary is meant, where another than the one that would be taken lies beside the weights.

    The folder of a weight file that has an own name is anyone's: it is not taken from there, and not passed over.

    Raises:
        InputError: naming both.
    """
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    found = next((folder / name for name in source.vocabulary.files if (folder / name).is_file()), None)
    if found is None:
        return
    settings = (folder / TOKENIZER_CONFIG).is_file()
    theirs = f"--tokenizer {folder if settings else found} if {checkpoint.name} was trained with it"
    if (default := source.vocabulary.default) is None:
        raise InputError(
            f"{found.name} lies beside {checkpoint.name}, and nothing says that it is its own. Say so: {theirs}; or "
            "--tokenizer PATH with the vocabulary that it was trained with."
        )
    ours = f"--tokenizer {PACKAGED} for the packaged one, which {source.title} was published with"
    try:
        same = source.vocabulary.read(found) == source.vocabulary.read(default)
    except InputError as error:
        raise InputError(
            f"{found.name} lies beside {checkpoint.name} and can't be read as its vocabulary: {error} Say which one "
            f"is meant: {ours}; or --tokenizer PATH with the vocabulary that it was trained with."
        ) from error
    if not same:
        raise InputError(
            f"{found.name} lies beside {checkpoint.name} and is not the packaged vocabulary, which would be taken: "
            f"words or their ids differ. This is not guessed. Say which one is meant: {theirs}, or {ours}."
        )
