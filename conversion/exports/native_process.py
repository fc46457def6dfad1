"""Runs as a file, in a process without hf_zhclip: computes with plain transformers from an exported folder.

It imports nothing from this package, so that it loads what any user of plain transformers loads.
"""

import json
import os
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def compute(request: Mapping[str, Any]) -> dict[str, Any]:
    """Loads the model and its processor through the Auto classes and runs both.

    Args:
        request: `folder`, the export; `samples`, the path of samples.py; `inputs`, a safetensors file with
            `input_ids`, `attention_mask` and `pixel_values`; `pictures`, the names of the pictures to preprocess;
            `outputs`, the safetensors file to write: `text`, `image` (L2-normalised, float64), `logit_scale`,
            `pixels.<name>`.

    Returns:
        `class`, the model's class; `keys`, the missing, unexpected or misshapen keys; `token_ids` of the sample texts,
        by the processor and then by the tokenizer alone. Pixels are also given by both.
    """
    import torch
    import transformers
    from safetensors.torch import load_file, save_file

    transformers.logging.set_verbosity_error()
    folder = request["folder"]
    options = {"dtype": torch.float64, "attn_implementation": "sdpa"}
    model, loading = transformers.AutoModel.from_pretrained(folder, **options, output_loading_info=True)
    model.eval()
    inputs = load_file(request["inputs"])
    inputs["pixel_values"] = inputs["pixel_values"].double()
    with torch.no_grad():
        outputs = model(**inputs)
    _note(f"{1 + len(request['pictures'])}\n.")
    results = {
        "text": outputs.text_embeds.contiguous(),
        "image": outputs.image_embeds.contiguous(),
        "logit_scale": model.logit_scale.detach(),
    }
    samples = runpy.run_path(request["samples"])
    texts = [*samples["TEXTS"], *samples["HOLDING_PADDING"]]
    processor = transformers.AutoProcessor.from_pretrained(folder, backend="pil")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    image_processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    for name, picture in samples["pictures"]():
        if name in request["pictures"]:
            pixels = [
                each(images=[picture], return_tensors="pt")["pixel_values"] for each in (processor, image_processor)
            ]
            results[f"pixels.{name}"] = torch.cat(pixels)
            _note(".")
    save_file(results, request["outputs"])
    wrong = {kind: sorted(map(str, loading[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    return {
        "class": type(model).__name__,
        "keys": [f"{kind.replace('_', ' ')}: {', '.join(keys)}" for kind, keys in wrong.items() if keys],
        "token_ids": [processor(text=[text], truncation=True)["input_ids"][0] for text in texts]
        + [tokenizer(text, truncation=True)["input_ids"] for text in texts],
    }


def _note(steps: str) -> None:
    """Notes the number of steps and each step that is done, as `amounts` reads them."""
    if file := os.environ.get("HF_ZHCLIP_STEPS"):
        with open(file, "a", encoding="utf-8", newline="\n") as noted:
            noted.write(steps)


def main(asked: Path, answer: Path) -> None:
    """Reads a request as JSON from a file, and writes the answer into another."""
    request = json.loads(asked.read_text(encoding="utf-8"))
    # As in hf_zhclip, this runs before the first import of transformers; the module imports nothing from hf_zhclip.
    runpy.run_path(request["torchvision"])["hide_broken_torchvision"]()
    sys.modules["hf_zhclip"] = None  # type: ignore[assignment]  # from here on, importing it fails
    answer.write_text(json.dumps(compute(request)), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
