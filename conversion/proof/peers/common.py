"""Building blocks for the peers of several sources."""

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
from ..reference.added import Added
from ..reference.pictures import How, Size
from ..reference.vocabularies import WordPieces
from ..widening import cast

Tensors = Mapping[str, torch.Tensor]
Encode = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def built_from(weights: str, package: Words) -> Iterator[None]:
    """Reports in words why a package's own class cannot be built from the source's files.

    Raises:
        InputError: replaces the class's own error.
    """
    try:
        yield
    except (StrictDataclassError, RuntimeError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise InputError(
            f"{package.en} itself can't build the model from {weights} and these weights: {error} Take weights and "
            "configs from the same folder."
        ) from error


def computing_in(*modules: torch.nn.Module) -> Callable[[torch.dtype], AbstractContextManager]:
    """Makes a peer's modules compute in a dtype, including float64.

    OpenAI's layer norm and its copies cast inputs to float32, which does not fit their weights in float64. Here they
    compute in the weights' dtype, as torch's own layer norm does; in float32 this is the same.
    """
    for module in modules:
        for norm in module.modules():
            if isinstance(norm, torch.nn.LayerNorm):
                norm.forward = MethodType(torch.nn.LayerNorm.forward, norm)

    @contextmanager
    def change(dtype: torch.dtype) -> Iterator[None]:
        with cast(modules, dtype):
            yield

    return change


def transformers_name() -> Words:
    import transformers

    return Words.same(f"transformers {transformers.__version__}")


def loaded(model: Any, tensors: Tensors) -> Any:
    """The model in evaluation mode with exactly these tensors; float32, unless one of them is float64.

    Tensors of this dtype stay in the file that they are mapped from.
    """
    double = any(tensor.dtype == torch.float64 for tensor in tensors.values())
    dtype = torch.float64 if double else torch.float32
    wide = {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
    model.to(dtype).load_state_dict(wide, strict=True, assign=True)
    return model.eval()


def without_position_ids(tensors: Tensors) -> dict[str, torch.Tensor]:
    """The tensors without the buffers that older versions of transformers saved."""
    return {key: tensor for key, tensor in tensors.items() if not key.endswith("position_ids")}


def bert_ids(vocab: WordPieces, context_length: int) -> Callable[[Sequence[str]], list[list[int]]]:
    """transformers' BertTokenizer on these tokens, in the order of their ids, with what is stated beside them."""
    import transformers

    tokenizer = transformers.BertTokenizer(
        vocab={token: number for number, token in enumerate(vocab.tokens)},
        do_lower_case=vocab.lowercase,
        strip_accents=vocab.strip_accents,
        tokenize_chinese_chars=vocab.cjk_alone,
    )
    add_tokens(tokenizer, vocab.added)
    return lambda texts: tokenizer(list(texts), truncation=True, max_length=context_length)["input_ids"]


def add_tokens(tokenizer: Any, added: Sequence[Added]) -> None:
    """Adds tokens to one of transformers' tokenizers, one by one, so that each takes the next id."""
    import tokenizers

    for token in added:
        flags = {"single_word": token.single_word, "lstrip": token.left, "rstrip": token.right}
        each = tokenizers.AddedToken(token.text, normalized=token.normalized, **flags)
        tokenizer.backend_tokenizer.add_tokens([each])


def tokenizer_mask(ids: torch.Tensor, pad: int = bert.PAD) -> torch.Tensor:
    """The mask `(n, length)` that a tokenizer gives beside padded ids: 0 behind each text."""
    return (~bert.behind(ids, pad)).long()


def towers(tensors: Tensors, config: Mapping[str, Any]) -> dict[str, Any]:
    """transformers' arguments for a dual encoder of a BERT and a CLIP ViT: both raw configs, and the width."""
    text = hf_config.stated(config, "text_config", hf_config.BERT, bert.sizes(tensors, "text_model."))
    vision = hf_config.stated(config, "vision_config", hf_config.CLIP_VISION, clip_vision.sizes(tensors))
    width = len(tensors["text_projection.weight"])
    return {"text_config": dict(text), "vision_config": dict(vision), "projection_dim": width}


def features(model: Any) -> tuple[Encode, Encode]:
    """A dual encoder's text and image encoders, for transformers' classes with a BERT, whose padding is masked."""

    def encode_text(ids: torch.Tensor) -> torch.Tensor:
        output = model.get_text_features(input_ids=ids, attention_mask=tokenizer_mask(ids))
        return normalize(output.pooler_output, dim=-1)

    def encode_image(pixels: torch.Tensor) -> torch.Tensor:
        return normalize(model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)

    return encode_text, encode_image


def clip_pixels(size: int, how: How) -> Callable[[Image.Image], torch.Tensor]:
    """CLIP's image processor with the folder's settings, or the published repos': a picture -> `(3, size, size)`."""
    import transformers

    return hf_pixels(transformers.CLIPImageProcessorPil, how, (size, (size, size)))


def hf_pixels(
    processor_class: Any, how: How, published: tuple[Size, tuple[int, int] | None]
) -> Callable[[Image.Image], torch.Tensor]:
    """One of transformers' image processors with what a folder states, else with the published shape."""
    size, crop = how.shape or published
    processor = processor_class(
        size={"shortest_edge": size} if isinstance(size, int) else dict(zip(("height", "width"), size, strict=True)),
        crop_size=dict(zip(("height", "width"), crop, strict=True)) if crop else None,
        do_center_crop=crop is not None,
        resample=how.filter,
        rescale_factor=how.factor,
        image_mean=list(how.mean),
        image_std=list(how.std),
        do_convert_rgb=False,
    )
    # transformers 4 converted with Pillow; version 5 puts transparent pictures on white.
    return lambda image: processor(image.convert("RGB"), return_tensors="pt")["pixel_values"][0]
