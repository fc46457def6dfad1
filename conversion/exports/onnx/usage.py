"""The part of an export's README.md that says how the export is used without torch."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

USAGE = """\
## Use it

`zhclip_onnx.py` needs neither torch nor transformers nor hf_zhclip:

```bash
pip install onnxruntime tokenizers numpy "pillow>=11"
```

It prepares inputs as the repo's own processor does: the same ids and pixels. In this folder:

```python
{code}
```

A program elsewhere copies the file, or adds this folder to `sys.path`. The docstrings in the file say what each call
takes. `ZhCLIPOnnx(folder, providers=["CUDAExecutionProvider"])` computes on a GPU, with onnxruntime-gpu.
"""
STOCK = """\

Other programs read preprocessor_config.json, which names a stock image processor. Its pixels are those of RGB pictures
alone, and may lie a pixel beside; the pixels of `zhclip_onnx.py` are exact for every kind of picture.
"""


def usage(facts: Mapping[str, Any]) -> str:
    """The section, with the calls that the export has.

    Args:
        facts: the content of `zhclip_onnx.json`.
    """
    return USAGE.format(code="\n".join(_code(facts))) + (STOCK if facts["vision"] else "")


def _code(facts: Mapping[str, Any]) -> Iterator[str]:
    shape = f"(2, {facts['embedding_size']})"
    if facts["logit_scale"] is not None:
        yield "import numpy as np"
    yield from ("from zhclip_onnx import ZhCLIPOnnx", "", 'model = ZhCLIPOnnx(".")')
    if facts["text"]:
        yield f'texts = model.encode_text(["一只猫", "一只狗"])  # {shape}, float32, L2-normalised'
    if facts["vision"]:
        yield f'pictures = model.encode_image(["cat.jpg", "dog.jpg"])  # {shape}'
    if facts["logit_scale"] is not None:
        yield "cosines = pictures @ texts.T  # from -1 to 1: a row for each picture"
        yield f"logits = np.exp(model.logit_scale) * cosines  # cosines times {math.exp(facts['logit_scale']):.4g}"
