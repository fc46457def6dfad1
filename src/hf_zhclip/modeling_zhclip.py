"""ZhCLIP: a text tower and a vision tower of transformers, pooled and projected into one space."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import ModelOutput, can_return_tuple

from .compat_zhclip import PreTrainedConfig, flat, init
from .configuration_zhclip import ZhCLIPConfig, refuse_checkpoint_file
from .modeling_zhclip_resnet import ZhCLIPResNetModel, at_least_float32
from .typed_inputs_zhclip import (
    NO_PROCESSOR,
    Place,
    check_dimensions,
    is_typed_picture,
    is_typed_text,
    prepare_pictures,
    prepare_texts,
)

if TYPE_CHECKING:  # not to check types: these lines bring all files, see saving_zhclip.py
    from .image_processing_zhclip import ZhCLIPImageProcessor  # noqa: F401
    from .pictures_zhclip import FORMS  # noqa: F401
    from .processing_zhclip import ZhCLIPProcessor  # noqa: F401
    from .saving_zhclip import CODE_FILES  # noqa: F401

# Every top-level part of a repository with two towers; each class holds some of these parts.
_PARTS = ("logit_scale", "text_model", "vision_model", "text_projection", "visual_projection")


@dataclass
class ZhCLIPOutput(ModelOutput):
    """The output of `ZhCLIPModel`. The fields of a modality that was not given are None.

    Args:
        loss: symmetric contrastive loss, a scalar; only with `return_loss=True`.
        logits_per_image: (images, texts), cosines times exp(logit_scale).
        logits_per_text: (texts, images), the transpose of `logits_per_image`.
        text_embeds: (texts, projection_dim), L2-normalised.
        image_embeds: (images, projection_dim), L2-normalised.
        text_model_output: output of the text tower; `pooler_output` is the projected vector before normalisation.
        vision_model_output: the same for images.
    """

    loss: torch.Tensor | None = None
    logits_per_image: torch.Tensor | None = None
    logits_per_text: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    text_model_output: BaseModelOutputWithPooling | None = None
    vision_model_output: BaseModelOutputWithPooling | None = None

    def to_tuple(self) -> tuple:
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in self.values())


@dataclass
class ZhCLIPTextModelOutput(ModelOutput):
    """The tower's states, and `text_embeds` (n, projection_dim) before normalisation."""

    text_embeds: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class ZhCLIPVisionModelOutput(ModelOutput):
    """The tower's states, and `image_embeds` (n, projection_dim) before normalisation."""

    image_embeds: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class ZhCLIPPreTrainedModel(PreTrainedModel):
    """The base of all ZhCLIP classes: it builds, initialises and loads them."""

    config: ZhCLIPConfig
    base_model_prefix = "hf_zhclip"
    input_modalities = ["image", "text"]
    # forward's **kwargs would tell Trainer that num_items_in_batch normalises the loss; the loss is a mean over pairs.
    accepts_loss_kwargs = False
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    # DistilBERT declares no such list; post_init adds the lists of the other towers.
    _no_split_modules = ["Embeddings", "TransformerBlock"]
    _parts: tuple[str, ...] = _PARTS
    _place: Place | None = None
    _processor: Any = None

    def __init__(self, config: ZhCLIPConfig):
        super().__init__(config)
        config.validate()  # again, because its fields may have been set since it was made

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A single tower loads from a repository with two towers without a warning about the other parts.
        cls._keys_to_ignore_on_load_unexpected = [rf"^{part}(\.|$)" for part in _PARTS if part not in cls._parts]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, **kwargs):
        """Loads a converted repository; see `PreTrainedModel.from_pretrained`.

        The model notes where it was loaded from, and takes its processor from there when it first needs a processor.
        Weights in a pickle are read only with `use_safetensors=False`.

        Raises:
            ValueError: the source is not converted (the message names the command), or lacks a part of this class.
        """
        if pretrained_model_name_or_path is not None:
            refuse_checkpoint_file(pretrained_model_name_or_path)
        kwargs.setdefault("use_safetensors", True)
        asked, config = dict(kwargs), kwargs.get("config")
        loaded = super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model._refuse_other_tower(pretrained_model_name_or_path)
        if pretrained_model_name_or_path is not None:
            # The commit of a config from elsewhere is no commit of this place.
            foreign = isinstance(config, PreTrainedConfig) and config.name_or_path != pretrained_model_name_or_path
            commit = None if foreign else getattr(model.config, "_commit_hash", None)
            model._place = Place.of_load(pretrained_model_name_or_path, asked, commit)
        return loaded

    @property
    def processor(self) -> Any:
        """What prepares texts and pictures for `encode_text` and `encode_image`.

        It is loaded when it is first needed, from where the model was loaded. A model of both towers has a
        ZhCLIPProcessor, a text tower has a tokenizer, and a vision tower has an image processor. It is None if the
        model was not loaded. Any processor with the same call can be set.
        """
        if self._processor is None and self._place is not None:
            sides = self.input_modalities
            self._processor = self._place.load(self.config, text="text" in sides, pictures="image" in sides)
        return self._processor

    @processor.setter
    def processor(self, processor: Any) -> None:
        if not callable(processor):
            raise TypeError(
                f"found {processor!r} as the processor; wanted a loaded processor, for example "
                "AutoProcessor.from_pretrained('REPO')"
            )
        self._processor = processor

    def _needed_processor(self, method: str, argument: str) -> Any:
        words = {"name": f"this {type(self).__name__}", "method": method, "argument": argument}
        try:
            processor = self.processor
        except (OSError, ValueError) as error:
            reason = f"nothing could be loaded from {self._place.source}: {error}" if self._place else str(error)
            raise TypeError(NO_PROCESSOR.format(**words, reason=reason)) from error
        if processor is None:
            raise TypeError(NO_PROCESSOR.format(**words, reason="it was not loaded with from_pretrained"))
        return processor

    def _input_device(self) -> torch.device:
        """The model's device; if its parts are on disk, the device where they are computed."""
        if self.device.type != "meta":
            return self.device
        hooks = (getattr(module, "_hf_hook", None) for module in self.modules())
        devices = (getattr(hook, "execution_device", None) for hook in hooks)
        return torch.device(next((device for device in devices if device is not None), "cpu"))

    @classmethod
    def is_custom_code(cls) -> bool:
        # transformers skips modules without own parameters in custom code, and hands this answer down to the towers,
        # whose own initialisation would then not happen. The guard is for code that overwrites loaded weights; the
        # code here writes through `initialization`, which keeps them.
        return False

    def set_attn_implementation(self, attn_implementation: str | dict, *args: Any, **kwargs: Any) -> None:
        """Sets the attention; see `PreTrainedModel.set_attn_implementation`."""
        # A tower alone still has the config of the other tower, and transformers would warn that it finds no such
        # part.
        if isinstance(attn_implementation, str) and set(self._parts) != set(_PARTS):
            held = [f"{tower}_config" for tower in ("text", "vision") if f"{tower}_model" in self._parts]
            attn_implementation = dict.fromkeys(["", *held], attn_implementation)
        super().set_attn_implementation(attn_implementation, *args, **kwargs)

    def _refuse_other_tower(self, source) -> None:
        """Refuses to load parts that a folder lacks; transformers would fill such a part with random weights."""
        for saved in self.config.architectures or ():
            parts = _CLASSES[saved]._parts if saved in _CLASSES else _PARTS
            lacking = [part for part in self._parts if part not in parts and next(self._part(part), None) is not None]
            if lacking:
                raise ValueError(
                    f"{source} was saved by {saved} and holds no {', '.join(lacking)}, which {type(self).__name__} "
                    f"needs: load it with {saved} or AutoModel"
                )

    def _part(self, name: str):
        part = getattr(self, name)
        return part.parameters() if isinstance(part, nn.Module) else iter((part,))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ZhCLIPModel):
            init.constant_(module.logit_scale, self.config.logit_scale_init_value)
        if module is self:
            self._init_projections()

    def _init_projections(self) -> None:
        # As transformers' CLIPModel and ChineseCLIPModel draw them.
        held = (getattr(self, part) for part in self._parts if part.endswith("_projection"))
        for layer in (layer for projection in held for layer in projection.modules()):
            if isinstance(layer, nn.Linear):
                init.normal_(layer.weight, std=layer.in_features**-0.5)

    def _no_vectors(self, device: torch.device) -> torch.Tensor:
        # transformers' attention cannot reshape a batch of nothing.
        return torch.zeros(0, self.config.projection_dim, device=device, dtype=self.dtype)

    def _tower_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """A tower's arguments: `arguments`, and the outputs that the top config asks for, which no tower inherits."""
        asked = {name: True for name in ("output_hidden_states", "output_attentions") if getattr(self.config, name)}
        return {**asked, **{name: value for name, value in arguments.items() if value is not None}}


