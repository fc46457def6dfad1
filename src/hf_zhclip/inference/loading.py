"""A converted repo -> its model and its processor."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..amounts import shown_amount
from ..configuration_zhclip import ZhCLIPConfig
from ..errors import InputError, WorkError, ZhclipError, is_fault
from ..hub import exchange
from ..hub_files import check_room, sizes_to_fetch
from ..json_files import brief, is_kind, read_json
from ..repo_files import INDEX, check_files
from ..repo_files import WEIGHTS as WHOLE
from ..steady import steady

WANTED = "ZhCLIPModel"
"""The class of a repo with both towers."""

LEAST_TOKENS = 3
"""The shortest text: the first token, a word and the last token."""

EXPORT = "zhclip_onnx.json"
"""The file that each plain ONNX export holds."""


def load_pair(
    repo: str, context_length: int | None = None, *, device_map: Any = None, dtype: str | torch.dtype = "auto"
) -> tuple[Any, Any]:
    """Loads the model and the processor, from a folder or a hub.

    What needs no weights is checked before they are read. No code of the repo runs.

    Args:
        repo: a folder, or a name on the hub.
        context_length: the longest text in tokens that the model has to take.
        device_map: as for transformers; by default the CPU.
        dtype: as for transformers; by default the dtype that the repo states.

    Raises:
        InputError: the place is no converted repo of both towers, or has fewer positions than `context_length`.
    """
    folder, _ = located(repo)
    if _is_ours(folder):
        check_files(folder)
    with _loading(repo):
        _check_length(context_length, _config(repo, folder).max_text_positions)
        model, processor = _load(repo, folder, device_map, dtype)
        _check_tokenizer(repo, processor.tokenizer, model.config, context_length)
        _check_pictures(repo, processor.image_processor, model.config)
        return model, processor


def check_place(repo: str) -> None:
    """Refuses what is neither a path that exists nor a name on the hub.

    Raises:
        InputError: see above.
    """
    if not os.path.exists(repo) and repo.count("/") != 1:
        raise InputError(
            f"{repo} does not exist; a folder that `zhclip convert SOURCE OUT` made, or user/repo on the hub, was "
            "wanted."
        )


def _is_ours(folder: Path) -> bool:
    """Whether a folder's config.json states our model type; another folder is refused by what it holds."""
    file = folder / "config.json"
    return file.is_file() and read_json(file).get("model_type") == ZhCLIPConfig.model_type


