"""Run ModelScope's own CLIP once and keep what it gives: recorded/modelscope.json, and the keys of its models.

Its package asks for far more than the files that count. In the environment of `make parity`:

    pip download --no-deps modelscope==1.40.2
    unzip modelscope-1.40.2-py3-none-any.whl -d CHECKOUT
    python -m tests.parity.record_modelscope CHECKOUT

The model (models/multi_modal/clip) and the processing of texts and pictures (preprocessors/multi_modal.py) are
ModelScope's; what else those files import is replaced by stand-ins that compute nothing.
"""

import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import logging
import platform
import re
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from hf_zhclip.conversion.proof import samples

from tests.parity.peers import torchvision_transforms
from tests.parity.record_clip_chinese import VOCAB, rounded
from tests.parity.record_keys import FOLDER, _compact
from tests.weights import fingerprint, seeded_state_dict

RECORDED = Path(__file__).parent / "recorded" / "modelscope.json"
CLIP = "modelscope.models.multi_modal.clip"
REAL = f"{CLIP}.", "modelscope.metainfo", "modelscope.utils.constant", "modelscope.preprocessors.multi_modal"

TEXT = {
    "vocab_size": 21128,
    "text_attention_probs_dropout_prob": 0.1,
    "text_hidden_act": "gelu",
    "text_hidden_dropout_prob": 0.1,
    "text_hidden_size": 768,
    "text_initializer_range": 0.02,
    "text_intermediate_size": 3072,
    "text_max_position_embeddings": 512,
    "text_num_attention_heads": 12,
    "text_num_hidden_layers": 12,
    "text_type_vocab_size": 2,
}
LARGE_TEXT = {
    **TEXT,
    "text_hidden_size": 1024,
    "text_intermediate_size": 4096,
    "text_num_attention_heads": 16,
    "text_num_hidden_layers": 24,
}
TINY_TEXT = {
    **TEXT,
    "text_hidden_size": 48,
    "text_intermediate_size": 192,
    "text_max_position_embeddings": 64,
    "text_num_attention_heads": 4,
    "text_num_hidden_layers": 2,
}


def vision(embed_dim: int, resolution: int, layers: int, width: int, patch: int, **head_width: int) -> dict:
    """The fields of a vision_model_config.json."""
    sizes = {"vision_layers": layers, "vision_width": width, "vision_patch_size": patch, **head_width}
    return {"embed_dim": embed_dim, "image_resolution": resolution, **sizes}


MODELS = {
    "tiny": (TINY_TEXT, vision(32, 64, 2, 64, 16, vision_head_width=16)),
    # Where no width of a head is stated, the class takes 64.
    "no_head_width": (TINY_TEXT, vision(32, 64, 2, 128, 16)),
    "vit-b-16": (TEXT, vision(512, 224, 12, 768, 16)),
}
PUBLISHED = {
    "vit-b-16": MODELS["vit-b-16"],
    "vit-l-14": (TEXT, vision(768, 224, 24, 1024, 14)),
    "vit-l-14-336": (TEXT, vision(768, 336, 24, 1024, 14)),
    "vit-h-14": (LARGE_TEXT, vision(1024, 224, 32, 1280, 14, vision_head_width=80)),
}


class StandIn:
    """In place of whatever is imported and not used."""

    def __init__(self, *args, **kwargs):
        pass

    @staticmethod
    def register_module(*args, **kwargs):
        return lambda decorated: decorated


