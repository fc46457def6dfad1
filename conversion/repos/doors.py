"""Files for readers without hf_zhclip: the model's code, sentence-transformers' files, older readers' files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_zhclip.json_files import read_json
from hf_zhclip.saving_zhclip import AUTO_MAPS, CODE_FILES, CODE_VERSION, VERSION_FIELD, write_code

from ..errors import InputError
from ..tokenizers.vocabularies import BERT_SETTINGS
from .repo import is_text_alone
from .write import write_json

NO_CODE = {"AutoProcessor": "import_hf_zhclip_first.ZhCLIPProcessor"}
"""The auto_map of processor_config.json in a repo without code: a file that is not there.

Without it, AutoProcessor of a reader without hf_zhclip would give the tokenizer alone, which drops pictures in
silence. With it, AutoProcessor ends in an error that names this file.
"""

SENTENCE_TRANSFORMERS: dict[str, Any] = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Normalize",
            "type": "sentence_transformers.base.modules.normalize.Normalize",
        },
    ],
    "sentence_bert_config.json": {
        "transformer_task": "feature-extraction",
        "modality_config": {
            "text": {"method": "get_text_features", "method_output_name": "pooler_output"},
            "image": {"method": "get_image_features", "method_output_name": "pooler_output"},
        },
        "module_output_name": "sentence_embedding",
        # Flash attention would join a batch's texts into one sequence, and the pooling would find only one text's
        # start.
        "unpad_inputs": False,
    },
    "config_sentence_transformers.json": {
        "model_type": "SentenceTransformer",
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    },
}
"""File name -> content, as sentence-transformers 6 writes it: the projected vectors, then L2 normalisation."""


def add_code(folder: Path) -> None:
    """Makes a saved repo load with `trust_remote_code=True` if hf_zhclip is not installed, as saving does.

    Copies the modules, and names their classes in config.json and, if the model takes pictures, in
    processor_config.json. The tokenizer is transformers' own and needs no code.
    """
    write_code(folder)
    config = read_json(folder / "config.json")
    model = "ZhCLIPTextModel" if is_text_alone(config) else "ZhCLIPModel"
    write_json(folder / "config.json", {**config, "auto_map": AUTO_MAPS[model], VERSION_FIELD: CODE_VERSION})
    _map_processor(folder, AUTO_MAPS["ZhCLIPProcessor"], {"auto_map": AUTO_MAPS["ZhCLIPImageProcessor"]})


def remove_code(folder: Path) -> None:
    """Takes out of a saved repo the code that saving wrote; the repo then needs hf_zhclip, and says so."""
    for name in CODE_FILES:
        (folder / name).unlink(missing_ok=True)
    config = read_json(folder / "config.json")
    kept = {name: value for name, value in config.items() if name not in ("auto_map", VERSION_FIELD)}
    write_json(folder / "config.json", kept)
    _map_processor(folder, NO_CODE, {})


def _map_processor(folder: Path, auto_map: Mapping[str, str], of_images: Mapping[str, Any]) -> None:
    """Writes the auto_map of the processor and of its image processor, if the repo has them."""
    path = folder / "processor_config.json"
    if not path.is_file():
        return
    processor = read_json(path)
    pictures = {name: value for name, value in processor["image_processor"].items() if name != "auto_map"}
    write_json(path, {**processor, "image_processor": {**pictures, **of_images}, "auto_map": auto_map})


def add_sentence_transformers(folder: Path) -> None:
    """Makes `SentenceTransformer(folder)` embed texts and images as L2-normalised vectors."""
    for name, content in SENTENCE_TRANSFORMERS.items():
        write_json(folder / name, content)


def add_legacy(folder: Path, processor: Any) -> None:
    """Writes the processor's files in the form of transformers 4 and other readers, beside the new files.

    preprocessor_config.json names a stock image processor, for readers that cannot read processor_config.json. It
    supports only RGB pictures. If the crop must split an odd number of pixels, it may lie one pixel beside the crop of
    `crop_then_rgb`. tokenizer_config.json is changed so that both versions read the same tokenizer.json. vocab.txt is
    written for a WordPiece tokenizer.

    Args:
        folder: the folder in which `processor` was saved.
        processor: a ZhCLIPProcessor, or a processor of transformers' own; for a text tower alone, its tokenizer.

    Raises:
        InputError: the vocabulary cannot be written as lines; in this case nothing is written.
    """
    takes_pictures = hasattr(processor, "image_processor")
    tokenizer = processor.tokenizer if takes_pictures else processor
    backend = read_json(folder / "tokenizer.json")
    vocab = _vocabulary_lines(tokenizer.get_vocab()) if backend["model"]["type"] == "WordPiece" else None
    if vocab is not None:
        (folder / "vocab.txt").write_bytes(vocab.encode())
    write_json(folder / "special_tokens_map.json", tokenizer.special_tokens_map)
    if takes_pictures:
        write_json(folder / "preprocessor_config.json", stock_image_processor(processor.image_processor))
    config = read_json(folder / "tokenizer_config.json")
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"  # transformers 4's name for the same class
    write_json(folder / "tokenizer_config.json", {**config, **_bert_settings(backend["normalizer"])})


def _vocabulary_lines(ids: Mapping[str, int]) -> str:
    tokens = sorted(ids, key=ids.__getitem__)
    if sorted(ids.values()) != list(range(len(ids))):
        raise InputError(
            f"The {len(ids)} tokens do not have the ids 0 to {len(ids) - 1}, each once, so no vocab.txt can hold the "
            "tokens. Leave out --also-legacy."
        )
    if broken := [token for token in tokens if set(token) & set("\r\n")]:
        raise InputError(
            f"The token {broken[0]!r} holds a line break, so no vocab.txt can hold the token. Leave out --also-legacy."
        )
    return "".join(f"{token}\n" for token in tokens)


def stock_image_processor(image_processor: Any) -> dict[str, Any]:
    """The fields of preprocessor_config.json: the stock class that comes nearest to an image processor."""
    from hf_zhclip.image_processing_zhclip import SQUARE_ORDERS, ZhCLIPImageProcessor

    if not isinstance(image_processor, ZhCLIPImageProcessor):
        return image_processor.to_dict()
    size = {"height": image_processor.size.height, "width": image_processor.size.width}
    crops = image_processor.image_order in SQUARE_ORDERS
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": size["height"]} if crops else size,
        "resample": int(image_processor.resample),
        "do_center_crop": crops,
        "crop_size": size,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(image_processor.image_mean),
        "image_std": list(image_processor.image_std),
    }


def _bert_settings(normalizer: Mapping[str, Any] | None) -> dict[str, Any]:
    """What transformers 4's BertTokenizerFast sets in the normaliser, whatever tokenizer.json states."""
    if normalizer is None or normalizer["type"] != "BertNormalizer":
        return {}
    return {setting: normalizer[name] for setting, (name, _) in BERT_SETTINGS.items()}
