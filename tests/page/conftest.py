"""The model of the scenes, pictures of scenes, and their corpus."""

import numpy as np
import pytest
from PIL import Image

from hf_zhclip.conversion import convert
from hf_zhclip.examples import demo, scenes
from hf_zhclip.inference import Embedder
from hf_zhclip.inference.loading import file_hashes

from tests.data.made import tsv
from tests.inference.corpora import write_corpus

ALERT = "${alert(1)}{{value}}`<img src=x onerror=alert(2)>\"'&amp;"
"""A name of a picture that a careless page would run."""


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A folder with the converted model of the scenes, `repo`, pictures, and their corpus, `pokemon-vectors`."""
    folder = tmp_path_factory.mktemp("page")
    convert(demo.CHECKPOINT, folder / "repo", config=demo.MODEL_CONFIG, skip_verify=True)
    (folder / "pictures").mkdir()
    gallery = [scene for scene, split in scenes.held_out_gallery() if split == "unseen"]
    names = [f"{number:03}{scenes.caption(scene.facts)}.png" for number, scene in enumerate(gallery)]
    names[3] = f"003{ALERT.replace('/', '')}.png"
    for name, scene in zip(names, gallery, strict=True):
        scenes.draw(scene).save(folder / "pictures" / name)
    Image.new("RGB", (8, 8), "red").save(folder / "secret.png")
    (folder / "pictures" / "link.png").symlink_to(folder / "secret.png")
    names += ["link.png", "../secret.png", str(folder / "secret.png"), "none.png"]
    embedder = Embedder.from_pretrained(folder / "repo")
    rows = embedder.encode_images([folder / "pictures" / name for name in names[:-1]])
    rows = np.concatenate([rows, -rows[:1]])
    model = {"repo": str(folder / "repo"), "files": file_hashes(folder / "repo")}
    write_corpus(folder / "pokemon-vectors", rows, names, shard_size=100, root=str(folder / "pictures"), **model)
    tsv(folder / "tsv")  # pictures 7 and 12, in a file
    rows = embedder.encode_images([Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")])
    place = {"path": str(folder / "tsv"), "format": "tsv", "split": "valid", "root": None, "pictures": None}
    write_corpus(folder / "OUT-tsv", rows, ["", ""], ids=["7", "12"], **place, **model)
    return folder
