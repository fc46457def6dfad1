"""The lines of README.md for other databases; the command that opens the page is run with the page."""

import os

import numpy as np
import pytest

from hf_zhclip.inference import Corpus, Embedder

from tests.test_readme import BLOCK, DATABASES, section_of

pytestmark = pytest.mark.page


@pytest.fixture
def lines(home, tmp_path, monkeypatch, capsys):
    """Runs the block of a database after the block before it; gives what it printed."""
    (tmp_path / "my-clip").symlink_to(home / "repo")
    (tmp_path / "pokemon-vectors").symlink_to(home / "pokemon-vectors")
    monkeypatch.chdir(tmp_path)

    def run(mark: str) -> list[str]:
        blocks = [text for language, text in BLOCK.findall(section_of("README.md", "### Other databases"))]
        names: dict[str, object] = {}
        exec(compile(blocks[0], "README.md", "exec"), names)
        (block,) = [text for text in blocks[1:] if mark in text]
        capsys.readouterr()
        exec(compile(block, "README.md", "exec"), names)
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.parametrize("mark", DATABASES)
def test_a_database_finds_the_same_pictures_with_their_cosines(mark, lines, home):
    if mark == DATABASES[2] and "PGHOST" not in os.environ:
        pytest.skip("PGHOST names no PostgreSQL with pgvector and the database pictures")
    corpus = Corpus.open(home / "pokemon-vectors")
    model = Embedder.from_pretrained(home / "repo").model
    query = model.encode_text(["一只会喷火的精灵"]).detach().numpy()[0]
    cosines = np.concatenate(list(corpus.blocks())) @ query
    best = np.argsort(-cosines, kind="stable")[:5]

    found = [line.split(" ", 1) for line in lines(mark)]

    assert [float(cosine) for cosine, _ in found] == pytest.approx(cosines[best].tolist(), abs=1e-4)
    assert [name for _, name in found] == [corpus.paths[number] for number in best]
