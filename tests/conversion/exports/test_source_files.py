"""Repos go back to the files of their own format: each file, each refusal, and what is found when it is read again."""

import json
import pickle
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.errors import InputError, ParityError
from hf_zhclip.conversion.exports import source_files
from hf_zhclip.conversion.exports.exporting import export
from hf_zhclip.conversion.mapping import inverse, plan
from hf_zhclip.conversion.repos.report import FILE
from hf_zhclip.conversion.sources import SOURCES

from tests import checkpoints
from tests.checkpoints import common
from tests.conversion.helpers import contents, entries
from tests.thorough import every_third

KEYS = Path(__file__).parents[2] / "keys"
BERT = {"config.json", "vocab.txt", "pytorch_model.bin"}
PREPARED = {*BERT, "preprocessor_config.json"}
CLIP = {"config.json", "model.safetensors", "preprocessor_config.json"}
CN_CLIP = {"epoch_latest.pt", "stated_config.json"}
SENTENCES = {"modules.json", "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/pytorch_model.bin"}
SENTENCES |= {"sentence_bert_config.json", "tokenizer_config.json"}


def pair(text: set[str]) -> set[str]:
    """A text folder, and the folder of the image tower."""
    return {f"text/{name}" for name in text} | {f"vision/{name}" for name in CLIP}


FILES = {
    "bert_clip": PREPARED,
    "chinese_clip": PREPARED,
    "cn_clip_vit": CN_CLIP,
    "cn_clip_flash": CN_CLIP,
    "cn_clip_resnet": CN_CLIP,
    "easynlp": BERT,
    "hf_clip": {*CLIP, "tokenizer_config.json", "vocab.json", "merges.txt"},
    "modelscope": {"configuration.json", "text_model_config.json", "vision_model_config.json", "vocab.txt"}
    | {"pytorch_model.bin"},
    "multilingual_clip": pair(
        {"config.json", "pytorch_model.bin", "tokenizer.json", "tokenizer_config.json", "stated_config.json"}
    ),
    "open_clip": {"open_clip_config.json", "open_clip_pytorch_model.bin", "vocab.json", "merges.txt"},
    "open_clip_xlm_roberta": {"open_clip_config.json", "open_clip_pytorch_model.bin", "tokenizer.json"},
    # The small vocabulary is none that OpenAI's package holds.
    "openai_clip": {"model.pt", "vocab.json", "merges.txt"},
    "sentence_transformers": pair({*BERT, *SENTENCES}),
    "taiyi_head": pair(BERT),
    "taiyi_plain": pair(BERT),
    "wukong": {"wukong.ckpt", "stated_config.json"},
    "zh_clip": {*PREPARED, "tokenizer_config.json"},
}
"""Every file that each family's users load."""

WEIGHTS = (".bin", ".pt", ".ckpt", ".pth", ".safetensors")
POOLER = r"(transformer|bert|chinese_clip\.bert|text_model)\.pooler\.dense\.(weight|bias)"
ZEROS = {family: POOLER for family in ("easynlp", "modelscope", "multilingual_clip", "zh_clip")}
"""Layers that the class has and that no embedding passes through."""

LEFT_OUT = r".*position_ids|bert\.pooler\.dense\..*"
ENGLISH = r".*position_ids|text_model\..*|text_projection\.weight"
"""Keys of the originals that do not come back: buffers that today's classes lack; of an image part, its text tower."""

FLASH = re.compile(r"Wqkv|self\.out_proj")
PLAIN = re.compile(r"in_proj|self\.(query|key|value)|attention\.output\.dense")

LOST = {
    "r2d2": "itm_head.weight",
    "taiyi_clip": "text_model.pooler.dense.weight",
    "taiyi_finetune": "clip_model.text_model.final_layer_norm.weight",
}
"""Families whose class computes with tensors that the conversion leaves out, and such a tensor."""


def weights(path: Path) -> dict[str, torch.Tensor]:
    """The state dict of a weight file."""
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        top = torch.load(path, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError):
        return dict(torch.jit.load(path).state_dict())
    found = top.get("state_dict", top)
    return {key.removeprefix("module."): tensor for key, tensor in found.items()}


