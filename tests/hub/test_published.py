"""The published weights, downloaded: they convert, and give the published probabilities. Opt-in: `pytest -m hub`."""

import io
import os
import subprocess
import sys
import urllib.request

import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

import hf_zhclip  # noqa: F401

pytestmark = pytest.mark.hub

PICTURE = "https://clip-cn-beijing.oss-cn-beijing.aliyuncs.com/pokemon.jpeg"
NAMES = ("杰尼龟", "妙蛙种子", "小火龙", "皮卡丘")
# README.md of OFA-Sys/Chinese-CLIP, for examples/pokemon.jpeg, which is this picture.
PUBLISHED = (1.268734e-03, 5.436878e-02, 6.795761e-04, 9.436829e-01)
VIT_B_16 = "OFA-Sys/chinese-clip-vit-base-patch16:clip_cn_vit-b-16.pt"

OTHERS = (
    ("OFA-Sys/chinese-clip-rn50:clip_cn_rn50.pt",),
    ("OFA-Sys/chinese-clip-vit-large-patch14:clip_cn_vit-l-14.pt",),
    ("OFA-Sys/chinese-clip-vit-large-patch14-336px:clip_cn_vit-l-14-336.pt",),
    ("OFA-Sys/chinese-clip-vit-huge-patch14:clip_cn_vit-h-14.pt",),
    ("YeungNLP/clip-vit-bert-chinese-1M",),
    ("openai/clip-vit-base-patch32",),
    ("openai/clip-vit-large-patch14",),
    ("IDEA-CCNL/Taiyi-CLIP-Roberta-102M-Chinese", "--vision", "openai/clip-vit-base-patch32"),
    ("IDEA-CCNL/Taiyi-CLIP-Roberta-large-326M-Chinese", "--vision", "openai/clip-vit-large-patch14"),
)


def convert(out, source: str, *arguments: str) -> None:
    """Runs `zhclip convert` online: this process has been cut off from the hub, and from the user's cache."""
    online = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HF_HOME")}
    command = [sys.executable, "-m", "zhclip_cli", "convert", source, str(out), *arguments]
    subprocess.run(command, check=True, env=online)


def test_published_vit_b_16_gives_the_published_probabilities(tmp_path):
    convert(tmp_path / "repo", VIT_B_16)
    model = AutoModel.from_pretrained(tmp_path / "repo").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "repo")
    with urllib.request.urlopen(PICTURE, timeout=60) as response:
        picture = Image.open(io.BytesIO(response.read()))
    with torch.no_grad():
        outputs = model(**processor(text=list(NAMES), images=picture, return_tensors="pt"))
    probabilities = outputs.logits_per_image.softmax(dim=-1)[0]
    torch.testing.assert_close(probabilities, torch.tensor(PUBLISHED), atol=2e-3, rtol=0)


@pytest.mark.parametrize("arguments", OTHERS, ids=lambda arguments: arguments[0].partition(":")[0].partition("/")[2])
def test_published_checkpoint_converts_and_is_verified(arguments, tmp_path):
    convert(tmp_path / "repo", *arguments)
    assert (tmp_path / "repo" / "conversion_report.json").is_file()
