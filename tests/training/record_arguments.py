"""Keep the arguments with which the originals train in recorded/arguments.json; the recipes are compared with them.

From this repository's root, where CN_CLIP, CLIP_CHINESE and FENGSHEN are checkouts of OFA-Sys/Chinese-CLIP,
yangjianxin1/CLIP-Chinese and IDEA-CCNL/Fengshenbang-LM:

    python -m tests.training.record_arguments CN_CLIP CLIP_CHINESE FENGSHEN

cn_clip's scripts run with a `python3` that writes down what it is given, which cn_clip's own parser then reads.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.training.recording import upstream, write

SCRIPTS = {
    "muge": "run_scripts/muge_finetune_vit-b-16_rbt-base.sh",
    "flickr30k-cn": "run_scripts/flickr30k_finetune_vit-b-16_rbt-base.sh",
    "coco-cn": "run_scripts/coco-cn_finetune_vit-b-16_rbt-base.sh",
}
NOTEBOOK = "Chinese-CLIP-on-MUGE-Retrieval.ipynb"
KEPT = (
    *("batch_size", "lr", "beta1", "beta2", "eps", "wd", "warmup", "max_epochs", "context_length", "use_augment"),
    *("grad_checkpointing", "freeze_vision", "mask_ratio", "accum_freq", "gather_with_grad", "skip_aggregate"),
    *("precision", "seed"),
)
KEPT_OF_CLIP_CHINESE = (
    *("num_train_epochs", "per_device_train_batch_size", "learning_rate", "max_seq_length", "save_steps", "seed"),
    *("save_total_limit", "lr_scheduler_type", "warmup_steps", "gradient_accumulation_steps", "fp16"),
    *("weight_decay", "max_grad_norm"),
)


def main(cn_clip: Path, clip_chinese: Path, fengshen: Path) -> None:
    spec = importlib.util.spec_from_file_location("params", cn_clip / "cn_clip" / "training" / "params.py")
    params: Any = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(params)  # type: ignore[union-attr]
    lines = {name: words_of(cn_clip / script) for name, script in SCRIPTS.items()}
    lines["notebook-8gb"] = words_of_notebook(cn_clip / NOTEBOOK)
    found: dict[str, Any] = {}
    for name, words in lines.items():
        with patch.object(sys, "argv", ["main.py", *words]):
            values = vars(params.parse_args())
        source = upstream(cn_clip, "https://github.com/OFA-Sys/Chinese-CLIP", SCRIPTS.get(name, NOTEBOOK))
        found[name] = {**source, "arguments": {each: values[each] for each in KEPT}}
    file = "train_args/train_clip.json"
    values = json.loads((clip_chinese / file).read_text(encoding="utf-8"))
    found["clip-chinese-lit"] = {
        **upstream(clip_chinese, "https://github.com/yangjianxin1/CLIP-Chinese", file),
        "arguments": {each: values[each] for each in KEPT_OF_CLIP_CHINESE},
    }
    file = "fengshen/examples/clip_finetune/finetune_flickr.sh"
    text = (fengshen / file).read_text(encoding="utf-8")
    found["taiyi"] = {
        **upstream(fengshen, "https://github.com/IDEA-CCNL/Fengshenbang-LM", file),
        "arguments": {name: int(re.findall(rf"--{name} (\d+)", text)[0]) for name in ("batch_size", "num_gpus")},
    }
    write("arguments", found)


def words_of(script: Path) -> list[str]:
    """What the script gives to cn_clip/training/main.py."""
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "python3"
        python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        python.chmod(0o755)
        path = os.pathsep.join([folder, os.environ["PATH"]])
        ran = subprocess.run(
            ["bash", str(script), "DATA"], env={**os.environ, "PATH": path}, check=True, capture_output=True, text=True
        )
    return ran.stdout.split("main.py\n")[1].split("\n")[:-1]


def words_of_notebook(notebook: Path) -> list[str]:
    """What the notebook gives to it, by the output that it printed."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    outputs = ["".join(each.get("text", ())) for cell in cells for each in cell.get("outputs", ())]
    return next(each for each in outputs if "training/main.py" in each and "--lr=" in each).split("main.py")[1].split()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
