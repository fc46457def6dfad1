"""How many pictures and texts a second does an ONNX export embed, beside torch and beside cn_clip?

    python benchmarks/onnx_speed.py FOLDER [--threads N] [--batch N] [--rounds N] [--json FILE]

FOLDER gets about 2 GB: a checkpoint of cn_clip's ViT-B-16 with seeded weights, its conversion, and its exports in
float32 and dynamic int8. A second run takes the exports that are there. cn_clip's own model takes part where cn_clip
1.6.0 is installed (`make parity` makes an environment with it). Every side embeds the same pixels and the same ids on
the CPU, one after the other in each round; cn_clip pads every text to 52 tokens, so that all texts have 52. Printed
are the medians of the rounds, the medians of the ratios to torch, and the smallest cosine to the vectors of torch.
"""

import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from measuring import Table, arguments, give, in_turns, table

import hf_zhclip  # noqa: F401  # the Auto classes know the model
from hf_zhclip.conversion import convert, export
from hf_zhclip.inference import load_onnx
from hf_zhclip.inference.zhclip_onnx import onnxruntime

KEYS = Path(__file__).parents[1] / "tests" / "keys" / "cn_clip-vit-b-16.json"
NAME = "ViT-B-16@RoBERTa-wwm-ext-base-chinese"
TOKENS, SIDE, WORDS = 52, 224, 21128
EXPORTS = {"float32": {}, "int8": {"precision": "int8", "accept_loss": True}}
TORCH, CN_CLIP = "torch", "cn_clip"
WHAT = ("texts", "pictures")

Side = Mapping[str, Callable[[], np.ndarray]]
"""By what is embedded, a call that embeds the batch."""


def make(folder: Path) -> None:
    """The checkpoint, the repo and the exports, as far as they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "epoch_latest.pt").is_file():
        torch.manual_seed(0)
        shapes = json.loads(KEYS.read_text(encoding="utf-8"))["keys"]
        weights = {f"module.{key}": torch.randn(shape) * 0.02 for key, shape in shapes.items()}
        weights["module.logit_scale"] = torch.tensor(4.6)
        torch.save({"epoch": 1, "state_dict": weights}, folder / "epoch_latest.pt")
    if not (folder / "repo").is_dir():
        convert(folder / "epoch_latest.pt", folder / "repo", skip_verify=True)
    for name, options in EXPORTS.items():
        if not (folder / name).is_dir():
            export(folder / "repo", folder / name, to="onnx", progress=print, **options)


def in_torch(folder: Path, inputs: Mapping[str, torch.Tensor]) -> Side:
    """Our model."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder / "repo", dtype=torch.float32).eval()
    ids = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    return {
        "texts": torch.no_grad()(lambda: model.encode_text(**ids).numpy()),
        "pictures": torch.no_grad()(lambda: model.encode_image(inputs["pixel_values"]).numpy()),
    }


def in_cn_clip(folder: Path, inputs: Mapping[str, torch.Tensor]) -> Side:
    """cn_clip's own model; its vectors are normalised as its README says."""
    utils = importlib.import_module("cn_clip.clip.utils")
    checkpoint = torch.load(folder / "epoch_latest.pt", weights_only=True)
    model = utils.create_model(NAME, checkpoint).float().eval()
    unit = torch.nn.functional.normalize
    return {
        "texts": torch.no_grad()(lambda: unit(model.encode_text(inputs["input_ids"]), dim=-1).numpy()),
        "pictures": torch.no_grad()(lambda: unit(model.encode_image(inputs["pixel_values"]), dim=-1).numpy()),
    }


def in_onnxruntime(folder: Path, inputs: Mapping[str, torch.Tensor]) -> Side:
    """An export, by its graphs alone: texts and pictures are prepared already."""
    model = load_onnx(folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()

    def call(file: str, names: tuple[str, ...]) -> Callable[[], np.ndarray]:
        session = onnxruntime.InferenceSession(str(folder / file), options, providers=["CPUExecutionProvider"])
        given = {name: inputs[name].numpy() for name in names}
        return lambda: session.run(None, given)[0]

    return {
        "texts": call(model.facts.text.model, ("input_ids", "attention_mask")),
        "pictures": call(model.facts.vision.model, ("pixel_values",)),
    }


def sides(folder: Path, inputs: Mapping[str, torch.Tensor]) -> dict[str, Side]:
    """Those that take part, in the order of their turns."""
    found = {TORCH: in_torch(folder, inputs)}
    try:
        found = {CN_CLIP: in_cn_clip(folder, inputs), **found}
    except ImportError as error:
        print(f"cn_clip does not take part: {error}", flush=True)
    return {**found, **{f"onnxruntime {name}": in_onnxruntime(folder / name, inputs) for name in EXPORTS}}


def compared(what: str, taking_part: Mapping[str, Side], batch: int, rounds: int) -> Table:
    """The speed of each side, and the smallest cosine of its vectors to those of torch."""
    wanted = taking_part[TORCH][what]()
    cosines = {name: float((side[what]() * wanted).sum(-1).min()) for name, side in taking_part.items()}
    found = in_turns({name: side[what] for name, side in taking_part.items()}, rounds)
    shown = ", ".join(f"{name} {cosine:.6f}" for name, cosine in cosines.items())
    return table(
        f"{what}, batches of {batch}", found, batch, (TORCH, CN_CLIP), [f"Smallest cosine to torch: {shown}."]
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    make(options.folder)
    taking_part = sides(options.folder, inputs(options.batch))
    give((compared(what, taking_part, options.batch, options.rounds) for what in WHAT), options.json)


def inputs(batch: int) -> dict[str, torch.Tensor]:
    """Random ids and pixels."""
    drawn = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, WORDS, (batch, TOKENS), generator=drawn)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": torch.randn(batch, 3, SIDE, SIDE, generator=drawn),
    }


if __name__ == "__main__":
    main()
