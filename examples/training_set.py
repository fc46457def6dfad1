"""Training scenes as a folder of pictures named by their captions, which `zhclip train` reads.

python -m hf_zhclip.examples.training_set FOLDER --count 256000
python -m hf_zhclip.examples.training_set FOLDER --count 4000 --new
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from hf_zhclip.examples import scenes


def write(folder: Path, count: int, new: bool = False) -> None:
    """Writes `count` training scenes as `000001一个….png`, in the order in which `train_scenes.py` shows them.

    Args:
        new: the scenes of new things, to fine-tune on.

    Raises:
        OSError: the folder cannot be written, or exists.
    """
    folder.mkdir(parents=True)
    with ProcessPoolExecutor() as processes:
        for _ in processes.map(partial(_write_one, folder, new), range(count), chunksize=500):
            pass


def _write_one(folder: Path, new: bool, index: int) -> None:
    scene, caption = (scenes.new_example if new else scenes.training_example)(index)
    scenes.draw(scene).save(folder / f"{index + 1:06}{caption}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--new", action="store_true", help="the scenes of new things")
    arguments = parser.parse_args()
    write(arguments.folder, arguments.count, arguments.new)


if __name__ == "__main__":
    main()
