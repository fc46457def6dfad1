"""Multilingual-CLIP's own classes: small ones on the models that they would download, and the published sizes."""

import json
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import transformers
from transformers import AutoModel, AutoProcessor

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.proof import samples

from tests import checkpoints, unigram
from tests.parity.peers import package
from tests.weights import seeded_state_dict

pytestmark = pytest.mark.parity

KEYS = Path(__file__).parents[1] / "keys"
TEXTS = [
    "一只猫",
    "Älgen är skogens konung!",
    "Wie leben Eisbären in der Antarktis?",
    "两只可爱的小狗在草地上奔跑，远处有一棵大树。",
]
# The widths of XLM-R base with a small vocabulary: what the family's tests have no room for.
WIDE = {
    **checkpoints.multilingual_clip.MCLIP_BASE["xlm-roberta"],
    **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}
LARGE = ["multilingual_clip-labse-vit-l-14", "multilingual_clip-xlm-r-vit-b-32", "multilingual_clip-xlm-r-vit-l-14"]


def peer(base: dict, width: int) -> torch.nn.Module:
    """The package's class, with the model that it would download."""
    original = package("multilingual_clip.pt_multilingual_clip").MultilingualCLIP
    body = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**base))
    sizes = {"transformerDimSize": body.config.hidden_size, "imageDimSize": width}
    with patch.object(transformers.AutoModel, "from_pretrained", lambda name: body):
        model = original(original.config_class(**sizes))
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    model.load_state_dict(seeded_state_dict(shapes))
    return model.eval()


def folder(path: Path, model: torch.nn.Module, kind: str) -> Path:
    """What lies on the hub of such a model: the state dict, its config.json and its tokenizer."""
    width, columns = model.LinearTransformation.weight.shape
    checkpoints.multilingual_clip.multilingual_clip_folder(path, kind)
    stated = {"model_type": "M-CLIP", "modelBase": "nobody", "transformerDimensions": columns, "numDims": width}
    (path / "config.json").write_text(json.dumps(stated), encoding="utf-8")
    torch.save(model.state_dict(), path / "pytorch_model.bin")
    return path


@pytest.mark.parametrize(
    "base", [checkpoints.multilingual_clip.MCLIP_BASE["bert"], WIDE], ids=["small BERT", "XLM-R base"]
)
@torch.no_grad()
def test_against_multilingual_clip(base, tmp_path):
    model = peer(base, checkpoints.common.EMBED)
    source = folder(tmp_path / "source", model, base["model_type"])
    ours, processor = converted(source, base, checkpoints.hf_clip.clip_folder(tmp_path / "clip"), tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)

    batch = processor(text=TEXTS)
    assert batch["input_ids"] == tokenizer(TEXTS, padding=True)["input_ids"]
    same(ours.encode_text(torch.tensor(batch["input_ids"])), model(TEXTS, tokenizer))


@pytest.mark.parametrize("distilbert", [False, True])
@torch.no_grad()
def test_against_the_classes_of_2021_on_their_own_files(distilbert, tmp_path):
    source = checkpoints.multilingual_clip.multilingual_clip_legacy_folder(tmp_path / "source", distilbert)
    (name,) = (file.name for file in source.glob("*.pkl"))
    original = package("multilingual_clip.legacy_multilingual_clip").MultilingualClip
    model = original(str(source), str(source), name, f"{source}/").eval()
    ours, processor = converted(source, None, checkpoints.hf_clip.clip_folder(tmp_path / "clip"), tmp_path)

    batch = processor(text=TEXTS)
    assert batch["input_ids"] == model.tokenizer(TEXTS, padding=True)["input_ids"]
    same(ours.encode_text(torch.tensor(batch["input_ids"])), model(TEXTS))


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
@torch.no_grad()
def test_against_multilingual_clip_at_full_size(name, tmp_path):
    recorded = json.loads((KEYS / f"{name}.json").read_text(encoding="utf-8"))
    base, width = recorded["config"]["base_config"], recorded["config"]["numDims"]
    model = peer(base, width)
    assert {key: list(tensor.shape) for key, tensor in model.state_dict().items()} == recorded["keys"]
    ids = torch.randint(1000, 20000, (4, 24), generator=torch.Generator().manual_seed(3))
    for row, length in enumerate((24, 17, 9, 5)):
        ids[row, length:] = model.transformer.config.pad_token_id
    mask = (ids != model.transformer.config.pad_token_id).long()
    wanted = model(None, lambda text, **options: {"input_ids": ids, "attention_mask": mask})
    source = folder(tmp_path / "source", model, base["model_type"])
    del model
    clip = checkpoints.hf_clip.clip_folder(tmp_path / "clip", embed=width)
    ours, _ = converted(source, base, clip, tmp_path)
    same(ours.encode_text(ids), wanted)


def converted(source: Path, base: dict | None, vision: Path, tmp_path: Path):
    config = None if base is None else tmp_path / "base.json"
    if config:
        config.write_text(json.dumps(base), encoding="utf-8")
    out = tmp_path / "out"
    convert(source, out, vision=vision, config=config, skip_verify=True)
    return AutoModel.from_pretrained(out).eval(), AutoProcessor.from_pretrained(out)


def same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    wanted = torch.nn.functional.normalize(theirs, dim=-1)
    assert (ours - wanted).abs().max() <= 1e-5
    assert (ours * wanted).sum(-1).min() >= 0.999999


def test_the_ids_of_every_sample_are_those_of_transformers_own_tokenizer(tmp_path):
    unigram.tokenizer_file(tmp_path / "tokenizer.json")
    from hf_zhclip.conversion.tokenizers.builders import xlm_roberta_tokenizer

    own = transformers.XLMRobertaTokenizer.from_pretrained(tmp_path)
    wanted = own(list(samples.TEXTS), truncation=True, max_length=512)["input_ids"]
    assert xlm_roberta_tokenizer(tmp_path, 512)(list(samples.TEXTS), truncation=True)["input_ids"] == wanted