def weight_files(folder: Path) -> dict[str, Path]:
    """Weight files by their folder's place in `folder`, or the file itself."""
    if folder.is_file():
        return {".": folder}
    return {path.parent.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.suffix in WEIGHTS}


def originals(original) -> dict[str, Path]:
    """An original's weight files, by their place in an export."""
    found = weight_files(original.source)
    if (vision := original.arguments.get("vision")) is None:
        return found
    texts = {"text" if place == "." else f"text/{place}": path for place, path in found.items()}
    return {**texts, "vision": next(iter(weight_files(vision).values()))}


def same_bits(found: torch.Tensor, expected: torch.Tensor) -> bool:
    same = found.dtype == expected.dtype and found.shape == expected.shape
    return same and found.numpy().tobytes() == expected.numpy().tobytes()


def tuned(folder: Path, **tensors: torch.Tensor) -> None:
    """Other tensors in a repo, as after training."""
    file = folder / "model.safetensors"
    save_file({**load_file(file), **tensors}, file, metadata={"format": "pt"})


def edited(file: Path, change) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def options_of(command: str) -> tuple[list[str], dict[str, str]]:
    """The places and the options of a `zhclip convert` command."""
    words = shlex.split(command)[2:]
    options = {words[at][2:].replace("-", "_"): words[at + 1] for at in range(2, len(words), 2)}
    return words[:2], options


@pytest.fixture
def copy(repo, tmp_path):
    """Gives a copy of a family's repo, to be changed."""
    return lambda family: shutil.copytree(repo(family).path, tmp_path / family)


# Ways out


@pytest.mark.parametrize("family", ["cn_clip_vit", "multilingual_clip", "wukong"])
def test_files_whose_facts_lie_beside_are_converted_by_the_command_that_is_told(family, repo, tmp_path):
    told = export(repo(family).path, tmp_path / "HOME", to="source").differs

    (command,) = {found for each in told for found in re.findall("`(zhclip convert .*?)`", each)}
    (source, _), options = options_of(command)
    assert convert(source, tmp_path / "OUT", **options).passed


@pytest.mark.parametrize("family", ["cn_clip_vit", "wukong"])
def test_facts_that_lie_beside_the_weights_and_are_not_named_are_asked_about(family, repo, tmp_path):
    export(repo(family).path, tmp_path / "HO ME", to="source")
    weights = next(path for path in (tmp_path / "HO ME").iterdir() if path.suffix in WEIGHTS)
    with pytest.raises(InputError, match="add `--config") as error:
        convert(weights, tmp_path / "OUT")

    option, facts = shlex.split(re.search("`(--config .*?)`", str(error.value))[1])
    assert option == "--config" and convert(weights, tmp_path / "OUT", config=facts).passed

    # Where they belong to other weights, they are moved away, and the message is another.
    Path(facts).rename(tmp_path / "elsewhere.json")
    with pytest.raises(InputError, match="Pass --config FILE|pass --config FILE"):
        convert(weights, tmp_path / "AGAIN")


# What comes back


@pytest.mark.quick(3)
@pytest.mark.filterwarnings("ignore:.*(torch.jit|TorchScript)")  # of the original of OpenAI's CLIP
@pytest.mark.parametrize("family", every_third(FILES))
def test_the_original_s_files_come_back_with_its_bits(family, repo, tmp_path):
    exported = export(repo(family).path, tmp_path / "HOME", to="source")

    assert exported.to == "source" and entries(tmp_path) == {"HOME"}
    assert set(contents(tmp_path / "HOME")) == FILES[family]
    found, expected = weight_files(tmp_path / "HOME"), originals(repo(family).original)
    assert found.keys() == expected.keys()
    for place, file in found.items():
        theirs, back = weights(expected[place]), weights(file)
        zero = {key for key in back if re.fullmatch(ZEROS.get(family, "-"), key)}
        if family == "cn_clip_flash":  # goes back to the plain layout, which has the same numbers under other keys
            theirs = {**theirs, **{key: tensor for key, tensor in back.items() if key not in theirs}}
            theirs = {
                key: tensor for key, tensor in theirs.items() if "Wqkv" not in key and "self.out_proj" not in key
            }
        for key in back.keys() & theirs.keys() - zero:
            assert same_bits(back[key], theirs[key]), key
        assert all(not back[key].any() and back[key].shape == theirs[key].shape for key in zero)
        absent = {key for key in theirs.keys() - back.keys() if not re.fullmatch(LEFT_OUT, key)}
        assert {key for key in absent if not (place == "vision" and re.fullmatch(ENGLISH, key))} == set()
        assert {key for key in back.keys() - theirs.keys() if not key.endswith("position_ids")} == set()
    assert bool(zero) is any("are zeros" in sentence for sentence in exported.differs) or place == "vision"


