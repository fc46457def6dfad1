"""The configuration of ZhCLIP: two towers, and the pooling and projection of each."""

import json
import os
import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from transformers import AutoConfig
from transformers.utils import cached_file

from .compat_zhclip import PreTrainedConfig, strict
from .saving_zhclip import VERSION_FIELD, SavesConfigCode, tell_of_newer_code

if TYPE_CHECKING:  # not to check types: these lines bring all files, see saving_zhclip.py
    from .image_processing_zhclip import ZhCLIPImageProcessor  # noqa: F401
    from .modeling_zhclip import ZhCLIPModel  # noqa: F401
    from .modeling_zhclip_resnet import ZhCLIPResNetModel  # noqa: F401
    from .pictures_zhclip import FORMS  # noqa: F401
    from .processing_zhclip import ZhCLIPProcessor  # noqa: F401
    from .typed_inputs_zhclip import Place  # noqa: F401

Projection = Literal["linear", "linear_bias", "mlp", "none"]

# Text tower -> the poolings that it offers, and the tokenizer that transformers gives to its model type.
TEXT_TOWERS = {
    "bert": (("cls", "pooler", "mean"), "BertTokenizer"),
    "xlm-roberta": (("cls", "pooler", "mean"), "XLMRobertaTokenizer"),
    "distilbert": (("cls", "mean"), "DistilBertTokenizer"),
    "clip_text_model": (("eos",), "CLIPTokenizer"),
}
VISION_TOWERS = {"clip_vision_model": ("pooler", "cls"), "hf_zhclip_resnet": ("pooler",)}

SHARED_TYPE = "zhclip"
"""The model type of ZH-CLIP, which thu-ml published in 2023, and of this package's repos up to report version 2."""

LIMITS = {
    "num_hidden_layers": 1_000,  # the largest known tower has 48
    "hidden_size": 2**17,  # 1,664
    "intermediate_size": 2**19,
    "hidden_dim": 2**19,
    "projection_dim": 2**17,
    "output_dim": 2**17,
    "width": 2**12,
    "num_attention_heads": 2**10,
    "vocab_size": 2**22,
    "type_vocab_size": 2**10,
    "max_position_embeddings": 2**22,
    "image_size": 2**13,
    "patch_size": 2**13,
    "num_channels": 2**10,
}
"""The greatest values of a tower's numbers, far above every known tower: a config.json may state any number, and a
model of a billion layers is built for hours before its weights are missed."""

OTHER_PROJECT = "ZH-CLIP (thu-ml/zh-clip)"

# The three kinds of folders whose config.json has `SHARED_TYPE`, and the message for each kind.
NAMESAKES = {
    "older": (
        "{source} is a repo of an older version of hf_zhclip. Its model type, 'zhclip', belongs to "
        f"{OTHER_PROJECT}. Run `zhclip convert {{quoted}} NEW`, which writes a repo of this version, and use the "
        "folder NEW."
    ),
    "saved": (
        "{source} was saved from a repo of an older version of hf_zhclip (model_type 'zhclip' beside text_pooling, "
        "and no conversion_report.json that can be read). It needs no conversion: edit its config.json, and in each "
        "model_type replace 'zhclip' by 'hf_zhclip' and 'zhclip_resnet' by 'hf_zhclip_resnet'."
    ),
    "other": (
        f"{{source}} is {OTHER_PROJECT}: its config.json says model_type 'zhclip'. Run `zhclip convert {{quoted}} "
        "OUT`, which writes a repo of hf_zhclip, and use the folder OUT. Without conversion, only ZH-CLIP's own code "
        "loads the folder. (A repo of an older version of hf_zhclip has a readable conversion_report.json beside its "
        "config.json; this folder has no such file.)"
    ),
}

# The fields that config.json of a text tower alone leaves out, because they have no meaning there.
OF_A_PAIR = (
    "projection_dim",
    "logit_scale_init_value",
    "text_projection_type",
    "visual_projection_type",
    "vision_pooling",
)


