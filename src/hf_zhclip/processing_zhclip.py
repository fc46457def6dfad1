"""The processor: a checkpoint's image processor and its tokenizer as a single callable."""

import logging
from typing import TYPE_CHECKING, Any

from .compat_zhclip import ProcessorMixin  # isort: skip  (first, because it refuses a release that is too old)

from transformers import BatchEncoding
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import ImageInput
from transformers.processing_utils import ProcessingKwargs, Unpack

from .configuration_zhclip import other_image_processor
from .saving_zhclip import SavesProcessorCode

if TYPE_CHECKING:  # not to check types: these lines bring all files, see saving_zhclip.py
    from .image_processing_zhclip import ZhCLIPImageProcessor  # noqa: F401
    from .modeling_zhclip import ZhCLIPModel  # noqa: F401
    from .modeling_zhclip_resnet import ZhCLIPResNetModel  # noqa: F401
    from .pictures_zhclip import FORMS  # noqa: F401
    from .typed_inputs_zhclip import Place  # noqa: F401

logger = logging.getLogger(__name__)


class ZhCLIPProcessorKwargs(ProcessingKwargs, total=False):  # type: ignore[call-arg]
    """The options of a call and their defaults."""

    _defaults = {"text_kwargs": {"padding": True, "truncation": True}}


