"""zhclip_onnx.py where neither torch nor transformers nor hf_zhclip is installed."""

from pathlib import Path

import pytest

from tests.image_modes import rgb
from tests.inference.exported import WIDTH, export, small_repo
from tests.newcomer import environment_of, run_line

NEEDED = ("onnxruntime", "tokenizers", "numpy", "pillow")
DECLARED = ("huggingface-hub",)
"""A package that tokenizers names and that it imports for nothing that is done here."""

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
    return environment_of(tmp_path_factory.mktemp("environment"), *NEEDED, without=DECLARED)


def test_it_needs_four_packages_alone(scripts, tmp_path):
    folder = export(tmp_path / "exported", small_repo())
    rgb(9, 9).save(folder / "a.png")
    (folder / "use.py").write_text(IMPORTED, encoding="utf-8")
    printed = run_line("python use.py", folder, scripts).splitlines()
    assert printed == [f"2 {WIDTH} 1 {WIDTH}", "torch", "transformers", "hf_zhclip", "huggingface_hub", ""]
