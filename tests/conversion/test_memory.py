"""The memory of a conversion does not grow with the tensors of its source."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells anonymous memory"),
]

MIB = 2**20
LARGE = 256 * MIB
MOST = 100 * MIB
"""Growth above what the same conversion of a small checkpoint took: pieces, and what malloc keeps for later."""

PROGRAM = f"""
import json, re, sys, threading, time
from pathlib import Path
import pytest, torch
from hf_zhclip.conversion import convert
from tests import checkpoints
from tests.conversion.helpers import verify_here

def anonymous():
    return 1024 * int(re.search(r"Anonymous: *(\\d+)", Path("/proc/self/smaps_rollup").read_text())[1])

def peak(source, out, **options):
    seen, over = [anonymous()], threading.Event()
    def look():
        while not over.wait(0.005):
            seen.append(anonymous())
    thread = threading.Thread(target=look)
    thread.start()
    report = convert(source, out, config=facts, **options)
    over.set()
    thread.join()
    assert report.passed
    return max(seen) - seen[0]

folder = Path(sys.argv[1])
verify_here(pytest.MonkeyPatch())
facts = checkpoints.cn_clip.cn_clip_config(folder / "facts.json")
shapes = checkpoints.cn_clip.cn_clip_vit()
key = "bert.embeddings.position_embeddings.weight"
small = checkpoints.cn_clip.cn_clip_file(folder / "small.pt", shapes)
peak(small, folder / "first")
large = checkpoints.cn_clip.cn_clip_file(folder / "large.pt", {{**shapes, key: ({LARGE} // 4 // shapes[key][1], shapes[key][1])}})
found = {{
    name: peak(large, folder / name, **options)
    for name, options in {{
        "kept": {{}},
        "cast": {{"dtype": "float16"}},
        "skipped": {{"dtype": "bfloat16", "skip_verify": True}},
    }}.items()
}}
print(json.dumps(found))
"""


def test_a_large_tensor_is_never_in_memory_as_a_whole(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env=None,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    peaks = json.loads(done.stdout.splitlines()[-1])
    assert {name: round(peak / MIB) for name, peak in peaks.items() if peak > MOST} == {}
    assert (tmp_path / "kept" / "model.safetensors").stat().st_size > LARGE
