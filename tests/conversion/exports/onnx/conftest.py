"""Small repos of every family, each exported once a session."""

from functools import cache, partial
from pathlib import Path

import pytest

from hf_zhclip.conversion.exports.exporting import export

from tests.sharing import made_once


@pytest.fixture(scope="session")
def exported(repo, tmp_path_factory, worker_id):
    """Gives a family's exported repo by the family's name; to be copied before it is changed."""

    @cache
    def make(family: str) -> Path:
        return made_once(tmp_path_factory, worker_id, f"{family}-onnx", partial(written, family))[1]

    def written(family: str, folder: Path) -> Path:
        export(repo(family).path, folder / "ONNX", to="onnx")
        return folder / "ONNX"

    return make
