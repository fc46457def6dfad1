"""Small image-text data in several formats."""

import base64
import io
import json

from PIL import Image


def picture(colour="red", format="PNG", mode="RGB", size=(4, 3)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, format)
    return file.getvalue()


def tsv(folder, split="valid", pictures=None, texts=None, end="\n"):
    """A split in cn_clip's files: two pictures and three texts, unless other lines are given."""
    folder.mkdir(exist_ok=True, parents=True)
    if pictures is None:
        pictures = [
            f"7\t{base64.b64encode(picture('red')).decode()}",
            f"12\t{base64.b64encode(picture('blue')).decode()}",
        ]
    if texts is None:
        texts = [
            {"text_id": 3, "text": "一只红猫", "image_ids": [7]},
            {"text_id": 1, "text": "两种颜色", "image_ids": [12, 7]},
            {"text_id": 2, "text": "蓝\t\n色", "image_ids": [12]},
        ]
    (folder / f"{split}_imgs.tsv").write_bytes("".join(f"{line}{end}" for line in pictures).encode())
    lines = [json.dumps(each, ensure_ascii=False) + end for each in texts]
    (folder / f"{split}_texts.jsonl").write_bytes("".join(lines).encode())
    return folder


def colours(split):
    return [(each, image.convert("RGB").getpixel((0, 0))) for each, image in split.pictures]


RED_AND_BLUE = [(7, (255, 0, 0)), (12, (0, 0, 255))]


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
