"""How fast is the Embedder beside cn_clip and transformers' ChineseCLIP?

    python benchmarks/embedder_speed.py FOLDER [--rounds N] [--threads N] [--captions N] [--pictures N]

It needs cn_clip 1.6.0 (`make parity` makes an environment with it). FOLDER gets a ViT-B-16 of cn_clip with random
weights, 750 MB, the repo that `convert` makes of it, and pictures. ChineseCLIP has the same sizes, and random weights
of its own. All sides are in eval and inference_mode, with the same number of threads, and run in turns. Printed are
the medians in items a second and in processor time, which other work on the machine changes less, the ratios, and how
far our vectors are from cn_clip's.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cn_clip.clip
import numpy as np
import torch
from cn_clip.clip.utils import create_model, image_transform
from PIL import Image
from transformers import BertTokenizerFast, ChineseCLIPConfig, ChineseCLIPImageProcessor, ChineseCLIPModel

from hf_zhclip.conversion import convert
from hf_zhclip.inference import Embedder
from hf_zhclip.inference.embedder import ahead, batches

Sides = dict[str, Callable[[], Any]]

NAME = "ViT-B-16@RoBERTa-wwm-ext-base-chinese"
SIZES = {
    "text_config": {"vocab_size": 21128},
    "vision_config": {"patch_size": 16, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
    | {"num_attention_heads": 12},
    "projection_dim": 512,
}
TEXT_BATCH, PICTURE_BATCH = 64, 16
WORDS = "一只猫和狗在草地上玩红色蓝的圆形连衣裙女士新款夏季手机壳山水城市夜景孩子们骑自行车"


def peer(folder: Path) -> Any:
    """cn_clip's model, and the file from which ours is converted."""
    torch.manual_seed(0)
    model = create_model(NAME).float().eval()
    if not (folder / "repo").is_dir():
        torch.save({"state_dict": model.state_dict()}, folder / "clip.pt")
        convert(folder / "clip.pt", folder / "repo")
    model.load_state_dict(torch.load(folder / "clip.pt")["state_dict"])
    return model


def pictures(folder: Path, count: int) -> list[Path]:
    """JPEG files of one megapixel, as detailed as photographs."""
    noise = np.random.default_rng(0)
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for path in paths:
        coarse = Image.fromarray(noise.integers(0, 256, (90, 115, 3), dtype=np.uint8))
        coarse.resize((1152, 896), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def captions(count: int) -> list[str]:
    """Texts of 4 to 50 characters; half of them have at most 14."""
    draw = np.random.default_rng(0)
    lengths = np.clip(draw.lognormal(np.log(14), 0.6, count).astype(int), 4, 50)
    return ["".join(draw.choice(list(WORDS), length)) for length in lengths]


def of_pixels(files: list[bytes], embedder: Embedder, threads: int) -> Sides:
    """Files to pixels."""
    decode, chinese = image_transform(224), ChineseCLIPImageProcessor(size={"height": 224, "width": 224})

    def pillow(content: bytes) -> Image.Image:
        return Image.open(io.BytesIO(content)).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)

    def ours(threads: int) -> None:
        for pixels in ahead(embedder._pixels, files, threads, 32):
            pixels()

    return {
        **{f"ours, threads: {number}": partial(ours, number) for number in (1, threads)},
        "Pillow's decode and resize": lambda: [pillow(each) for each in files],
        "cn_clip": lambda: [decode(Image.open(io.BytesIO(each))) for each in files],
        "ChineseCLIP": lambda: [chinese(Image.open(io.BytesIO(each)), return_tensors="pt") for each in files],
    }


def of_pictures(paths: list[Path], embedder: Embedder, cn: Any, chinese: Any) -> Sides:
    """Files to vectors."""
    decode, prepare = image_transform(224), ChineseCLIPImageProcessor(size={"height": 224, "width": 224})

    def cn_clip(some: list[Path]) -> torch.Tensor:
        return normalised(cn.encode_image(torch.stack([decode(Image.open(each)) for each in some])))

    def chinese_clip(some: list[Path]) -> torch.Tensor:
        opened = [Image.open(each) for each in some]
        return normalised(chinese.get_image_features(**prepare(opened, return_tensors="pt")))

    return {
        "ours": lambda: embedder.encode_images(paths),
        "model.encode_image": lambda: each_batch(embedder.model.encode_image, paths, PICTURE_BATCH),
        "cn_clip": lambda: each_batch(cn_clip, paths, PICTURE_BATCH),
        "ChineseCLIP": lambda: each_batch(chinese_clip, paths, PICTURE_BATCH),
    }


