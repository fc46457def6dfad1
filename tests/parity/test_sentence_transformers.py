"""sentence-transformers itself on converted repos: with hf_zhclip, and where that is not installed."""

import json
import os
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

from hf_zhclip import ZhCLIPModel, ZhCLIPProcessor
from hf_zhclip.conversion import convert
from hf_zhclip.conversion.repos.doors import add_sentence_transformers
from hf_zhclip.conversion.repos.own_code import OwnCode, own_code
from hf_zhclip.saving_zhclip import CODE_FILES, CODE_VERSION

from tests.checkpoints import FAMILIES
from tests.conversion.helpers import save_time
from tests.pictures import seeded_pictures

pytestmark = pytest.mark.parity

# In double. In float32, a text in a batch and the same text alone part by 5e-6 on a processor with AVX-512.
BOUND = 1e-6
DOUBLE = "float64"
SHIM = Path(__file__).with_name("shim")

TEXTS = ["一只猫", "两只很大很大的狗在雪地上跑，跑得飞快", "a", "A photo of 猫咪" * 20, "[MASK]"]
PICTURES = ("photo", "tall", "transparent", "grey_transparent", "palette", "print")

ENCODE = """
    import importlib.util, json, os, sys
    import sitecustomize  # -S leaves it out
    import numpy as np
    from PIL import Image

    request = json.load(open(sys.argv[1], encoding="utf-8"))
    assert not os.path.exists(os.environ["HF_HOME"])
    assert (importlib.util.find_spec("hf_zhclip") is not None) == request["plugin"]
    if request["plugin"]:
        import hf_zhclip
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    pictures = [Image.open(path) for path in request["pictures"]]
    found = {}
    for name, repo in request["repos"].items():
        model = SentenceTransformer(repo, device="cpu", **request["options"])
        texts, images = model.encode(request["texts"], batch_size=3), model.encode(pictures, batch_size=4)
        alone = model.encode(request["texts"][0])
        found |= {f"{name}/text": texts, f"{name}/image": images, f"{name}/alone": alone}
        found[f"{name}/similarity"] = model.similarity(texts, images).numpy()
        assert model.get_embedding_dimension() == texts.shape[1]
    np.savez(request["out"], **found)
    model.save_pretrained(request["saved"], create_model_card=False)
    again = SentenceTransformer(request["saved"], device="cpu", **request["options"])
    assert np.array_equal(again.encode(request["texts"], batch_size=3), texts)
"""


@pytest.fixture(scope="module")
def repos(tmp_path_factory):
    """A small converted repo of every family, ready for sentence-transformers."""
    folder = tmp_path_factory.mktemp("repos")
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        for family, make in FAMILIES.items():
            original = make(tmp_path_factory.mktemp(family))
            convert(original.source, folder / family, **original.arguments)
            add_sentence_transformers(folder / family)
    return {family: folder / family for family in FAMILIES}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    drawn = dict(seeded_pictures())
    paths = {name: folder / f"{name}.{'tif' if drawn[name].mode == 'CMYK' else 'png'}" for name in PICTURES}
    for name, path in paths.items():
        drawn[name].save(path)
    return list(paths.values())


@pytest.fixture(scope="module")
def wanted(repos, pictures):
    """What `encode_text` and `encode_image` give of the same, each text by itself: no padding, no other text."""
    found = {}
    opened = [Image.open(path) for path in pictures]
    for name, path in repos.items():
        model, processor = AutoModel.from_pretrained(path, dtype=DOUBLE), AutoProcessor.from_pretrained(path)
        with torch.no_grad():
            texts = [model.encode_text(**processor(text=text, return_tensors="pt")) for text in TEXTS]
            images = model.encode_image(**processor(images=opened, return_tensors="pt"))
        found[name] = {"text": torch.cat(texts).numpy(), "image": images.numpy()}
    return found


def encode(repos, pictures, folder: Path, plugin: bool) -> dict[str, np.ndarray]:
    request = {
        "repos": {name: str(path) for name, path in repos.items()},
        "pictures": [str(path) for path in pictures],
        "texts": TEXTS,
        "options": {"model_kwargs": {"dtype": DOUBLE}} | ({} if plugin else {"trust_remote_code": True}),
        "plugin": plugin,
        "out": str(folder / "found.npz"),
        "saved": str(folder / "saved"),
    }
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
    environment = {
        **inherited,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(map(str, [SHIM] if plugin else [SHIM, *packages])),
        "PYTHONUTF8": "1",
    }
    # -S leaves the .pth files alone, by one of which an editable install is found.
    switches = [] if plugin else ["-S"]
    ran = subprocess.run(
        [sys.executable, *switches, "-c", textwrap.dedent(ENCODE), str(folder / "request.json")],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    with np.load(folder / "found.npz") as found:
        return dict(found)


def assert_the_same(found: dict[str, np.ndarray], wanted: dict[str, dict[str, np.ndarray]]) -> None:
    for name, values in wanted.items():
        text, image = found[f"{name}/text"], found[f"{name}/image"]
        for side, got in (("text", text), ("image", image)):
            assert got.shape == values[side].shape
            assert np.abs(got - values[side]).max() <= BOUND, (name, side)
            assert np.abs(np.linalg.norm(got, axis=1) - 1).max() <= BOUND, (name, side)
        assert np.abs(found[f"{name}/alone"] - values["text"][0]).max() <= BOUND, name
        assert np.abs(found[f"{name}/similarity"] - values["text"] @ values["image"].T).max() <= BOUND, name
        # The inputs are told apart, so that the comparisons above mean something.
        assert len(np.unique(text.round(3), axis=0)) == len(TEXTS) and len(np.unique(image.round(3), axis=0)) > 1


@pytest.mark.parametrize("plugin", [True, False], ids=["plugin, without a flag", "the repo's own code"])
def test_sentence_transformers_gives_the_embeddings_and_saves_a_whole_repo(repos, pictures, wanted, tmp_path, plugin):
    assert_the_same(encode(repos, pictures, tmp_path, plugin), wanted)

    saved = tmp_path / "saved"
    assert own_code(saved) == OwnCode(len(CODE_FILES), CODE_VERSION, ())
    wanted_files = {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "modules.json"}
    assert wanted_files <= {path.name for path in saved.iterdir()}
    assert type(AutoModel.from_pretrained(saved)) is ZhCLIPModel
    assert type(AutoProcessor.from_pretrained(saved)) is ZhCLIPProcessor