class Module(torch.nn.Module, StandIn):
    """In place of TorchModel, which adds nothing to the forward."""

    def __init__(self, *args, **kwargs):
        torch.nn.Module.__init__(self)


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds an upstream's own files where they count, and stand-ins for everything else of these packages.

    `real` are the modules that count, or with a dot at the end all modules below; `names` is what stand-ins hold.
    """

    def __init__(self, checkout: Path, packages: tuple[str, ...], real: tuple[str, ...], names: dict[str, Any]):
        self.checkout, self.packages, self.real, self.names = checkout, packages, real, names

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in self.packages:
            return None
        file = self.checkout / Path(*name.split(".")).with_suffix(".py")
        if file.exists() and any(name == each or (each[-1] == "." and name.startswith(each)) for each in self.real):
            return importlib.util.spec_from_file_location(name, file)
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        def find(name):
            if f"{spec.name}.{name}" in self.real:
                return importlib.import_module(f"{spec.name}.{name}")
            if name.startswith("__") and name not in self.names:
                raise AttributeError(name)
            return self.names.get(name, StandIn)

        module = ModuleType(spec.name)
        module.__getattr__ = find
        module.__all__ = []
        return module

    def exec_module(self, module):
        pass


class OutputKeys:
    """The names of outputs/outputs.py."""

    IMG_EMBEDDING = "img_embedding"
    TEXT_EMBEDDING = "text_embedding"


def main() -> None:
    checkout = Path(sys.argv[1])
    torchvision_transforms()
    names = {"TorchModel": Module, "OutputKeys": OutputKeys, "get_logger": lambda: logging.getLogger("modelscope")}
    sys.meta_path.insert(0, StandIns(checkout, ("modelscope", "decord"), REAL, names))
    models = {name: run(*configs) for name, configs in MODELS.items()}
    ids = [model.pop("ids") for model in models.values()]
    if any(other != ids[0] for other in ids):
        raise SystemExit("the tokenizer gave different ids for two models; it should not know the model")
    record = {
        "upstream": "https://pypi.org/project/modelscope",
        "version": next(checkout.glob("modelscope-*.dist-info")).name.split("-")[1].removesuffix(".dist"),
        "files_sha256": {name: sha256((checkout / name).read_bytes()) for name in files()},
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", "torchvision", "pillow")},
        },
        "recipe": "tests/weights.py seeded_state_dict of each model's shapes, rounded through float16, which loading "
        "does to most of them; the texts and pictures of conversion/proof/samples.py; conversion/tokenizers/vocab.txt",
        "vocab_sha256": sha256(VOCAB.read_bytes()),
        "texts": list(samples.TEXTS),
        "ids": ids[0],
        "models": models,
    }
    RECORDED.write_text(compact(record), encoding="utf-8")
    for name, configs in PUBLISHED.items():
        write_keys(f"modelscope-{name}", *configs, f"modelscope {record['version']}")


def files() -> list[str]:
    names = ("model", "modeling_bert", "configuration_bert", "bert_tokenizer")
    return [*(f"{CLIP.replace('.', '/')}/{name}.py" for name in names), "modelscope/preprocessors/multi_modal.py"]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@torch.no_grad()
def run(text: dict, vision: dict) -> dict:
    """Everything of one model, by ModelScope's own loading, processing and forward."""
    upstream = importlib.import_module(f"{CLIP}.model")
    preprocessors = importlib.import_module("modelscope.preprocessors.multi_modal")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        weights = make_folder(folder, text, vision)
        model = upstream.CLIPForMultiModalEmbedding(str(folder))
        preprocessor = preprocessors.CLIPPreprocessor(str(folder))
    pictures = dict(samples.pictures())
    inputs = preprocessor({"img": list(pictures.values()), "text": list(samples.TEXTS)})
    out = model({"img": inputs["img"][: samples.EMBEDDED], "text": inputs["text"]})
    return {
        "text_model_config": text,
        "vision_model_config": vision,
        "shapes": {key: list(tensor.shape) for key, tensor in weights.items()},
        "weights_sha256": fingerprint(weights),
        "temperature": model.temperature.item(),
        "ids": inputs["text"].tolist(),
        "pixels_sha256": {
            name: sha256(pixels.contiguous().numpy().tobytes())
            for name, pixels in zip(pictures, inputs["img"], strict=True)
        },
        "text_embeddings": rounded(out["text_embedding"]),
        "image_embeddings": rounded(out["img_embedding"]),
    }


def make_folder(folder: Path, text: dict, vision: dict) -> dict[str, torch.Tensor]:
    """A folder as ModelScope publishes them, with seeded weights, which are returned."""
    weights = seeded_state_dict({key: tuple(value.shape) for key, value in build(text, vision).state_dict().items()})
    weights = {key: value.half().float() for key, value in weights.items()}
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "text_model_config.json").write_text(json.dumps(text), encoding="utf-8")
    (folder / "vision_model_config.json").write_text(json.dumps(vision), encoding="utf-8")
    (folder / "vocab.txt").write_bytes(VOCAB.read_bytes())
    return weights


def build(text: dict, vision: dict) -> torch.nn.Module:
    """ModelScope's inner class, without values."""
    upstream = importlib.import_module(f"{CLIP}.model")
    with torch.device("meta"):
        return upstream.CLIP(**vision, **text, tokenizer=None)


def write_keys(name: str, text: dict, vision: dict, made_by: str) -> None:
    value = {
        "format": "modelscope",
        "architecture": "CLIPForMultiModalEmbedding",
        "made_by": made_by,
        "config": {**vision, **text},
        "beside": {"text_model_config.json": None, "vision_model_config.json": None},
        "keys": {key: list(tensor.shape) for key, tensor in sorted(build(text, vision).state_dict().items())},
    }
    (FOLDER / f"{name}.json").write_text(_compact(value), encoding="utf-8")


def compact(record: dict) -> str:
    """Indented, but each list of numbers on one line."""
    text = json.dumps(record, indent=1)
    text = re.sub(r"\[\s+([-\d\s.,e]+?)\s+\]", lambda match: f"[{' '.join(match[1].split())}]", text)
    return text + "\n"


if __name__ == "__main__":
    main()
