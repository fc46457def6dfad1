"""zhclip_onnx.py where neither torch nor transformers nor hf_zhclip is installed."""

import re
from pathlib import Path

import pytest

from hf_zhclip.conversion.exports.onnx import facts
from hf_zhclip.conversion.exports.onnx.usage import usage

from tests.image_modes import rgb
from tests.inference.exported import WIDTH, export, small_repo
from tests.newcomer import OF_ZHCLIP_ONNX, environment_of, run_line

IMPORTED = """
import sys
from zhclip_onnx import ZhCLIPOnnx
model = ZhCLIPOnnx(".")
print(*model.encode_text(["猫", "狗"]).shape, *model.encode_image(["a.png"]).shape)
for name in ("torch", "transformers", "hf_zhclip", "huggingface_hub"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        print(name)
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"onnx", "cv2", "scipy", "torch"}))
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory) -> Path:
    """The scripts of an environment that has what zhclip_onnx.py imports, and nothing else."""
    return environment_of(tmp_path_factory.mktemp("environment"), *OF_ZHCLIP_ONNX)


BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_block_of_the_export_s_own_readme_runs(scripts, tmp_path):
    repo = small_repo()
    folder = export(tmp_path / "exported", repo)
    for name in ("cat.jpg", "dog.jpg"):
        rgb(9, 9).save(folder / name)
    (code,) = BLOCK.findall(usage(facts.facts(repo)))
    (folder / "use.py").write_text(f"{code}print(*cosines.shape, *logits.shape)", encoding="utf-8")
    assert run_line("python use.py", folder, scripts).split() == ["2"] * 4


@pytest.mark.parametrize("missing", ["text", "vision"])
def test_the_block_of_a_single_side_calls_this_side_alone(missing):
    content = {**facts.facts(small_repo()), "logit_scale": None, missing: None}
    (code,) = BLOCK.findall(usage(content))
    calls = {"text": "encode_text", "vision": "encode_image"}
    assert [side for side, call in calls.items() if call in code] == [side for side in calls if side != missing]
    assert "logit" not in code and "cosines" not in code


def test_it_needs_four_packages_alone(scripts, tmp_path):
    folder = export(tmp_path / "exported", small_repo())
    rgb(9, 9).save(folder / "a.png")
    (folder / "use.py").write_text(IMPORTED, encoding="utf-8")
    printed = run_line("python use.py", folder, scripts).splitlines()
    assert printed == [f"2 {WIDTH} 1 {WIDTH}", "torch", "transformers", "hf_zhclip", "huggingface_hub", ""]
