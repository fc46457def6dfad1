"""What several tests of the conversion share."""

import itertools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hf_zhclip.conversion.proof import samples, texts, verification
from hf_zhclip.conversion.repos.report import Report

from tests import checkpoints

PICTURES = tuple(itertools.islice(samples.pictures(), samples.EMBEDDED))
"""Those that are embedded; all of them are compared where the process is a fresh one."""


@dataclass(frozen=True)
class Original:
    """A small checkpoint and what `convert` has to be told about it."""

    source: Path
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Repo:
    """A converted checkpoint."""

    path: Path
    report: Report
    original: Original


def cn_clip(shapes: Callable[[], dict[str, tuple[int, ...]]], prefix: str = "module.") -> Callable[[Path], Original]:
    """Makes a cn_clip training checkpoint, and the JSON that states its head counts."""

    def make(folder: Path) -> Original:
        config = checkpoints.cn_clip_config(folder / "facts.json")
        return Original(checkpoints.cn_clip_file(folder / "epoch3.pt", shapes(), prefix), {"config": config})

    return make


def taiyi(head: bool) -> Callable[[Path], Original]:
    """Makes a Taiyi text repo and a CLIP repo of the width that it ends in."""

    def make(folder: Path) -> Original:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoints, "EMBED", checkpoints.EMBED if head else checkpoints.HIDDEN)
            vision = checkpoints.clip_folder(folder / "clip")
            text = checkpoints.taiyi_folder(folder / "taiyi", head)
        return Original(text, {"vision": vision, "format": "taiyi"})

    return make


def r2d2(folder: Path) -> Original:
    """Makes an R2D2 checkpoint, and the JSON that states its head counts."""
    config = checkpoints.prd2_config(folder / "facts.json")
    return Original(checkpoints.prd2_file(folder / "checkpoint_best.pth"), {"config": config})


def taiyi_finetune(folder: Path) -> Original:
    """Makes a checkpoint of Taiyi's fine-tune, and the JSON that states its head counts."""
    config = checkpoints.prd2_config(folder / "facts.json")
    return Original(checkpoints.taiyi_finetune_file(folder / "epoch=0-step=2272.ckpt"), {"config": config})


def sentence_transformers(folder: Path) -> Original:
    """Makes a text model of sentence-transformers, and its CLIPModel."""
    text = checkpoints.sentence_transformers_folder(folder / "multilingual")
    return Original(text, {"vision": checkpoints.sentence_transformers_clip(folder / "clip")})


def multilingual_clip(folder: Path) -> Original:
    """Makes a Multilingual-CLIP text repo, the config of its base, and the CLIP that it was trained towards."""
    config = checkpoints.multilingual_clip_config(folder / "base.json")
    vision = checkpoints.clip_folder(folder / "clip")
    return Original(checkpoints.multilingual_clip_folder(folder / "mclip"), {"vision": vision, "config": config})


def wukong(folder: Path) -> Original:
    """Makes a Wukong checkpoint, and the JSON that states its head count."""
    config = checkpoints.wukong_config(folder / "facts.json")
    return Original(checkpoints.wukong_file(folder / "wukong_vit_b_g.ckpt"), {"config": config})


FAMILIES: dict[str, Callable[[Path], Original]] = {
    "cn_clip_vit": cn_clip(checkpoints.cn_clip_vit),
    "cn_clip_flash": cn_clip(lambda: checkpoints.cn_clip_vit(flash=True, pooler=True), prefix=""),
    "cn_clip_resnet": cn_clip(checkpoints.cn_clip_resnet),
    "easynlp": lambda folder: Original(checkpoints.easynlp_folder(folder / "easynlp")),
    "modelscope": lambda folder: Original(checkpoints.modelscope_folder(folder / "modelscope")),
    "bert_clip": lambda folder: Original(checkpoints.bert_clip_config(folder / "bert_clip")),
    "chinese_clip": lambda folder: Original(checkpoints.chinese_clip_folder(folder / "chinese_clip")),
    "taiyi_clip": lambda folder: Original(checkpoints.taiyi_clip_folder(folder / "taiyi_clip")),
    "openai_clip": lambda folder: Original(
        checkpoints.openai_clip_file(folder / "ViT.pt"), {"tokenizer": checkpoints.bpe_folder(folder / "vocabulary")}
    ),
    "hf_clip": lambda folder: Original(checkpoints.clip_folder(folder / "clip")),
    "taiyi_head": taiyi(head=True),
    "taiyi_plain": taiyi(head=False),
    "r2d2": r2d2,
    "multilingual_clip": multilingual_clip,
    "taiyi_finetune": taiyi_finetune,
    "sentence_transformers": sentence_transformers,
    "wukong": wukong,
    "open_clip": lambda folder: Original(checkpoints.open_clip_folder(folder / "open_clip")),
    "open_clip_xlm_roberta": lambda folder: Original(checkpoints.open_clip_xlm_roberta_folder(folder / "open_clip")),
    "zh_clip": lambda folder: Original(checkpoints.zh_clip_folder(folder / "zh_clip")),
}


def compare_here(request: verification.Request) -> Any:
    """Stands in for `in_fresh_process`, which costs seconds; the request still has to survive JSON."""
    return verification.compare(verification.Request(**json.loads(json.dumps(asdict(request)))))


def save_time(patch: pytest.MonkeyPatch) -> None:
    """Verifies in this process, on few texts, on pictures that are drawn once, and loads no class of one tower."""
    patch.setattr(verification, "in_fresh_process", compare_here)
    patch.setattr(verification, "_with_towers", lambda whole, *given: whole)
    patch.setattr(texts, "whole", lambda special, context_length: texts.SENTENCES)
    patch.setattr(samples, "pictures", lambda: iter(PICTURES))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def entries(folder: Path) -> set[str]:
    """Names of everything in a folder, hidden files too."""
    return {path.name for path in folder.iterdir()}
