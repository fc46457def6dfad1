"""Files that change while they are read."""

import os

import pytest

from hf_zhclip import steady
from hf_zhclip.conversion.reading.files import sha256
from hf_zhclip.data.captioned import Files
from hf_zhclip.data.readers import captions_file, taiyi_captions, tsv_files
from hf_zhclip.errors import InputError
from hf_zhclip.evaluation.files import read_features, read_predictions
from hf_zhclip.inference.loading import _sha256
from hf_zhclip.json_files import read_json_lines

READERS = {
    "rows of JSON": (b'{"text_id": %d}\n', "x.jsonl", lambda path: list(read_json_lines(path))),
    "predictions": (b'{"text_id": %d, "image_ids": [2]}\n', "x.jsonl", lambda path: read_predictions(path, "text")),
    "features": (b'{"image_id": %d, "feature": [1.0]}\n', "x.jsonl", lambda path: read_features(path, "image")),
    "texts": (b'{"text_id": %d, "text": "x", "image_ids": [2]}\n', "x_texts.jsonl", tsv_files.read_texts),
    "pictures in lines": (b"%d\tiVBORw0KGgo=\n", "x_imgs.tsv", tsv_files._scanned),
    "a csv": (b"file_name,text%d\n", "x.csv", lambda path: list(captions_file._csv_rows(path))),
    "captions": (b"key#%d\tx\n", "x.token", lambda path: list(taiyi_captions._rows(path))),
    "a file that is hashed": (b"x%d\n", "x.bin", sha256),
    "a repo's file that is hashed": (b"x%d\n", "x.bin", _sha256),
    "a picture": (b"x%d\n", "x.png", lambda path: Files(path.parent, [path.name]).content(0)),
}


@pytest.fixture
def growing(monkeypatch):
    """Each read of a file is followed by a write to its end, as many times as a reader that ends may need."""
    before = steady._Steady.readinto

    def readinto(self, buffer):
        count = before(self, buffer)
        with self.path.open("ab") as file:
            file.write(b"x")
        assert self.path.stat().st_size < 100_000, "the reader follows the file"
        return count

    monkeypatch.setattr(steady._Steady, "readinto", readinto)


@pytest.mark.usefixtures("growing")
@pytest.mark.parametrize(("line", "name", "read"), READERS.values(), ids=READERS)
def test_a_file_that_grows_as_fast_as_it_is_read_is_not_followed(line, name, read, tmp_path):
    (tmp_path / name).write_bytes(b"".join(line.replace(b"%d", b"%d" % row) for row in range(10)))

    with pytest.raises(InputError, match=r"changed while it was read: it had \d+ bytes, and has \d+ now"):
        read(tmp_path / name)


def test_a_file_that_becomes_shorter_while_it_is_read_is_told(tmp_path):
    (tmp_path / "x").write_bytes(b"x" * 2**20)

    with steady.steady(tmp_path / "x") as file, pytest.raises(InputError, match="it had 1,048,576 bytes, and has 10"):
        file.read(1)
        os.truncate(tmp_path / "x", 10)
        file.read()


@pytest.mark.parametrize("size", [0, 1, steady.BLOCK - 1, steady.BLOCK, steady.BLOCK + 1, 3 * steady.BLOCK])
def test_a_file_that_does_not_change_is_read_to_its_end(size, tmp_path):
    content = os.urandom(size)
    (tmp_path / "x").write_bytes(content)

    assert steady.whole(tmp_path / "x") == content
    with steady.steady(tmp_path / "x") as file:
        assert b"".join(file) == content