TEXTS = (
    *("config.json", "processor_config.json", "preprocessor_config.json", "conversion_report.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "model.safetensors.index.json"),
    "adapter_config.json",  # which no converted repo has: it is refused, as in a folder
)
WEIGHTS = ("model.safetensors", "model-*.safetensors")
"""The files of a repo on the hub that are fetched, as patterns: what loading reads, and no code or pickle."""


def located(repo: str, revision: str | None = None) -> tuple[Path, str | None]:
    """The folder of a repo, and its commit if it is on the hub; then its files are fetched into the hub's cache.

    Args:
        repo: a folder, or a name on the hub.
        revision: the commit on the hub; by default the newest.

    Raises:
        InputError: there is no such place, or the hub holds no converted repo of both towers there.
        WorkError: the hub cannot be asked.
    """
    check_place(repo)
    if os.path.exists(repo):  # not Path.exists, which raises for a name that is too long
        return Path(repo), None
    from huggingface_hub import constants, model_info, snapshot_download

    with _loading(repo), _asking(repo), exchange():
        # Some releases ask for the files of a commit in offline mode, too, unless they are told.
        offline = constants.HF_HUB_OFFLINE
        place = snapshot_download(repo, revision=revision, allow_patterns=list(TEXTS), local_files_only=offline)
        folder = Path(place)
        _is_ours(folder)  # our reader's limits come first: transformers has none
        _config(repo, folder)  # before the weights are fetched
        if not _has_weights(folder):
            if not offline:
                described = model_info(repo, revision=folder.name, files_metadata=True)
                sizes = sizes_to_fetch(repo, folder.name, described, WEIGHTS)
                check_room(repo, sizes, constants.HF_HUB_CACHE)
            snapshot_download(repo, revision=folder.name, allow_patterns=list(WEIGHTS), local_files_only=offline)
    return folder, folder.name


def _has_weights(folder: Path) -> bool:
    """Whether the weights lie in the cache already; then nobody is asked for them."""
    index = folder / INDEX
    content = read_json(index).get("weight_map") if index.is_file() else None
    names = content.values() if isinstance(content, dict) else (WHOLE,)
    return all((folder / str(name)).is_file() for name in names)


@contextmanager
def _asking(repo: str) -> Iterator[None]:
    """Tells a hub that gave no answer; `_loading` tells what the hub said.

    Raises:
        InputError: the repo is not in the cache, and offline mode is on.
        WorkError: the hub did not answer, or stopped answering.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError

    try:
        yield
    except Exception as error:
        if constants.HF_HUB_OFFLINE and isinstance(error, LocalEntryNotFoundError):
            raise InputError(
                f"{repo} is no path here, and does not lie in the hub's cache; HF_HUB_OFFLINE forbids to fetch it. "
                "Name a folder that `zhclip convert SOURCE OUT` made, or run the command once without HF_HUB_OFFLINE."
            ) from error
        chain: list[BaseException] = [error]
        while chain[-1].__cause__ is not None:
            chain.append(chain[-1].__cause__)
        lost = [each for each in chain if isinstance(each, HTTPError | TimeoutError)]
        answered = any(getattr(each, "response", None) is not None for each in lost)
        if not lost or answered or constants.HF_HUB_OFFLINE:
            raise
        raise WorkError(
            f"The hub at {constants.ENDPOINT} did not answer, or stopped answering, when it was asked for {repo}: "
            f"{lost[0]}. Check the network (HF_ENDPOINT, HTTPS_PROXY), then run the command again."
        ) from error


DECIDING = (
    *("config.json", "processor_config.json", "preprocessor_config.json", "zhclip_onnx.json"),
    *("tokenizer.json", "tokenizer_config.json", "*.safetensors", "*.bin", "*.onnx", "*.onnx_data"),
)
"""The files of a repo or of an export that decide the numbers of its vectors, as patterns."""


def file_hashes(folder: Path) -> dict[str, str]:
    """The sha256 of each file of a repo or of an export that decides the numbers of its vectors, by its name.

    Raises:
        OSError: a file cannot be read.
    """
    files = sorted({file for pattern in DECIDING for file in folder.glob(pattern) if file.is_file()})
    return {file.name: _sha256(file) for file in files}


def _sha256(file: Path) -> str:
    found = hashlib.sha256()
    with steady(file) as content, shown_amount(f"Hashing {file.name}", file.stat().st_size) as advance:
        while block := content.read(2**22):
            found.update(block)
            advance(len(block))
    return found.hexdigest()


@contextmanager
def _loading(repo: str) -> Iterator[None]:
    try:
        yield
    except (ZhclipError, MemoryError):
        raise
    except BaseException as error:  # transformers and its validators raise many kinds
        if not is_fault(error):
            raise
        raise InputError(
            f"{repo} does not load: {str(error).rstrip('.')}. A repo was wanted that `zhclip convert SOURCE OUT` made."
        ) from error


def _config(repo: str, folder: Path) -> ZhCLIPConfig:
    """The config of a repo, whose files lie in `folder`.

    Raises:
        InputError: it is none of a model with both towers.
    """
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():  # transformers has no word for what it found instead
        found = "is a file" if folder.is_file() else "has no config.json"
        raise InputError(f"{repo} {found}; a folder was wanted that `zhclip convert SOURCE OUT` made.")
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    found = (config.architectures or [config.model_type])[0]
    if not isinstance(config, ZhCLIPConfig) or found != WANTED:
        raise InputError(
            f"{repo} holds the model {brief(found)}; a repo with both towers ({WANTED}) was wanted. `zhclip convert "
            "SOURCE OUT` makes it."
        )
    return config


def _load(repo: str, folder: Path, device_map: Any, dtype: str | torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoProcessor

    from .. import ZhCLIPModel

    model, found = ZhCLIPModel.from_pretrained(folder, dtype=dtype, device_map=device_map, output_loading_info=True)
    if missing := sorted(map(str, (*found["missing_keys"], *found["mismatched_keys"]))):
        raise InputError(
            f"{repo} lacks {len(missing)} weights, such as {missing[0]}; their values would be drawn at random. "
            "Convert or fetch the repo again."
        )
    model.name_or_path = model.config.name_or_path = repo  # PEFT notes it; a folder of the cache would help nobody
    return model, AutoProcessor.from_pretrained(folder, trust_remote_code=False)


def _check_tokenizer(repo: str, tokenizer: Any, config: ZhCLIPConfig, context_length: int | None) -> None:
    """Refuses a tokenizer that fails when it is used, or that gives ids or lengths for which the model has no rows.

    Raises:
        InputError: see above.
        Exception: the tokenizer fails.
    """
    longest, positions = tokenizer.model_max_length, config.max_text_positions
    if context_length is None and not (is_kind(longest, (int,)) and LEAST_TOKENS <= longest <= positions):
        raise InputError(
            f"{repo} cuts texts at {brief(longest)} tokens, but its text tower takes {LEAST_TOKENS} to {positions}. "
            "Correct model_max_length in tokenizer_config.json."
        )
    # No token for padding, or for the unknown rune: such faults show in use alone.
    found = tokenizer(["", "a\u16a0"], padding=True, truncation=True)["input_ids"]
    highest, rows = max(*tokenizer.get_vocab().values(), *chain.from_iterable(found)), config.text_config.vocab_size
    if highest >= rows:
        raise InputError(
            f"{repo} has a tokenizer that gives ids up to {highest}, but its model has only {rows} rows for words. "
            "The two are of different models."
        )


def _check_pictures(repo: str, image_processor: Any, config: ZhCLIPConfig) -> None:
    """Refuses an image processor whose pictures have another size than those of the model.

    Raises:
        InputError: see above.
        Exception: the image processor fails.
    """
    pixels = image_processor([Image.new("RGB", (2, 1))], return_tensors="np")["pixel_values"]
    (height, width), size = pixels.shape[-2:], config.vision_config.image_size
    if (height, width) != (size, size):
        raise InputError(
            f"{repo} has an image processor that gives pictures of {width} x {height} pixels, but its model takes "
            f"{size} x {size}. The two are of different models."
        )


def _check_length(length: int | None, positions: int) -> None:
    """Refuses a context length that the text tower does not have.

    Raises:
        InputError: see above.
    """
    if length is not None and not LEAST_TOKENS <= length <= positions:
        raise InputError(
            f"found --context-length {length}; {LEAST_TOKENS} to {positions} was wanted: the text tower has no more."
        )


def check_path(path: Any, name: str, wanted: str) -> str:
    """The text of a path that an argument gives.

    Args:
        path: what the caller gave.
        name: the argument's name.
        wanted: what the path should lead to.

    Raises:
        InputError: it is no path, or is empty.
    """
    found = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(found, str):
        raise InputError(f"found {name} of the type {type(path).__name__}; {wanted} was wanted, a text or a Path.")
    if not found:
        raise InputError(f"found an empty text as {name}; {wanted} was wanted.")
    return found


def best_device() -> str:
    """A CUDA device if there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(device: Any) -> None:
    """Refuses a device, given as --device, on which nothing can be computed here.

    Raises:
        InputError: see above.
    """
    if trouble := trouble_with(device):
        raise InputError(
            f"found --device {device}, which this machine does not have: {trouble}. Try cpu."
        ) from trouble


def trouble_with(device: Any) -> Exception | None:
    """Why nothing can be computed on a device; None if it can."""
    try:
        torch.zeros(1, device=device).tolist()  # "meta" makes a tensor, but has no numbers
    except (RuntimeError, AssertionError) as error:
        return error
    return None
