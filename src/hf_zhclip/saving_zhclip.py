"""What saving adds to a folder: the code of all classes, and an auto_map that names the class that was saved.

A repository with this code loads where hf_zhclip is not installed, with `trust_remote_code=True`. The files in it are
copies of hf_zhclip's own files, byte for byte. `CODE_VERSION` says of which version.

transformers keeps a repo's file together with the files that it imports; older releases do not follow these files in
turn. Every file that an auto_map names therefore imports all files, those that it does not need under `TYPE_CHECKING`.
What was loaded from one file can then save all of them.
"""

import logging
import re
import shutil
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

CODE_VERSION = "0.1.0"
"""The version of hf_zhclip that this file and the files beside it belong to."""

VERSION_FIELD = "hf_zhclip_version"
"""The field of config.json that states `CODE_VERSION`, so that a version is known before any code is loaded."""

CODE_FILES = (
    "compat_zhclip.py",
    "configuration_zhclip.py",
    "image_processing_zhclip.py",
    "modeling_zhclip.py",
    "modeling_zhclip_resnet.py",
    "pictures_zhclip.py",
    "processing_zhclip.py",
    "saving_zhclip.py",
    "typed_inputs_zhclip.py",
)
"""Modules of hf_zhclip that import only each other from hf_zhclip, so that a repo can hold them.

transformers keeps a repo's file only with the files that its lines of import name; before 5.10 it does not follow the
lines of these files. Each file that an auto_map names therefore names all others.
"""

_CONFIG = {"AutoConfig": "configuration_zhclip.ZhCLIPConfig"}
_TOWERS = (
    "ZhCLIPTextModel",
    "ZhCLIPTextModelWithProjection",
    "ZhCLIPVisionModel",
    "ZhCLIPVisionModelWithProjection",
)

AUTO_MAPS: dict[str, dict[str, str]] = {
    "ZhCLIPModel": {
        **_CONFIG,
        "AutoModel": "modeling_zhclip.ZhCLIPModel",
        "AutoModelForZeroShotImageClassification": "modeling_zhclip.ZhCLIPModel",
    },
    **{tower: {**_CONFIG, "AutoModel": f"modeling_zhclip.{tower}"} for tower in _TOWERS},
    "ZhCLIPResNetModel": {
        "AutoConfig": "configuration_zhclip.ZhCLIPResNetConfig",
        "AutoModel": "modeling_zhclip_resnet.ZhCLIPResNetModel",
    },
    "ZhCLIPImageProcessor": {"AutoImageProcessor": "image_processing_zhclip.ZhCLIPImageProcessor"},
    "ZhCLIPProcessor": {"AutoProcessor": "processing_zhclip.ZhCLIPProcessor"},
}
"""Class that was saved -> the auto_map of its JSON file. A config counts as the model class that it names."""

_told: set[str] = set()


class SavesCode:
    """A config or a processor whose `save_pretrained` also writes the code.

    A model's `save_pretrained` calls its config's, so that a model needs nothing of its own.
    """

    def save_pretrained(self, save_directory, push_to_hub: bool = False, **kwargs):
        """Saves as every class of transformers does, with the code; see `PushToHubMixin` for the arguments."""
        repo = {name: kwargs.pop(name) for name in ("repo_id", "commit_message", "private") if name in kwargs}
        saved = self._save_settings(save_directory, **kwargs)
        write_code(save_directory)
        if push_to_hub:
            # transformers would upload the files before the code is there.
            repo_id = repo.pop("repo_id", Path(save_directory).name)
            self.push_to_hub(repo_id, token=kwargs.get("token"), **repo)  # type: ignore[attr-defined]
        return saved

    def _save_settings(self, save_directory, **kwargs):
        return super().save_pretrained(save_directory, **kwargs)  # type: ignore[misc]


class SavesConfigCode(SavesCode):
    """A config, whose auto_map names the model class in `architectures`."""

    def _save_settings(self, save_directory, **kwargs):
        saved, named = (self.architectures or ("",))[0], vars(self)  # type: ignore[attr-defined]
        before = {name: named[name] for name in ("auto_map", VERSION_FIELD) if name in named}
        named.pop("auto_map", None)
        named.update(
            {**({"auto_map": dict(AUTO_MAPS[saved])} if saved in AUTO_MAPS else {}), VERSION_FIELD: CODE_VERSION}
        )
        try:
            return super()._save_settings(save_directory, **kwargs)
        finally:
            for name in ("auto_map", VERSION_FIELD):
                named.pop(name, None)
            named.update(before)


class SavesProcessorCode(SavesCode):
    """A processor, whose auto_map names its own class."""

    def to_dict(self, **kwargs) -> dict[str, Any]:
        """Every setting, and the auto_map."""
        fields = super().to_dict(**kwargs)  # type: ignore[misc]
        fields.pop("auto_map", None)
        auto_map = AUTO_MAPS.get(type(self).__name__)
        return fields if auto_map is None else {**fields, "auto_map": dict(auto_map)}

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = None) -> None:
        """Does nothing. transformers calls this on a repo's own classes so that saving copies their code."""


def write_code(folder) -> None:
    """Copies `CODE_FILES` into a folder, and gives its tokenizer's class the name that transformers 4 knows, too."""
    for name in CODE_FILES:
        shutil.copyfile(Path(__file__).with_name(name), Path(folder) / name)
    settings = Path(folder) / "tokenizer_config.json"
    if settings.is_file():
        text = settings.read_text(encoding="utf-8")
        named = text.replace('"tokenizer_class": "TokenizersBackend"', '"tokenizer_class": "PreTrainedTokenizerFast"')
        settings.write_text(named, encoding="utf-8")


def tell_of_newer_code(source, stated: Any) -> None:
    """Warns once of each version if a repo's code is newer than this code, which is used in its place."""
    if _numbers(stated) <= _numbers(CODE_VERSION) or stated in _told:
        return
    _told.add(stated)
    logger.warning(
        "%s holds the code of hf_zhclip %s. The hf_zhclip that is imported here is older (%s) and is used in its "
        "place. If a result is not what you expect, update hf_zhclip. This warning appears once.",
        source,
        stated,
        CODE_VERSION,
    )


def _numbers(version: Any) -> tuple[int, ...]:
    """The numbers of a version, such as 0.2.0 or 0.2.0rc1; nothing, if it is none: anybody can write the field."""
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,6}){1,3})(?:\.?[a-z]{1,4}[0-9]{1,6})?", str(version))
    return tuple(map(int, found[1].split("."))) if found else ()