class _TextTower(ZhCLIPPreTrainedModel):
    """A class with a text side."""

    text_model: PreTrainedModel
    input_modalities = ["text"]

    def get_input_embeddings(self) -> nn.Module:
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_model.set_input_embeddings(value)

    def _pooled_text(
        self,
        input_ids,
        attention_mask=None,
        token_type_ids=None,
        position_ids=None,
        inputs_embeds=None,
        **kwargs,
    ) -> BaseModelOutputWithPooling:
        """Runs the text tower; `pooler_output` is (n, width), pooled as the config says."""
        given = {"input_ids": input_ids, "inputs_embeds": inputs_embeds}
        self._check_one_of(given)
        check_dimensions("input_ids", input_ids, ("n", "length"))
        check_dimensions("inputs_embeds", inputs_embeds, ("n", "length", "width"))
        self._check_text_length(next(each.shape[1] for each in given.values() if each is not None))
        given |= {"token_type_ids": token_type_ids, "position_ids": position_ids}
        given = self._padded(given)
        given["attention_mask"] = attention_mask = self._text_mask(given, attention_mask)
        if self.config.text_config.model_type not in _TOWERS_WITH_TOKEN_TYPES:
            given["token_type_ids"] = None
        outputs = _run(self.text_model, self._tower_arguments({**kwargs, **given}))
        return BaseModelOutputWithPooling(
            last_hidden_state=outputs.last_hidden_state,
            pooler_output=_POOL_TEXT[self.config.text_pooling](outputs, attention_mask),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _check_one_of(self, given: dict[str, torch.Tensor | None]) -> None:
        if given["input_ids"] is None and given["inputs_embeds"] is None:
            raise ValueError("neither input_ids nor inputs_embeds were given; give one of them")
        if given["input_ids"] is not None and given["inputs_embeds"] is not None:
            raise ValueError("both input_ids and inputs_embeds were given; give one of them")
        if given["inputs_embeds"] is not None and self.config.is_text_causal:
            raise ValueError(
                "inputs_embeds were given, but this text tower finds the end of a text by its id: give input_ids"
            )

    def _padded(self, given: dict[str, torch.Tensor | None]) -> dict[str, torch.Tensor | None]:
        """The tower's inputs, padded to (n, text_padded_length) if the config states that length.

        The shape says how many tokens are missing, so that compile and export need no branch on values.
        """
        wanted = self.config.text_padded_length
        if wanted is None:
            return given
        positions = given["position_ids"]
        if positions is not None and positions.shape[-1] != wanted:
            raise ValueError(
                f"position_ids for {positions.shape[-1]} tokens were given, but the model pads every text to "
                f"{wanted} tokens (text_padded_length): give {wanted} position_ids, or leave position_ids out"
            )
        pad = self.config.text_config.pad_token_id
        padded = dict(given)
        for name, value in (("input_ids", pad), ("token_type_ids", 0)):
            if (ids := given[name]) is not None:
                padded[name] = nn.functional.pad(ids, (0, wanted - ids.shape[-1]), value=value)
        if (embeds := given["inputs_embeds"]) is not None:
            missing = torch.full((len(embeds), wanted - embeds.shape[1]), pad, device=embeds.device)
            padding = self.get_input_embeddings()(missing)
            padded["inputs_embeds"] = torch.cat([embeds, padding.to(embeds.device, embeds.dtype)], dim=1)
        return padded

    def _text_mask(
        self, given: dict[str, torch.Tensor | None], attention_mask: torch.Tensor | None
    ) -> torch.Tensor | None:
        """The tower's mask (n, length), by arithmetic alone: a branch on values would break compile and export."""
        input_ids, embeds = given["input_ids"], given["inputs_embeds"]
        if embeds is not None:
            # Embeddings do not say which of them is padding.
            ones = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
            return ones if attention_mask is None or self.config.text_attends_to_padding else attention_mask
        if self.config.text_attends_to_padding:
            return torch.ones_like(input_ids)
        if self.config.is_text_causal:
            return attention_mask
        by_ids = (input_ids != self.config.text_config.pad_token_id).long()
        if attention_mask is None:
            return by_ids
        return attention_mask * by_ids if self.config.text_masks_pad_token else attention_mask

    def _check_text_length(self, length: int) -> None:
        longest = self.config.max_text_positions
        if length > longest:
            pads = self.config.text_padded_length is not None
            found = f"pads every text to {longest}" if pads else f"has positions for {longest}"
            raise ValueError(
                f"a text of {length} tokens was given, but the model {found} tokens: "
                f"truncate with tokenizer(..., truncation=True, max_length={longest})"
            )


class _ProjectedTextTower(_TextTower):
    """A text side that ends in the shared space."""

    text_projection: nn.Module

    @can_return_tuple
    def get_text_features(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | BaseModelOutputWithPooling:
        """Encodes texts as transformers' dual encoders do.

        Args:
            input_ids: (n, length) token ids.
            attention_mask: (n, length), 1 where a token counts. Without it, a bidirectional tower sees all tokens but
                padding.
            token_type_ids: (n, length); a tower without token types ignores it.
            position_ids: (n, length).
            inputs_embeds: (n, length, width), in place of `input_ids`: the word embeddings. Without a mask, the tower
                sees all of them. CLIP's text tower takes no `inputs_embeds`.

        If the config states a `text_padded_length`, the tower sees texts of that length, and its states and attentions
        have that length. `position_ids` then need that length, too.

        Returns:
            The tower's output, with the projected vectors (n, projection_dim), not normalised, in `pooler_output`.

        Raises:
            ValueError: a text has more tokens than the tower has positions, or more than `text_padded_length`; or not
                exactly one of `input_ids` and `inputs_embeds` is given.
        """
        text = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        outputs = self._pooled_text(*text, **kwargs)
        outputs.pooler_output = self.text_projection(outputs.pooler_output)
        return outputs

    def encode_text(
        self,
        input_ids: torch.Tensor | str | list[str] | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Texts as L2-normalised vectors (n, projection_dim).

        Args:
            input_ids: a text, a list of texts, or token ids (n, length). `processor` prepares texts.
            attention_mask: for ids, as the arguments after it: see `get_text_features`.
            token_type_ids: see `get_text_features`.
            position_ids: see `get_text_features`.
            inputs_embeds: see `get_text_features`.

        Returns:
            The vectors of texts lie on the model's device, and those of ids on the device of the ids, like the outputs
            of a call: a device_map may separate the towers. A single text gives (1, projection_dim).

        Raises:
            TypeError: texts are given, and the model has no processor; the message names the call to make.
            ValueError: as `get_text_features`.
        """
        given = (attention_mask, token_type_ids, position_ids, inputs_embeds)
        if is_typed_text(input_ids):
            return self._encode_typed_text(input_ids, given)
        outputs = self.get_text_features(input_ids, *given, return_dict=True)
        device = next(each.device for each in (input_ids, inputs_embeds) if isinstance(each, torch.Tensor))
        return nn.functional.normalize(outputs.pooler_output, dim=-1).to(device)

    def _encode_typed_text(self, texts: Any, given: tuple[Any, ...]) -> torch.Tensor:
        if any(each is not None for each in given):
            raise TypeError(
                "found a text and another argument; wanted several texts as a list, encode_text([...]), or token ids "
                "with their mask"
            )
        device = self._input_device()
        if not isinstance(texts, str) and not len(texts):
            return self._no_vectors(device)
        inputs = prepare_texts(self._needed_processor("encode_text", "text"), texts)
        return self.encode_text(**{name: value.to(device) for name, value in inputs.items()})


class _VisionTower(ZhCLIPPreTrainedModel):
    """A class with a vision side."""

    vision_model: PreTrainedModel
    main_input_name = "pixel_values"
    input_modalities = ["image"]

    def get_input_embeddings(self) -> nn.Module:
        return self.vision_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.vision_model.set_input_embeddings(value)

    def _pooled_image(self, pixel_values, interpolate_pos_encoding=False, **kwargs) -> BaseModelOutputWithPooling:
        """Runs the vision tower; `pooler_output` is (n, width)."""
        if pixel_values is None:
            raise ValueError("no pixel_values were given; an image processor makes them from pictures")
        check_dimensions("pixel_values", pixel_values, ("n", "channels", "height", "width"))
        given = {"pixel_values": pixel_values, "interpolate_pos_encoding": interpolate_pos_encoding}
        return _run(self.vision_model, self._tower_arguments({**kwargs, **given}))


class _ProjectedVisionTower(_VisionTower):
    """A vision side that ends in the shared space."""

    visual_projection: nn.Module

    @can_return_tuple
    def get_image_features(
        self,
        pixel_values: torch.Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | BaseModelOutputWithPooling:
        """Encodes images as transformers' dual encoders do.

        Args:
            pixel_values: (n, channels, height, width), normalised by the image processor.
            interpolate_pos_encoding: take images of another size, and resize the position embeddings to it.

        Returns:
            The tower's output, with the projected vectors (n, projection_dim), not normalised, in `pooler_output`.
        """
        outputs = self._pooled_image(pixel_values, interpolate_pos_encoding, **kwargs)
        outputs.pooler_output = self.visual_projection(outputs.pooler_output)
        return outputs

    def encode_image(self, pixel_values: Any = None, *, interpolate_pos_encoding: bool = False) -> torch.Tensor:
        """Images as L2-normalised vectors (n, projection_dim).

        Args:
            pixel_values: pixel values (n, channels, height, width), or pictures, which `processor` prepares: a picture
                or a list of pictures. A picture is a Pillow image, a path, the bytes of a file, an open file, or an
                array or tensor of bytes. Nothing is fetched from a network.
            interpolate_pos_encoding: see `get_image_features`.

        Returns:
            The vectors of pictures lie on the model's device, and those of pixel values on the device of these, like
            the outputs of a call: a device_map may separate the towers. A single picture gives (1, projection_dim).

        Raises:
            TypeError: pictures are given, and the model has no processor; the message names the call to make.
            ValueError: a picture cannot be read, or as `get_image_features`.
        """
        if is_typed_picture(pixel_values):
            return self._encode_typed_image(pixel_values, interpolate_pos_encoding)
        outputs = self.get_image_features(pixel_values, interpolate_pos_encoding, return_dict=True)
        return nn.functional.normalize(outputs.pooler_output, dim=-1).to(pixel_values.device)

    def _encode_typed_image(self, pictures: Any, interpolate_pos_encoding: bool) -> torch.Tensor:
        device = self._input_device()
        if isinstance(pictures, list | tuple) and not pictures:
            return self._no_vectors(device)
        pixels = prepare_pictures(self._needed_processor("encode_image", "images"), pictures)
        return (
            self.encode_image(pixels.to(device), interpolate_pos_encoding=interpolate_pos_encoding)
            if len(pixels)
            else self._no_vectors(device)
        )


class ZhCLIPModel(_ProjectedTextTower, _ProjectedVisionTower):
    """Both towers, their projections and the logit scale."""

    main_input_name = "input_ids"
    input_modalities = ["image", "text"]

    def __init__(self, config: ZhCLIPConfig):
        super().__init__(config)
        # First, because transformers takes `model.device` and `model.dtype` from the first parameter.
        self.logit_scale = nn.Parameter(torch.tensor(float(config.logit_scale_init_value)))
        self.text_model = _text_tower(config)
        self.vision_model = _vision_tower(config)
        self.text_projection = _projection(config.text_projection_type, config.text_width, config.projection_dim)
        self.visual_projection = _projection(config.visual_projection_type, config.vision_width, config.projection_dim)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        return_loss: bool | None = None,
        interpolate_pos_encoding: bool = False,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | ZhCLIPOutput:
        """Encodes texts, images or both. Both together also give logits, and the loss of matching pairs if asked for.

        The arguments are those of `get_text_features` and `get_image_features`.

        Raises:
            ValueError: neither texts nor images are given, or `return_loss` is set without both.
        """
        has_text = input_ids is not None or inputs_embeds is not None
        if not has_text and pixel_values is None:
            raise ValueError("neither input_ids nor pixel_values were given; give at least one of them")
        if return_loss and (not has_text or pixel_values is None):
            raise ValueError("return_loss needs input_ids and pixel_values; only one of them was given")
        text_outputs = image_outputs = text_embeds = image_embeds = logits_per_text = None
        if has_text:
            text = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
            text_outputs = self.get_text_features(*text, return_dict=True, **kwargs)
            text_embeds = nn.functional.normalize(text_outputs.pooler_output, dim=-1)
        if pixel_values is not None:
            image = (pixel_values, interpolate_pos_encoding)
            image_outputs = self.get_image_features(*image, return_dict=True, **kwargs)
            image_embeds = nn.functional.normalize(image_outputs.pooler_output, dim=-1)
        if text_embeds is not None and image_embeds is not None:
            logits_per_text = self._logits(text_embeds, image_embeds)
        return ZhCLIPOutput(
            loss=contrastive_loss(logits_per_text) if return_loss and logits_per_text is not None else None,
            logits_per_image=None if logits_per_text is None else logits_per_text.t(),
            logits_per_text=logits_per_text,
            text_embeds=text_embeds,
            image_embeds=image_embeds,
            text_model_output=text_outputs,
            vision_model_output=image_outputs,
        )

    def _logits(self, text_embeds: torch.Tensor, image_embeds: torch.Tensor) -> torch.Tensor:
        """Logits (texts, images) on the device of the texts; the towers and the scale may lie on three devices."""
        cosines = text_embeds @ image_embeds.t().to(text_embeds.device)
        scale = self.logit_scale.to(at_least_float32(self.logit_scale.dtype)).exp()
        return cosines * scale.to(text_embeds.device)


class ZhCLIPTextModel(_TextTower):
    """The text tower alone, without projection."""

    _parts: tuple[str, ...] = ("text_model",)

    def __init__(self, config: ZhCLIPConfig):
        super().__init__(config)
        self.text_model = _text_tower(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | BaseModelOutputWithPooling:
        """Encodes texts: `pooler_output` is (n, width), pooled as the config says. Arguments as in `encode_text`."""
        text = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        return self._pooled_text(*text, **kwargs)


class ZhCLIPTextModelWithProjection(_ProjectedTextTower):
    """The text tower with its projection into the shared space."""

    _parts: tuple[str, ...] = ("text_model", "text_projection")

    def __init__(self, config: ZhCLIPConfig):
        super().__init__(config)
        self.text_model = _text_tower(config)
        self.text_projection = _projection(config.text_projection_type, config.text_width, config.projection_dim)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | ZhCLIPTextModelOutput:
        """Encodes texts: `text_embeds` is (n, projection_dim), not normalised. Arguments as in `encode_text`."""
        text = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        outputs = self.get_text_features(*text, return_dict=True, **kwargs)
        return ZhCLIPTextModelOutput(
            outputs.pooler_output, outputs.last_hidden_state, outputs.hidden_states, outputs.attentions
        )


class ZhCLIPVisionModel(_VisionTower):
    """The vision tower alone, without projection."""

    _parts: tuple[str, ...] = ("vision_model",)

    def __init__(self, config: ZhCLIPConfig):
        super().__init__(config)
        self.vision_model = _vision_tower(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | BaseModelOutputWithPooling:
        """Encodes images: `pooler_output` is (n, width). Arguments as in `encode_image`."""
        return self._pooled_image(pixel_values, interpolate_pos_encoding, **kwargs)


class ZhCLIPVisionModelWithProjection(_ProjectedVisionTower):
    """The vision tower with its projection into the shared space."""

    _parts: tuple[str, ...] = ("vision_model", "visual_projection")

    def __init__(self, config: ZhCLIPConfig):
        super().__init__(config)
        self.vision_model = _vision_tower(config)
        self.visual_projection = _projection(config.visual_projection_type, config.vision_width, config.projection_dim)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | ZhCLIPVisionModelOutput:
        """Encodes images: `image_embeds` is (n, projection_dim), not normalised. Arguments as in `encode_image`."""
        outputs = self.get_image_features(pixel_values, interpolate_pos_encoding, return_dict=True, **kwargs)
        return ZhCLIPVisionModelOutput(
            outputs.pooler_output, outputs.last_hidden_state, outputs.hidden_states, outputs.attentions
        )


_CLASSES: dict[str, type[ZhCLIPPreTrainedModel]] = {
    model_class.__name__: model_class
    for model_class in (
        ZhCLIPModel,
        ZhCLIPTextModel,
        ZhCLIPTextModelWithProjection,
        ZhCLIPVisionModel,
        ZhCLIPVisionModelWithProjection,
    )
}
_TOWERS_WITH_TOKEN_TYPES = ("bert", "xlm-roberta")
_TOWERS_WITH_POOLER = ("bert", "xlm-roberta")


def contrastive_loss(logits: torch.Tensor) -> torch.Tensor:
    """Symmetric contrastive loss, a scalar, of (n, n) logits whose diagonal holds the pairs (Radford et al. 2021)."""
    logits = logits.to(at_least_float32(logits.dtype))
    pairs = torch.arange(len(logits), device=logits.device)
    return (nn.functional.cross_entropy(logits, pairs) + nn.functional.cross_entropy(logits.t(), pairs)) / 2


def _text_tower(config: ZhCLIPConfig) -> PreTrainedModel:
    tower = config.text_config
    # Only if the config uses it: a pooler that no checkpoint fills would be random.
    options = {"add_pooling_layer": config.text_pooling == "pooler"} if tower.model_type in _TOWERS_WITH_POOLER else {}
    return _tower(tower, **options)


def _vision_tower(config: ZhCLIPConfig) -> PreTrainedModel:
    if config.vision_config is None:
        raise ValueError(
            "the config has no vision_config: it describes a text tower alone, whose vectors cannot be compared with "
            "images. Load it with ZhCLIPTextModel or AutoModel"
        )
    tower = _tower(config.vision_config)
    if config.vision_pooling == "cls":
        # Such a checkpoint has no post-layernorm; without post-layernorm the pooled output is the raw CLS token.
        tower.post_layernorm = nn.Identity()
    return tower


def _tower(config: PreTrainedConfig, **options) -> PreTrainedModel:
    # The model type decides: a repo's own code is not registered with AutoModel, and the class is no sure sign,
    # because transformers/dynamic_module_utils.py imports a local repo's config file twice, as two classes.
    make = ZhCLIPResNetModel._from_config if config.model_type == "hf_zhclip_resnet" else AutoModel.from_config
    # transformers sets the whole model's dtype as the default while it builds; a tower's config may state another
    # dtype.
    return flat(make(config, dtype=torch.get_default_dtype(), **options))


def _run(tower: PreTrainedModel, arguments: dict[str, Any]) -> Any:
    """A tower's outputs; of a batch of nothing, outputs of no rows.

    transformers' attention cannot reshape a batch of nothing: a made-up row is run in its place, and taken out.
    """
    # A graph is made of shapes that are not empty, and a branch would tie it to them.
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    empty = {} if traced else {name: each for name, each in arguments.items() if _has_no_rows(each)}
    if not empty:
        return tower(return_dict=True, **arguments)
    rows = {name: each.new_full((1, *each.shape[1:]), name == "attention_mask") for name, each in empty.items()}
    outputs = tower(return_dict=True, **{**arguments, **rows})
    return type(outputs)(**{name: _without_rows(each) for name, each in outputs.items()})


def _has_no_rows(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape[0] == 0


def _without_rows(value: Any) -> Any:
    return value[:0] if isinstance(value, torch.Tensor) else tuple(each[:0] for each in value)


def _projection(kind: str, in_features: int, out_features: int) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    if kind == "mlp":
        # open_clip's HFTextEncoder with proj="mlp".
        hidden = (in_features + out_features) // 2
        first, second = nn.Linear(in_features, hidden, bias=False), nn.Linear(hidden, out_features, bias=False)
        return nn.Sequential(first, nn.GELU(), second)
    return nn.Linear(in_features, out_features, bias=kind == "linear_bias")


def _mean(outputs: Any, attention_mask: torch.Tensor) -> torch.Tensor:
    hidden = outputs.last_hidden_state
    mask = attention_mask.to(device=hidden.device, dtype=hidden.dtype).unsqueeze(-1)
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def _first(outputs: Any, attention_mask: torch.Tensor | None) -> torch.Tensor:
    return outputs.last_hidden_state[:, 0]


def _tower_pooled(outputs: Any, attention_mask: torch.Tensor | None) -> torch.Tensor:
    return outputs.pooler_output


# "eos" is CLIPTextModel's own pooling: the first eos id, or the highest id if the config states the legacy eos, 2.
_POOL_TEXT = {"cls": _first, "pooler": _tower_pooled, "mean": _mean, "eos": _tower_pooled}
