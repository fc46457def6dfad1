"""Repos with code give the numbers of the newest transformers on older releases, where hf_zhclip is not installed."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from hf_zhclip.conversion import convert

from tests.checkpoints import FAMILIES, taiyi
from tests.newcomer import ROOT
from tests.pictures import seeded_pictures
from tests.releases import read_repos
from tests.weights import seeded_state_dict

pytestmark = pytest.mark.releases

TOO_OLD, *RELEASES = (Path(__file__).parent / "releases.txt").read_text(encoding="utf-8").split()
"""The Makefile makes an environment for each; the code runs on all but the first."""

KINDS = (
    *("cn_clip_vit", "cn_clip_resnet", "hf_clip", "wukong", "multilingual_clip", "open_clip_xlm_roberta"),
    *("sentence_transformers", "taiyi_finetune", "r2d2"),
)
"""Every text tower, image tower, pooling and kind of projection, and padding inside the model."""

SAVED = ("cn_clip_resnet", "hf_clip")
"""Repos that each release also saves."""

TEXTS = ["一只猫", "两只很大很大的狗在雪地上跑，跑得飞快", "a", "A photo of 猫咪" * 20]
PICTURES = ("photo", "tall", "transparent", "grey_transparent")


@pytest.fixture(scope="module")
def repos(tmp_path_factory) -> dict[str, str]:
    folder, sources = tmp_path_factory.mktemp("repos"), tmp_path_factory.mktemp("sources")
    for family in KINDS:
        (sources / family).mkdir()
        original = FAMILIES[family](sources / family)
        convert(original.source, folder / family, skip_verify=True, **original.arguments)
    taiyi.taiyi_folder(sources / "bert", head=False)
    torch.save(seeded_state_dict(taiyi.taiyi(head=False)), sources / "bert" / "pytorch_model.bin")
    convert(sources / "bert", folder / "text_alone", skip_verify=True, format="bert_from_clip")
    return {repo.name: str(repo) for repo in folder.iterdir()}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("pictures")
    for name, picture in seeded_pictures():
        if name in PICTURES:
            picture.save(folder / f"{name}.png")
    return [str(folder / f"{name}.png") for name in PICTURES]


@pytest.fixture(scope="module")
def wanted(repos, pictures) -> dict[str, dict]:
    """What hf_zhclip gives on the newest release, in this process."""
    return read_repos.read_all(repos, TEXTS, pictures)


@pytest.mark.parametrize("release", RELEASES)
def test_a_repos_code_gives_the_numbers_of_the_newest_release(release, repos, pictures, wanted, tmp_path):
    saved = {name: str(tmp_path / f"saved_{name}") for name in SAVED}
    found = read_with(release, {"repos": repos, "saved": saved, "texts": TEXTS, "pictures": pictures}, tmp_path)

    assert found["transformers"] == release
    assert found["repos"].keys() == {*wanted, *(f"{name}, saved" for name in SAVED)}
    for name, values in found["repos"].items():
        assert_the_same(name, values, wanted[name.partition(",")[0]])
    for name, values in read_repos.read_all(saved, TEXTS, pictures).items():
        assert_the_same(f"{name}, saved and read by the newest", values, wanted[name])


def assert_the_same(repo: str, values: dict, wanted: dict) -> None:
    assert {**values, "vectors": None} == {**wanted, "vectors": None}, repo
    assert values["vectors"].keys() == wanted["vectors"].keys()
    for name, numbers in wanted["vectors"].items():
        given, newest = torch.tensor(values["vectors"][name]), torch.tensor(numbers)
        torch.testing.assert_close(given, newest, rtol=1e-6, atol=1e-6, msg=f"{repo}: {name}")


@pytest.mark.parametrize("auto", ["AutoConfig", "AutoModel", "AutoProcessor"])
def test_a_release_that_is_too_old_is_told_so(auto, repos, tmp_path):
    repo = repos["cn_clip_vit"]
    code = f"import transformers; transformers.{auto}.from_pretrained({repo!r}, trust_remote_code=True)"

    ran = run_with(TOO_OLD, ["-c", code], tmp_path)

    assert ran.stderr.splitlines()[-1] == (
        f"ImportError: found transformers {TOO_OLD}; the code of this model wanted 4.57 or later: run "
        "`pip install --upgrade transformers`"
    )


def read_with(release: str, request: dict, folder: Path) -> dict:
    """Runs read_repos.py on a release, and gives what it found."""
    out = folder / "found.json"
    (folder / "request.json").write_text(json.dumps({**request, "out": str(out)}), encoding="utf-8")
    ran = run_with(release, [read_repos.__file__, str(folder / "request.json")], folder)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return json.loads(out.read_text(encoding="utf-8"))


def run_with(release: str, arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs Python in the environment of a release, in a process whose cache is empty."""
    places = ("bin/python", "Scripts/python.exe")
    python = next(path for path in (ROOT / ".venv-releases" / release / place for place in places) if path.exists())
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [python, *arguments],
        cwd=folder,
        env={**inherited, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
    )