class ZhCLIPProcessor(SavesProcessorCode, ProcessorMixin):
    """Turns texts and pictures into the inputs of a ZhCLIPModel.

    Texts are padded to the longest text of the call (`padding="max_length"` pads to the limit). They are cut at the
    tokenizer's `model_max_length`. The first cut is logged as a warning.
    """

    valid_processor_kwargs = ZhCLIPProcessorKwargs

    def __init__(self, image_processor=None, tokenizer=None):
        super().__init__(image_processor, tokenizer)
        if tokenizer is not None and tokenizer._auto_class is None:
            # An older repo's own copy of this class wrote auto_map into tokenizer_config.json.
            tokenizer.init_kwargs.pop("auto_map", None)
        self._warned_of_a_cut = False

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        """Loads the processor of a converted repository; see `ProcessorMixin.from_pretrained`.

        AutoProcessor finds a processor by the name of its class, and a class of ZH-CLIP has the same name. A folder of
        ZH-CLIP is handed over to ZH-CLIP's class if AutoProcessor knows that class.

        Raises:
            ValueError: the folder's image processor is not this package's.
        """
        # The name of a pipeline tells the image processor that not every option is meant for it.
        shared = {"_from_pipeline": "processor", **kwargs}
        processor = super().from_pretrained(pretrained_model_name_or_path, **shared)
        if hasattr(processor.image_processor, "image_order"):
            return processor
        if kwargs.get("_from_auto") and (other := cls._of_other_project()):
            return other.from_pretrained(pretrained_model_name_or_path, **kwargs)
        found = type(processor.image_processor).__name__
        raise ValueError(other_image_processor(pretrained_model_name_or_path, found))

    @classmethod
    def _of_other_project(cls) -> type[ProcessorMixin] | None:
        from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

        named = (each for each in PROCESSOR_MAPPING._extra_content.values() if each.__name__ == cls.__name__)
        return next((each for each in named if each is not cls), None)

    def __call__(
        self,
        images: ImageInput | None = None,
        text: str | list[str] | list[list[str]] | None = None,
        **kwargs: Unpack[ZhCLIPProcessorKwargs],
    ) -> BatchFeature:
        """Prepares texts, pictures, or both.

        Args:
            images: one picture or a list, in any form that the image processor takes.
            text: one string or a list of strings.
            **kwargs: options of the tokenizer and of the image processor, such as `return_tensors="pt"`. `device`
                moves the whole result.

        Returns:
            `input_ids` and `attention_mask`, `(texts, length)`, and `token_type_ids` if the tokenizer gives them;
            `pixel_values`, `(pictures, 3, height, width)`. An empty list gives no rows.

        Raises:
            TypeError: an option is given that neither the tokenizer nor the image processor has.
            ValueError: neither texts nor pictures are given, or an option has no valid value.
        """
        if images is None and text is None:
            raise ValueError(
                "found neither text nor images; give at least one of them: processor(text=[...], images=[...])."
            )
        self._refuse_unknown(kwargs)
        options = self._merge_kwargs(ZhCLIPProcessorKwargs, tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        device = options["images_kwargs"].pop("device", None)
        if device is not None and options["images_kwargs"].get("return_tensors") != "pt":
            raise ValueError(f'found device={device!r} without return_tensors="pt"; only tensors lie on a device.')
        inputs: dict = {}
        if text is not None:
            inputs |= tokenize(self, self.tokenizer, text, **options["text_kwargs"])
        if images is not None:
            inputs |= self.image_processor(images, **options["images_kwargs"])
        prepared = BatchFeature(inputs)
        return prepared if device is None else prepared.to(device)

    def _refuse_unknown(self, given: dict[str, Any]) -> None:
        # transformers logs that it leaves such an option out, and then goes on.
        kinds = ZhCLIPProcessorKwargs.__annotations__
        options = (
            self.image_processor.valid_kwargs.__annotations__.keys() | kinds["text_kwargs"].__annotations__.keys()
        )
        if unknown := sorted(given.keys() - options - kinds.keys() - {"common_kwargs"}):
            raise TypeError(
                f"found the option {', '.join(unknown)}, which neither the tokenizer nor the image processor has. "
                "Texts are given as text=[...], and pictures as images=[...]."
            )

    @property
    def model_input_names(self) -> list[str]:
        """The names of everything that a call can return."""
        return [*self.tokenizer.model_input_names, *self.image_processor.model_input_names]


def tokenize(owner: Any, tokenizer: Any, text: Any, **options: Any) -> dict[str, Any]:
    """Tokenises a text or a list of texts; an empty list gives no rows.

    Args:
        owner: the object that remembers that a cut was told: the first cut of each owner is logged.
        tokenizer: the tokenizer.
        text: a text, or a list or tuple of texts.
        **options: the options of the tokenizer's call.
    """
    # An empty list has no longest text; a list of one empty text has, and its row is taken out again.
    empty = isinstance(text, list | tuple) and not text
    encoding = tokenizer([""] if empty else text, **options)
    if empty:
        return {name: rows[:0] for name, rows in encoding.items()}
    _warn_of_a_cut(owner, encoding, options.get("max_length") or tokenizer.model_max_length)
    return dict(encoding)


def _warn_of_a_cut(owner: Any, encoding: BatchEncoding, limit: int) -> None:
    if getattr(owner, "_warned_of_a_cut", False):
        return
    rows = encoding.encodings or []
    if cut := sum(bool(row.overflowing) for row in rows):
        owner._warned_of_a_cut = True
        logger.warning(
            "%d of %d texts have more than %d tokens, the first and the last token included, and were cut. To "
            "keep more, raise processor.tokenizer.model_max_length, up to the positions of the text tower. "
            "Lengths that the text tower was not trained with may give worse embeddings. This warning appears "
            "once.",
            cut,
            len(rows),
            limit,
        )


def normalize_evaluation_text(text: str) -> str:
    """Prepares a text as cn_clip's training and evaluation do before they tokenise it.

    Lower-cases the text, and replaces curly double quotes, which the vocabulary lacks, by `"`. Neither cn_clip's
    public `tokenize` nor a converted repo does this. Call this function to reproduce published retrieval figures.

    Source: `_preprocess_text` in cn_clip/training/data.py and cn_clip/eval/data.py.
    """
    return text.lower().replace("\N{LEFT DOUBLE QUOTATION MARK}", '"').replace("\N{RIGHT DOUBLE QUOTATION MARK}", '"')