@strict
class ZhCLIPResNetConfig(SavesConfigCode, PreTrainedConfig):
    """CLIP's modified ResNet with attention pooling (RN50 by default).

    Args:
        layers: bottleneck blocks in each of the four stages.
        width: channels after the stem; the last stage has 32 times this number.
        image_size: side of the square input, in pixels; a multiple of 32.
        num_attention_heads: heads of the attention pool.
        output_dim: width of the pooled output.
        num_channels: channels of the input.
    """

    model_type = "hf_zhclip_resnet"
    base_config_key = "vision_config"

    layers: list[int] | tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    image_size: int = 224
    num_attention_heads: int = 32
    output_dim: int = 1024
    num_channels: int = 3
    architectures: list[str] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**_without_code_fields(self, kwargs))
        if self.architectures is None:
            self.architectures = ["ZhCLIPResNetModel"]

    @property
    def hidden_size(self) -> int:
        """Channels of the last feature map, the width at which the attention pool works."""
        return self.width * 32

    def validate_sizes(self) -> None:
        if len(self.layers) != 4 or min(self.layers) < 1 or max(self.layers) > LIMITS["num_hidden_layers"]:
            raise ValueError(f"layers is {list(self.layers)}; wanted four numbers of blocks, and each at least 1")
        if self.image_size < 32 or self.image_size % 32:
            raise ValueError(f"image_size is {self.image_size}; wanted a multiple of 32, the stride of the network")
        if self.width < 2 or self.width % 2:
            raise ValueError(f"width is {self.width}; wanted an even number, because the stem starts with half of it")
        if self.num_attention_heads < 1 or self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads is {self.num_attention_heads}; "
                f"wanted a divisor of 32 * width, {self.hidden_size}"
            )


