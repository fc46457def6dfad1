"""The README of an export for transformers.js."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ...publishing.card_header import NOTHING_STATED, header_of
from ...repos.repo import Repo
from ...repos.report import Report
from ..natives import Native
from ..quiet import silence
from .asking import Asked
from .checking import PROVIDER, Checked
from .readme import NOT_STATED, lineage, unproved_words
from .towers import BATCH, LENGTH, PICTURES, SIDE, Tower

VERSION = "4.3.1"
"""The version of @huggingface/transformers that `make test-js` runs."""

MEASURED = {
    "40 drawn scenes, 384 x 384 pixels": 0.9999,
    "12 JPEG files of noise with the spectrum of photographs, 333 x 500 to 1920 x 1080 pixels": 0.9998,
}
"""By pictures, the smallest cosine of transformers.js' vectors from picture files with the repo's own.

Measured by `make test-js` with the small model of examples/, which fails where a figure is no longer right.
"""
MEASURED_ON = "2026-11-26"

README = """\
{header}# {title} for transformers.js

A dual encoder for Chinese texts and pictures. hf_zhclip made it with
`zhclip export --to onnx --layout transformers.js`: `{name}`, float32, opset {opset}.

| file | inputs | outputs |
|---|---|---|
{files}

`text_embeds` and `image_embeds` are L2-normalised. `logits_per_image` are cosines times exp(logit_scale).

## Use it

```bash
npm install @huggingface/transformers
```

In this folder:

```javascript
import {{ pipeline }} from "@huggingface/transformers";

const classify = await pipeline("zero-shot-image-classification", "./");
console.log(await classify("picture.png", ["一只猫", "一只狗"], {{ hypothesis_template: "{{}}" }}));
```

For vectors:

```javascript
{vectors}
```

## What differs from the repo

Token ids are the same, with exceptions that are rare:

- transformers.js cuts the end token off a text that is longer than {length} tokens. The graph sets it again: the
  vector is that of the repo.
- A text that is nothing but a special token in capitals may get other ids. If the repo's tokenizer has a
  BertNormalizer, so may marks and punctuation that Unicode added after version 8.

transformers.js decodes and resizes pictures by itself. The `resample` of preprocessor_config.json is therefore
Lanczos: of its filters in Node, this filter alone averages when a picture shrinks. The smallest cosine of its vectors
with the repo's own was measured on {measured_on}, with transformers.js {version} in Node. The model was not this model
but the small model that hf_zhclip ships, of 48 x 48 pixels:

| pictures | smallest cosine |
|---|---|
{measured}

A browser resizes with its own canvas, which was not measured.

## Where it comes from

{lineage}

Licence: {licence}.{unproved}

## How it was checked

Each graph was run in onnxruntime ({provider}) against the repo, which computed in float64:

| graph | vectors | largest difference | allowed |
|---|---|---|---|
{figures}

zhclip_onnx_report.json holds every batch of the check.
"""

PAIR = """\
import {{ AutoProcessor, AutoTokenizer, {name}, RawImage, Tensor }} from "@huggingface/transformers";

const folder = "./";
const model = await {name}.from_pretrained(folder);
const tokenizer = await AutoTokenizer.from_pretrained(folder);
const processor = await AutoProcessor.from_pretrained(folder);

// The graph takes both sides. A side that is not wanted is empty, and costs nothing.
const noPictures = new Tensor("float32", new Float32Array(0), [0, 3, {side}, {side}]);
const ids = () => new Tensor("int64", new BigInt64Array(0), [0, 3]);

const texts = tokenizer(["一只猫", "一只狗"], {{ padding: true, truncation: true }});
const {{ text_embeds }} = await model({{ ...texts, pixel_values: noPictures }});
const {{ pixel_values }} = await processor(await RawImage.read("picture.png"));
const {{ image_embeds }} = await model({{ input_ids: ids(), attention_mask: ids(), pixel_values }});
console.log(text_embeds.dims, image_embeds.dims);"""

TOWERS = """\
import {{
  AutoProcessor, AutoTokenizer, CLIPTextModelWithProjection, CLIPVisionModelWithProjection, RawImage,
}} from "@huggingface/transformers";

const folder = "./";
const tokenizer = await AutoTokenizer.from_pretrained(folder);
const processor = await AutoProcessor.from_pretrained(folder);
const textModel = await CLIPTextModelWithProjection.from_pretrained(folder);
const visionModel = await CLIPVisionModelWithProjection.from_pretrained(folder);

const {{ text_embeds }} = await textModel(tokenizer(["一只猫", "一只狗"], {{ padding: true, truncation: true }}));
const {{ image_embeds }} = await visionModel(await processor(await RawImage.read("picture.png")));
console.log(text_embeds.dims, image_embeds.dims);"""


def write_readme(
    folder: Path,
    repo: Repo,
    report: Report | None,
    native: Native,
    graphs: Sequence[Tower],
    checked: Sequence[Checked],
    asked: Asked,
) -> None:
    """Writes README.md."""
    with silence():  # huggingface_hub logs that a card has no header
        licence = header_of(repo.path / "README.md", NOTHING_STATED).license
    vectors = PAIR if len(graphs) == 1 else TOWERS
    text = README.format(
        header=f"---\nlicense: {licence}\nlibrary_name: transformers.js\n---\n" if licence else "",
        title=native.name,
        name=native.name,
        opset=asked.opset,
        files="\n".join(_row(tower, repo) for tower in graphs),
        vectors=vectors.format(name=native.name, side=repo.image_size),
        length=repo.tokenizer.model_max_length,
        measured_on=MEASURED_ON,
        version=VERSION,
        measured="\n".join(f"| {pictures} | {cosine} |" for pictures, cosine in MEASURED.items()),
        lineage=lineage(report),
        unproved=unproved_words(repo, report),
        licence=licence or NOT_STATED,
        provider=PROVIDER,
        figures="\n".join(
            f"| {each.file} | {each.tower} | {each.difference:.1e} | {each.bound:.0e} |" for each in checked
        ),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _row(tower: Tower, repo: Repo) -> str:
    names: dict[str, str | int] = {BATCH: "texts", LENGTH: "tokens", PICTURES: "pictures", SIDE: repo.image_size}
    inputs = ", ".join(f"`{name}` ({', '.join(_sizes(sizes, names))})" for name, sizes in tower.inputs.items())
    outputs = ", ".join(f"`{name}`" for name in (tower.output, *tower.others))
    return f"| {tower.file} | {inputs} | {outputs} |"


def _sizes(sizes: Sequence[str | int], names: Mapping[str, str | int]) -> Iterator[str]:
    return (str(names[size] if isinstance(size, str) else size) for size in sizes)