def of_texts(texts: list[str], embedder: Embedder, cn: Any, chinese: Any) -> Sides:
    """Captions of mixed length to vectors."""
    tokenizer = BertTokenizerFast(str(Path(cn_clip.clip.__file__).with_name("vocab.txt")))

    def chinese_clip(some: list[str]) -> torch.Tensor:
        inputs = tokenizer(some, padding=True, truncation=True, max_length=52, return_tensors="pt")
        return normalised(chinese.get_text_features(**inputs))

    return {
        "ours": lambda: embedder.encode_texts(texts),
        "model.encode_text": lambda: each_batch(embedder.model.encode_text, texts, TEXT_BATCH),
        "ChineseCLIP, padded to each batch's longest": lambda: each_batch(chinese_clip, texts, TEXT_BATCH),
        "cn_clip": lambda: each_batch(
            lambda some: normalised(cn.encode_text(cn_clip.clip.tokenize(some))), texts, TEXT_BATCH
        ),
    }


def normalised(found: Any) -> torch.Tensor:
    rows = found if isinstance(found, torch.Tensor) else found.pooler_output
    return torch.nn.functional.normalize(rows, dim=-1)


def each_batch(encode: Callable[[list[Any]], torch.Tensor], items: list[Any], size: int) -> np.ndarray:
    return torch.cat([encode(some) for some in batches(items, size)]).numpy()


def in_turns(what: str, sides: Sides, count: int, rounds: int) -> None:
    """Prints the medians, and the median of the ratios of each other side to our first side."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for number in range(rounds + 1):  # the first round warms up
        for name, run in sides.items():
            start, processor = time.perf_counter(), time.process_time()
            run()
            if number:
                times[name].append((time.perf_counter() - start, time.process_time() - processor))
    first, *_ = times.values()
    print(f"\n{what}, {count} items, {rounds} rounds")
    for name, each in times.items():
        wall, processor = (statistics.median(seconds) for seconds in zip(*each, strict=True))
        by_wall, by_processor = (
            statistics.median(other[clock] / own[clock] for own, other in zip(first, each, strict=True))
            for clock in (0, 1)
        )
        print(
            f"  {name}: {count / wall:.1f} a second, {1000 * processor / count:.2f} ms of a processor each; "
            f"ours is {by_wall:.2f} times as fast by the clock, {by_processor:.2f} times by processor time",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for name, default in (("rounds", 3), ("threads", 2), ("captions", 512), ("pictures", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(asked.threads)

    cn, chinese = peer(asked.folder), ChineseCLIPModel(ChineseCLIPConfig(**SIZES)).eval()
    of_pictures_embedder, of_texts_embedder = (
        Embedder.from_pretrained(asked.folder / "repo", dtype="float32", batch_size=size)
        for size in (PICTURE_BATCH, TEXT_BATCH)
    )
    paths, texts = pictures(asked.folder, asked.pictures), captions(asked.captions)
    contents = [path.read_bytes() for path in paths]
    with torch.inference_mode():
        pixels = of_pixels(contents, of_pictures_embedder, asked.threads)
        in_turns("Files to pixels", pixels, len(paths), asked.rounds)
        for what, sides, items in (
            ("Captions of mixed length to vectors", of_texts(texts, of_texts_embedder, cn, chinese), texts),
            ("Picture files to vectors", of_pictures(paths, of_pictures_embedder, cn, chinese), paths),
        ):
            print(f"\nlargest difference from cn_clip: {np.abs(sides['ours']() - sides['cn_clip']()).max():.1e}")
            in_turns(what, sides, len(items), asked.rounds)


if __name__ == "__main__":
    main()