@strict
class ZhCLIPConfig(SavesConfigCode, PreTrainedConfig):
    """A dual encoder of a text tower and a vision tower, or a text tower alone.

    Args:
        text_config: config of the text tower, or its dict with `model_type`: bert, xlm-roberta, distilbert or
            clip_text_model.
        vision_config: the same for images: clip_vision_model or hf_zhclip_resnet. It is None if there is no vision
            tower and no shared space; `architectures` then has to name the text tower's class alone.
        projection_dim: width of the shared space.
        logit_scale_init_value: log of the factor on the cosines, used if a checkpoint holds no `logit_scale`.
        text_pooling: "cls" (last hidden state of the first token), "pooler" (the tower's tanh pooler), "mean" (over
            the tokens that the mask keeps) or "eos" (the end token of CLIP text, found as `CLIPTextModel` finds it).
        text_projection_type: "linear", "linear_bias", "mlp" (linear, GELU, linear, without biases) or "none".
        visual_projection_type: the same for images.
        vision_pooling: "pooler" (the tower's own: the CLS token after post-layernorm, or the ResNet's attention pool)
            or "cls" (the CLS token as it leaves the last layer; the tower then has no post-layernorm).
        text_attends_to_padding: the text tower sees padding as if it were text, whatever mask is given, as in
            Taiyi-CLIP's published usage. An embedding then depends on the number of padding tokens.
        text_padded_length: the model itself pads every text on the right to this number of tokens and refuses a longer
            text, so that an embedding does not depend on the other texts of a batch. The field needs
            `text_attends_to_padding`. Taiyi-CLIP's fine-tune example pads to 77. With None the model pads nothing.
        text_masks_pad_token: the text tower ignores the pad token wherever it stands, also inside a text, whatever
            mask is given, as the models of open_clip and EasyNLP do. A tokenizer's mask keeps it inside a text.
        tokenizer_class: the tokenizer of a folder whose tokenizer_config.json names no tokenizer; by default the
            tokenizer of the text tower's type.
    """

    model_type = "hf_zhclip"
    sub_configs = {"text_config": AutoConfig, "vision_config": AutoConfig}
    keys_to_ignore_at_inference = ["text_model_output", "vision_model_output"]
    _default_towers: ClassVar[dict[str, str]] = {"text_config": "bert", "vision_config": "clip_vision_model"}

    # A caller gives a config, a dict or None; __post_init__ makes a config of it.
    text_config: Any = None
    vision_config: Any = None
    projection_dim: int = 512
    logit_scale_init_value: float | int = 2.6592
    text_pooling: Literal["cls", "pooler", "mean", "eos"] = "cls"
    text_projection_type: Projection = "linear"
    visual_projection_type: Projection = "linear"
    vision_pooling: Literal["pooler", "cls"] = "pooler"
    text_attends_to_padding: bool = False
    text_padded_length: int | None = None
    text_masks_pad_token: bool = False
    tokenizer_class: str | None = None
    architectures: list[str] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        for name, default in self._default_towers.items():
            if not (name == "vision_config" and self._says_text_alone()):
                setattr(self, name, _tower_config(name, getattr(self, name), default))
        super().__post_init__(**_without_code_fields(self, kwargs))
        # AutoModel picks among the registered classes by this list, and fails on None.
        if self.architectures is None:
            self.architectures = ["ZhCLIPModel"]
        if self.tokenizer_class is None and self.text_config.model_type in TEXT_TOWERS:
            self.tokenizer_class = TEXT_TOWERS[self.text_config.model_type][1]

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        """Reads config.json as every config does, and refuses the config.json of an unconverted checkpoint.

        Raises:
            ValueError: it is no ZhCLIP config; the message names the family and the command that converts the
                checkpoint.
        """
        refuse_checkpoint_file(pretrained_model_name_or_path)
        hub = {name: kwargs[name] for name in ("cache_dir", "token", "revision", "subfolder") if kwargs.get(name)}
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if not isinstance(config_dict, dict):
            found = type(config_dict).__name__
            raise ValueError(f"config.json of {pretrained_model_name_or_path} holds a {found}; an object was wanted")
        if kind := namesake(pretrained_model_name_or_path, config_dict, **hub):
            raise ValueError(namesake_words(kind, pretrained_model_name_or_path))
        if config_dict.get("model_type") != cls.model_type:
            raise ValueError(_unconverted(str(pretrained_model_name_or_path), *_family(config_dict)))
        tell_of_newer_code(pretrained_model_name_or_path, config_dict.get(VERSION_FIELD))
        return config_dict, kwargs

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """Makes a config of what config.json states, as every config does; `kwargs` are the caller's own.

        Raises:
            ValueError: config.json makes transformers fetch a kernel, or read another file than model.safetensors.
        """
        for part in (config_dict, *(config_dict.get(name) for name in ("text_config", "vision_config"))):
            stated = part if isinstance(part, Mapping) else {}
            if wrong := [name for name in KERNELS if "/" in str(stated.get(name) or "")]:
                raise ValueError(
                    f"config.json states {wrong[0]} {stated[wrong[0]]!r}, which makes transformers run code from the "
                    "hub. If you trust this code, give attn_implementation to from_pretrained, and take the field out "
                    "of config.json."
                )
            if stated.get("transformers_weights") is not None:
                raise ValueError(
                    f"config.json states transformers_weights {stated['transformers_weights']!r}; a converted repo "
                    "holds its weights in model.safetensors. Take the field out of config.json."
                )
        return super().from_dict(config_dict, **kwargs)

    def _says_text_alone(self) -> bool:
        return self.vision_config is None and self.architectures == ["ZhCLIPTextModel"]

    def to_dict(self) -> dict[str, Any]:
        """Every field; for a text tower alone, the fields of a pair are left out."""
        left_out = OF_A_PAIR if self.vision_config is None else ()
        return {name: value for name, value in super().to_dict().items() if name not in left_out}

    @property
    def text_width(self) -> int:
        """Width of the pooled text, before the projection."""
        return self.text_config.hidden_size

    @property
    def vision_width(self) -> int:
        """Width of the pooled image, before the projection."""
        vision = self.vision_config
        return vision.output_dim if vision.model_type == "hf_zhclip_resnet" else vision.hidden_size

    @property
    def is_text_causal(self) -> bool:
        """Whether a text token sees only the tokens before it. Such a tower needs no mask for padding on the right."""
        return self.text_config.model_type == "clip_text_model"

    @property
    def max_text_positions(self) -> int:
        """The longest text in tokens: the tower's number of positions, or the length to which texts are padded."""
        return self.text_positions if self.text_padded_length is None else self.text_padded_length

    @property
    def text_positions(self) -> int:
        """The number of tokens for which the text tower has positions."""
        text = self.text_config
        # XLM-R keeps fairseq's numbering: positions start behind the pad id.
        taken = text.pad_token_id + 1 if text.model_type == "xlm-roberta" else 0
        return text.max_position_embeddings - taken

    def validate_model(self) -> None:
        """Refuses a config from which no model can be built. Towers come first: the other checks read their fields."""
        self._check_tower("text_config", TEXT_TOWERS)
        self._check_pooling("text", TEXT_TOWERS[self.text_config.model_type][0])
        self._check_end_token()
        self._check_padding()
        self._check_padded_length()
        if self.vision_config is not None:
            self._check_pair()

    def _check_pair(self) -> None:
        self._check_tower("vision_config", VISION_TOWERS)
        self._check_pooling("vision", VISION_TOWERS[self.vision_config.model_type])
        self._check_projection("text_projection_type", self.text_width)
        self._check_projection("visual_projection_type", self.vision_width)

    def _check_tower(self, field: str, known: Iterable[str]) -> None:
        model_type = getattr(self, field).model_type
        if model_type not in known:
            raise ValueError(f"{field}.model_type is {model_type!r}; wanted one of {', '.join(known)}")
        for name, most in LIMITS.items():
            self._check_number(f"{field}.{name}", getattr(getattr(self, field), name, None), most)
        self._check_number("projection_dim", self.projection_dim, LIMITS["projection_dim"])

    def _check_number(self, field: str, value: Any, most: int) -> None:
        if isinstance(value, int) and not 1 <= value <= most:
            raise ValueError(f"{field} is {value}; wanted 1 to {most}")

    def _check_pooling(self, side: str, offered: Iterable[str]) -> None:
        pooling, tower = getattr(self, f"{side}_pooling"), getattr(self, f"{side}_config").model_type
        if pooling not in offered:
            raise ValueError(f"{side}_pooling is {pooling!r}; a {tower} tower offers {', '.join(offered)}")

    def _check_end_token(self) -> None:
        if self.text_pooling == "eos" and not isinstance(self.text_config.eos_token_id, int):
            found = self.text_config.eos_token_id
            raise ValueError(
                f"text_config.eos_token_id is {found!r}; wanted a single id, because text_pooling 'eos' looks for it"
            )

    def _check_padding(self) -> None:
        if self.text_masks_pad_token and (self.is_text_causal or self.text_attends_to_padding):
            other = (
                "a causal tower has no mask" if self.is_text_causal else "text_attends_to_padding says the contrary"
            )
            raise ValueError(f"text_masks_pad_token is set, and {other}; wanted false")
        if self.is_text_causal:
            if self.text_attends_to_padding:
                raise ValueError(
                    "text_attends_to_padding is set; in a causal tower the end token never sees the tokens that "
                    "follow it"
                )
            return
        pad, size = self.text_config.pad_token_id, self.text_config.vocab_size
        if not (isinstance(pad, int) and 0 <= pad < size):
            raise ValueError(
                f"text_config.pad_token_id is {pad!r}; wanted an id below vocab_size, {size}, to mask padding"
            )

    def _check_padded_length(self) -> None:
        length = self.text_padded_length
        if length is None:
            return
        if not self.text_attends_to_padding:
            raise ValueError(
                f"text_padded_length is {length} without text_attends_to_padding; masked padding changes no "
                "embedding: set both fields or neither"
            )
        if not 1 <= length <= self.text_positions:
            raise ValueError(
                f"text_padded_length is {length}; wanted 1 to {self.text_positions}, the positions of the text tower"
            )

    def _check_projection(self, field: str, width: int) -> None:
        if self.projection_dim < 1:
            raise ValueError(f"projection_dim is {self.projection_dim}; wanted at least 1")
        if getattr(self, field) == "none" and width != self.projection_dim:
            raise ValueError(
                f"{field} is 'none' and its tower is {width} wide; wanted projection_dim, {self.projection_dim}"
            )


