"""What is written is what cn_clip's own script writes and its own loaders read; what is read is what they read."""

import json
import pickle
import runpy
import sys
from pathlib import Path

import pytest
import torch

from hf_zhclip.data import prepare, read

from tests.parity.peers import cn_clip
from tests.pictures import seeded_pictures

pytestmark = pytest.mark.parity

TEXTS = ("一只红猫", "“引号”\t和\n换行", "繁體字", "emoji 😀", "", "\u2028x", "A b")


def entries(path: Path) -> dict[bytes, bytes]:
    import lmdb

    environment = lmdb.open(str(path), readonly=True, lock=False)
    with environment.begin() as transaction:
        found = dict(transaction.cursor())
    environment.close()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of every mode as files, with captions that share pictures; and the same in cn_clip's files."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "in").mkdir()
    rows = []
    for number, (name, picture) in enumerate(seeded_pictures()):
        suffix = "tif" if picture.mode == "CMYK" else "png"
        if suffix == "png":
            picture.save(folder / "in" / f"{name}.png")
            rows.append({"file_name": f"{name}.png", "image_id": number * 37, "text_id": number, "text": f"图 {name}"})
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "in" / "metadata.jsonl").write_text(lines, encoding="utf-8")
    prepare(folder / "in", folder / "tsv", to="tsv")
    extra = [
        {"text_id": 1000 + number, "text": text, "image_ids": [0, 37] if number % 2 else [74]}
        for number, text in enumerate(TEXTS)
    ]
    extra.append({"text_id": 5000, "text": "没有图片", "image_ids": []})
    with (folder / "tsv" / "train_texts.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in extra)  # escaped, as Python writes by default
    return folder


@pytest.fixture(scope="module")
def built(folder):
    """The database of cn_clip's build_lmdb_dataset.py."""
    script = Path(cn_clip("preprocess").__file__).parent / "build_lmdb_dataset.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(script), f"--data_dir={folder / 'tsv'}", "--splits=train"])
        runpy.run_path(str(script), run_name="__main__")
    return folder / "tsv" / "lmdb" / "train"


def test_every_key_and_value_of_a_database_is_that_of_its_script(folder, built):
    """But for the pairs of an empty text, which `prepare` leaves out."""
    prepare(folder / "tsv", folder / "ours", to="lmdb", format="tsv")

    assert entries(folder / "ours" / "train" / "imgs") == entries(built / "imgs")
    theirs, ours = (entries(place / "pairs") for place in (built, folder / "ours" / "train"))
    kept = [theirs[b"%d" % n] for n in range(int(theirs[b"num_samples"])) if pickle.loads(theirs[b"%d" % n])[2]]
    assert len(kept) == int(theirs[b"num_samples"]) - 1
    assert ours == {**{b"%d" % n: value for n, value in enumerate(kept)}, b"num_samples": b"%d" % len(kept)}


def test_its_database_is_read_as_its_loaders_read_it(folder, built):
    loader = cn_clip("training.data").LMDBDataset(str(built), split="val", max_txt_length=52, resolution=64)
    rows = [loader[number] for number in range(len(loader))]
    del loader
    found = read(built)
    tokenize, preprocess = cn_clip("clip").tokenize, cn_clip("training.data")._preprocess_text
    transform = cn_clip("eval.data").EvalImgDataset._build_transform(None, 64)

    pairs = list(found.pairs())

    assert len(pairs) == len(rows)
    # The pairs of a text follow each other in the script's database.
    for (text, number), (image, tokens, _) in zip(pairs, rows, strict=True):
        assert torch.equal(tokenize([preprocess(text.text)], context_length=52)[0], tokens)
        assert torch.equal(transform(found.pictures[number][1]), image)


def test_its_loaders_read_our_files_with_the_same_texts_ids_and_pixels(folder):
    prepare(folder / "tsv", folder / "again", to="lmdb", format="tsv")
    before = read(folder / "again" / "train", format="lmdb")
    numbers = {each: number for number, each in enumerate(before.image_ids)}
    transform = cn_clip("eval.data").EvalImgDataset._build_transform(None, 64)
    pictures = {each: transform(before.pictures[numbers[each]][1]) for each in before.image_ids}
    del before

    texts = cn_clip("eval.data").EvalTxtDataset(str(folder / "again" / "train_texts.jsonl"))
    images = cn_clip("eval.data").EvalImgDataset(str(folder / "again" / "train" / "imgs"), resolution=64)
    found = dict(images[number] for number in range(len(images)))
    del images

    of_tsv = read(folder / "tsv", format="tsv")
    assert texts.texts == [(text.id, text.text) for text in of_tsv.texts if text.text]
    assert list(found) == list(pictures)  # in the same order, too
    assert all(torch.equal(found[each], pictures[each]) for each in found)
    pairs = cn_clip("training.data").LMDBDataset(str(folder / "again" / "train"), split="val", resolution=64)
    assert len(pairs) == sum(len(text.image_ids) for text in of_tsv.texts if text.text)
