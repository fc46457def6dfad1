"""The block of a card that needs sentence-transformers."""

import re

import pytest
from PIL import Image

from hf_zhclip.conversion import card, convert

from tests.checkpoints import FAMILIES
from tests.conversion.helpers import save_time

pytestmark = pytest.mark.parity

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch, request):
    """A converted repo in the current folder, with the picture that its blocks open."""
    save_time(monkeypatch)
    found = FAMILIES[request.param](tmp_path)
    convert(found.source, tmp_path / "my-clip", **found.arguments)
    card(tmp_path / "my-clip")
    Image.new("RGB", (90, 60), "yellow").save(tmp_path / "pokemon.jpeg")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "my-clip"


@pytest.mark.parametrize("folder", sorted(FAMILIES), indirect=True)
def test_the_block_for_sentence_transformers_runs(folder, capsys):
    text = (folder / "README.md").read_text(encoding="utf-8")
    chinese, english = (block for block in BLOCK.findall(text) if "sentence_transformers" in block)
    assert chinese == english
    names = {"__name__": "card"}
    exec(compile(english, "a card's block", "exec"), names)
    assert names["texts"].shape == (2, names["model"].get_embedding_dimension())
    assert "tensor(" in capsys.readouterr().out
