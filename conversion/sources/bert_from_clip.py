"""A bare BertModel that was taken out of a BertCLIP (YeungNLP/bert-from-clip-chinese-1M): a text tower alone."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from .. import towers
from ..hf_config import BERT_DEFAULTS, bert_shapes, check_there, tower_config
from ..mapping import Rule
from ..read import Checkpoint
from ..source import Description, Facts, Signature, Source, Tower, Witness

RULES = (*towers.bert(""), *towers.bert_pooler(""))
"""save_bert_checkpoint.py of CLIP-Chinese saves `BertCLIPTextModel.text_model`, without its projection."""

LIMITS = (
    "It holds no text projection and no image tower: its vectors stand in no space with pictures, and comparing them "
    "with image vectors means nothing, those of the CLIP that it was taken from included. It serves as a BERT: to be "
    "fine-tuned, or as the start of a text tower.",
    "What it pools (the tanh of a layer over the state of [CLS]) was trained to be projected, and not as an embedding "
    "of sentences.",
)


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """One table serves every BertModel."""
    return RULES


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Description:
    """Reads the tower from the folder's config.json, held against the shapes."""
    check_there(config)
    text = tower_config("bert", [config], bert_shapes(checkpoint.shapes, ""), "text part")
    return Description(
        architecture=f"bare BERT {text['hidden_size']}x{text['num_hidden_layers']}",
        facts=text,
        text=Tower(text, "pooler", None, text["hidden_size"]),
        context_length=text["max_position_embeddings"],
        limits=LIMITS,
    )


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """The folder's own BERT tokenizer."""
    from ..tokenizer import bert_tokenizer

    return bert_tokenizer(vocabulary, context_length)


def original(tensors: Mapping[str, torch.Tensor], facts: Facts) -> Witness:
    """The witness from transformers' own BertModel, which is the original, with the attention mask given."""
    import transformers

    model = transformers.BertModel(transformers.BertConfig(**{key: facts.config[key] for key in BERT_DEFAULTS})).eval()
    state_dict = {key: tensor for key, tensor in tensors.items() if not key.endswith("embeddings.position_ids")}
    model.load_state_dict(state_dict, strict=True)
    tokenizer = transformers.BertTokenizer(vocab={line: number for number, line in enumerate(facts.vocab)})

    def outputs(ids: torch.Tensor) -> Any:
        return model(input_ids=ids, attention_mask=(ids != 0).long())

    def token_ids(texts: Sequence[str]) -> list[list[int]]:
        return tokenizer(list(texts), truncation=True, max_length=facts.context_length)["input_ids"]

    return Witness(
        name=f"transformers {transformers.__version__}",
        level="peer",
        encode_text=lambda ids: torch.nn.functional.normalize(outputs(ids).pooler_output, dim=-1),
        text_states=lambda ids: torch.nn.functional.normalize(outputs(ids).last_hidden_state, dim=-1),
        token_ids=token_ids,
    )


SOURCE = Source(
    name="bert_from_clip",
    title="a BERT taken out of a CLIP (YeungNLP/bert-from-clip-chinese-1M)",
    part="alone",
    signatures=(
        Signature(
            required=(
                "embeddings.word_embeddings.weight",
                "encoder.layer.{}.intermediate.dense.weight",
                "pooler.dense.weight",
            ),
            decides="format",
        ),
    ),
    describe=describe,
    rules=rules,
    home=lambda config: RULES,
    original=original,
    tokenizer=tokenizer,
    limits=LIMITS,
)