KERNELS = (
    *("attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
    *("experts_implementation", "_experts_implementation", "_experts_implementation_internal"),
)
"""Fields whose value may name a kernel on the hub, `user/name`."""


def refuse_checkpoint_file(source: str | os.PathLike) -> None:
    """Refuses the path of a weights file: transformers would treat the path as the name of a repository.

    Raises:
        ValueError: the path is a file and no config.json; the message names the command that converts the file.
    """
    name = os.fspath(source)
    if os.path.isfile(name) and not name.endswith(".json"):
        kind = "a safetensors file" if name.endswith(".safetensors") else "a PyTorch checkpoint file"
        raise ValueError(_unconverted(name, kind, ""))


def namesake(source: str | os.PathLike, config_dict: Mapping[str, Any], **hub: Any) -> str | None:
    """Tells apart the kinds of folders whose config.json has the model type `SHARED_TYPE`.

    Args:
        source: the place of config.json: its folder, its path, or a name on the hub.
        config_dict: the content of config.json; none of it is trusted.
        **hub: the options of `from_pretrained` that find files on the hub, such as `revision`.

    Returns:
        A key of `NAMESAKES`, or None if config.json has another model type.
    """
    if config_dict.get("model_type") != SHARED_TYPE:
        return None
    place = os.fspath(source)
    if _has_report(os.path.dirname(place) if os.path.isfile(place) else place, hub):
        return "older"
    alone = config_dict.get("architectures") == ["ZhCLIPTextModel"]
    ours = "text_pooling" in config_dict and (alone or "text_projection_type" in config_dict)
    return "saved" if ours else "other"


def namesake_words(kind: str, source: str | os.PathLike) -> str:
    """The message about a namesake: what it is, and what to do."""
    return NAMESAKES[kind].format(source=os.fspath(source), quoted=shlex.quote(os.fspath(source)))


def other_image_processor(source: str | os.PathLike, found: str) -> str:
    """The message about a folder whose image processor is the class `found`, which is not a class of this package."""
    return (
        f"{os.fspath(source)} holds a {found}, which states no image_order; a ZhCLIPImageProcessor was wanted. A "
        "converted repo has it in the processor_config.json that `zhclip convert` wrote. The classes of "
        f"{OTHER_PROJECT} have the same names: convert its folder, or load the folder with that project's own code."
    )


def _has_report(place: str, hub: Mapping[str, Any]) -> bool:
    """Whether a report of this package lies there. A report that cannot be read does not count."""
    quiet = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "connection_errors", "gated_repo")}
    try:
        path = cached_file(place or os.curdir, "conversion_report.json", **quiet, **hub)
        if path is None:
            return False
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(report, dict) and type(report.get("format_version")) is int


