"""Small checkpoints of every format: keys written by hand from the upstreams, weights seeded by key name."""

import json
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab

from tests import unigram
from tests.weights import seeded_state_dict

VOCAB = 21128
CN_CLIP_FACTS = {"vision_head_width": 16, "text_num_attention_heads": 4, "text_hidden_act": "gelu"}
"""What `--config` has to state of the small cn_clip checkpoints."""

HIDDEN, INTERMEDIATE, LAYERS, POSITIONS = 32, 64, 2, 64
WIDTH, EMBED, PATCH, SIZE = 64, 48, 16, 64


def bert(prefix: str, pooler: bool, flash: bool = False, layers: int = LAYERS) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a BERT; in flash-attention's layout the three projections are one."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (VOCAB, HIDDEN),
        "embeddings.position_embeddings.weight": (POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
        "embeddings.LayerNorm.weight": (HIDDEN,),
        "embeddings.LayerNorm.bias": (HIDDEN,),
    }
    for layer in range(layers):
        name = f"encoder.layer.{layer}."
        if flash:
            shapes |= _linear(name + "attention.self.Wqkv", 3 * HIDDEN, HIDDEN)
            shapes |= _linear(name + "attention.self.out_proj", HIDDEN, HIDDEN)
        else:
            for part in ("self.query", "self.key", "self.value", "output.dense"):
                shapes |= _linear(name + "attention." + part, HIDDEN, HIDDEN)
        shapes |= _norm(name + "attention.output.LayerNorm", HIDDEN)
        shapes |= _linear(name + "intermediate.dense", INTERMEDIATE, HIDDEN)
        shapes |= _linear(name + "output.dense", HIDDEN, INTERMEDIATE)
        shapes |= _norm(name + "output.LayerNorm", HIDDEN)
    if pooler:
        shapes |= _linear("pooler.dense", HIDDEN, HIDDEN)
    return {prefix + key: shape for key, shape in shapes.items()}


