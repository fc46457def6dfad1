"""Run EasyNLP's own CLIPApp once, with cn_clip's model in it, and keep what it gives in recorded/easynlp.json.

It exists only as a repository, for a torch of years ago. In the environment of `make parity`:

    git clone https://github.com/alibaba/EasyNLP CHECKOUT
    python -m tests.parity.record_easynlp CHECKOUT COMMIT

The model, its loading, and the processing of texts and pictures are EasyNLP's (appzoo/clip, modelzoo); what else those
files import is replaced by stand-ins that compute nothing.
"""

import base64
import hashlib
import importlib
import io
import json
import platform
import re
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import torch
from PIL import Image

from hf_zhclip.conversion.proof import samples

from tests.parity.record_clip_chinese import VOCAB, rounded
from tests.parity.record_modelscope import TINY_TEXT, Module, StandIns, vision
from tests.weights import fingerprint, seeded_state_dict

RECORDED = Path(__file__).parent / "recorded" / "easynlp.json"
ZOO = "easynlp.modelzoo"
REAL = (
    *(f"{ZOO}.{name}" for name in ("activations", "configuration_utils", "file_utils", "modeling_outputs")),
    *(
        f"{ZOO}.{name}"
        for name in ("modeling_utils", "tokenization_utils", "tokenization_utils_base", "utils.logging")
    ),
    *(f"{ZOO}.models.bert.{name}" for name in ("configuration_bert", "modeling_bert", "tokenization_bert")),
    f"{ZOO}.models.clip.modeling_chineseclip",
    *(f"easynlp.appzoo.clip.{name}" for name in ("data", "model")),
)
LENGTH = 52
"""What is passed as sequence_length, which EasyNLP keeps nowhere."""

CONFIG = {"model_type": "chinese_clip", **vision(32, 224, 2, 128, 32), **TINY_TEXT}
SIZES = (224, 225), (640, 427), (31, 30)
"""Pictures beside those of samples.py."""


@torch.no_grad()
def main() -> None:
    checkout, commit = Path(sys.argv[1]), sys.argv[2]
    names = {"__version__": "0", "Application": Module, "get_pretrain_model_path": str, "is_torch_available": True}
    sys.meta_path.insert(0, StandIns(checkout, ("easynlp", "requests"), REAL, names))
    app, data = (importlib.import_module(f"easynlp.appzoo.clip.{name}") for name in ("model", "data"))
    tokenization = importlib.import_module(f"{ZOO}.models.bert.tokenization_bert")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
        (folder / "vocab.txt").write_bytes(VOCAB.read_bytes())
        weights = make_weights()
        torch.save(weights, folder / "pytorch_model.bin")
        model = app.CLIPApp(str(folder)).eval()
        tokenizer = tokenization.BertTokenizer.from_pretrained(str(folder / "vocab.txt"))
    dataset = make_dataset(data, tokenizer)
    pictures = dict([*samples.pictures(), *extra()])
    made = {name: dataset.convert_single_row_to_example(row("", picture)) for name, picture in pictures.items()}
    pixels = {name: each["pixel_values"][0] for name, each in made.items()}
    empty = Image.new("RGB", (1, 1))
    made = [dataset.convert_single_row_to_example(row(text, empty)) for text in samples.TEXTS]
    ids = torch.cat([each["text"]["input_ids"] for each in made])
    first = torch.stack(list(pixels.values())[: samples.EMBEDDED])
    out = {
        **model({"pixel_values": first}, feat=True),
        "text_embeds": model({"input_ids": ids}, feat=True)["text_embeds"],
    }
    write(
        {
            "upstream": "https://github.com/alibaba/EasyNLP",
            "commit": commit,
            "versions": {
                "python": platform.python_version(),
                **{name: metadata.version(name) for name in ("torch", "pillow", "numpy")},
            },
            "recipe": "tests/weights.py seeded_state_dict of the model's shapes; the texts and pictures of "
            "conversion/proof/samples.py, and those of extra(); conversion/tokenizers/vocab.txt",
            "config": CONFIG,
            "shapes": {key: list(tensor.shape) for key, tensor in weights.items()},
            "weights_sha256": fingerprint(weights),
            "texts": list(samples.TEXTS),
            "ids": ids.tolist(),
            "pixels_sha256": {
                name: hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
                for name, value in pixels.items()
            },
            "text_embeddings": rounded(out["text_embeds"]),
            "image_embeddings": rounded(out["image_embeds"]),
        }
    )


def make_weights() -> dict[str, torch.Tensor]:
    """Seeded weights under the keys that CLIPApp's own state dict has."""
    upstream = importlib.import_module(f"{ZOO}.models.clip.modeling_chineseclip")
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in upstream.CHINESE_CLIP(**CONFIG).state_dict().items()}
    return {f"chinese_clip.{key}": value for key, value in seeded_state_dict(shapes).items()}


def make_dataset(data, tokenizer):
    """CLIPDataset without its file of rows, which is all that its constructor would read beside these."""
    dataset = object.__new__(data.CLIPDataset)
    vars(dataset).update(
        {"model_type": "chinese_clip", "data_source": "rows", "text_col": "text", "image_col": "image"},
        tokenizer=tokenizer,
        max_text_length=LENGTH,
        resample=data.Image.BICUBIC,
        **{"do_resize": True, "size": 224, "do_center_crop": True, "crop_size": 224, "do_normalize": True},
    )
    return dataset


def extra() -> list[tuple[str, Image.Image]]:
    """Names and pictures of which an odd number of pixels is cut off, so that a rounding shows."""
    return [
        (f"RGB {width}x{height}", Image.linear_gradient("L").resize((width, height)).convert("RGB"))
        for width, height in SIZES
    ]


def row(text: str, picture: Image.Image) -> dict[str, str]:
    """A row of EasyNLP's tables: a text, and a picture as base64 of a file that loses nothing."""
    buffer = io.BytesIO()
    picture.save(buffer, format="TIFF" if picture.mode == "CMYK" else "PNG")
    return {"text": text, "image": base64.urlsafe_b64encode(buffer.getvalue()).decode()}


def write(record: dict) -> None:
    """Indented, but each list of numbers on one line."""
    text = json.dumps(record, indent=1)
    text = re.sub(r"\[\s+([-\d\s.,e]+?)\s+\]", lambda match: f"[{' '.join(match[1].split())}]", text)
    RECORDED.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
