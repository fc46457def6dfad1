"""How fast is the Embedder beside cn_clip and transformers' ChineseCLIP?

    python benchmarks/embedder_speed.py FOLDER [--rounds N] [--threads N] [--captions N] [--pictures N] [--json FILE]

It needs cn_clip 1.6.0 (`make parity` makes an environment with it). FOLDER gets a ViT-B-16 of cn_clip with random
weights, 750 MB, the repo that `convert` makes of it, and pictures. ChineseCLIP has the same sizes, and random weights
of its own. All sides are in eval and inference_mode, with the same number of threads, and run in turns. Printed are
the medians in items a second and in processor time, which other work on the machine changes less, the ratios, and how
far our vectors are from cn_clip's.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cn_clip.clip
import numpy as np
import torch
from cn_clip.clip.utils import create_model, image_transform
from floor import floor
from measuring import Sides, Table, arguments, give, in_turns, machine, table, told
from PIL import Image
from transformers import BertTokenizerFast, ChineseCLIPConfig, ChineseCLIPImageProcessor, ChineseCLIPModel

from hf_zhclip import ZhCLIPModel
from hf_zhclip.conversion import convert
from hf_zhclip.inference import Embedder
from hf_zhclip.inference.compiled import Compiled
from hf_zhclip.inference.embedder import ahead, batches

EXPLAINED = """\
Peers run in eval and inference_mode, with the same threads. ChineseCLIP runs with its fastest attention, sdpa, and
pads a batch to its longest text; cn_clip has one attention, and pads every text to 52 tokens. Neither documents
torch.compile. We tried it on such a tower: with its weights frozen, transformers' ViT-B-16 took 0.91 of the processor
time on this kind of processor, after 80 seconds of compiling; the engine torch took 0.76.

Floor is the matrix products on which the vectors depend, alone: each layer with its own weights, packed by oneDNN
where this is faster, without the rows of the last layer that no vector depends on. Where the time goes (ViT-B-16,
profiled): 91 % are the products of the layers, 7 % attention, 1 % layer norms, 0.6 % the patches. Nothing is left that
a compiler could save, and its own code was slower than these products (370 ms of a processor for a picture, beside
323), so that the engine `compile` leaves towers of packed products as they are.

A table from bytes to normalised floats gives the bits of the image processor's arithmetic, and saves nothing: both
take 0.20 ms for a picture of 224 x 224 in NumPy. ChineseCLIP's picture is resized by torchvision, with other bits.
Reading a JPEG at a smaller scale would be faster and would change the bits.

"Bare tokenizers" is the library's `encode_batch` with its own padding, and arrays of its ids and mask.
"""

NAME = "ViT-B-16@RoBERTa-wwm-ext-base-chinese"
SIZES = {
    "text_config": {"vocab_size": 21128},
    "vision_config": {"patch_size": 16, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
    | {"num_attention_heads": 12},
    "projection_dim": 512,
}
TEXT_BATCH, PICTURE_BATCH, TOKENS = 64, 16, 1024
CHINESE, CN_CLIP, FLOOR, MODEL = "ChineseCLIP", "cn_clip", "floor", "model.encode_*"
ENGINES = ("torch", "compile")
WORDS = "一只猫和狗在草地上玩红色蓝的圆形连衣裙女士新款夏季手机壳山水城市夜景孩子们骑自行车"

Encode = Callable[[list[Any]], Any]
"""Files of pictures, or texts -> vectors."""


def peer(folder: Path) -> Any:
    """cn_clip's model, and the file from which ours is converted."""
    torch.manual_seed(0)
    model = create_model(NAME).float().eval()
    if not (folder / "repo").is_dir():
        torch.save({"state_dict": model.state_dict()}, folder / "clip.pt")
        convert(folder / "clip.pt", folder / "repo", skip_verify=True)
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
        **{f"ours, threads: {number}": partial(ours, number) for number in sorted({1, threads})},
        "Pillow's decode and resize": lambda: [pillow(each) for each in files],
        CN_CLIP: lambda: [decode(Image.open(io.BytesIO(each))) for each in files],
        CHINESE: lambda: [chinese(Image.open(io.BytesIO(each)), return_tensors="pt") for each in files],
    }


def of_tokens(texts: list[str], embedder: Embedder) -> Sides:
    """Texts to arrays of ids."""
    chinese, library = bert_tokenizer(), bert_tokenizer().backend_tokenizer
    library.enable_truncation(52)
    library.enable_padding()

    def bare() -> list[np.ndarray]:
        rows = library.encode_batch(texts)
        return [np.array([row.ids for row in rows]), np.array([row.attention_mask for row in rows])]

    return {
        "ours": lambda: embedder._tokenized(texts),
        "bare tokenizers": bare,
        CN_CLIP: lambda: cn_clip.clip.tokenize(texts),
        CHINESE: lambda: chinese(texts, padding=True, truncation=True, max_length=52, return_tensors="np"),
    }


