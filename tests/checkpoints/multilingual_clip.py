"""Multilingual-CLIP text repos, of 2022 and of 2021."""

import pickle
from pathlib import Path

import torch

from tests import unigram
from tests.checkpoints import common, hf_clip
from tests.checkpoints.common import Original, bert, bert_folder, distilbert, linear, write_json
from tests.weights import seeded_state_dict

MCLIP_BASE = {
    "xlm-roberta": {
        "model_type": "xlm-roberta",
        "vocab_size": len(unigram.pieces()),
        "hidden_size": common.HIDDEN,
        "num_hidden_layers": common.LAYERS,
        "num_attention_heads": 4,
        "intermediate_size": common.INTERMEDIATE,
        "max_position_embeddings": common.POSITIONS,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
    },
    "bert": {**common.BERT_CONFIG, "layer_norm_eps": 1e-12},
}
"""The config.json of the models that the small Multilingual-CLIP towers were trained from."""


def multilingual_clip(kind: str = "xlm-roberta") -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a Multilingual-CLIP of 2022."""
    shapes = bert("transformer.", pooler=True)
    base = MCLIP_BASE[kind]
    shapes["transformer.embeddings.word_embeddings.weight"] = (base["vocab_size"], common.HIDDEN)
    shapes["transformer.embeddings.token_type_embeddings.weight"] = (base["type_vocab_size"], common.HIDDEN)
    return shapes | linear("LinearTransformation", common.EMBED, common.HIDDEN)


def multilingual_clip_folder(folder: Path, kind: str = "xlm-roberta") -> Path:
    """A Multilingual-CLIP text repo of 2022, whose config.json leaves its tower's facts to another model's."""
    sizes = {"transformerDimensions": common.HIDDEN, "numDims": common.EMBED}
    bert_folder(folder, {"model_type": "M-CLIP", "modelBase": f"nobody/{kind}", **sizes})
    if kind == "xlm-roberta":
        (folder / "vocab.txt").unlink()
        unigram.tokenizer_file(folder / "tokenizer.json")
        write_json(
            folder / "tokenizer_config.json", {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512}
        )
    else:
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": False})
    tensors = seeded_state_dict(multilingual_clip(kind))
    tensors["transformer.embeddings.position_ids"] = torch.arange(common.POSITIONS)[None]
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def multilingual_clip_legacy_folder(folder: Path, distilbert_tower: bool = False) -> Path:
    """A Multilingual-CLIP of 2021: a plain tower, and the pickle of its head fetched into the same folder."""
    bert_folder(folder, common.DISTILBERT_CONFIG if distilbert_tower else common.BERT_CONFIG)
    write_json(folder / "tokenizer_config.json", {"do_lower_case": False})
    torch.save(
        seeded_state_dict(distilbert() if distilbert_tower else bert("", pooler=True)), folder / "pytorch_model.bin"
    )
    head = seeded_state_dict({"head.0": (common.HIDDEN, common.EMBED), "head.1": (common.EMBED,)})
    content = pickle.dumps([tensor.numpy() for tensor in head.values()], protocol=4)
    (folder / "M-BERT-Base-69-ViT Linear Weights.pkl").write_bytes(content)
    return folder


def multilingual_clip_config(path: Path, kind: str = "xlm-roberta") -> Path:
    """The base model's config.json, which the repo lacks."""
    write_json(path, MCLIP_BASE[kind])
    return path


def original(folder: Path) -> Original:
    """Makes a Multilingual-CLIP text repo, the config of its base, and the CLIP that it was trained towards."""
    config = multilingual_clip_config(folder / "base.json")
    vision = hf_clip.clip_folder(folder / "clip")
    return Original(multilingual_clip_folder(folder / "mclip"), {"vision": vision, "config": config})


ORIGINALS = {"multilingual_clip": original}
