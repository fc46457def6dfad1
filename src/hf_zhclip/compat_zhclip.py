"""What differs between the releases of transformers. The other modules are written for the newest release.

Each name is transformers' own if the installed release has what it stands for. Heavy modules are imported when a name
that needs them is first used.
"""

from dataclasses import dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args

from transformers import __version__

if tuple(int(number) for number in __version__.split(".")[:2]) < (4, 57):
    raise ImportError(
        f"found transformers {__version__}; the code of this model wanted 4.57 or later: run "
        "`pip install --upgrade transformers`"
    )

from huggingface_hub.dataclasses import strict  # noqa: E402

try:
    from transformers import PreTrainedConfig
except ImportError:  # before 5.0
    from transformers import PretrainedConfig as PreTrainedConfig

if not is_dataclass(PreTrainedConfig):  # before 5.4

    class DataclassConfig(PreTrainedConfig):
        """A config whose annotated fields are its arguments; `__post_init__` gets all others."""

        validate_rope = None  # `strict` takes it for a validator, and refuses it because it has an argument

        def __init__(self, **kwargs: Any) -> None:
            for field in fields(self):
                setattr(self, field.name, kwargs.pop(field.name, field.default))
            self.__post_init__(**kwargs)

        def __post_init__(self, **kwargs: Any) -> None:
            own = {field.name: getattr(self, field.name) for field in fields(self)}
            # Before 5.0, transformers sets fields of each of them, and fails on None.
            self.sub_configs: Any = {name: kind for name, kind in self.sub_configs.items() if own[name] is not None}
            super().__init__(**own, **kwargs)

        def to_dict(self) -> dict[str, Any]:
            return {name: value for name, value in super().to_dict().items() if name != "sub_configs"}

    def strict(cls: type, _strict=strict) -> type:
        made: type = dataclass(init=False, repr=False, eq=False)(cls)
        for field in fields(made):
            if isinstance(field.type, UnionType):  # huggingface_hub before 1.0 knows only `Union`
                field.type = Union[get_args(field.type)]  # noqa: UP007
        return _strict(made)

    PreTrainedConfig = DataclassConfig


def flat(tower):
    """Gives a tower of transformers the parts that it has from 5.6 on.

    Before 5.6, CLIP's towers hold their parts in a module, `text_model` or `vision_model`, and pass each call to it.
    The parts become the tower's own, and the module shares them.
    """
    for name in ("text_model", "vision_model"):
        if (inner := tower._modules.pop(name, None)) is not None:
            tower.__dict__.update({name: inner, "_modules": inner._modules})
    return tower


def _initialization():
    try:
        from transformers import initialization
    except ImportError:  # before 5.0
        from torch.nn import init as initialization
    return initialization


def _processor_mixin() -> type:
    from transformers.processing_utils import ProcessorMixin

    if hasattr(ProcessorMixin, "get_attributes"):
        return ProcessorMixin

    class Mixin(ProcessorMixin):  # before 5.0
        attributes = ["image_processor", "tokenizer"]
        image_processor_class = "AutoImageProcessor"
        tokenizer_class = "AutoTokenizer"

    return Mixin


def _attention_functions():
    from transformers import AttentionInterface
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if hasattr(AttentionInterface, "get_interface"):
        return ALL_ATTENTION_FUNCTIONS

    class Functions(AttentionInterface):  # before 5.1
        get_interface = AttentionInterface.get

    return Functions()


def _pil_backend() -> type:
    try:
        from transformers.image_processing_backends import PilBackend
    except ImportError:  # before 5.4
        return _older_pil_backend()
    return PilBackend


def _size_dict() -> type:
    from transformers.image_utils import SizeDict

    if hasattr(SizeDict, "__iter__"):
        return SizeDict

    class Size(SizeDict):  # before 5.4
        def __iter__(self):
            return ((name, value) for name, value in vars(self).items() if value is not None)

    return Size


def _older_pil_backend() -> type:
    from transformers.image_processing_utils import BaseImageProcessor

    class PilBackend(BaseImageProcessor):
        """The steps of `BaseImageProcessor.preprocess` from 5.4 on: settings, pictures one by one, then the batch."""

        def __init__(self, **kwargs: Any) -> None:
            given = {name: kwargs.pop(name, None) for name in self.valid_kwargs.__annotations__}
            super().__init__(**kwargs)
            for name, value in self._settings(given).items():
                setattr(self, name, value)

        def preprocess(self, images, **kwargs: Any):
            settings = self._settings(kwargs)
            self._validate_preprocess_kwargs(**settings)
            pictures = self._prepare_images_structure(images)
            return self._preprocess([self.process_image(picture, **settings) for picture in pictures], **settings)

        def _settings(self, given: dict[str, Any]) -> dict[str, Any]:
            names = self.valid_kwargs.__annotations__
            own = {name: getattr(self, name, None) for name in names if given.get(name) is None}
            return self._standardize_kwargs(**{**given, **own})

        def _standardize_kwargs(self, **kwargs: Any) -> dict[str, Any]:
            return kwargs

        def to_dict(self) -> dict[str, Any]:
            fields = {name: value for name, value in super().to_dict().items() if value is not None}
            return {**fields, "size": dict(fields["size"])}

    return PilBackend


_LAZY = {
    "ALL_ATTENTION_FUNCTIONS": _attention_functions,
    "PilBackend": _pil_backend,
    "ProcessorMixin": _processor_mixin,
    "SizeDict": _size_dict,
    "init": _initialization,
}


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = _LAZY[name]()
    return globals()[name]