def cn_clip_vit(flash: bool = False, pooler: bool = False) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a cn_clip model with a ViT."""
    fused = "Wqkv." if flash else "in_proj_"
    shapes = {
        "text_projection": (HIDDEN, EMBED),
        "logit_scale": (),
        "visual.class_embedding": (WIDTH,),
        "visual.positional_embedding": ((SIZE // PATCH) ** 2 + 1, WIDTH),
        "visual.proj": (WIDTH, EMBED),
        "visual.conv1.weight": (WIDTH, 3, PATCH, PATCH),
        **_norm("visual.ln_pre", WIDTH),
    }
    for layer in range(LAYERS):
        name = f"visual.transformer.resblocks.{layer}."
        shapes |= {name + f"attn.{fused}weight": (3 * WIDTH, WIDTH), name + f"attn.{fused}bias": (3 * WIDTH,)}
        shapes |= _linear(name + "attn.out_proj", WIDTH, WIDTH)
        shapes |= _norm(name + "ln_1", WIDTH) | _norm(name + "ln_2", WIDTH)
        shapes |= _linear(name + "mlp.c_fc", 4 * WIDTH, WIDTH) | _linear(name + "mlp.c_proj", WIDTH, 4 * WIDTH)
    return shapes | _norm("visual.ln_post", WIDTH) | bert("bert.", pooler, flash)


def cn_clip_resnet() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a cn_clip model with a small modified ResNet: width 16, one block a layer."""
    width, inner = 16, 16
    shapes: dict[str, tuple[int, ...]] = {"text_projection": (HIDDEN, EMBED), "logit_scale": ()}
    for n, (rows, columns) in enumerate(((width // 2, 3), (width // 2, width // 2), (width, width // 2)), start=1):
        shapes |= {f"visual.conv{n}.weight": (rows, columns, 3, 3)} | _batch_norm(f"visual.bn{n}", rows)
    for n in (1, 2, 3, 4):
        planes, name = width * 2 ** (n - 1), f"visual.layer{n}.0."
        shapes |= {name + "conv1.weight": (planes, inner, 1, 1)} | _batch_norm(name + "bn1", planes)
        shapes |= {name + "conv2.weight": (planes, planes, 3, 3)} | _batch_norm(name + "bn2", planes)
        shapes |= {name + "conv3.weight": (4 * planes, planes, 1, 1)} | _batch_norm(name + "bn3", 4 * planes)
        shapes |= {name + "downsample.0.weight": (4 * planes, inner, 1, 1)}
        shapes |= _batch_norm(name + "downsample.1", 4 * planes)
        inner = 4 * planes
    shapes |= {"visual.attnpool.positional_embedding": ((SIZE // 32) ** 2 + 1, inner)}
    for part in ("q_proj", "k_proj", "v_proj"):
        shapes |= _linear(f"visual.attnpool.{part}", inner, inner)
    return shapes | _linear("visual.attnpool.c_proj", EMBED, inner) | bert("bert.", pooler=False)


def hf_clip_vision() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of Hugging Face CLIP's image tower, its projection and the scale."""
    shapes = {
        "logit_scale": (),
        "vision_model.embeddings.class_embedding": (WIDTH,),
        "vision_model.embeddings.patch_embedding.weight": (WIDTH, 3, PATCH, PATCH),
        "vision_model.embeddings.position_embedding.weight": ((SIZE // PATCH) ** 2 + 1, WIDTH),
        "visual_projection.weight": (EMBED, WIDTH),
        **_norm("vision_model.pre_layrnorm", WIDTH),
        **_norm("vision_model.post_layernorm", WIDTH),
    }
    for layer in range(LAYERS):
        name = f"vision_model.encoder.layers.{layer}."
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(name + "self_attn." + part, WIDTH, WIDTH)
        shapes |= _norm(name + "layer_norm1", WIDTH) | _norm(name + "layer_norm2", WIDTH)
        shapes |= _linear(name + "mlp.fc1", 4 * WIDTH, WIDTH) | _linear(name + "mlp.fc2", WIDTH, 4 * WIDTH)
    return shapes


def hf_clip() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of Hugging Face's CLIPModel, its causal text tower included."""
    shapes = {
        "text_model.embeddings.token_embedding.weight": (len(bpe()[0]), HIDDEN),
        "text_model.embeddings.position_embedding.weight": (POSITIONS, HIDDEN),
        "text_projection.weight": (EMBED, HIDDEN),
        **_norm("text_model.final_layer_norm", HIDDEN),
    }
    for layer in range(LAYERS):
        name = f"text_model.encoder.layers.{layer}."
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(name + "self_attn." + part, HIDDEN, HIDDEN)
        shapes |= _norm(name + "layer_norm1", HIDDEN) | _norm(name + "layer_norm2", HIDDEN)
        shapes |= _linear(name + "mlp.fc1", INTERMEDIATE, HIDDEN) | _linear(name + "mlp.fc2", HIDDEN, INTERMEDIATE)
    return hf_clip_vision() | shapes


def bpe() -> tuple[dict[str, int], list[str]]:
    """A small vocabulary of CLIP's kind, ids and merges: every byte alone and at the end of a word, a few joints."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(byte) for byte in visible] + [chr(0x100 + number) for number in range(0x100 - len(visible))]
    merges = ["t h", "th e</w>", "c a", "ca t</w>", "d o", "do g</w>", "Ã ©</w>", "p h", "ph o", "t o</w>", "o t"]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *(merge.replace(" ", "") for merge in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: number for number, token in enumerate(tokens)}, merges


def bert_clip() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a BertCLIP model."""
    return hf_clip_vision() | bert("text_model.", pooler=True) | {"text_projection.weight": (EMBED, HIDDEN)}


def dual_encoder() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a VisionTextDualEncoderModel as transformers 4 saves it: BertCLIP's, but for a name."""
    return {re.sub(r"^vision_model\.", "vision_model.vision_model.", key): shape for key, shape in bert_clip().items()}


def chinese_clip() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of Hugging Face's ChineseCLIPModel."""
    return hf_clip_vision() | bert("text_model.", pooler=False) | {"text_projection.weight": (EMBED, HIDDEN)}


def taiyi(head: bool) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of Taiyi's text part, with its classifier head or without."""
    return bert("bert.", pooler=True) | _linear("classifier", EMBED, HIDDEN) if head else bert("", pooler=True)


def distilbert() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a DistilBERT."""
    shapes = {
        "embeddings.word_embeddings.weight": (VOCAB, HIDDEN),
        "embeddings.position_embeddings.weight": (POSITIONS, HIDDEN),
        **_norm("embeddings.LayerNorm", HIDDEN),
    }
    for layer in range(LAYERS):
        name = f"transformer.layer.{layer}."
        for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
            shapes |= _linear(name + "attention." + part, HIDDEN, HIDDEN)
        shapes |= _norm(name + "sa_layer_norm", HIDDEN) | _norm(name + "output_layer_norm", HIDDEN)
        shapes |= _linear(name + "ffn.lin1", INTERMEDIATE, HIDDEN) | _linear(name + "ffn.lin2", HIDDEN, INTERMEDIATE)
    return shapes


def prd2() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of PRD2, of which the last norm, the pooler and the position buffers are in no embedding."""
    tower = {key: shape for key, shape in hf_clip_vision().items() if key.startswith("vision_model.")}
    shapes = {key.replace("vision_model.", "visual_encoder."): shape for key, shape in tower.items()}
    shapes |= {"visual_encoder.embeddings.position_ids": (1, (SIZE // PATCH) ** 2 + 1)}
    shapes |= bert("text_encoder.", pooler=True) | {"text_encoder.embeddings.position_ids": (1, POSITIONS)}
    return shapes | _linear("vision_proj", EMBED, WIDTH) | _linear("text_proj", EMBED, HIDDEN) | {"temp": ()}


def r2d2() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of R2D2: a PRD2 and the first keys of each part of its cross-encoder."""
    shapes = prd2() | _linear("img_joint_proj", HIDDEN, WIDTH)
    for side, width in (("text", WIDTH), ("img", HIDDEN)):
        layer = f"{side}_joint_layer.encoder.layer.0."
        shapes |= _norm(f"{side}_joint_layer.embeddings.LayerNorm", HIDDEN)
        shapes |= _linear(layer + "attention.self.query", HIDDEN, HIDDEN)
        shapes |= _linear(layer + "crossattention.self.key", HIDDEN, width)
    return shapes | _linear("itm_head", 2, HIDDEN) | _linear("itm_head_i", 2, HIDDEN)


def taiyi_finetune() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of Fengshen's fine-tune of Taiyi-CLIP: a whole English CLIP, and Taiyi's classifier."""
    text = taiyi(head=True) | {"bert.embeddings.position_embeddings.weight": (TAIYI_POSITIONS, HIDDEN)}
    clip = {f"clip_model.{key}": shape for key, shape in hf_clip().items()}
    return clip | {f"text_encoder.{key}": shape for key, shape in text.items()}


TAIYI_POSITIONS = 96
"""More than the 77 tokens to which this training pads."""

PRD2_FACTS = {
    "text_config": {"num_attention_heads": 4, "hidden_act": "gelu", "layer_norm_eps": 1e-12},
    "vision_config": {"num_attention_heads": 4, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
}
"""What `--config` has to state of a small PRD2."""

BERT_CONFIG = {
    "model_type": "bert",
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": INTERMEDIATE,
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
DISTILBERT_CONFIG = {
    "model_type": "distilbert",
    "vocab_size": VOCAB,
    "dim": HIDDEN,
    "n_layers": LAYERS,
    "n_heads": 4,
    "hidden_dim": INTERMEDIATE,
    "max_position_embeddings": POSITIONS,
    "activation": "gelu",
    "sinusoidal_pos_embds": False,
    "pad_token_id": 0,
}
CLIP_TEXT_CONFIG = {
    "model_type": "clip_text_model",
    "vocab_size": len(bpe()[0]),
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": INTERMEDIATE,
    "max_position_embeddings": POSITIONS,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 1,
}
"""With the ids that OpenAI's repos state, which are not those of their tokenizer."""

VISION_CONFIG = {
    "model_type": "clip_vision_model",
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 4 * WIDTH,
    "image_size": SIZE,
    "patch_size": PATCH,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}


def cn_clip_file(
    path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None, prefix: str = "module.", **extra: object
) -> Path:
    """A training checkpoint as cn_clip's trainer saves it, optimizer included."""
    state_dict = seeded_state_dict(shapes or cn_clip_vit())
    optimizer = {"state": {0: {"step": torch.tensor(7.0), "exp_avg": torch.ones(4)}}, "param_groups": [{"lr": 1e-4}]}
    top = {"epoch": 3, "step": 77, "name": "tiny", "optimizer": optimizer, **extra}
    torch.save({**top, "state_dict": {prefix + key: tensor for key, tensor in state_dict.items()}}, path)
    return path


def cn_clip_config(path: Path) -> Path:
    """The JSON that states what the small checkpoints' shapes don't."""
    path.write_text(json.dumps(CN_CLIP_FACTS), encoding="utf-8")
    return path


MODELSCOPE_VISION = {
    "embed_dim": EMBED,
    "image_resolution": SIZE,
    "vision_layers": LAYERS,
    "vision_width": WIDTH,
    "vision_patch_size": PATCH,
    "vision_head_width": 16,
}
MODELSCOPE_TEXT = {
    "vocab_size": VOCAB,
    "text_attention_probs_dropout_prob": 0.1,
    "text_hidden_act": "gelu",
    "text_hidden_dropout_prob": 0.1,
    "text_hidden_size": HIDDEN,
    "text_initializer_range": 0.02,
    "text_intermediate_size": INTERMEDIATE,
    "text_max_position_embeddings": POSITIONS,
    "text_num_attention_heads": 4,
    "text_num_hidden_layers": LAYERS,
    "text_type_vocab_size": 2,
}


def modelscope_folder(folder: Path, prefix: str = "", nested: bool = True, **stated: object) -> Path:
    """A folder of ModelScope's CLIP, or a fine-tune's under `clip_model.`; `stated` replaces fields of its JSON."""
    folder.mkdir(parents=True)
    files = {
        "configuration.json": {"framework": "pytorch", "task": "multi-modal-embedding", "model": {"type": "clip"}},
        "vision_model_config.json": {key: stated.get(key, value) for key, value in MODELSCOPE_VISION.items()},
        "text_model_config.json": {key: stated.get(key, value) for key, value in MODELSCOPE_TEXT.items()},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "vocab.txt").write_text("".join(f"{line}\n" for line in default_vocab()), encoding="utf-8")
    state_dict = {prefix + key: value for key, value in seeded_state_dict(cn_clip_vit(pooler=True)).items()}
    torch.save({"state_dict": state_dict} if nested else state_dict, folder / "pytorch_model.bin")
    return folder


def prd2_file(path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Path:
    """A checkpoint as R2D2's fine-tuning saves it, optimizer and config included."""
    top = {"optimizer": {"state": {}, "param_groups": [{"lr": 1e-5}]}, "config": {"vit_type": "base"}, "epoch": 3}
    torch.save({**top, "model": seeded_state_dict(shapes or r2d2())}, path)
    return path


def taiyi_finetune_file(path: Path, prefix: str = "", **extra: object) -> Path:
    """What Lightning saves of Fengshen's fine-tune of Taiyi-CLIP, with the buffers of a transformers of 2022."""
    state_dict = seeded_state_dict(taiyi_finetune())
    for key, length in (
        ("clip_model.text_model.embeddings.position_ids", POSITIONS),
        ("clip_model.vision_model.embeddings.position_ids", (SIZE // PATCH) ** 2 + 1),
        ("text_encoder.bert.embeddings.position_ids", TAIYI_POSITIONS),
    ):
        state_dict[key] = torch.arange(length)[None]
    top = {"epoch": 0, "global_step": 2272, "pytorch-lightning_version": "1.6.5", "loops": {}, "callbacks": {}}
    state = {"optimizer_states": [{"state": {}, "param_groups": [{"lr": 5e-4}]}], "lr_schedulers": [{"T_0": 2000}]}
    named = {prefix + key: tensor for key, tensor in state_dict.items()}
    torch.save({**top, **state, "state_dict": named, **extra}, path)
    return path


def prd2_config(path: Path) -> Path:
    """The JSON that states what the small checkpoints' shapes don't."""
    path.write_text(json.dumps(PRD2_FACTS), encoding="utf-8")
    return path


def easynlp_folder(folder: Path, **stated: object) -> Path:
    """What EasyNLP's CLIPApp saves of cn_clip's model: its class has no field for the width of a head."""
    fields = {key: value for key, value in MODELSCOPE_VISION.items() if key != "vision_head_width"} | MODELSCOPE_TEXT
    _folder(folder, {"model_type": "chinese_clip", **fields, **stated})
    state_dict = seeded_state_dict(cn_clip_vit(pooler=True))
    state_dict["bert.embeddings.position_ids"] = torch.arange(POSITIONS)[None]
    torch.save({f"chinese_clip.{key}": value for key, value in state_dict.items()}, folder / "pytorch_model.bin")
    return folder


def bert_clip_folder(folder: Path, **config: object) -> Path:
    """A BertCLIP repo as CLIP-Chinese publishes it: a .bin, config.json and vocab.txt."""
    _folder(folder, {"model_type": "clip", "architectures": ["BertCLIPModel"], "projection_dim": EMBED, **config})
    state_dict = seeded_state_dict(bert_clip())
    state_dict["text_model.embeddings.position_ids"] = torch.arange(POSITIONS)[None]
    state_dict["vision_model.embeddings.position_ids"] = torch.arange((SIZE // PATCH) ** 2 + 1)[None]
    torch.save(state_dict, folder / "pytorch_model.bin")
    return folder


def zh_clip() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of ZH-CLIP's ZhCLIPModel (thu-ml/zh-clip, models/zhclip/modeling_zhclip.py)."""
    hidden = (HIDDEN + EMBED) // 2
    image = {key: shape for key, shape in hf_clip_vision().items() if key.startswith("vision_model.")}
    projections = {"text_projection.0.weight": (hidden, HIDDEN), "text_projection.2.weight": (EMBED, hidden)}
    return image | bert("text_model.", pooler=True) | projections | _linear("visual_projection", EMBED, WIDTH)


ZH_CLIP_CONFIG: dict[str, object] = {
    "model_type": "zhclip",
    "architectures": ["ZhCLIPModel"],
    **{"hidden_size": EMBED, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 3072},
    **{"hidden_act": "gelu", "layer_norm_eps": 1e-12, "num_token_types": 2, "classifier_dropout": None},
}
"""What ZH-CLIP's config.json states beside its towers."""

ZH_CLIP_PROCESSOR = "ZhCLIPProcessor"
"""A class of thu-ml/zh-clip, and one of this package."""


def zh_clip_folder(folder: Path, processor_config: bool = False, **config: object) -> Path:
    """A ZH-CLIP repo; with `processor_config` its processor is saved as transformers 5 saves processors.

    A field of `config` that is None is left out of config.json.
    """
    stated = {**ZH_CLIP_CONFIG, "text_config": BERT_CONFIG, "vision_config": VISION_CONFIG, **config}
    _folder(folder, {name: value for name, value in stated.items() if value is not None})
    images = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": SIZE}, "crop_size": SIZE}
    named = {"processor_class": ZH_CLIP_PROCESSOR}
    if processor_config:
        _json(folder / "processor_config.json", {"image_processor": images, **named})
    else:
        _json(folder / "preprocessor_config.json", {**images, **named})
    _json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "model_max_length": 77, **named})
    torch.save(seeded_state_dict(zh_clip()), folder / "pytorch_model.bin")
    return folder


def dual_encoder_folder(folder: Path, shapes: Mapping[str, tuple[int, ...]], **text: object) -> Path:
    """A VisionTextDualEncoderModel repo of transformers, with the files of its processor."""
    towers = {"text_config": {**BERT_CONFIG, **text}, "vision_config": VISION_CONFIG}
    named = {"model_type": "vision-text-dual-encoder", "architectures": ["VisionTextDualEncoderModel"]}
    _folder(folder, {**named, "projection_dim": EMBED, "logit_scale_init_value": 2.6592, **towers})
    images = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": SIZE}, "crop_size": SIZE}
    processor = {"image_processor": images, "processor_class": "VisionTextDualEncoderProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    limit = {"tokenizer_class": "BertTokenizer", "model_max_length": 20}
    (folder / "tokenizer_config.json").write_text(json.dumps(limit), encoding="utf-8")
    save_file(seeded_state_dict(shapes), folder / "model.safetensors")
    return folder


def bert_clip_config(folder: Path) -> Path:
    """A BertCLIP repo with its two towers stated."""
    return bert_clip_folder(folder, text_config=BERT_CONFIG, vision_config=VISION_CONFIG)


def chinese_clip_folder(folder: Path, shapes: Mapping[str, tuple[int, ...]] | None = None, **config: object) -> Path:
    """A ChineseCLIPModel repo as transformers 4.26 saved it, with the leftovers that the published ones have."""
    text = {**BERT_CONFIG, "model_type": "chinese_clip_text_model", "directionality": "bidi", "output_past": True}
    vision = {**VISION_CONFIG, "model_type": "chinese_clip_vision_model", "projection_dim": EMBED}
    towers = {"text_config": text, "vision_config": vision, "text_config_dict": text, "vision_config_dict": vision}
    stated = {"model_type": "chinese_clip", "architectures": ["ChineseCLIPModel"], "projection_dim": EMBED, **towers}
    _folder(folder, {**stated, **config})
    preprocessor = {"do_center_crop": False, "crop_size": {"height": SIZE, "width": SIZE}}
    preprocessor |= {"size": {"height": SIZE, "width": SIZE}, "image_processor_type": "ChineseCLIPFeatureExtractor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")
    torch.save(seeded_state_dict(shapes or chinese_clip()) | _position_ids(), folder / "pytorch_model.bin")
    return folder


def taiyi_clip_folder(folder: Path) -> Path:
    """A TaiyiCLIPModel folder as Fengshen's training saves it (hf_out_*)."""
    towers = {"text_config": BERT_CONFIG, "vision_config": VISION_CONFIG}
    _folder(folder, {"model_type": "clip", "architectures": ["TaiyiCLIPModel"], "projection_dim": EMBED, **towers})
    preprocessor = {"do_center_crop": True, "crop_size": {"height": SIZE, "width": SIZE}}
    preprocessor |= {"size": {"shortest_edge": SIZE}, "image_processor_type": "CLIPFeatureExtractor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")
    torch.save(seeded_state_dict(bert_clip()) | _position_ids(), folder / "pytorch_model.bin")
    return folder


def _position_ids() -> dict[str, torch.Tensor]:
    """The buffers that transformers before 4.31 saved."""
    return {
        "text_model.embeddings.position_ids": torch.arange(POSITIONS)[None],
        "vision_model.embeddings.position_ids": torch.arange((SIZE // PATCH) ** 2 + 1)[None],
    }


def taiyi_folder(folder: Path, head: bool) -> Path:
    """Taiyi's text repo."""
    _folder(folder, {**BERT_CONFIG, "architectures": ["BertForSequenceClassification" if head else "BertModel"]})
    torch.save(seeded_state_dict(taiyi(head)), folder / "pytorch_model.bin")
    return folder


def clip_folder(folder: Path, text: Mapping[str, object] | None = None, **vision: object) -> Path:
    """A Hugging Face CLIPModel repo with both towers; `text` and `vision` replace fields of their configs."""
    clip_vision_folder(folder, **vision)
    stated = {"text_config": {**CLIP_TEXT_CONFIG, **(text or {})}, "vision_config": {**VISION_CONFIG, **vision}}
    config = {"model_type": "clip", "architectures": ["CLIPModel"], "projection_dim": EMBED, **stated}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    ids, merges = bpe()
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    settings = {"tokenizer_class": "CLIPTokenizer", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    save_file(seeded_state_dict(hf_clip()), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def clip_vision_folder(folder: Path, **vision: object) -> Path:
    """A Hugging Face folder of CLIP's image tower, its projection and the scale."""
    folder.mkdir(parents=True)
    config = {"model_type": "clip", "architectures": ["CLIPModel"], "vision_config": {**VISION_CONFIG, **vision}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(seeded_state_dict(hf_clip_vision()), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def sentence_transformers_folder(
    folder: Path,
    bert_tower: bool = False,
    bias: bool = False,
    pooling: Mapping[str, object] | None = None,
    dense: Mapping[str, object] | None = None,
    transformer: Mapping[str, object] | None = None,
) -> Path:
    """A text model of sentence-transformers as its version 2 saved it; what is given replaces fields."""
    _folder(folder, BERT_CONFIG if bert_tower else DISTILBERT_CONFIG)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")]
    _modules(folder, [(path, f"sentence_transformers.models.{name}") for path, name in modules])
    projection = seeded_state_dict(_linear("2_Dense.linear", EMBED, HIDDEN))
    mean = {"word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    sizes = {"in_features": HIDDEN, "out_features": EMBED, "bias": bias}
    identity = {"activation_function": "torch.nn.modules.linear.Identity"}
    _json(folder / "1_Pooling/config.json", {**mean, **(pooling or {})})
    _json(folder / "2_Dense/config.json", {**sizes, **identity, **(dense or {})})
    stated = {"max_seq_length": 40, "do_lower_case": False, **(transformer or {})}
    _json(folder / "sentence_bert_config.json", stated)
    _json(folder / "tokenizer_config.json", {"do_lower_case": False, "model_max_length": 512})
    projection = {key.removeprefix("2_Dense."): tensor for key, tensor in projection.items()}
    kept = {key: tensor for key, tensor in projection.items() if bias or not key.endswith("bias")}
    torch.save(kept, folder / "2_Dense/pytorch_model.bin")
    torch.save(seeded_state_dict(bert("", pooler=True) if bert_tower else distilbert()), folder / "pytorch_model.bin")
    return folder


def sentence_transformers_clip(folder: Path) -> Path:
    """A CLIPModel as sentence-transformers keeps it: in a folder inside the folder."""
    clip_folder(folder / "0_CLIPModel")
    _modules(folder, [("0_CLIPModel", "sentence_transformers.models.CLIPModel")])
    return folder


MCLIP_BASE = {
    "xlm-roberta": {
        "model_type": "xlm-roberta",
        "vocab_size": len(unigram.pieces()),
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
    },
    "bert": {**BERT_CONFIG, "layer_norm_eps": 1e-12},
}
"""The config.json of the models that the small Multilingual-CLIP towers were trained from."""


def multilingual_clip(kind: str = "xlm-roberta") -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a Multilingual-CLIP of 2022."""
    shapes = bert("transformer.", pooler=True)
    base = MCLIP_BASE[kind]
    shapes["transformer.embeddings.word_embeddings.weight"] = (base["vocab_size"], HIDDEN)
    shapes["transformer.embeddings.token_type_embeddings.weight"] = (base["type_vocab_size"], HIDDEN)
    return shapes | _linear("LinearTransformation", EMBED, HIDDEN)


def multilingual_clip_folder(folder: Path, kind: str = "xlm-roberta") -> Path:
    """A Multilingual-CLIP text repo of 2022, whose config.json leaves its tower's facts to another model's."""
    sizes = {"transformerDimensions": HIDDEN, "numDims": EMBED}
    _folder(folder, {"model_type": "M-CLIP", "modelBase": f"nobody/{kind}", **sizes})
    if kind == "xlm-roberta":
        (folder / "vocab.txt").unlink()
        unigram.tokenizer_file(folder / "tokenizer.json")
        _json(folder / "tokenizer_config.json", {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512})
    else:
        _json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": False})
    tensors = seeded_state_dict(multilingual_clip(kind))
    tensors["transformer.embeddings.position_ids"] = torch.arange(POSITIONS)[None]
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def multilingual_clip_legacy_folder(folder: Path, distilbert_tower: bool = False) -> Path:
    """A Multilingual-CLIP of 2021: a plain tower, and the pickle of its head fetched into the same folder."""
    _folder(folder, DISTILBERT_CONFIG if distilbert_tower else BERT_CONFIG)
    _json(folder / "tokenizer_config.json", {"do_lower_case": False})
    torch.save(
        seeded_state_dict(distilbert() if distilbert_tower else bert("", pooler=True)), folder / "pytorch_model.bin"
    )
    head = seeded_state_dict({"head.0": (HIDDEN, EMBED), "head.1": (EMBED,)})
    content = pickle.dumps([tensor.numpy() for tensor in head.values()], protocol=4)
    (folder / "M-BERT-Base-69-ViT Linear Weights.pkl").write_bytes(content)
    return folder


def multilingual_clip_config(path: Path, kind: str = "xlm-roberta") -> Path:
    """The base model's config.json, which the repo lacks."""
    _json(path, MCLIP_BASE[kind])
    return path


def _modules(folder: Path, found: Sequence[tuple[str, str]]) -> None:
    listed = [{"idx": n, "name": str(n), "path": path, "type": kind} for n, (path, kind) in enumerate(found)]
    _json(folder / "modules.json", listed)


def _json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _folder(folder: Path, config: Mapping[str, object]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "vocab.txt").write_text("".join(f"{line}\n" for line in default_vocab()), encoding="utf-8")


def _linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {name + ".weight": (rows, columns), name + ".bias": (rows,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {name + ".weight": (width,), name + ".bias": (width,)}


def _batch_norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    statistics = {name + ".running_mean": (width,), name + ".running_var": (width,), name + ".num_batches_tracked": ()}
    return _norm(name, width) | statistics


def open_clip_text(prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Keys and shapes of OpenAI's causal text transformer, as open_clip has it; `prefix` is CustomTextCLIP's."""
    shapes = {
        "positional_embedding": (POSITIONS, HIDDEN),
        "text_projection": (HIDDEN, EMBED),
        "token_embedding.weight": (len(bpe()[0]), HIDDEN),
        **_norm("ln_final", HIDDEN),
    }
    for layer in range(LAYERS):
        name = f"transformer.resblocks.{layer}."
        shapes |= {name + "attn.in_proj_weight": (3 * HIDDEN, HIDDEN), name + "attn.in_proj_bias": (3 * HIDDEN,)}
        shapes |= _linear(name + "attn.out_proj", HIDDEN, HIDDEN)
        shapes |= _norm(name + "ln_1", HIDDEN) | _norm(name + "ln_2", HIDDEN)
        shapes |= _linear(name + "mlp.c_fc", 4 * HIDDEN, HIDDEN) | _linear(name + "mlp.c_proj", HIDDEN, 4 * HIDDEN)
    return {prefix + key: shape for key, shape in shapes.items()}


def open_clip(prefix: str = "", resnet: bool = False) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of open_clip's CLIP, or with `text.` of its CustomTextCLIP."""
    whole = cn_clip_resnet() if resnet else cn_clip_vit()
    image = {key: shape for key, shape in whole.items() if key.startswith("visual.")}
    return image | open_clip_text(prefix) | {"logit_scale": ()}


def open_clip_xlm_roberta(words: int, projection: str = "mlp", pooler: bool = False) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of open_clip's CustomTextCLIP with XLM-R of Hugging Face as its text tower."""
    image = {key: shape for key, shape in open_clip().items() if key.startswith("visual.")}
    text = bert("", pooler)
    text |= {
        "embeddings.word_embeddings.weight": (words, HIDDEN),
        "embeddings.token_type_embeddings.weight": (1, HIDDEN),
    }
    inner = (HIDDEN + EMBED) // 2
    ends = {
        "mlp": {"text.proj.0.weight": (inner, HIDDEN), "text.proj.2.weight": (EMBED, inner)},
        "linear": {"text.proj.weight": (EMBED, HIDDEN)},
    }
    return (
        image
        | {f"text.transformer.{key}": shape for key, shape in text.items()}
        | ends[projection]
        | {"logit_scale": ()}
    )


OPEN_CLIP_VISION = {"image_size": SIZE, "layers": LAYERS, "width": WIDTH, "patch_size": PATCH, "head_width": 16}
OPEN_CLIP_RESNET = {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
OPEN_CLIP_TEXT = {
    "context_length": POSITIONS,
    "vocab_size": len(bpe()[0]),
    "width": HIDDEN,
    "heads": 4,
    "layers": LAYERS,
}
OPEN_CLIP_XLM_ROBERTA = {
    "hf_model_name": "xlm-roberta-base",
    "hf_tokenizer_name": "xlm-roberta-base",
    "hf_pooler_type": "mean_pooler",
    "context_length": 40,
}
OPEN_CLIP_XLM_ROBERTA_BODY = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": INTERMEDIATE,
    "max_position_embeddings": POSITIONS,
}
OPEN_CLIP_PICTURES = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def open_clip_config(text: Mapping[str, object], vision: Mapping[str, object], **model: object) -> dict[str, object]:
    """An open_clip_config.json."""
    towers = {"vision_cfg": dict(vision), "text_cfg": dict(text)}
    return {"model_cfg": {"embed_dim": EMBED, **towers, **model}, "preprocess_cfg": OPEN_CLIP_PICTURES}


def open_clip_folder(folder: Path, prefix: str = "", **model: object) -> Path:
    """A repo of open_clip as its push_to_hf_hub writes it, with a small vocabulary; `model` replaces fields."""
    config = open_clip_config(OPEN_CLIP_TEXT, OPEN_CLIP_VISION, **model)
    save_open_clip(folder, config, seeded_state_dict(open_clip(prefix)))
    ids, merges = bpe()
    _json(folder / "vocab.json", ids)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return folder


def open_clip_xlm_roberta_folder(folder: Path, **text: object) -> Path:
    """A repo of open_clip with XLM-R as its text tower, its position buffer and its tokenizer; `text` replaces."""
    words = len(unigram.pieces())
    body = {**OPEN_CLIP_XLM_ROBERTA_BODY, "vocab_size": words}
    config = open_clip_config({**OPEN_CLIP_XLM_ROBERTA, "hf_model_config": body, **text}, OPEN_CLIP_VISION)
    state_dict = seeded_state_dict(open_clip_xlm_roberta(words))
    state_dict["text.transformer.embeddings.position_ids"] = torch.arange(POSITIONS)[None]
    save_open_clip(folder, config, state_dict)
    unigram.tokenizer_file(folder / "tokenizer.json")
    return folder


def save_open_clip(folder: Path, config: Mapping[str, object], state_dict: Mapping[str, torch.Tensor]) -> None:
    """The weights and the config of a repo of open_clip."""
    folder.mkdir(parents=True)
    _json(folder / "open_clip_config.json", config)
    torch.save(dict(state_dict), folder / "open_clip_pytorch_model.bin")


WUKONG_FACTS = {"is_token_wise": False, "text": {"heads": 4}}
"""What `--config` has to state of a small Wukong."""


def wukong() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a Wukong with global similarity; a head of its image tower is as wide as the tower."""
    text = {key: shape for key, shape in open_clip_text().items() if not key.startswith("transformer.")}
    text |= {"token_embedding.weight": (VOCAB, HIDDEN), "positional_embedding": (32, HIDDEN)}
    blocks = {key: shape for key, shape in open_clip_text().items() if key.startswith("transformer.")}
    image = {key: shape for key, shape in cn_clip_vit().items() if key.startswith("visual.")}
    return image | blocks | {f"transformer.{key}": shape for key, shape in text.items()} | {"loss.logit_scale": ()}


def wukong_file(path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Path:
    """A file of the PyTorch release, or with `.pkl` the MindSpore release's pickle of numpy arrays."""
    state_dict = seeded_state_dict(shapes or wukong())
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps({key: tensor.numpy() for key, tensor in state_dict.items()}, protocol=4))
    else:
        torch.save({"state_dict": state_dict}, path)
    return path


def wukong_config(path: Path) -> Path:
    """The JSON that states what the small Wukong's shapes don't."""
    path.write_text(json.dumps(WUKONG_FACTS), encoding="utf-8")
    return path


def openai_clip(resnet: bool = False) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of OpenAI's CLIP, whose heads are 64 wide: two of them in each transformer."""
    width = 2 * 64
    shapes = {
        "token_embedding.weight": (len(bpe()[0]), width),
        "positional_embedding": (POSITIONS, width),
        "text_projection": (width, EMBED),
        "logit_scale": (),
        **_norm("ln_final", width),
        **_resblocks("transformer.", width),
    }
    if resnet:
        return shapes | {key: shape for key, shape in cn_clip_resnet().items() if key.startswith("visual.")}
    return shapes | {
        "visual.class_embedding": (width,),
        "visual.positional_embedding": ((SIZE // PATCH) ** 2 + 1, width),
        "visual.proj": (width, EMBED),
        "visual.conv1.weight": (width, 3, PATCH, PATCH),
        **_norm("visual.ln_pre", width),
        **_norm("visual.ln_post", width),
        **_resblocks("visual.transformer.", width),
    }


def _resblocks(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(LAYERS):
        name = f"{prefix}resblocks.{layer}."
        shapes |= {name + "attn.in_proj_weight": (3 * width, width), name + "attn.in_proj_bias": (3 * width,)}
        shapes |= _linear(name + "attn.out_proj", width, width)
        shapes |= _norm(name + "ln_1", width) | _norm(name + "ln_2", width)
        shapes |= _linear(name + "mlp.c_fc", 4 * width, width) | _linear(name + "mlp.c_proj", width, 4 * width)
    return shapes


OPENAI_CLIP_SCALARS = {"input_resolution": SIZE, "context_length": POSITIONS, "vocab_size": len(bpe()[0])}
"""What OpenAI's archives hold beside the weights."""


def openai_clip_file(path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None, **scalars: int) -> Path:
    """A TorchScript archive as OpenAI publishes its models; `scalars` replace what it states of its sizes."""
    stated = {name: torch.tensor(value) for name, value in {**OPENAI_CLIP_SCALARS, **scalars}.items()}
    return torchscript_file(path, seeded_state_dict(shapes or openai_clip()) | stated)


def torchscript_file(path: Path, state_dict: Mapping[str, torch.Tensor]) -> Path:
    """A TorchScript archive with this state dict: modules in modules, without a method."""
    top = torch.nn.Module()
    for key, tensor in state_dict.items():
        *modules, name = key.split(".")
        module = top
        for each in modules:
            if each not in module._modules:
                module.add_module(each, torch.nn.Module())
            module = module.get_submodule(each)
        if not tensor.is_floating_point() or name.startswith("running_"):
            module.register_buffer(name, tensor)
        else:
            module.register_parameter(name, torch.nn.Parameter(tensor))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's word on TorchScript itself
        torch.jit.save(torch.jit.script(top), path)
    return path


def bpe_folder(folder: Path) -> Path:
    """The small vocabulary of CLIP's kind, as Hugging Face's files."""
    folder.mkdir(parents=True)
    ids, merges = bpe()
    _json(folder / "vocab.json", ids)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return folder
