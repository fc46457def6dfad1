"""sentence-transformers itself at full size: its multilingual CLIP and clip-ViT-B-32, saved, converted, compared."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoProcessor, DistilBertConfig, DistilBertModel
from transformers import CLIPModel as TransformersCLIPModel

from hf_zhclip.conversion import convert, verify
from hf_zhclip.conversion.proof import samples
from hf_zhclip.conversion.tokenizers.vocabularies import SPECIAL_TOKENS, default_vocab

from tests import checkpoints
from tests.published import KEYS
from tests.weights import seeded_state_dict

pytestmark = pytest.mark.parity

NAME = "sentence_transformers-multilingual"
TEXTS = [
    *samples.TEXTS,
    "  Ein Hund im Schnee ",
    "Über ÇA, Ñandú",
    "一只可爱的猫 CAT",
    "[MASK] [SEP] ###",
    "word " * 300,
]
PICTURES = [picture for _, picture in samples.pictures() if picture.mode == "RGB"][:3]
IDENTITY = torch.nn.Identity()
PLACES = {
    "SentenceTransformer": "sentence_transformers",
    **dict.fromkeys(("Dense", "Normalize", "Transformer"), "sentence_transformers.base.modules"),
    **dict.fromkeys(("CLIPModel", "Pooling"), "sentence_transformers.sentence_transformer.modules"),
}


def peer(name: str) -> Any:
    """A class of sentence-transformers, imported when it is asked for."""
    return getattr(importlib.import_module(PLACES[name]), name)


def cased_vocabulary(rows: int) -> list[str]:
    """As many tokens as the published one has, capitals and accents among them."""
    capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÜÇÑàéïöü"
    found = dict.fromkeys([*default_vocab(), *capitals, *(f"##{letter}" for letter in capitals)])
    return [*found, *(f"[unused-{number}]" for number in range(len(found), rows))]


def text_model(folder: Path, recorded: dict, vocabulary: list[str], length: int, *behind) -> Any:
    """A SentenceTransformer of a DistilBERT with seeded weights, and its modules behind it."""
    body = DistilBertModel(DistilBertConfig(**{**recorded["config"], "vocab_size": len(vocabulary)}))
    shapes = {key: tuple(tensor.shape) for key, tensor in body.state_dict().items()}
    body.load_state_dict(seeded_state_dict(shapes))
    body.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary), encoding="utf-8")
    settings = {"do_lower_case": False, "model_max_length": 512, **SPECIAL_TOKENS}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    first = peer("Transformer")(str(folder), max_seq_length=length)
    return peer("SentenceTransformer")(modules=[first, *behind], device="cpu")


def dense(rows: int, columns: int, bias: bool = False) -> Any:
    module = peer("Dense")(columns, rows, bias=bias, activation_function=IDENTITY)
    shapes = {f"2_Dense.{key}": tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    module.load_state_dict({key[len("2_Dense.") :]: tensor for key, tensor in seeded_state_dict(shapes).items()})
    return module


def as_version_2_saved(folder: Path, length: int) -> None:
    """Turns a folder that version 6 saved into the form of the published one."""
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    for module in modules:
        module["type"] = f"sentence_transformers.models.{module['type'].rsplit('.', 1)[1]}"
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    old = {"max_seq_length": length, "do_lower_case": False}
    (folder / "sentence_bert_config.json").write_text(json.dumps(old), encoding="utf-8")
    width = json.loads((folder / "1_Pooling/config.json").read_text(encoding="utf-8"))["embedding_dimension"]
    pooling = {"word_embedding_dimension": width, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    pooling |= {"pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling), encoding="utf-8")
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokenizer["model_max_length"] = 512
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")


def image_model(folder: Path, clip: Path) -> Any:
    """clip-ViT-B-32's layout, read by sentence-transformers itself."""
    folder.mkdir()
    clip.rename(folder / "0_CLIPModel")
    module = {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
    (folder / "modules.json").write_text(json.dumps([module]), encoding="utf-8")
    # Where torchvision is installed, transformers would resize with it, to other pixels than CLIP was trained with.
    return peer("SentenceTransformer")(str(folder), device="cpu", processor_kwargs={"backend": "pil"})


def full_clip(folder: Path, shapes: dict, config: dict) -> Path:
    """CLIP ViT-B/32 with seeded weights, beside a small vocabulary: its texts are not asked."""
    checkpoints.hf_clip.clip_folder(folder)
    model = TransformersCLIPModel(TransformersCLIPModel.config_class.from_dict(config))
    model.load_state_dict(seeded_state_dict(shapes))
    model.save_pretrained(folder)
    pictures = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 224}, "do_convert_rgb": True}
    pictures |= {"crop_size": {"height": 224, "width": 224}, "do_center_crop": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures), encoding="utf-8")
    return folder


