"""The held-out scenes as folders that `zhclip evaluate` reads.

python -m hf_zhclip.examples.held_out FOLDER
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from hf_zhclip.examples import scenes

PARTS = {"seen": ("seen",), "unseen": ("unseen",), "both": tuple(scenes.SPLITS)}
NEW = "new"
TEMPLATE = "一个{}"


def write(folder: Path) -> None:
    """Writes the data of two evaluations of seen objects, unseen ones and both, and of a retrieval of new ones.

    `retrieval/PART/0001一个….png` names each picture by its number and caption. `objects/PART/红色圆形/1.png` has a
    folder for each class; `objects/PART.txt` has the classes in the folders' order, and `objects/templates.txt` the
    text around them.

    Raises:
        OSError: the folder cannot be written, or has these files already.
    """
    for part, splits in PARTS.items():
        chosen = [scene for scene, split in scenes.held_out_gallery() if split in splits]
        _write_retrieval(folder / "retrieval" / part, chosen)
        _write_objects(folder / "objects" / part, splits)
    _write_retrieval(folder / "retrieval" / NEW, scenes.new_gallery())
    (folder / "objects" / "templates.txt").write_text(TEMPLATE + "\n", encoding="utf-8")


def _write_retrieval(folder: Path, chosen: Iterable[scenes.Scene]) -> None:
    folder.mkdir(parents=True)
    for number, scene in enumerate(chosen, start=1):
        scenes.draw(scene).save(folder / f"{number:04}{scenes.caption(scene.facts)}.png")


def _write_objects(folder: Path, splits: tuple[str, ...]) -> None:
    names = set()
    for task in (scenes.held_out_tasks(split)[0] for split in splits):
        for number, scene in enumerate(task.scenes):
            name = scenes.caption(scene.facts).removeprefix(TEMPLATE.format(""))
            names.add(name)
            (folder / name).mkdir(parents=True, exist_ok=True)
            scenes.draw(scene).save(folder / name / f"{number}.png")
    folder.with_suffix(".txt").write_text("\n".join(sorted(names)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