REFUSED = {"r2d2", "r2d2-base", "taiyi_finetune", "multilingual_clip-m-bert-distil-40"}


@pytest.mark.quick(17)
@pytest.mark.parametrize("name", sorted({path.stem for path in KEYS.glob("*.json")} - REFUSED))
def test_the_written_keys_and_shapes_are_those_of_the_original_s_class(name):
    known = json.loads((KEYS / f"{name}.json").read_text(encoding="utf-8"))
    source = SOURCES[known["format"]]
    shapes = {key: tuple(shape) for key, shape in known["keys"].items()}
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    rules = source.rules(shapes)
    there = dict(plan(rules, shapes).run(tensors))
    back = dict(plan(inverse(rules), {key: tuple(tensor.shape) for key, tensor in there.items()}).run(there))
    written = {key: tuple(tensor.shape) for key, tensor in {**back, **source.files.unused(back)}.items()}
    if name == "bert_from_clip":  # a buffer of transformers before 4.31
        shapes.pop("embeddings.position_ids")
    assert written == shapes


def test_a_file_has_the_keys_that_its_trainer_saves(repo, tmp_path):
    export(repo("cn_clip_vit").path, tmp_path / "CN", to="source")
    export(repo("wukong").path, tmp_path / "WUKONG", to="source")
    export(repo("modelscope").path, tmp_path / "SCOPE", to="source")

    top = torch.load(tmp_path / "CN" / "epoch_latest.pt", weights_only=True)
    assert top.keys() == {"epoch", "step", "name", "state_dict"}
    assert all(key.startswith("module.") for key in top["state_dict"])
    for file in ("WUKONG/wukong.ckpt", "SCOPE/pytorch_model.bin"):
        assert torch.load(tmp_path / file, weights_only=True).keys() == {"state_dict"}


def test_the_json_of_the_original_comes_back_and_pictures_are_prepared_as_in_the_repo(repo, tmp_path):
    export(repo("chinese_clip").path, tmp_path / "HOME", to="source")

    original = repo("chinese_clip").original.source
    for name in ("config.json", "preprocessor_config.json"):
        stated, before = (json.loads((folder / name).read_text("utf-8")) for folder in (tmp_path / "HOME", original))
        kept = before.keys() - {"image_processor_type"}
        assert {key: stated[key] for key in kept} == {key: before[key] for key in kept}
    assert (tmp_path / "HOME" / "vocab.txt").read_bytes() == (original / "vocab.txt").read_bytes()


def test_a_transformer_in_its_own_folder_goes_back_there(tmp_path):
    folder = checkpoints.sentence_transformers.sentence_transformers_folder(tmp_path / "text")
    (folder / "0_Transformer").mkdir()
    for file in [each for each in folder.iterdir() if each.is_file() and each.name != "modules.json"]:
        file.rename(folder / "0_Transformer" / file.name)
    edited(folder / "modules.json", lambda modules: modules[0].update(path="0_Transformer"))
    convert(folder, tmp_path / "OUT", vision=checkpoints.hf_clip.clip_folder(tmp_path / "clip"))
    export(tmp_path / "OUT", tmp_path / "HOME", to="source")

    assert set(contents(tmp_path / "HOME" / "text")) == set(contents(folder))


def test_what_was_stated_with_config_is_written_as_the_format_s_own_file_where_it_has_one(tmp_path):
    folder = checkpoints.bert_clip.bert_clip_config(tmp_path / "folder")
    (folder / "config.json").rename(tmp_path / "stated.json")
    convert(folder, tmp_path / "OUT", config=tmp_path / "stated.json", format="bert_clip")
    export(tmp_path / "OUT", tmp_path / "HOME", to="source")

    stated, written = (
        json.loads(path.read_text("utf-8")) for path in (tmp_path / "stated.json", tmp_path / "HOME" / "config.json")
    )
    assert written == stated


