"""How many pictures and texts a second does each engine embed on a CUDA device, beside transformers' ChineseCLIP?

    python benchmarks/gpu.py [--device cuda] [--rounds N] [--limit SECONDS] [--dtypes ...] [--batches ...]

It needs neither cn_clip nor a network: both models have the sizes of ViT-B-16 and RoBERTa-base, and random weights.
Every side is given the same tensors, which lie on the device already, in eval and inference_mode. The largest
difference of our vectors from those of `model.encode_*` in float32 is told below each table. What the time does not
allow any more is left out, and told.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import measuring
import torch
from transformers import ChineseCLIPConfig, ChineseCLIPModel

from hf_zhclip import ZhCLIPConfig, ZhCLIPImageProcessor, ZhCLIPModel, ZhCLIPProcessor
from hf_zhclip.conversion.tokenizers.builders import cn_clip_tokenizer
from hf_zhclip.inference import Embedder

TEXT = {"vocab_size": 21128}
VISION = {
    "patch_size": 16,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
"""For the test of this script."""

TOKENS = 52
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "猫"]
PEER = "ChineseCLIP"
ENGINES = ("torch", "compile")


def make(folder: Path, sizes: dict[str, int]) -> ZhCLIPModel:
    """Our model, saved as a repo of random weights."""
    torch.manual_seed(0)
    config = ZhCLIPConfig(
        text_config={"model_type": "bert"} | TEXT | sizes,
        vision_config={"model_type": "clip_vision_model"} | VISION | sizes,
        projection_dim=512,
        text_pooling="cls",
        text_projection_type="linear",
        vision_pooling="pooler",
        visual_projection_type="linear",
    )
    model = ZhCLIPModel(config).eval()
    model.save_pretrained(folder)
    image_processor = ZhCLIPImageProcessor(image_order="rgb_then_squash", size=224)
    ZhCLIPProcessor(image_processor, cn_clip_tokenizer(VOCAB, TOKENS)).save_pretrained(folder)
    return model


def peer(sizes: dict[str, int]) -> ChineseCLIPModel:
    torch.manual_seed(0)
    return ChineseCLIPModel(
        ChineseCLIPConfig(text_config=TEXT | sizes, vision_config=VISION | sizes, projection_dim=512)
    ).eval()


def inputs(batch: int, device: str, dtype: torch.dtype) -> dict[str, dict[str, torch.Tensor]]:
    """Pictures, and texts whose lengths differ as in a batch of captions: from 8 to 24 tokens."""
    drawn = torch.Generator().manual_seed(0)
    lengths = torch.randint(8, 25, (batch, 1), generator=drawn)
    mask = (torch.arange(int(lengths.max())) < lengths).long()
    ids = torch.randint(1000, 21128, mask.shape, generator=drawn) * mask
    pixels = torch.randn(batch, 3, 224, 224, generator=drawn)
    return {
        "pictures": {"pixel_values": pixels.to(device, dtype)},
        "texts": {"input_ids": ids.to(device), "attention_mask": mask.to(device)},
    }


def calls(model: Any) -> dict[str, Callable[..., torch.Tensor]]:
    return {"pictures": model.encode_image, "texts": model.encode_text}


def peer_calls(model: ChineseCLIPModel) -> dict[str, Callable[..., torch.Tensor]]:
    def normalised(call: Callable[..., Any], **given: torch.Tensor) -> torch.Tensor:
        found = call(**given)
        return torch.nn.functional.normalize(getattr(found, "pooler_output", found), dim=-1)

    return {
        "pictures": lambda **given: normalised(model.get_image_features, **given),
        "texts": lambda **given: normalised(model.get_text_features, **given),
    }


def tables(
    folder: Path, own: ZhCLIPModel, asked: Any, sizes: dict[str, int], in_time: Callable[[], bool]
) -> Iterator[measuring.Table]:
    for name in asked.dtypes:
        dtype = getattr(torch, name)
        sides = {PEER: peer_calls(peer(sizes).to(asked.device, dtype))}
        sides["model.encode_*"] = calls(
            ZhCLIPModel.from_pretrained(folder, dtype=dtype, device_map=asked.device).eval()
        )
        for engine in asked.engines:
            embedder = Embedder.from_pretrained(folder, engine, device_map=asked.device, dtype=dtype)
            sides[f"engine {engine}"] = calls(embedder.model)
        for batch in asked.batches:
            given = inputs(batch, asked.device, dtype)
            for what in ("pictures", "texts"):
                if in_time():
                    measuring.told(f"{what}, {name}, batch {batch}")
                    yield measured(f"{what}, {name}, batches of {batch}", sides, what, given[what], own, asked, batch)
                else:
                    measuring.told(f"left out, because the time is up: {what}, {name}, batch {batch}")


def measured(
    title: str,
    sides: dict[str, dict[str, Callable[..., torch.Tensor]]],
    what: str,
    given: dict[str, torch.Tensor],
    own: ZhCLIPModel,
    asked: Any,
    batch: int,
) -> measuring.Table:
    few = {name: each[:16] for name, each in given.items()}
    exact = calls(own)[what](**{name: each.to("cpu", _wide(each)) for name, each in few.items()})
    ours = {name: side[what] for name, side in sides.items() if name != PEER}
    apart = {name: call(**given)[:16].cpu().float() - exact for name, call in ours.items()}
    differences = ", ".join(f"{name} {float(each.abs().max()):.1e}" for name, each in apart.items())
    after = torch.cuda.synchronize if asked.device.startswith("cuda") else lambda: None
    found = measuring.in_turns(
        {name: lambda call=side[what]: call(**given) for name, side in sides.items()}, asked.rounds, after
    )
    note = f"Largest difference from `model.encode_*` in float32 on the CPU: {differences}."
    return measuring.table(title, found, batch, [PEER], [note])


def _wide(tensor: torch.Tensor) -> torch.dtype:
    return torch.float32 if tensor.is_floating_point() else tensor.dtype


def main() -> None:
    parser = measuring.arguments(__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=240, help="seconds after which no table is begun")
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float16", "float32"])
    parser.add_argument("--batches", nargs="+", type=int, default=[16, 1, 256])
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--small", action="store_true", help="small models, to try the script")
    asked = parser.parse_args()
    start = time.monotonic()
    if asked.device.startswith("cuda"):
        print(f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}", flush=True)
    with tempfile.TemporaryDirectory() as place, torch.inference_mode():
        sizes = SMALL if asked.small else {}
        own = make(Path(place), sizes)
        found = tables(Path(place), own, asked, sizes, lambda: time.monotonic() - start < asked.limit)
        measuring.give(found, asked.json)


if __name__ == "__main__":
    main()
