"""What the peers of several sources are made of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import MethodType
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from torch.nn.functional import normalize

from ...errors import InputError
from ...words import Words
from ..reference import bert, clip_vision, hf_config

Tensors = Mapping[str, torch.Tensor]
Encode = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def built_from(weights: str, package: Words) -> Iterator[None]:
    """Says in words why a package's own class can't be built from what lies there.

    Raises:
        InputError: in place of what such a class raises.
    """
    try:
        yield
    except (StrictDataclassError, RuntimeError, ValueError, TypeError, LookupError) as error:
        raise InputError(
            f"{package.en} itself can't build the model from {weights} and these weights: {error} Take weights and "
            "configs from the same folder."
        ) from error


def computing_in(*modules: torch.nn.Module) -> Callable[[torch.dtype], AbstractContextManager]:
    """Lets a peer's modules compute in a dtype, in double, too.

    OpenAI's layer norm and its copies cast to float32 and then meet their own weights in double; here they compute in
    the dtype of these, as torch's own does, which is the same in float32.
    """
    for module in modules:
        for norm in module.modules():
            if isinstance(norm, torch.nn.LayerNorm):
                norm.forward = MethodType(torch.nn.LayerNorm.forward, norm)

    @contextmanager
    def change(dtype: torch.dtype) -> Iterator[None]:
        for module in modules:
            module.to(dtype)
        yield

    return change


def transformers_name() -> Words:
    import transformers

    return Words.same(f"transformers {transformers.__version__}")


def loaded(model: Any, tensors: Tensors) -> Any:
    """The model in evaluation, with these tensors and no others; float32 unless a double is among them."""
    if any(tensor.dtype == torch.float64 for tensor in tensors.values()):
        model.double()
    model.load_state_dict(dict(tensors), strict=True)
    return model.eval()


def without_position_ids(tensors: Tensors) -> dict[str, torch.Tensor]:
    """The tensors without the buffers that older versions of transformers saved."""
    return {key: tensor for key, tensor in tensors.items() if not key.endswith("position_ids")}


def bert_ids(vocab: Sequence[str], context_length: int) -> Callable[[Sequence[str]], list[list[int]]]:
    """transformers' BertTokenizer as it is by default, over these tokens, in the order of their ids."""
    import transformers

    tokenizer = transformers.BertTokenizer(vocab={token: number for number, token in enumerate(vocab)})
    return lambda texts: tokenizer(list(texts), truncation=True, max_length=context_length)["input_ids"]


def towers(tensors: Tensors, config: Mapping[str, Any]) -> dict[str, Any]:
    """What transformers builds a dual encoder of a BERT and a CLIP ViT from: both raw configs, and the width."""
    text = hf_config.stated(config, "text_config", hf_config.BERT, bert.sizes(tensors, "text_model."))
    vision = hf_config.stated(config, "vision_config", hf_config.CLIP_VISION, clip_vision.sizes(tensors))
    width = len(tensors["text_projection.weight"])
    return {"text_config": dict(text), "vision_config": dict(vision), "projection_dim": width}


def features(model: Any) -> tuple[Encode, Encode]:
    """How texts and pictures are encoded by a dual encoder of transformers over a BERT, whose padding is masked."""

    def encode_text(ids: torch.Tensor) -> torch.Tensor:
        output = model.get_text_features(input_ids=ids, attention_mask=(ids != 0).long())
        return normalize(output.pooler_output, dim=-1)

    def encode_image(pixels: torch.Tensor) -> torch.Tensor:
        return normalize(model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)

    return encode_text, encode_image


def clip_pixels(size: int) -> Callable[[Image.Image], torch.Tensor]:
    """CLIP's image processor as the published repos set it: a picture -> `(3, size, size)`."""
    import transformers

    # transformers 4 converted with Pillow; version 5 would lay transparent pictures on white.
    processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=size, do_convert_rgb=False)
    return lambda image: processor(image.convert("RGB"), return_tensors="pt")["pixel_values"][0]
