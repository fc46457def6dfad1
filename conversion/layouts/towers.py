"""Each upstream tower layout, written once as a table of full keys."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from ..mapping import Rule, drop, matches, rename, split, transpose

_TEXT = "text_model."
_BERT_LAYER = _TEXT + "encoder.layer.{}."
_CLIP_LAYER = "vision_model.encoder.layers.{}."


def bert_embeddings(prefix: str) -> tuple[Rule, ...]:
    """BERT's embeddings under an upstream prefix; transformers before 4.31 saved the position ids as a buffer."""
    return (
        rename(prefix + "embeddings.word_embeddings.weight", _TEXT + "embeddings.word_embeddings.weight"),
        rename(prefix + "embeddings.position_embeddings.weight", _TEXT + "embeddings.position_embeddings.weight"),
        rename(prefix + "embeddings.token_type_embeddings.weight", _TEXT + "embeddings.token_type_embeddings.weight"),
        rename(prefix + "embeddings.LayerNorm.*", _TEXT + "embeddings.LayerNorm.*"),
        drop(prefix + "embeddings.position_ids"),
    )


def bert_attention(prefix: str) -> tuple[Rule, ...]:
    """BERT's attention, with separate q, k and v projections."""
    layer = prefix + "encoder.layer.{}."
    return (
        rename(layer + "attention.self.query.*", _BERT_LAYER + "attention.self.query.*"),
        rename(layer + "attention.self.key.*", _BERT_LAYER + "attention.self.key.*"),
        rename(layer + "attention.self.value.*", _BERT_LAYER + "attention.self.value.*"),
        rename(layer + "attention.output.dense.*", _BERT_LAYER + "attention.output.dense.*"),
    )


def flash_bert_attention(prefix: str) -> tuple[Rule, ...]:
    """BERT's attention as flash-attention's MHA stores it: a fused projection, and another name for the output."""
    layer, target = prefix + "encoder.layer.{}.attention.", _BERT_LAYER + "attention."
    return (
        split(layer + "self.Wqkv.*", target + "self.query.*", target + "self.key.*", target + "self.value.*"),
        rename(layer + "self.out_proj.*", target + "output.dense.*"),
    )


def bert_layers(prefix: str) -> tuple[Rule, ...]:
    """BERT's encoder without the attention's projections."""
    layer = prefix + "encoder.layer.{}."
    return (
        rename(layer + "attention.output.LayerNorm.*", _BERT_LAYER + "attention.output.LayerNorm.*"),
        rename(layer + "intermediate.dense.*", _BERT_LAYER + "intermediate.dense.*"),
        rename(layer + "output.dense.*", _BERT_LAYER + "output.dense.*"),
        rename(layer + "output.LayerNorm.*", _BERT_LAYER + "output.LayerNorm.*"),
    )


def bert(prefix: str) -> tuple[Rule, ...]:
    """A plain BERT without its pooler."""
    return bert_embeddings(prefix) + bert_attention(prefix) + bert_layers(prefix)


