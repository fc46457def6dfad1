"""What the tests of cards read of one, and what they do to the repo that it is of."""

import re
from dataclasses import replace

from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from hf_zhclip.conversion.publishing.card_file import STAMP
from hf_zhclip.conversion.publishing.hub_values import LANGUAGES, LIBRARIES, LICENSES, PIPELINE_TAGS, RELATIONS
from hf_zhclip.conversion.reading import catalogue
from hf_zhclip.conversion.repos.report import FILE, read_report
from hf_zhclip.conversion.repos.write import write_json

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FAMILIES = ("cn_clip_vit", "cn_clip_resnet", "bert_clip", "hf_clip", "taiyi_head", "taiyi_plain")


def text_of(folder):
    return (folder / "README.md").read_text(encoding="utf-8")


def header(folder):
    return ModelCard(text_of(folder)).data.to_dict()


LONGEST = 119
"""Lines of a card: more are not read in a minute."""

FOLD = re.compile(r"^<details><summary>(.*?)</summary>\n(.*?)^</details>$", re.MULTILINE | re.DOTALL)
ENGLISH = "English"


def halves(text):
    """The Chinese half, which is open, and the English half, which is folded."""
    body = STAMP.sub("", text).split("\n---\n", 1)[1]
    return FOLD.sub("", body), folds(text)[ENGLISH]


def folds(text):
    """The folded parts by their titles; those in both languages have a title of both."""
    return dict(FOLD.findall(text))


def shared(text):
    """All folded parts that are in both languages."""
    return "\n".join(part for title, part in folds(text).items() if title != ENGLISH)


def line_count(text):
    return len(text.splitlines())


def as_published(folder, name):
    """Makes a small repo's report say that it came from a published checkpoint."""
    entry = catalogue.find(name)
    report = read_report(folder)
    places = [entry.published, *([entry.image_part] if entry.image_part else [])]
    hubs = [{"repo": place.repo, "file": place.file, "revision": "0" * 40} for place in places]
    sources = [{**source, "hub": hub} for source, hub in zip(report.sources, hubs, strict=True)]
    conversion = {**report.conversion, "catalogue": entry.name}
    write_json(folder / FILE, replace(report, sources=sources, conversion=conversion).to_json())
    (folder / "README.md").unlink()
    return folder


def fine_tune(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({key: tensor + 1 for key, tensor in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def check_header(data):
    """Holds a header against the literal lists of the hub's values."""
    assert data["pipeline_tag"] in PIPELINE_TAGS and data["library_name"] in LIBRARIES
    assert set(data["language"]) <= LANGUAGES
    assert data.get("license", "mit") in LICENSES
    assert data.get("base_model_relation", "merge") in RELATIONS
    assert all(
        result["task"]["type"] in PIPELINE_TAGS for each in data.get("model-index", ()) for result in each["results"]
    )
