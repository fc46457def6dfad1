"""Taiyi's text repos, with a classifier head and without."""

from collections.abc import Callable
from pathlib import Path

import torch

from tests.checkpoints import common, hf_clip
from tests.checkpoints.common import Original, bert, bert_folder, linear
from tests.weights import seeded_state_dict


def taiyi(head: bool) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of Taiyi's text part, with its classifier head or without."""
    return (
        bert("bert.", pooler=True) | linear("classifier", common.EMBED, common.HIDDEN)
        if head
        else bert("", pooler=True)
    )


def taiyi_folder(folder: Path, head: bool) -> Path:
    """Taiyi's text repo."""
    bert_folder(
        folder, {**common.BERT_CONFIG, "architectures": ["BertForSequenceClassification" if head else "BertModel"]}
    )
    torch.save(seeded_state_dict(taiyi(head)), folder / "pytorch_model.bin")
    return folder


def original(head: bool) -> Callable[[Path], Original]:
    """Makes a Taiyi text repo and a CLIP repo of the width that it ends in."""

    def make(folder: Path) -> Original:
        vision = hf_clip.clip_folder(folder / "clip", embed=common.EMBED if head else common.HIDDEN)
        return Original(taiyi_folder(folder / "taiyi", head), {"vision": vision, "format": "taiyi"})

    return make


ORIGINALS = {"taiyi_head": original(head=True), "taiyi_plain": original(head=False)}