def test_a_text_tower_alone_goes_back(tmp_path):
    folder = checkpoints.taiyi.taiyi_folder(tmp_path / "bert", head=False)
    convert(folder, tmp_path / "OUT", format="bert_from_clip")
    exported = export(tmp_path / "OUT", tmp_path / "HOME", to="source")

    assert set(contents(tmp_path / "HOME")) == BERT
    back, before = (
        torch.load(place / "pytorch_model.bin", weights_only=True) for place in (tmp_path / "HOME", folder)
    )
    assert back.keys() == before.keys() and all(same_bits(back[key], before[key]) for key in before)
    assert "BertModel.from_pretrained(folder)" in exported.load


@pytest.mark.quick(1)
@pytest.mark.parametrize("doubled", [False, True])
def test_a_dual_encoder_of_transformers_goes_back_to_its_class(doubled, tmp_path):
    shapes = checkpoints.dual_encoder.dual_encoder() if doubled else checkpoints.bert_clip.bert_clip()
    convert(checkpoints.dual_encoder.dual_encoder_folder(tmp_path / "dual", shapes), tmp_path / "OUT")
    exported = export(tmp_path / "OUT", tmp_path / "HOME", to="source")

    there: dict = {}
    exec(exported.load, there)
    assert type(there["model"]).__name__ == "VisionTextDualEncoderModel"
    back, loaded = weights(tmp_path / "HOME" / "model.safetensors"), there["model"].state_dict()
    assert back.keys() == checkpoints.dual_encoder.dual_encoder().keys()
    assert same_bits(loaded["logit_scale"], back["logit_scale"])
    norm = "vision_model.post_layernorm.bias"
    assert same_bits(next(each for key, each in loaded.items() if key.endswith(norm)), back[f"vision_model.{norm}"])
    assert there["processor"].image_processor.size["shortest_edge"] == common.SIZE


CLASSES = {
    "chinese_clip": ("ChineseCLIPModel", ""),
    "hf_clip": ("CLIPModel", ""),
    "taiyi_plain": ("BertModel", "text"),
    "sentence_transformers": ("DistilBertModel", "text"),
}


@pytest.mark.quick(2)
@pytest.mark.parametrize("family", CLASSES)
def test_the_class_of_transformers_loads_the_folder_whole(family, repo, tmp_path):
    export(repo(family).path, tmp_path / "HOME", to="source")
    name, place = CLASSES[family]
    loaded, keys = getattr(transformers, name).from_pretrained(tmp_path / "HOME" / place, output_loading_info=True)

    assert not keys["missing_keys"] and not keys["unexpected_keys"] and not keys["mismatched_keys"]
    assert loaded.config.model_type


@torch.no_grad()
def test_the_code_that_is_printed_loads_a_model_that_computes_the_same(repo, tmp_path):
    exported = export(repo("chinese_clip").path, tmp_path / "HOME", to="source")
    there: dict = {}
    exec(exported.load, there)

    ours = transformers.AutoModel.from_pretrained(repo("chinese_clip").path)
    ids = torch.tensor([[101, 671, 1372, 4344, 102]])
    pixels = torch.randn(2, 3, common.SIZE, common.SIZE, generator=torch.Generator().manual_seed(3))
    theirs = there["model"](input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids))
    expected = ours(input_ids=ids, pixel_values=pixels)
    assert torch.allclose(theirs.text_embeds, expected.text_embeds, atol=1e-6)
    assert torch.allclose(theirs.image_embeds, expected.image_embeds, atol=1e-6)
    processor = transformers.AutoProcessor.from_pretrained(repo("chinese_clip").path)
    assert there["processor"](text=["一只猫"])["input_ids"] == processor(text=["一只猫"])["input_ids"]