def small_clip(folder: Path) -> Path:
    checkpoints.hf_clip.clip_folder(folder)
    pictures = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": checkpoints.common.SIZE}}
    pictures |= {
        "crop_size": {"height": checkpoints.common.SIZE, "width": checkpoints.common.SIZE},
        "do_center_crop": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures), encoding="utf-8")
    return folder


@torch.no_grad()
def compare(text: Any, images: Any, out: Path) -> None:
    model, processor = AutoModel.from_pretrained(out), AutoProcessor.from_pretrained(out)

    theirs = text.preprocess(TEXTS) if hasattr(text, "preprocess") else text.tokenize(TEXTS)
    inputs = processor(text=TEXTS, return_tensors="pt")
    assert torch.equal(inputs["input_ids"], theirs["input_ids"])
    assert len(set(map(tuple, inputs["input_ids"].tolist()))) == len(TEXTS)
    wanted = text.encode(TEXTS, convert_to_tensor=True, normalize_embeddings=True, batch_size=4)
    same(model.encode_text(**inputs), wanted)
    wanted = images.encode(PICTURES, convert_to_tensor=True, normalize_embeddings=True)
    same(model.encode_image(**processor(images=PICTURES, return_tensors="pt")), wanted)


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    difference, smallest = float((found - wanted).abs().max()), float((found.double() * wanted.double()).sum(-1).min())
    print(f"max abs {difference:.1e}, cosine {smallest:.8f}")
    assert difference <= 1e-5 and smallest >= 0.999999


@pytest.mark.parametrize(
    "published",
    [
        pytest.param(True, id="as version 2 saved it"),
        pytest.param(False, id="as version 6 saves it", marks=pytest.mark.slow),  # of small models, the test below
    ],
)
def test_against_sentence_transformers_at_full_size(published, tmp_path):
    recorded, clip = KEYS[NAME], KEYS["hf_clip-vit-base-patch32"]
    width, rows = recorded["config"]["dim"], recorded["keys"]["2_Dense.linear.weight"][0]
    vocabulary = cased_vocabulary(recorded["config"]["vocab_size"])
    (tmp_path / "body").mkdir()
    behind = peer("Pooling")(width, pooling_mode="mean"), dense(rows, width)
    text = text_model(tmp_path / "body", recorded, vocabulary, 128, *behind)
    text.save_pretrained(str(tmp_path / "text"), create_model_card=False, safe_serialization=not published)
    if published:
        as_version_2_saved(tmp_path / "text", 128)
        assert peer("SentenceTransformer")(str(tmp_path / "text"), device="cpu").max_seq_length == 128
        assert (tmp_path / "text/2_Dense/pytorch_model.bin").is_file()
    images = image_model(tmp_path / "images", full_clip(tmp_path / "clip", clip["keys"], clip["config"]))
    # The proof is asked of small models, below.
    convert(tmp_path / "text", tmp_path / "out", vision=tmp_path / "images", skip_verify=True)
    compare(text, images, tmp_path / "out")


SMALL = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64}


@pytest.mark.parametrize(
    ("pooling", "bias", "normalize"), [("mean", True, True), ("cls", False, False)], ids=["mean, bias", "cls"]
)
def test_other_modules_that_are_supported_give_the_same_vectors(pooling, bias, normalize, tmp_path):
    (tmp_path / "body").mkdir()
    behind = [
        peer("Pooling")(32, pooling_mode=pooling),
        dense(checkpoints.common.EMBED, 32, bias),
        *([peer("Normalize")()] if normalize else []),
    ]
    text = text_model(tmp_path / "body", {"config": SMALL}, cased_vocabulary(21200), 40, *behind)
    text.save_pretrained(str(tmp_path / "text"), create_model_card=False)
    images = image_model(tmp_path / "images", small_clip(tmp_path / "clip"))
    report = convert(tmp_path / "text", tmp_path / "out", vision=tmp_path / "images")
    assert (report.level, report.passed) == ("peer", True)
    compare(text, images, tmp_path / "out")
    assert verify(tmp_path / "out").level == "peer"


def test_what_sentence_transformers_saves_of_a_clip_is_read_at_its_root(tmp_path):
    images = peer("SentenceTransformer")(modules=[peer("CLIPModel")(str(small_clip(tmp_path / "clip")))], device="cpu")
    images.save_pretrained(str(tmp_path / "saved"), create_model_card=False)

    report = convert(tmp_path / "saved", tmp_path / "out", skip_verify=True)

    assert [source["format"] for source in report.sources] == ["hf_clip"]