def bert_tokenizer() -> Any:
    return BertTokenizerFast(str(Path(cn_clip.clip.__file__).with_name("vocab.txt")))


def picture_encoders(model: Any, embedders: dict[str, Embedder], cn: Any, chinese: Any) -> dict[str, Encode]:
    """Each side's call from files to vectors."""
    decode, prepare = image_transform(224), ChineseCLIPImageProcessor(size={"height": 224, "width": 224})

    def cn_clip_(some: list[Path]) -> torch.Tensor:
        return normalised(cn.encode_image(torch.stack([decode(Image.open(each)) for each in some]).to(chinese.dtype)))

    def chinese_clip(some: list[Path]) -> torch.Tensor:
        opened = [Image.open(each) for each in some]
        return normalised(chinese.get_image_features(**prepare(opened, return_tensors="pt").to(chinese.dtype)))

    def by_model(some: list[Path]) -> torch.Tensor:
        return model.encode_image(model.processor(images=some, return_tensors="pt").pixel_values.to(model.dtype))

    ours = {f"engine {name}": each.encode_images for name, each in embedders.items()}
    return {**ours, MODEL: by_model, CN_CLIP: cn_clip_, CHINESE: chinese_clip}


def pixel_encoders(model: Any, embedders: dict[str, Embedder], cn: Any, chinese: Any) -> dict[str, Encode]:
    """Each side's call from pixels to vectors."""
    ours = {f"engine {name}": each.model.encode_image for name, each in embedders.items()}
    return {
        **{name: lambda pixels, encode=encode: encode(pixel_values=pixels) for name, encode in ours.items()},
        MODEL: model.encode_image,
        CN_CLIP: lambda pixels: normalised(cn.encode_image(pixels)),
        CHINESE: lambda pixels: normalised(chinese.get_image_features(pixel_values=pixels)),
    }


def text_encoders(model: Any, embedders: dict[str, Embedder], cn: Any, chinese: Any) -> dict[str, Encode]:
    """Each side's call from captions to vectors."""
    tokenizer = bert_tokenizer()

    def chinese_clip(some: list[str]) -> torch.Tensor:
        inputs = tokenizer(some, padding=True, truncation=True, max_length=52, return_tensors="pt")
        return normalised(chinese.get_text_features(**inputs))

    ours = {f"engine {name}": each.encode_texts for name, each in embedders.items()}
    return {
        **ours,
        MODEL: model.encode_text,
        CHINESE: chinese_clip,
        CN_CLIP: lambda some: normalised(cn.encode_text(cn_clip.clip.tokenize(some))),
    }


def normalised(found: Any) -> torch.Tensor:
    rows = found if isinstance(found, torch.Tensor) else found.pooler_output
    return torch.nn.functional.normalize(rows, dim=-1)


def _numbers(rows: Any) -> np.ndarray:
    """In float32, of length 1: rounded to bfloat16, a vector has another length."""
    return normalised(torch.as_tensor(rows).float()).numpy()


def each_batch(encode: Encode, items: list[Any], size: int) -> None:
    for some in batches(items, size):
        encode(some)


def sides(encoders: dict[str, Encode], items: list[Any], size: int) -> Sides:
    """Each side on all items; the Embedder makes its batches itself, the others are given theirs in order."""
    return {
        name: partial(encode, items) if name.startswith("engine") else partial(each_batch, encode, items, size)
        for name, encode in encoders.items()
    }


def apart(encoders: dict[str, Encode], items: list[Any], other: str) -> str:
    """How far the vectors of each engine are from those of another side."""
    wanted = _numbers(encoders[other](items))
    found = {name: _numbers(encode(items)) for name, encode in encoders.items() if name.startswith("engine")}
    each = (
        f"{name}: largest difference {np.abs(rows - wanted).max():.1e}, "
        f"smallest cosine {(rows * wanted).sum(1).min():.7f}"
        for name, rows in found.items()
    )
    return f"From the vectors of {other}: {'; '.join(each)}."


@dataclass
class Case:
    """A question, and the sides that answer it.

    Args:
        question: in words.
        sides: made when it is asked.
        items: the number of pictures or texts of a turn.
        against: the sides to which the ratios are told.
        notes: see `Table`; made before the turns.
    """

    question: str
    sides: Callable[[], Sides]
    items: int
    against: list[str]
    notes: Callable[[], list[str]] = list


def answered(case: Case, rounds: int) -> Table:
    told(case.question)
    notes = case.notes()
    return table(
        f"{case.question}, {case.items} items", in_turns(case.sides(), rounds), case.items, case.against, notes
    )


