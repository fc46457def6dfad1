"""BertCLIP repos, as CLIP-Chinese publishes them."""

from pathlib import Path

import torch

from tests.checkpoints import common
from tests.checkpoints.common import Original, bert, bert_folder, hf_clip_vision
from tests.weights import seeded_state_dict


def bert_clip() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a BertCLIP model."""
    return (
        hf_clip_vision() | bert("text_model.", pooler=True) | {"text_projection.weight": (common.EMBED, common.HIDDEN)}
    )


def bert_clip_folder(folder: Path, **config: object) -> Path:
    """A BertCLIP repo as CLIP-Chinese publishes it: a .bin, config.json and vocab.txt."""
    bert_folder(
        folder, {"model_type": "clip", "architectures": ["BertCLIPModel"], "projection_dim": common.EMBED, **config}
    )
    state_dict = seeded_state_dict(bert_clip())
    state_dict["text_model.embeddings.position_ids"] = torch.arange(common.POSITIONS)[None]
    state_dict["vision_model.embeddings.position_ids"] = torch.arange((common.SIZE // common.PATCH) ** 2 + 1)[None]
    torch.save(state_dict, folder / "pytorch_model.bin")
    return folder


def bert_clip_config(folder: Path) -> Path:
    """A BertCLIP repo with its two towers stated."""
    return bert_clip_folder(folder, text_config=common.BERT_CONFIG, vision_config=common.VISION_CONFIG)


ORIGINALS = {"bert_clip": lambda folder: Original(bert_clip_config(folder / "bert_clip"))}
