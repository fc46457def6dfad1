"""transformers' ChineseCLIPModel, with its processor's attention mask as input."""

import torch

from ..witness import Facts, Offer
from .common import Tensors, bert_ids, built_from, computing_in, features, hf_pixels, loaded, towers, transformers_name


def original(tensors: Tensors, facts: Facts) -> Offer:
    """The witness from ChineseCLIPModel."""
    import transformers

    state_dict = _state_dict(tensors)
    with built_from("config.json", transformers_name()):
        config = transformers.ChineseCLIPConfig(**towers(state_dict, facts.config))
        model = loaded(transformers.ChineseCLIPModel(config), state_dict)
    square = (facts.image_size, facts.image_size)
    encode_text, encode_image = features(model)
    return Offer(
        name=transformers_name(),
        level="peer",
        computing_in=computing_in(model),
        encode_text=encode_text,
        encode_image=encode_image,
        token_ids=bert_ids(facts.vocab, facts.context_length),
        pixels=hf_pixels(transformers.ChineseCLIPImageProcessorPil, facts.how, (square, None)),
        logit_scale=lambda: tensors["logit_scale"].item(),
    )


def _state_dict(tensors: Tensors) -> dict[str, torch.Tensor]:
    """The keys as from_pretrained changes them: gamma and beta renamed, keys that the class lacks left out."""
    names = {"gamma": "weight", "beta": "bias"}
    kept = {key: value for key, value in tensors.items() if ".pooler." not in key and "position_ids" not in key}
    split = {key: key.rpartition(".") for key in kept}
    return {f"{stem}{dot}{names.get(last, last)}": kept[key] for key, (stem, dot, last) in split.items()}
