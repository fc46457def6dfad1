"""The memory of a conversion does not grow with the tensors of its source."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells anonymous memory"),
]

MIB = 2**20
LARGE = 256 * MIB
MOST = 64
"""MiB that a conversion may take: some pieces of tensors, and what malloc keeps for later."""

PROGRAM = f"""
import json, sys, time
from pathlib import Path
import pytest
from hf_zhclip.conversion import convert
from tests import checkpoints
from tests.conversion.helpers import verify_here

def span(source, name, **options):
    began = time.monotonic()
    assert convert(source, folder / name, config=facts, **options).passed
    return began, time.monotonic()

folder = Path(sys.argv[1])
verify_here(pytest.MonkeyPatch())  # the proof's memory counts, too
facts = checkpoints.cn_clip.cn_clip_config(folder / "facts.json")
shapes = checkpoints.cn_clip.cn_clip_vit()
key = "bert.embeddings.position_embeddings.weight"
width = shapes[key][1]
# What is imported and kept for good, is taken by the small checkpoint.
span(checkpoints.cn_clip.cn_clip_file(folder / "small.pt", shapes), "small")
large = checkpoints.cn_clip.cn_clip_file(folder / "large.pt", {{**shapes, key: ({LARGE} // 4 // width, width)}})
print(json.dumps({{
    "kept": span(large, "kept"),
    "cast": span(large, "cast", dtype="float16"),
    "skipped": span(large, "skipped", dtype="bfloat16", skip_verify=True),
}}))
"""


def anonymous(process):
    """MiB of a process that lie in no file."""
    found = re.search(r"Anonymous: *(\d+)", Path(f"/proc/{process.pid}/smaps_rollup").read_text())
    return int(found[1]) / 1024


def test_a_large_tensor_is_never_in_memory_as_a_whole(tmp_path):
    with (
        (tmp_path / "said").open("wb") as said,
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as process,
    ):
        seen = []
        while process.poll() is None:
            try:
                seen.append((time.monotonic(), anonymous(process)))
            except (OSError, TypeError):  # it has just ended
                break
            time.sleep(0.002)
        output = process.stdout.read()

    assert process.returncode == 0, (tmp_path / "said").read_text()
    growth = {}
    for name, (began, ended) in json.loads(output).items():
        before, during = [], []
        for moment, mib in seen:
            (before if moment < began else during if moment < ended else []).append(mib)
        growth[name] = round(max(during) - before[-1])
    assert {name: mib for name, mib in growth.items() if mib > MOST} == {}, growth
    assert (tmp_path / "kept" / "model.safetensors").stat().st_size > LARGE
