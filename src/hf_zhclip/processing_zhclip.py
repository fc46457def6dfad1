"""The processor: a checkpoint's image processor and its tokenizer as a single callable."""

import logging

from .compat_zhclip import ProcessorMixin  # isort: skip  (first, because it refuses a release that is too old)

from transformers import BatchEncoding
from transformers.image_processing_utils import BatchFeature
from transformers.processing_utils import ProcessingKwargs, Unpack

from .configuration_zhclip import other_image_processor
from .saving_zhclip import SavesProcessorCode

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
        processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
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

    def __call__(self, images=None, text=None, **kwargs: Unpack[ZhCLIPProcessorKwargs]) -> BatchFeature:
        """Prepares texts, pictures, or both.

        Args:
            images: one picture or a list, in any form that the image processor takes.
            text: one string or a list of strings.
            **kwargs: options of the tokenizer and of the image processor, such as `return_tensors="pt"`.

        Returns:
            `input_ids` and `attention_mask`, `(texts, length)`, and `token_type_ids` if the tokenizer gives them;
            `pixel_values`, `(pictures, 3, height, width)`.

        Raises:
            ValueError: neither texts nor pictures are given.
        """
        if images is None and text is None:
            raise ValueError(
                "found neither text nor images; give at least one of them: processor(text=[...], images=[...])."
            )
        options = self._merge_kwargs(ZhCLIPProcessorKwargs, tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        inputs: dict = {}
        if text is not None:
            encoding = self.tokenizer(text, **options["text_kwargs"])
            self._warn_of_a_cut(encoding, options["text_kwargs"].get("max_length"))
            inputs |= encoding
        if images is not None:
            inputs |= self.image_processor(images, **options["images_kwargs"])
        return BatchFeature(inputs)

    @property
    def model_input_names(self) -> list[str]:
        """The names of everything that a call can return."""
        return [*self.tokenizer.model_input_names, *self.image_processor.model_input_names]

    def _warn_of_a_cut(self, encoding: BatchEncoding, max_length: int | None) -> None:
        if self._warned_of_a_cut:
            return
        rows = encoding.encodings or []
        if cut := sum(bool(row.overflowing) for row in rows):
            self._warned_of_a_cut = True
            logger.warning(
                "%d of %d texts have more than %d tokens, the first and the last token included, and were cut. To "
                "keep more, raise processor.tokenizer.model_max_length, up to the positions of the text tower. "
                "Lengths that the text tower was not trained with may give worse embeddings. This warning appears "
                "once.",
                cut,
                len(rows),
                max_length or self.tokenizer.model_max_length,
            )


def normalize_evaluation_text(text: str) -> str:
    """Prepares a text as cn_clip's training and evaluation do before they tokenise it.

    Lower-cases the text, and replaces curly double quotes, which the vocabulary lacks, by `"`. Neither cn_clip's
    public `tokenize` nor a converted repo does this. Call this function to reproduce published retrieval figures.

    Source: `_preprocess_text` in cn_clip/training/data.py and cn_clip/eval/data.py.
    """
    return text.lower().replace("\N{LEFT DOUBLE QUOTATION MARK}", '"').replace("\N{RIGHT DOUBLE QUOTATION MARK}", '"')


def _files_that_come_along() -> None:
    """Is never called; `CODE_FILES` in saving_zhclip.py says why it is here."""
    from .image_processing_zhclip import ZhCLIPImageProcessor  # noqa: F401
    from .modeling_zhclip import ZhCLIPModel  # noqa: F401
    from .modeling_zhclip_resnet import ZhCLIPResNetModel  # noqa: F401
