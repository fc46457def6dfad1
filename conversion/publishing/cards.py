"""card(): writes or updates the README.md of a converted repo; also writes the catalogue's cards."""

import sys
from pathlib import Path

from hf_zhclip.json_files import read_json
from hf_zhclip.paths import resolved

from ..errors import InputError
from ..reading import catalogue
from ..reading.files import CARD
from ..reading.namesakes import refuse_namesake
from ..repos.report import FILE, Report, changed_files, check_formats, read_report
from ..ways_out import refuse_no_folder
from .card_file import is_generated, read_card, write_whole
from .card_header import NOTHING_STATED, header_of, header_stated
from .rendering import render_entry, render_folder
from .unverified import CHANGED_SINCE, why_unverified


def card(out: str | Path, *, license: str | None = None, base_model: str | None = None, force: bool = False) -> Path:
    """Writes or updates only README.md, and returns its path.

    Args:
        out: a folder that `convert` made, or that was fine-tuned from such a folder.
        license: a licence identifier of the hub; the default is the existing card's, then the catalogue's.
        base_model: `user/name` of the base model; the default is the existing card's, then the report's.
        force: replace a README.md that this function did not write, or that was edited since.

    Raises:
        InputError: the folder is no repo, an argument is wrong or contradicts what was published, or a README.md that
            a person wrote would be lost.
        WorkError: the card could not be written; the old card is still there.
    """
    folder = Path(out)
    check_writable(folder, force)
    report = read_report(folder) if (folder / FILE).exists() else None
    if report is not None:
        check_formats(folder, report)
    changed = changed_files(folder, report) if report else []
    why = CHANGED_SINCE.filled(files=", ".join(changed)) if changed else None
    header = header_of(folder / CARD, header_stated(license, base_model))
    text = render_folder(folder, report, resolved(folder).name, why_unverified(report, why), header, bool(changed))
    write_whole(folder / CARD, text)
    return folder / CARD


def check_writable(folder: Path, force: bool) -> None:
    """Refuses a folder that is no repo, or whose README.md a person wrote, before any work is done.

    Raises:
        InputError: see `card`.
    """
    refuse_no_folder(folder)
    refuse_namesake(folder)
    if not (folder / "config.json").is_file() or read_json(folder / "config.json").get("model_type") != "hf_zhclip":
        raise InputError(f"{folder} is no converted repo. `zhclip convert SOURCE OUT` makes one.")
    path = folder / CARD
    if path.is_file() and not force and not is_generated(read_card(path)):
        raise InputError(
            f"{path} was not written by zhclip, or was edited later, and would be lost. To replace the file, pass "
            "--force."
        )


def write_card(folder: Path, report: Report, name: str) -> None:
    """Writes README.md into a folder that was just converted; the code blocks load `name`."""
    write_whole(
        folder / CARD, render_folder(folder, report, name, why_unverified(report, None), NOTHING_STATED, False)
    )


def refresh(folder: Path) -> list[Path]:
    """Writes the card of every catalogue entry into model_cards."""
    paths = []
    for entry in catalogue.entries():
        paths.append(folder / f"{entry.name}.md")
        write_whole(paths[-1], render_entry(entry))
    return paths


if __name__ == "__main__":
    for written in refresh(Path(sys.argv[1])):
        print(written)