def prefixed(prefix: str, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The same rules with an upstream prefix before all source keys."""
    return tuple(replace(rule, sources=tuple(prefix + source for source in rule.sources)) for rule in rules)


def with_old_norms(rules: Iterable[Rule], keys: Collection[str]) -> tuple[Rule, ...]:
    """The same rules; norms have TensorFlow's old names (gamma and beta) if these keys have them."""
    old = [key for key in keys if key.endswith(".gamma")]
    found: list[Rule] = []
    for rule in rules:
        stem = rule.sources[0].removesuffix("*")
        if rule.op == "rename" and any(matches(stem + "gamma", key) for key in old):
            target = rule.targets[0].removesuffix("*")
            found += [rename(stem + "gamma", target + "weight"), rename(stem + "beta", target + "bias")]
        else:
            found.append(rule)
    return tuple(found)


def bert_pooler(prefix: str) -> tuple[Rule, ...]:
    """BERT's tanh pooler, for the families whose embedding passes through it."""
    return (rename(prefix + "pooler.dense.*", _TEXT + "pooler.dense.*"),)


def openai_vit(fused: str) -> tuple[Rule, ...]:
    """OpenAI's ViT under `visual.`; `fused` names its joint q/k/v projection (`in_proj_`, or flash's `Wqkv.`)."""
    block = "visual.transformer.resblocks.{}."
    attention = _CLIP_LAYER + "self_attn."
    return (
        rename("visual.class_embedding", "vision_model.embeddings.class_embedding"),
        rename("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
        rename("visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"),
        rename("visual.ln_pre.*", "vision_model.pre_layrnorm.*"),
        rename("visual.ln_post.*", "vision_model.post_layernorm.*"),
        split(block + f"attn.{fused}*", attention + "q_proj.*", attention + "k_proj.*", attention + "v_proj.*"),
        rename(block + "attn.out_proj.*", attention + "out_proj.*"),
        rename(block + "ln_1.*", _CLIP_LAYER + "layer_norm1.*"),
        rename(block + "ln_2.*", _CLIP_LAYER + "layer_norm2.*"),
        rename(block + "mlp.c_fc.*", _CLIP_LAYER + "mlp.fc1.*"),
        rename(block + "mlp.c_proj.*", _CLIP_LAYER + "mlp.fc2.*"),
        transpose("visual.proj", "visual_projection.weight"),
    )


def openai_text(prefix: str, blocks: str) -> tuple[Rule, ...]:
    """OpenAI's causal text transformer under an upstream prefix; `blocks` is the key part before the layer number."""
    block, layer = blocks + "{}.", _TEXT + "encoder.layers.{}."
    attention = layer + "self_attn."
    return (
        rename(prefix + "token_embedding.weight", _TEXT + "embeddings.token_embedding.weight"),
        rename(prefix + "positional_embedding", _TEXT + "embeddings.position_embedding.weight"),
        split(block + "attn.in_proj_*", attention + "q_proj.*", attention + "k_proj.*", attention + "v_proj.*"),
        rename(block + "attn.out_proj.*", attention + "out_proj.*"),
        rename(block + "ln_1.*", layer + "layer_norm1.*"),
        rename(block + "ln_2.*", layer + "layer_norm2.*"),
        rename(block + "mlp.c_fc.*", layer + "mlp.fc1.*"),
        rename(block + "mlp.c_proj.*", layer + "mlp.fc2.*"),
        rename(prefix + "ln_final.*", _TEXT + "final_layer_norm.*"),
        transpose(prefix + "text_projection", "text_projection.weight"),
    )


def distilbert(prefix: str) -> tuple[Rule, ...]:
    """A plain DistilBERT; its upstream names are also this package's names."""
    layer = "transformer.layer.{}."
    return (
        rename(prefix + "embeddings.word_embeddings.weight", _TEXT + "embeddings.word_embeddings.weight"),
        rename(prefix + "embeddings.position_embeddings.weight", _TEXT + "embeddings.position_embeddings.weight"),
        rename(prefix + "embeddings.LayerNorm.*", _TEXT + "embeddings.LayerNorm.*"),
        drop(prefix + "embeddings.position_ids"),
        rename(prefix + layer + "attention.*", _TEXT + layer + "attention.*"),
        rename(prefix + layer + "sa_layer_norm.*", _TEXT + layer + "sa_layer_norm.*"),
        rename(prefix + layer + "ffn.*", _TEXT + layer + "ffn.*"),
        rename(prefix + layer + "output_layer_norm.*", _TEXT + layer + "output_layer_norm.*"),
    )


OPENAI_RESNET = (
    *(rename(f"visual.{name}{n}.*", f"vision_model.{name}{n}.*") for n in (1, 2, 3) for name in ("conv", "bn")),
    *(rename(f"visual.layer{n}.{{}}.*", f"vision_model.layer{n}.{{}}.*") for n in (1, 2, 3, 4)),
    rename("visual.attnpool.*", "vision_model.attnpool.*"),
)
"""OpenAI's modified ResNet; this package's class keeps its names, including running statistics."""


def hf_clip_vit(prefix: str) -> tuple[Rule, ...]:
    """Hugging Face's CLIP ViT under an upstream prefix, without the layer norm after the last layer."""
    layer = prefix + "encoder.layers.{}."
    return (
        rename(prefix + "embeddings.class_embedding", "vision_model.embeddings.class_embedding"),
        rename(prefix + "embeddings.patch_embedding.weight", "vision_model.embeddings.patch_embedding.weight"),
        rename(prefix + "embeddings.position_embedding.weight", "vision_model.embeddings.position_embedding.weight"),
        drop(prefix + "embeddings.position_ids"),
        rename(prefix + "pre_layrnorm.*", "vision_model.pre_layrnorm.*"),
        rename(layer + "self_attn.*", _CLIP_LAYER + "self_attn.*"),
        rename(layer + "layer_norm1.*", _CLIP_LAYER + "layer_norm1.*"),
        rename(layer + "layer_norm2.*", _CLIP_LAYER + "layer_norm2.*"),
        rename(layer + "mlp.*", _CLIP_LAYER + "mlp.*"),
    )


HF_CLIP_TEXT = (
    rename("text_model.embeddings.token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
    rename("text_model.embeddings.position_embedding.weight", "text_model.embeddings.position_embedding.weight"),
    drop("text_model.embeddings.position_ids"),
    rename("text_model.encoder.layers.{}.self_attn.*", "text_model.encoder.layers.{}.self_attn.*"),
    rename("text_model.encoder.layers.{}.layer_norm1.*", "text_model.encoder.layers.{}.layer_norm1.*"),
    rename("text_model.encoder.layers.{}.layer_norm2.*", "text_model.encoder.layers.{}.layer_norm2.*"),
    rename("text_model.encoder.layers.{}.mlp.*", "text_model.encoder.layers.{}.mlp.*"),
    rename("text_model.final_layer_norm.*", "text_model.final_layer_norm.*"),
)
"""The causal text tower of Hugging Face's CLIPModel; its names are also this package's names."""

HF_CLIP_VISION = (
    *hf_clip_vit("vision_model."),
    rename("vision_model.post_layernorm.*", "vision_model.post_layernorm.*"),
    rename("visual_projection.weight", "visual_projection.weight"),
)
"""The vision tower and projection of Hugging Face's CLIPModel; their names are also this package's names."""