@torch.no_grad()
def test_the_two_folders_of_a_pair_load_and_compute_the_same(repo, tmp_path):
    exported = export(repo("taiyi_plain").path, tmp_path / "HOME", to="source")
    there: dict = {}
    exec(exported.load, there)

    ours = transformers.AutoModel.from_pretrained(repo("taiyi_plain").path)
    ids = torch.tensor([[101, 671, 1372, 4344, 102]])
    pixels = torch.randn(2, 3, common.SIZE, common.SIZE, generator=torch.Generator().manual_seed(3))
    expected = ours(input_ids=ids, pixel_values=pixels)
    text = torch.nn.functional.normalize(there["text_model"](ids)[1], dim=-1)
    image = torch.nn.functional.normalize(there["image_model"](pixels).image_embeds, dim=-1)
    assert torch.allclose(text, expected.text_embeds, atol=1e-6)
    assert torch.allclose(image, expected.image_embeds, atol=1e-6)
    assert there["logit_scale"] == ours.logit_scale


# Fine-tuned repos


def test_trained_weights_in_another_dtype_go_back_and_config_json_states_it(copy, tmp_path):
    folder = copy("chinese_clip")
    edited(folder / FILE, lambda report: stated_config(report).update(torch_dtype="float32"))
    trained = {key: tensor.bfloat16() for key, tensor in load_file(folder / "model.safetensors").items()}
    tuned(folder, **trained)
    edited(folder / "config.json", lambda config: config.update(dtype="bfloat16"))
    export(folder, tmp_path / "HOME", to="source")

    assert json.loads((tmp_path / "HOME" / "config.json").read_text("utf-8"))["torch_dtype"] == "bfloat16"
    back = weights(tmp_path / "HOME" / "pytorch_model.bin")
    assert all(same_bits(back[key].view(torch.int16), tensor.view(torch.int16)) for key, tensor in trained.items())


def stated_config(report: dict) -> dict:
    return report["sources"][0]["evidence"]["files"]["config.json"]["content"]


