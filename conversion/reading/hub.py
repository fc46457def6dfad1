"""SOURCE as users write it -> a local path: an existing file, a name in the catalogue, or an id on a hub."""

import os
import re
import shlex
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from hf_zhclip.hub import NONSENSE, exchange
from hf_zhclip.hub_files import check_room, sizes_to_fetch
from hf_zhclip.telling import near

from ..errors import InputError, ZhclipError
from . import catalogue, hub_modelscope, modules_json
from .files import REPORT
from .hints import WEIGHT_SUFFIXES, dangling
from .hub_errors import explain
from .pickles import some
from .read import (
    OPEN_CLIP_CONFIG,
    OPEN_CLIP_WEIGHTS,
    REFUSED_FOLDERS,
    WEIGHTS,
    Checkpoint,
    is_transformers,
    read,
    refuse_marked,
)

PARTS = (".distcp", "_model_states.pt", "_optim_states.pt")
"""File suffixes of torch.distributed.checkpoint and of DeepSpeed."""

HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<file>[^:]+))?")
SNAPSHOT = re.compile(r"/snapshots/(?P<commit>[0-9a-f]{40})(/|$)")
"""The folder of one commit in the hub's cache."""

BESIDE = (
    *("config.json", OPEN_CLIP_CONFIG, "text_model_config.json", "vision_model_config.json"),
    *("preprocessor_config.json", "processor_config.json", REPORT),
    *("vocab.txt", "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *(modules_json.FILE, modules_json.SETTINGS, *modules_json.TRANSFORMER_CONFIGS),
)
"""Small files that a folder's weights need."""


def locate(source: str | Path) -> Path:
    """The local path of a source; a source on the hub is downloaded into the hub's own cache.

    Raises:
        InputError: nothing with this name exists, locally or on the hub.
        WorkError: the hub cannot be reached.
    """
    path = _expanded(source) if str(source) else None
    if path is not None and os.path.exists(path):
        return path
    if path is not None and (link := dangling(path)):
        raise InputError(link)
    # A catalogue name means what was published under it. A hub id means what lies there now.
    entry = None if "/" in str(source) else published(source)
    if entry and entry.published.by_hand:
        raise InputError(_by_hand(entry))
    named = hub_id(source)
    if named.startswith(catalogue.MODELSCOPE):
        return hub_modelscope.download(named)
    match = HUB_ID.fullmatch(named)
    if match is None or str(source).startswith((".", "/", "~")):
        raise InputError(
            f"{source} does not exist.{_near(str(source))} Wanted: a file, a folder, a name that `zhclip list` "
            "prints, user/repo[:file] on the hub, or modelscope:user/repo[:file]."
        )
    return _download(match["repo"], match["file"], entry.published.revision if entry else None)


def hub_id(source: str | Path) -> str:
    """The source as the hub names it: the entry's source for a catalogue name, else the source itself."""
    entry = published(source)
    return entry.source if entry else str(source)


def published(source: str | Path) -> catalogue.Entry | None:
    """The catalogue's entry for a source, by name or by place of publication; None if a local path exists."""
    name = str(source)
    if not name or ((path := _expanded(source)) is not None and os.path.exists(path)):
        return None
    if match := hub_modelscope.ID.fullmatch(name):
        return catalogue.find_by_hub(catalogue.MODELSCOPE + match["repo"], match["file"])
    match = HUB_ID.fullmatch(name)
    return catalogue.find_by_hub(match["repo"], match["file"]) if match else catalogue.find(name)


def _by_hand(entry: catalogue.Entry) -> str:
    return (
        f"{entry.name} is published at {entry.published.url}, and is not downloaded automatically. Download "
        f"{entry.published.file} from the page, and run `{shlex.join(entry.command('OUT'))}` in the file's folder."
    )


def _near(name: str) -> str:
    """Proposes names of the catalogue, or places where its entries are published, that a mistyped name resembles."""
    found = catalogue.entries()
    if "/" in name:
        return near(name, (each.published.repo for each in found if each.published.on_hub))
    return near(name, (known for each in found for known in (each.name, *each.aliases)))


def _expanded(source: str | Path) -> Path | None:
    try:
        return Path(source).expanduser()
    except RuntimeError:  # `~somebody`, a user without a home folder on this machine
        return None


def read_source(source: str | Path) -> Checkpoint:
    """Reads a source as users write it; a source from the hub keeps its hub name instead of a cache folder's name."""
    path = locate(source)
    if path == _expanded(source):
        return read(path)
    snapshot = SNAPSHOT.search(path.as_posix())
    return replace(read(path), hub_id=hub_id(source), revision=snapshot["commit"] if snapshot else "")


def _download(repo: str, file: str | None, revision: str | None) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    hub_modelscope.check_inside(repo, file)
    try:
        with exchange():
            if file is not None:
                return Path(huggingface_hub.hf_hub_download(repo, file, revision=revision))
            return Path(_download_folder(huggingface_hub, repo, revision))
    except errors.GatedRepoError as error:
        raise explain(error, repo) from error
    except (errors.HFValidationError, errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise InputError(
            f"{repo} does not exist: it is no file or folder here, and no public repository on the hub (for a private "
            f"repository, log in with `hf auth login`).{_near(repo)}"
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        wanted = f"file {file}" if file else "file that was listed a moment ago"
        raise InputError(f"{repo} has no {wanted}. Look at its files, and name a file as {repo}:FILE.") from error
    # HTTPError is httpx's or httpx2's, whichever this huggingface_hub uses. A system error here comes from the cache.
    except ZhclipError:
        raise
    except (errors.HTTPError, OSError, RuntimeError, *NONSENSE) as error:
        told = explain(error, repo)
        raise type(told)(
            f"{repo} could not be downloaded, and is not in the cache. {told} If you meant a file or a folder: there "
            f"is none at {repo}."
        ) from error


def _download_folder(huggingface_hub, repo: str, revision: str | None) -> str:
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        # Without patterns it refuses a snapshot with files that were never downloaded. Reading finds missing weights.
        return huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=[*BESIDE, *REFUSED_FOLDERS])
    described = huggingface_hub.model_info(repo, revision=revision, files_metadata=True)
    names = {sibling.rfilename for sibling in described.siblings or ()}
    first, *behind = _module_folders(huggingface_hub, repo, revision) if modules_json.FILE in names else [""]
    weights = next((name for name in WEIGHTS if first + name in names), None)
    own = next((name for name in OPEN_CLIP_WEIGHTS if first + name in names), None)
    if own and not (weights and "config.json" in names and _is_transformers(huggingface_hub, repo, revision)):
        weights = own
    if weights is None:
        refuse_marked(repo, names)
        _refuse_parts(repo, names)
        files = sorted(name for name in names if name.endswith(WEIGHT_SUFFIXES))
        hint = f"It holds {', '.join(files)}: name a file as {repo}:FILE." if files else "It holds no weights."
        raise InputError(f"{repo} holds none of {', '.join((*WEIGHTS, *OPEN_CLIP_WEIGHTS))}. {hint}")
    small = [folder + name for folder in dict.fromkeys(("", first, *behind)) for name in BESIDE]
    projection = [folder + name for folder in behind for name in _preferred(modules_json.DENSE_WEIGHTS, folder, names)]
    large = [first + pattern for pattern in _weight_patterns(weights)]
    patterns = [*small, *REFUSED_FOLDERS, *large, *projection]
    sizes = sizes_to_fetch(repo, revision, described, patterns)
    check_room(repo, sizes, huggingface_hub.constants.HF_HUB_CACHE)
    return huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=patterns)


def _refuse_parts(repo: str, names: Iterable[str]) -> None:
    """Refuses a single file of a checkpoint that training split into many files; only the whole folder is usable."""
    if parts := sorted(name for name in names if name.endswith(PARTS)):
        raise InputError(
            f"{repo} holds a training checkpoint in parts ({some(parts)}), which is not downloaded automatically. Run "
            f"`hf download {repo} --local-dir FOLDER`, and name the folder that then holds the parts."
        )


def _is_transformers(huggingface_hub, repo: str, revision: str | None) -> bool:
    return is_transformers(Path(huggingface_hub.hf_hub_download(repo, "config.json", revision=revision)).parent)


def _module_folders(huggingface_hub, repo: str, revision: str | None) -> list[str]:
    """The folders of a sentence-transformers repository's modules, each "" or with its slash."""
    file = Path(huggingface_hub.hf_hub_download(repo, modules_json.FILE, revision=revision))
    return [f"{module.path}/" if module.path else "" for module in modules_json.parse(file)] or [""]


def _preferred(weights: Iterable[str], folder: str, names: Collection[str]) -> list[str]:
    return [name for name in weights if folder + name in names][:1]


def _weight_patterns(weights: str) -> Iterable[str]:
    if weights.endswith(".index.json"):
        stem, suffix = weights.removesuffix(".index.json").rsplit(".", 1)
        return weights, f"{stem}-*.{suffix}"
    return (weights,)
