"""What repos with code give on the transformers that is installed: run by its path in a release's environment.

It imports only what a stranger has: transformers, torch and Pillow.
"""

import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterable, Mapping

import torch
import transformers
from PIL import Image
from transformers import AutoConfig, AutoModel, AutoModelForZeroShotImageClassification, AutoProcessor, AutoTokenizer
from transformers.dynamic_module_utils import get_class_from_dynamic_module

# `transformers.AutoImageProcessor` asks for torchvision before 5.18; the class itself does not.
from transformers.models.auto.image_processing_auto import AutoImageProcessor

TRUST = {"trust_remote_code": True}
TEXT_TOWERS = ("ZhCLIPTextModel", "ZhCLIPTextModelWithProjection")
IMAGE_TOWERS = ("ZhCLIPVisionModel", "ZhCLIPVisionModelWithProjection")


def read_all(repos: Mapping[str, str], texts: list[str], pictures: Iterable[str]) -> dict[str, dict]:
    """What each repo gives, by the repo's name, as JSON can hold it."""
    opened = [Image.open(path) for path in pictures]
    with torch.no_grad():
        return {name: read(str(repo), texts, opened) for name, repo in repos.items()}


def read(repo: str, texts: list[str], pictures: list[Image.Image]) -> dict:
    """Ids, a hash of the pixels, and the vectors of each Auto class and of each class of a tower."""
    tokenizer = AutoTokenizer.from_pretrained(repo, **TRUST)
    inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    found = {
        "config": type(AutoConfig.from_pretrained(repo, **TRUST)).__name__,
        "ids": inputs["input_ids"].tolist(),
        "vectors": {},
    }
    if not os.path.exists(os.path.join(repo, "processor_config.json")):  # a text tower alone
        found["vectors"]["text"] = AutoModel.from_pretrained(repo, **TRUST)(**inputs).pooler_output.tolist()
        return found
    both = AutoProcessor.from_pretrained(repo, **TRUST)(text=texts, images=pictures, return_tensors="pt")
    alone = AutoImageProcessor.from_pretrained(repo, **TRUST)(pictures, return_tensors="pt")
    found |= {
        "processor_ids": both["input_ids"].tolist(),
        "processor_pixels": hash_of(both["pixel_values"]),
        "pixels": hash_of(alone["pixel_values"]),
    }
    for auto in (AutoModel, AutoModelForZeroShotImageClassification):
        model = auto.from_pretrained(repo, **TRUST)
        outputs = model(**both)
        for name in ("text_embeds", "image_embeds", "logits_per_text"):
            found["vectors"][f"{auto.__name__}, {name}"] = outputs[name].tolist()
        found["vectors"][f"{auto.__name__}, typed text"] = model.encode_text(texts).tolist()
        found["vectors"][f"{auto.__name__}, typed picture"] = model.encode_image(pictures).tolist()
    for names, given in ((TEXT_TOWERS, inputs), (IMAGE_TOWERS, alone)):
        for name in names:
            model = get_class_from_dynamic_module(f"modeling_zhclip.{name}", repo).from_pretrained(repo)
            states = model(**given, output_hidden_states=True)
            found["vectors"][name] = states[0].flatten(1)[:, :8].tolist()
            found["vectors"][f"{name}, hidden states"] = [each.mean().item() for each in states.hidden_states]
    return found


def save(repo: str, folder: str) -> None:
    """Saves a repo with the installed transformers and the repo's own code."""
    for auto in (AutoProcessor, AutoModel):
        auto.from_pretrained(repo, **TRUST).save_pretrained(folder)


def hash_of(pixels: torch.Tensor) -> str:
    return hashlib.sha256(pixels.numpy().tobytes()).hexdigest()


def main(path: str) -> None:
    """Reads the repos that a JSON file lists, and writes what they give into the file that it names."""
    assert importlib.util.find_spec("hf_zhclip") is None
    torch.set_num_threads(1)
    with open(path, encoding="utf-8") as file:
        request = json.load(file)
    saved = {f"{name}, saved": folder for name, folder in request["saved"].items()}
    for name, folder in request["saved"].items():
        save(request["repos"][name], folder)
    repos = read_all({**request["repos"], **saved}, request["texts"], request["pictures"])
    with open(request["out"], "w", encoding="utf-8") as file:
        json.dump({"transformers": transformers.__version__, "repos": repos}, file)


if __name__ == "__main__":
    main(sys.argv[1])
