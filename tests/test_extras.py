"""What the extras' packages print."""

import io
import logging

import pyarrow
import pytest
from pyarrow import parquet

from hf_zhclip.data.preparing import prepare
from hf_zhclip.errors import InputError


def test_the_log_of_datasets_is_escaped(tmp_path, monkeypatch):
    """It repeats the names of a file's columns, which a terminal would obey."""
    import datasets  # noqa: F401  (it makes the handler)

    handler = logging.getLogger("datasets").handlers[0]
    monkeypatch.setattr(handler, "stream", stream := io.StringIO())
    twice = pyarrow.table([pyarrow.array(["a"])] * 2, ["\x1b[2J\u202egnp"] * 2)
    parquet.write_table(twice, tmp_path / "train.parquet")
    with pytest.raises(InputError):
        prepare(tmp_path / "train.parquet", tmp_path / "OUT", to="tsv")
    assert "\\u001b[2J\\u202egnp" in stream.getvalue()
    assert not {"\x1b", "\u202e"} & set(stream.getvalue())