def cases(asked: Any, folder: Path) -> Iterator[Case]:
    cn, chinese = peer(folder), ChineseCLIPModel(ChineseCLIPConfig(**SIZES)).eval()
    model = ZhCLIPModel.from_pretrained(folder / "repo", dtype=torch.float32).eval()
    embedders = engines(folder / "repo")
    first = embedders["torch"]
    paths, texts = pictures(folder, asked.pictures), captions(max(asked.captions, TOKENS))
    few, typical = texts[:TEXT_BATCH], sorted(texts, key=len)[len(texts) // 2]
    contents = [path.read_bytes() for path in paths]
    yield Case(
        "JPEG files of a megapixel to pixels",
        lambda: of_pixels(contents, first, asked.threads),
        len(paths),
        ["Pillow's decode and resize", CN_CLIP],
    )
    for some in (texts[:TOKENS], [typical]):
        yield Case(
            "Captions to ids", partial(of_tokens, some, first), len(some), ["bare tokenizers", CN_CLIP, CHINESE]
        )

    def floor_of(tower: Any, pooling: str, length: int) -> Callable[[int], Sides]:
        return lambda batch: {FLOOR: floor(tower, pooling, batch, length)}

    of_pictures = picture_encoders(model, embedders, cn, chinese)
    of_texts = text_encoders(model, embedders, cn, chinese)
    of_ready = pixel_encoders(model, embedders, cn, chinese)
    below = floor_of(model.vision_model, "pooler", 197)
    for batch in (PICTURE_BATCH, 1):
        pixels = torch.randn(batch, 3, 224, 224)
        yield Case(
            "Ready pixels to vectors, float32, in one batch",
            lambda pixels=pixels: {
                **{name: partial(encode, pixels) for name, encode in of_ready.items()},
                **below(len(pixels)),
            },
            batch,
            [CN_CLIP, CHINESE, FLOOR],
        )
    yield Case(
        "Picture files to vectors, float32, in one batch",
        lambda: sides(of_pictures, paths[:PICTURE_BATCH], PICTURE_BATCH),
        len(paths[:PICTURE_BATCH]),
        [CN_CLIP, CHINESE],
        lambda: [apart(of_pictures, paths[:PICTURE_BATCH], other) for other in (CN_CLIP, MODEL)],
    )
    below = floor_of(model.text_model, model.config.text_pooling, max(map(len, few)) + 2)
    yield Case(
        "Captions to vectors, float32, in one batch; the floor has all texts as long as the longest",
        lambda: {**sides(of_texts, few, TEXT_BATCH), **below(len(few))},
        len(few),
        [CHINESE, CN_CLIP],
        lambda: [apart(of_texts, few, CN_CLIP), apart(of_texts, few, MODEL)],
    )
    yield Case("A caption to its vector, float32", lambda: sides(of_texts, [typical], 1), 1, [CHINESE, CN_CLIP])
    mixed = texts[: asked.captions]
    yield Case(
        f"Captions of mixed length to vectors, float32, batches of {TEXT_BATCH}",
        lambda: {
            name: each for name, each in sides(of_texts, mixed, TEXT_BATCH).items() if name not in (CN_CLIP, MODEL)
        },
        len(mixed),
        [CHINESE],
    )
    if {"amx_bf16", "avx512_bf16"} & set(machine()["features"].split(", ")):
        del of_pictures, of_ready, of_texts, embedders, first, model
        low = picture_encoders(
            ZhCLIPModel.from_pretrained(folder / "repo", dtype=torch.bfloat16).eval(),
            engines(folder / "repo", "bfloat16"),
            halved(cn),
            chinese.bfloat16(),
        )
        yield Case(
            "Picture files to vectors, bfloat16",
            lambda: sides(low, paths[:PICTURE_BATCH], PICTURE_BATCH),
            len(paths[:PICTURE_BATCH]),
            [CN_CLIP, CHINESE],
            lambda: [apart(low, paths[:PICTURE_BATCH], MODEL)],
        )


def halved(cn: Any) -> Any:
    """cn_clip's model in bfloat16, with layer norms in float32, as it keeps them in float16."""
    cn.bfloat16()
    for each in cn.modules():
        if isinstance(each, torch.nn.LayerNorm):
            each.float()
    return cn


def engines(repo: Path, dtype: str = "float32") -> dict[str, Embedder]:
    """The Embedder with each engine; what compiles nothing here is the engine torch, and takes no part."""
    found = {name: Embedder.from_pretrained(repo, name, dtype=dtype, batch_size=TEXT_BATCH) for name in ENGINES}
    return {
        name: each
        for name, each in found.items()
        if name != "compile" or isinstance(each.model.encode_image, Compiled)
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("folder", type=Path)
    for name, default in (("rounds", 3), ("threads", 2), ("captions", 1024), ("pictures", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(asked.threads)
    with torch.inference_mode():
        give((answered(case, asked.rounds) for case in cases(asked, asked.folder)), asked.json, EXPLAINED)


if __name__ == "__main__":
    main()