def _without_code_fields(config: PreTrainedConfig, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a config.json without those about code, which saving writes anew.

    A repo's own copy of a class keeps auto_map: there, AutoModel finds its class by it.
    """
    left_out = (VERSION_FIELD, "auto_map") if config._auto_class is None else (VERSION_FIELD,)
    return {name: value for name, value in fields.items() if name not in left_out}


def _tower_config(name: str, config: Any, default: str) -> PreTrainedConfig:
    if isinstance(config, PreTrainedConfig):
        return config
    if config is None:
        return AutoConfig.for_model(default)
    if not isinstance(config, dict):
        raise TypeError(f"{name} is a {type(config).__name__}; wanted a config or a dict")
    fields = dict(config)
    if "model_type" not in fields:
        raise ValueError(
            f"{name} has no model_type; wanted a model_type that names the tower, for example {default!r}"
        )
    model_type = fields.pop("model_type")
    # Without AutoConfig, because a repo's own code is not registered with the Auto classes.
    if model_type == ZhCLIPResNetConfig.model_type:
        return ZhCLIPResNetConfig(**fields)
    return AutoConfig.for_model(model_type, **fields)


def _family(config_dict: dict[str, Any]) -> tuple[str, str]:
    """The family of a config.json, and the arguments that its conversion needs besides the source."""
    model_type = config_dict.get("model_type")
    text = config_dict.get("text_config")
    text_type = text.get("model_type") if isinstance(text, dict) else None
    if model_type == "clip" and text_type == "bert":
        return "a BertCLIP checkpoint (model_type 'clip' with a BERT text tower)", ""
    if model_type == "bert" and "BertForSequenceClassification" in str(config_dict.get("architectures")):
        return "the text tower of a Taiyi-CLIP checkpoint (a BERT classifier)", " --vision VISION"
    if model_type == "chinese_clip":
        return "a Hugging Face ChineseCLIP checkpoint (model_type 'chinese_clip')", ""
    if model_type == "clip":
        return "a Hugging Face CLIP checkpoint (model_type 'clip')", ""
    return f"of model_type {model_type!r}", ""


def _unconverted(source: str, family: str, arguments: str) -> str:
    return (
        f"{source} is {family}, not a ZhCLIP repository (model_type 'hf_zhclip'). Convert it first:\n"
        f"    zhclip convert {shlex.quote(source)} OUT{arguments}\n"
        "Then load the folder OUT."
    )
