"""The registration with the Auto classes, which imports no heavy module until a class is used.

transformers imports `transformers.models.auto.*` on first use (the processors alone take more than a second). Our
classes are registered right after the import of the module that they belong to. Model classes are registered by name,
and are imported when transformers looks at them.
"""

import importlib
import importlib.abc
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

from transformers import AutoConfig

from .configuration_zhclip import ZhCLIPConfig, ZhCLIPResNetConfig

MODEL_CLASSES = (
    "ZhCLIPModel",
    "ZhCLIPTextModel",
    "ZhCLIPTextModelWithProjection",
    "ZhCLIPVisionModel",
    "ZhCLIPVisionModelWithProjection",
)


class _LazyClasses(tuple):
    """A tuple of model classes. It holds their names and imports their module when an item is looked at."""

    __slots__ = ()

    def __iter__(self) -> Iterator[type]:
        package = importlib.import_module("hf_zhclip")
        names = super().__iter__()
        return (getattr(package, name) for name in names)

    def __getitem__(self, index):
        return tuple(self)[index]

    def __contains__(self, item) -> bool:
        return item in tuple(self)


def _register_models(auto: ModuleType) -> None:
    # A tuple lets AutoModel pick by config.architectures: a saved tower comes back as its own class.
    auto.AutoModel.register(ZhCLIPConfig, _LazyClasses(MODEL_CLASSES), exist_ok=True)
    auto.AutoModel.register(ZhCLIPResNetConfig, _LazyClasses(("ZhCLIPResNetModel",)), exist_ok=True)
    auto.AutoModelForZeroShotImageClassification.register(ZhCLIPConfig, _LazyClasses(("ZhCLIPModel",)), exist_ok=True)


def _register_image_processor(auto: ModuleType) -> None:
    from .image_processing_zhclip import ZhCLIPImageProcessor

    # One class for both backends: with "pil" alone, transformers warns wherever torchvision works.
    backends = {"pil": ZhCLIPImageProcessor, "torchvision": ZhCLIPImageProcessor}
    auto.AutoImageProcessor.register(ZhCLIPConfig, image_processor_classes=backends, exist_ok=True)


def _register_processor(auto: ModuleType) -> None:
    from .processing_zhclip import ZhCLIPProcessor

    auto.AutoProcessor.register(ZhCLIPConfig, ZhCLIPProcessor, exist_ok=True)
    # AutoProcessor takes the first class that has the name, and ZH-CLIP has a ZhCLIPProcessor, too. Our class goes
    # first, because it hands a folder of ZH-CLIP over to ZH-CLIP's class.
    registered = auto.PROCESSOR_MAPPING._extra_content
    for config in [each for each in registered if each is not ZhCLIPConfig]:
        registered[config] = registered.pop(config)


def _register_tokenizer(auto: ModuleType) -> None:
    from transformers import BertTokenizer

    # The last resort: transformers asks tokenizer_config.json and config.tokenizer_class first.
    auto.AutoTokenizer.register(ZhCLIPConfig, BertTokenizer, exist_ok=True)


_AFTER_IMPORT: dict[str, Callable[[ModuleType], None]] = {
    "transformers.models.auto.modeling_auto": _register_models,
    "transformers.models.auto.image_processing_auto": _register_image_processor,
    "transformers.models.auto.processing_auto": _register_processor,
    "transformers.models.auto.tokenization_auto": _register_tokenizer,
}


class _AfterImport(importlib.abc.MetaPathFinder):
    """Registers the classes of `_AFTER_IMPORT` right after a module's code has run."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in _AFTER_IMPORT:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_then_register(module: ModuleType) -> None:
            execute(module)
            _AFTER_IMPORT[fullname](module)

        # On the loader object, which belongs to this module alone, so that inspect still finds the source through it.
        spec.loader.exec_module = execute_then_register  # type: ignore[method-assign]
        return spec


_FINDER = _AfterImport()


def register() -> None:
    """Registers every class of hf_zhclip with the Auto classes; another call changes nothing."""
    AutoConfig.register(ZhCLIPConfig.model_type, ZhCLIPConfig, exist_ok=True)
    AutoConfig.register(ZhCLIPResNetConfig.model_type, ZhCLIPResNetConfig, exist_ok=True)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    for name, register_with in _AFTER_IMPORT.items():
        if name in sys.modules:
            register_with(sys.modules[name])
