"""The line of a card that needs sentence-transformers, after the card's own blocks."""

import re

import pytest

from hf_zhclip.conversion import card, convert

from tests.checkpoints import FAMILIES
from tests.conversion.helpers import save_time

pytestmark = pytest.mark.parity

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"`(SentenceTransformer\(.*?)`")


@pytest.fixture
def folder(tmp_path, monkeypatch, request):
    """A converted repo in the current folder."""
    save_time(monkeypatch)
    found = FAMILIES[request.param](tmp_path)
    convert(found.source, tmp_path / "my-clip", **found.arguments)
    card(tmp_path / "my-clip")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "my-clip"


@pytest.mark.parametrize("folder", sorted(FAMILIES), indirect=True)
def test_the_line_for_sentence_transformers_runs(folder):
    from sentence_transformers import SentenceTransformer

    text = (folder / "README.md").read_text(encoding="utf-8")
    (line,) = LINE.findall(text)
    names = {"__name__": "card", "SentenceTransformer": SentenceTransformer}
    exec(compile("".join(BLOCK.findall(text)), "a card's blocks", "exec"), names)
    vectors = eval(line, names)
    assert vectors.shape == (3, names["model"].config.projection_dim)
    assert abs(vectors @ vectors.T).max() <= 1 + 1e-5
