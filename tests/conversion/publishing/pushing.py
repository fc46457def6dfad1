"""What the tests of a push share."""

import hashlib

import pytest

from hf_zhclip.conversion.errors import WorkError
from hf_zhclip.conversion.publishing.publish import push
from hf_zhclip.conversion.repos.report import DIFFERENCE, FILE, Comparison, Report
from hf_zhclip.conversion.repos.write import write_json
from hf_zhclip.conversion.words import Words

from tests.conversion.helpers import complete

TOKENS = {"hf_writer": ("user", "club"), "hf_reader": (), "hf_other": ("other",)}
STAMP = "<!-- written by the converter -->\n"
HEADER = "---\nlicense: mit\n---\n"
EMBEDDINGS, REFERENCE = Words("embeddings in float32", "向量（float32）"), Words("reference", "参考实现")
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def repo_of(folder, files, level="reference", passed=True):
    """A converted folder as far as publishing is concerned: files, a report that names them, and a card."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    comparison = Comparison("text", EMBEDDINGS, REFERENCE, DIFFERENCE, 1e-5, 0.0 if passed else 1.0, passed)
    conversion = {
        **{"architecture": "ViT", "dtype": "keep", "context_length": 52, "trained_context_length": 52, "limits": []},
        **{"stated_context_length": None, "vocabulary": {"vocab.txt": "00"}},
        **{"image_order": "squash_then_rgb", "catalogue": None, "command": "zhclip", "verification_skipped": False},
    }
    report = Report([], conversion, level, complete(comparison), hashes)
    write_json(folder / FILE, report.to_json())
    (folder / "README.md").write_text(f"{HEADER}{STAMP}load {folder.name}; unverified: None\n")
    return folder


FILES = {
    "config.json": b'{"model_type": "hf_zhclip"}\n',
    "tokenizer.json": b"{}\n",
    "model.safetensors": b"w" * 100_000,
}


def refused(match, kind=WorkError, *arguments, **options):
    with pytest.raises(kind, match=match) as caught:
        push(*arguments, **options)
    return str(caught.value)
