"""Run Chinese-CLIP's dataset_transform.py once and keep what it reads and writes in recorded/dataset_transform.json.

The script stands in the repository and not in the package. In an environment of its own, from this repository's root:

    python3.11 -m venv ENV
    ENV/bin/pip install scikit-learn pandas pillow
    git clone https://github.com/OFA-Sys/Chinese-CLIP CHECKOUT
    ENV/bin/python tests/parity/record_dataset_transform.py CHECKOUT

Its inputs are five pictures, JPEG and PNG, with a csv of captions; its outputs are the four files of train and valid.
"""

import base64
import importlib.metadata
import io
import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

RECORDED = Path(__file__).parent / "recorded" / "dataset_transform.json"
CAPTIONS = {"a.jpg": "一只红猫", "b.png": '她说"好,的"', "c.jpg": "繁體字", "d.png": "emoji 😀", "e.jpg": "一只红猫"}
OTHER_CSVS = {
    "data2/image_data.csv": "image_id\n",
    "data2/word_test.csv": "text_id,caption\n",
    "data3/image_test.csv": "image_id\n",
    "data3/word_data.csv": "text_id,caption\n",
}


def main() -> None:
    checkout = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        data, written = Path("original_dataset"), Path("Chinese-CLIP/datasets/DatasetName")
        for path in (data / "data1" / "ImageData", data / "data2", data / "data3", written):
            path.mkdir(parents=True)
        pictures = {name: picture(number, name) for number, name in enumerate(CAPTIONS)}
        for name, content in pictures.items():
            (data / "data1" / "ImageData" / name).write_bytes(content)
        rows = "".join('{},"{}"\n'.format(name, text.replace('"', '""')) for name, text in CAPTIONS.items())
        csv = "image_id,caption\n" + rows
        (data / "data1" / "ImageWordData.csv").write_text(csv, encoding="utf-8")
        for name, content in OTHER_CSVS.items():
            (data / name).write_text(content, encoding="utf-8")
        runpy.run_path(str(checkout / "dataset_transform.py"))
        files = {path.name: path.read_text(encoding="utf-8") for path in sorted(written.glob("[tv]*a*_*"))}
    commit = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    record = {
        "upstream": "https://github.com/OFA-Sys/Chinese-CLIP",
        "commit": commit.stdout.strip(),
        "versions": {name: importlib.metadata.version(name) for name in ("pandas", "scikit-learn", "pillow")},
        "csv": csv,
        "pictures": {name: base64.b64encode(content).decode() for name, content in pictures.items()},
        "written": files,
    }
    RECORDED.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def picture(number: int, name: str) -> bytes:
    """A small picture; a JPEG of low quality changes when it is encoded again."""
    image = Image.linear_gradient("L").resize((16, 12)).rotate(30 * number).convert("RGB")
    file = io.BytesIO()
    if name.endswith(".jpg"):
        image.save(file, "JPEG", quality=30)
    else:
        image.save(file, "PNG", compress_level=1)
    return file.getvalue()


if __name__ == "__main__":
    main()