def test_another_image_size_is_stated_where_config_json_has_a_place_for_it(copy, tmp_path):
    folder, size = copy("bert_clip"), common.SIZE + common.PATCH
    rows = (size // common.PATCH) ** 2 + 1
    tuned(folder, **{"vision_model.embeddings.position_embedding.weight": torch.ones(rows, common.WIDTH)})
    edited(folder / "config.json", lambda config: config["vision_config"].update(image_size=size))
    square = {"height": size, "width": size}
    edited(folder / "processor_config.json", lambda config: config["image_processor"].update(size=square))
    export(folder, tmp_path / "HOME", to="source")

    assert json.loads((tmp_path / "HOME" / "config.json").read_text("utf-8"))["vision_config"]["image_size"] == size
    assert json.loads((tmp_path / "HOME" / "preprocessor_config.json").read_text("utf-8"))["size"] == size


def test_more_rows_than_words_are_stated_where_config_json_has_a_place_for_them(copy, tmp_path):
    folder, rows = copy("taiyi_plain"), common.VOCAB + 8
    tuned(folder, **{"text_model.embeddings.word_embeddings.weight": torch.ones(rows, common.HIDDEN)})
    edited(folder / "config.json", lambda config: config["text_config"].update(vocab_size=rows))
    export(folder, tmp_path / "HOME", to="source")

    assert json.loads((tmp_path / "HOME/text/config.json").read_text("utf-8"))["vocab_size"] == rows
    vision = json.loads((tmp_path / "HOME/vision/config.json").read_text("utf-8"))
    assert vision["text_config"]["vocab_size"] == checkpoints.hf_clip.CLIP_TEXT_CONFIG["vocab_size"]


def test_a_longer_text_goes_back_and_is_said(copy, tmp_path):
    folder = copy("cn_clip_vit")
    edited(folder / "tokenizer_config.json", lambda config: config.update(model_max_length=60))
    exported = export(folder, tmp_path / "HOME", to="source")

    assert any(
        "cuts texts at 60 tokens" in sentence and "the original's own limit is 52" in sentence
        for sentence in exported.differs
    )


# What is refused


def refused(folder: Path, home: Path, *words: str) -> str:
    """The message of a refusal, which leaves nothing behind."""
    before = entries(home.parent)
    with pytest.raises(InputError) as error:
        export(folder, home, to="source")
    assert entries(home.parent) == before
    message = str(error.value)
    assert all(word in message for word in words), message
    return message


@pytest.mark.quick(1)
@pytest.mark.parametrize("family", LOST)
def test_what_the_class_computes_with_and_the_conversion_left_out_is_named(family, repo, tmp_path):
    message = refused(repo(family).path, tmp_path / "HOME", LOST[family], "they are lost")
    way_out = "DEST --to transformers" if family == "taiyi_clip" else "Use the repo itself"
    assert way_out in message


def test_a_folder_without_a_report_is_told_which_command_makes_it_a_repo(copy, tmp_path):
    folder = copy("bert_clip")
    (folder / FILE).unlink()
    refused(folder, tmp_path / "HOME", f"zhclip convert {folder} OUT --base REPO")


def test_a_trained_scale_is_refused_where_the_format_has_none(copy, tmp_path):
    folder = copy("zh_clip")
    tuned(folder, logit_scale=torch.tensor(1.5))
    refused(folder, tmp_path / "HOME", "logit_scale is 1.5", "Wanted 0 (the factor 1)")


def with_a_new_word(folder: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["新词"])
    tokenizer.save_pretrained(folder)
    rows = load_file(folder / "model.safetensors")["text_model.embeddings.word_embeddings.weight"]
    tuned(folder, **{"text_model.embeddings.word_embeddings.weight": torch.cat([rows, rows[:1]])})
    edited(folder / "config.json", lambda config: config["text_config"].update(vocab_size=len(rows) + 1))


@pytest.mark.parametrize(
    "family, words",
    {
        "cn_clip_vit": ("has 21129 words, and 21128 were wanted",),
        "bert_clip": ("the tokenizer: its steps or its added words differ",),
    }.items(),
)
def test_words_that_were_added_are_refused(family, words, copy, tmp_path):
    folder = copy(family)
    with_a_new_word(folder)
    refused(folder, tmp_path / "HOME", *words)


FACTS = {
    "attends to padding": ("taiyi_plain", "config.json", lambda config: config.update(text_attends_to_padding=True)),
    "heads": ("chinese_clip", "config.json", lambda config: config["text_config"].update(num_attention_heads=2)),
    "mean of pictures": (
        "bert_clip",
        "processor_config.json",
        lambda config: config["image_processor"].update(image_mean=[0.5, 0.5, 0.5]),
    ),
}


@pytest.mark.quick(1)
@pytest.mark.parametrize("fact", FACTS)
def test_a_fact_that_the_original_s_files_state_otherwise_is_named_with_both_values(fact, copy, tmp_path):
    family, file, change = FACTS[fact]
    folder = copy(family)
    edited(folder / file, change)
    named = {
        "attends to padding": "text_attends_to_padding: found True, the original's files state False",
        "heads": "text_config.num_attention_heads: found 2, the original's files state 4",
        "mean of pictures": "image_processor.image_mean: found [0.5, 0.5, 0.5]",
    }
    refused(folder, tmp_path / "HOME", named[fact], "cannot be written as")


def test_an_image_tower_alone_is_refused_where_its_class_loads_none(tmp_path):
    vision = checkpoints.open_clip.open_clip_folder(tmp_path / "vision")
    text = checkpoints.taiyi.taiyi_folder(tmp_path / "taiyi", head=True)
    convert(text, tmp_path / "OUT", vision=vision, format="taiyi")
    refused(tmp_path / "OUT", tmp_path / "HOME", "open_clip's CLIP", "loads no image tower without a text tower")


@pytest.mark.quick(1)
@pytest.mark.parametrize("distilbert", [False, True])
def test_a_multilingual_clip_of_2021_is_refused(distilbert, tmp_path):
    text = checkpoints.multilingual_clip.multilingual_clip_legacy_folder(tmp_path / "text", distilbert)
    convert(text, tmp_path / "OUT", vision=checkpoints.hf_clip.clip_folder(tmp_path / "clip"))
    refused(tmp_path / "OUT", tmp_path / "HOME", "its head lay in a pickle")


@pytest.mark.parametrize("name", ["../../escaped.json", "/escaped.json", "..\\..\\escaped.json"])
def test_a_report_names_no_file_outside_of_the_folder(name, copy, tmp_path):
    folder = copy("bert_clip")

    def change(report: dict) -> None:
        files = report["sources"][0]["evidence"]["files"]
        files[name] = files["config.json"]

    edited(folder / FILE, change)
    refused(folder, tmp_path / "HOME", "which lies outside the repo's folder")


def test_a_report_of_an_unknown_format_is_refused(copy, tmp_path):
    folder = copy("bert_clip")
    edited(folder / FILE, lambda report: report["sources"][0].update(format="another"))
    refused(folder, tmp_path / "HOME", "the format 'another'")


BROKEN = {
    "no list of keys": lambda report: report["sources"][0].update(dropped=5),
    "no JSON object": lambda report: report["sources"][0]["evidence"]["files"]["config.json"].update(content=[]),
}


@pytest.mark.parametrize("part", BROKEN)
def test_a_report_with_parts_of_another_kind_is_refused(part, copy, tmp_path):
    folder = copy("multilingual_clip")
    edited(folder / FILE, BROKEN[part])
    refused(folder, tmp_path / "HOME", "is no valid report", "Convert the original again")


def test_a_report_without_the_modules_of_the_original_is_refused(copy, tmp_path):
    folder = copy("sentence_transformers")
    edited(folder / FILE, lambda report: report["sources"][0]["evidence"]["files"].pop("modules.json"))
    refused(folder, tmp_path / "HOME", "does not hold the original's JSON files")


@pytest.mark.parametrize(
    "options, words",
    [
        ({"ddp": True}, "Leave --ddp out"),
        ({"also_legacy": True}, "Leave --also-legacy out with --to source"),
        ({"max_shard_size": "big"}, "is no size"),
    ],
)
def test_options_of_other_targets_are_refused(options, words, repo, tmp_path):
    with pytest.raises(InputError, match=words):
        export(repo("bert_clip").path, tmp_path / "HOME", to="source", **options)
    with pytest.raises(InputError, match="looks like a file, but --to source writes a folder"):
        export(repo("cn_clip_vit").path, tmp_path / "HOME.pt", to="source")


# The proof


def test_a_tensor_that_is_written_otherwise_fails_and_nothing_is_left(repo, tmp_path, monkeypatch):
    write = source_files.write_pickle

    def planted(path: Path, top: dict) -> None:
        key = "text_model.encoder.layer.1.output.dense.bias"
        write(path, {**top, key: top[key] + 2**-20})

    monkeypatch.setattr(source_files, "write_pickle", planted)
    with pytest.raises(ParityError, match=r"Differences:\n  text_model.encoder.layer.1.output.dense.bias$"):
        export(repo("bert_clip").path, tmp_path / "HOME", to="source")
    assert entries(tmp_path) == set()


def test_a_vocabulary_that_is_written_otherwise_fails_and_nothing_is_left(repo, tmp_path, monkeypatch):
    def planted(folder: Path, tokenizer: object, had: object) -> None:
        lines = (repo("bert_clip").original.source / "vocab.txt").read_text("utf-8").split("\n")
        lines[671], lines[672] = lines[672], lines[671]
        (folder / "vocab.txt").write_text("\n".join(lines), encoding="utf-8")

    monkeypatch.setattr(source_files, "_write_vocabulary", planted)
    with pytest.raises(ParityError, match="the vocabulary"):
        export(repo("bert_clip").path, tmp_path / "HOME", to="source")
    assert entries(tmp_path) == set()


# Places


@pytest.mark.quick(1)
@pytest.mark.parametrize("family", ["taiyi_plain", "cn_clip_vit", "hf_clip"])
def test_force_replaces_an_earlier_export_and_nothing_else(family, repo, tmp_path):
    export(repo(family).path, tmp_path / "HOME", to="source")
    with pytest.raises(InputError, match="exists already"):
        export(repo(family).path, tmp_path / "HOME", to="source")
    export(repo(family).path, tmp_path / "HOME", to="source", force=True)

    (tmp_path / "NOTES").mkdir()
    (tmp_path / "NOTES" / "notes.txt").touch()
    with pytest.raises(InputError, match="holds no export"):
        export(repo(family).path, tmp_path / "NOTES", to="source", force=True)
    assert entries(tmp_path) == {"HOME", "NOTES"} and entries(tmp_path / "NOTES") == {"notes.txt"}


def test_a_large_file_is_cut_into_shards_where_the_format_reads_shards(repo, tmp_path):
    export(repo("hf_clip").path, tmp_path / "HOME", to="source", max_shard_size="300KB")

    assert "model.safetensors.index.json" in entries(tmp_path / "HOME")
    assert len(list((tmp_path / "HOME").glob("model-*.safetensors"))) > 1
