"""Small repos of every family, each exported once a session."""

from functools import cache, partial
from pathlib import Path

import pytest

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.exports.exporting import export
from hf_zhclip.examples import demo

from tests.conversion.helpers import list_operators_once, save_time
from tests.sharing import made_once


@pytest.fixture(scope="session", autouse=True)
def operators():
    with pytest.MonkeyPatch.context() as patch:
        list_operators_once(patch)
        yield


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


@pytest.fixture(scope="session")
def scenes(tmp_path_factory, worker_id):
    """The trained model that ships, as a repo and as float32 graphs: random weights lose more in int8."""

    def make(folder: Path) -> tuple[Path, Path]:
        with pytest.MonkeyPatch.context() as patch:
            save_time(patch)
            convert(demo.CHECKPOINT, folder / "repo", config=demo.MODEL_CONFIG, skip_verify=True)
        export(folder / "repo", folder / "float32", to="onnx")
        return folder / "repo", folder / "float32"

    return made_once(tmp_path_factory, worker_id, "scenes-onnx", make)[1]
