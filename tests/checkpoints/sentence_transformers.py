"""Text models of sentence-transformers, and their CLIPModel."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from tests.checkpoints import common, hf_clip
from tests.checkpoints.common import Original, bert, bert_folder, distilbert, linear, write_json
from tests.weights import seeded_state_dict


def sentence_transformers_folder(
    folder: Path,
    bert_tower: bool = False,
    bias: bool = False,
    pooling: Mapping[str, object] | None = None,
    dense: Mapping[str, object] | None = None,
    transformer: Mapping[str, object] | None = None,
) -> Path:
    """A text model of sentence-transformers as its version 2 saved it; what is given replaces fields."""
    bert_folder(folder, common.BERT_CONFIG if bert_tower else common.DISTILBERT_CONFIG)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")]
    _modules(folder, [(path, f"sentence_transformers.models.{name}") for path, name in modules])
    projection = seeded_state_dict(linear("2_Dense.linear", common.EMBED, common.HIDDEN))
    mean = {
        "word_embedding_dimension": common.HIDDEN,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
    }
    sizes = {"in_features": common.HIDDEN, "out_features": common.EMBED, "bias": bias}
    identity = {"activation_function": "torch.nn.modules.linear.Identity"}
    write_json(folder / "1_Pooling/config.json", {**mean, **(pooling or {})})
    write_json(folder / "2_Dense/config.json", {**sizes, **identity, **(dense or {})})
    stated = {"max_seq_length": 40, "do_lower_case": False, **(transformer or {})}
    write_json(folder / "sentence_bert_config.json", stated)
    write_json(folder / "tokenizer_config.json", {"do_lower_case": False, "model_max_length": 512})
    projection = {key.removeprefix("2_Dense."): tensor for key, tensor in projection.items()}
    kept = {key: tensor for key, tensor in projection.items() if bias or not key.endswith("bias")}
    torch.save(kept, folder / "2_Dense/pytorch_model.bin")
    torch.save(seeded_state_dict(bert("", pooler=True) if bert_tower else distilbert()), folder / "pytorch_model.bin")
    return folder


def sentence_transformers_clip(folder: Path) -> Path:
    """A CLIPModel as sentence-transformers keeps it: in a folder inside the folder."""
    hf_clip.clip_folder(folder / "0_CLIPModel")
    _modules(folder, [("0_CLIPModel", "sentence_transformers.models.CLIPModel")])
    return folder


def _modules(folder: Path, found: Sequence[tuple[str, str]]) -> None:
    listed = [{"idx": n, "name": str(n), "path": path, "type": kind} for n, (path, kind) in enumerate(found)]
    write_json(folder / "modules.json", listed)


def original(folder: Path) -> Original:
    """Makes a text model of sentence-transformers, and its CLIPModel."""
    text = sentence_transformers_folder(folder / "multilingual")
    return Original(text, {"vision": sentence_transformers_clip(folder / "clip")})


ORIGINALS = {"sentence_transformers": original}
