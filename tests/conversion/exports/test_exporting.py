import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor, pipeline

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.errors import InputError, ParityError, WorkError
from hf_zhclip.conversion.exports import cn_clip_file, exporting, native_process
from hf_zhclip.conversion.exports.exporting import export
from hf_zhclip.conversion.exports.natives import NATIVES
from hf_zhclip.conversion.mapping import rename
from hf_zhclip.conversion.proof import samples
from hf_zhclip.conversion.reading.read import Checkpoint
from hf_zhclip.conversion.repos.repo import read_repo
from hf_zhclip.conversion.repos.report import FILE
from hf_zhclip.conversion.sources import cn_clip

from tests import checkpoints
from tests.conversion.helpers import PICTURES, answer_here, contents, entries
from tests.thorough import every_third, in_turns

KEYS = Path(__file__).parents[2] / "keys"
CLASSES = {
    "hf_clip": "CLIPModel",
    "wukong": "CLIPModel",
    "cn_clip_vit": "ChineseCLIPModel",
    "bert_clip": "VisionTextDualEncoderModel",
    "taiyi_plain": "VisionTextDualEncoderModel",
}
CROPPED = "the image order: the repo resizes the short side and crops the middle, and cn_clip resizes to a square"


@pytest.fixture(autouse=True)
def verify_here(request, monkeypatch):
    if "fresh_process" not in request.fixturenames:
        monkeypatch.setattr(exporting, "in_fresh_process", answer_here)
        monkeypatch.setattr(native_process.runpy, "run_path", lambda _: vars(samples))


@pytest.fixture
def changed(repo, tmp_path):
    """Gives a copy of a family's repo with other fields in a JSON file and other tensors."""

    def make(family: str, file: str = "config.json", tensors: dict | None = None, **fields: object) -> Path:
        copy = shutil.copytree(repo(family).path, tmp_path / f"changed_{family}")
        content = json.loads((copy / file).read_text(encoding="utf-8"))
        (copy / file).write_text(json.dumps({**content, **fields}), encoding="utf-8")
        if tensors:
            weights = load_file(copy / "model.safetensors")
            save_file({**weights, **tensors}, copy / "model.safetensors", metadata={"format": "pt"})
        return copy

    return make


def same_bits(found, expected):
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert found[key].dtype == tensor.dtype and found[key].shape == tensor.shape, key
        assert found[key].numpy().tobytes() == tensor.numpy().tobytes(), key


# To transformers


@pytest.mark.quick(2)
@pytest.mark.parametrize("family", in_turns(CLASSES, CLASSES.get))
def test_a_repo_becomes_a_folder_of_the_stock_class_with_the_same_bits(family, repo, tmp_path):
    source = load_file(repo(family).path / "model.safetensors")
    exported = export(repo(family).path, tmp_path / "NATIVE", to="transformers")

    assert (exported.to, exported.wrote) == ("transformers", CLASSES[family])
    assert entries(tmp_path) == {"NATIVE"}
    files = {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json"}
    assert entries(tmp_path / "NATIVE") == files
    text = b"".join(content for name, content in contents(tmp_path / "NATIVE").items() if name != "model.safetensors")
    assert b"zhclip" not in text.lower()
    expected = dict(source)
    if CLASSES[family] == "VisionTextDualEncoderModel":  # where transformers 4 has the tower
        expected = {re.sub(r"^vision_model\.", "vision_model.vision_model.", key): t for key, t in source.items()}
    if family == "taiyi_plain":
        expected["text_projection.weight"] = torch.eye(checkpoints.common.HIDDEN)
    same_bits(load_file(tmp_path / "NATIVE" / "model.safetensors"), expected)


@pytest.mark.thorough  # test_own_code.py exports in such a process
def test_transformers_computes_the_same_in_a_process_that_cannot_import_hf_zhclip(repo, tmp_path, fresh_process):
    export(repo("cn_clip_vit").path, tmp_path / "chinese_clip", to="transformers")
    assert "chinese_clip" in entries(tmp_path)


def test_the_fresh_process_cannot_import_hf_zhclip_and_tells_why_it_failed(tmp_path, fresh_process):
    request = {"torchvision": native_process.__file__}
    with pytest.raises(WorkError, match="^The process that verifies failed: KeyError: 'hide_broken_torchvision'$"):
        exporting.in_fresh_process(request)


@pytest.mark.quick(1)
@pytest.mark.parametrize("family", ["cn_clip_vit", "bert_clip"])
def test_the_zero_shot_pipeline_takes_the_folder(family, repo, tmp_path):
    export(repo(family).path, tmp_path / "NATIVE", to="transformers")
    picture, labels = PICTURES[0][1], ["一只猫", "两只可爱的小狗"]
    scores = pipeline("zero-shot-image-classification", model=str(tmp_path / "NATIVE"))(
        picture, candidate_labels=labels, hypothesis_template="{}"
    )

    model, processor = AutoModel.from_pretrained(repo(family).path), AutoProcessor.from_pretrained(repo(family).path)
    with torch.no_grad():
        outputs = model(**processor(text=labels, images=[picture], return_tensors="pt"))
    expected = dict(zip(labels, outputs.logits_per_image.softmax(-1)[0].tolist(), strict=True))
    assert {each["label"]: each["score"] for each in scores} == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_a_text_that_holds_the_padding_token_gets_its_embedding_with_the_mask_that_the_export_names(repo, tmp_path):
    exported = export(repo("easynlp").path, tmp_path / "NATIVE", to="transformers")
    assert exported.wrote == "ChineseCLIPModel"
    (line,) = [each for each in exported.differs if "[PAD]" in each]
    inputs = AutoProcessor.from_pretrained(tmp_path / "NATIVE", backend="pil")(
        text=["猫[PAD]狗", "一只可爱的小狗"], padding=True, return_tensors="pt"
    )
    model = AutoModel.from_pretrained(tmp_path / "NATIVE").eval()
    wanted = AutoModel.from_pretrained(repo("easynlp").path).eval().encode_text(**inputs)

    def cosine() -> float:
        found = torch.nn.functional.normalize(model.get_text_features(**inputs).pooler_output)
        return float((found * wanted).sum(-1).min())

    assert cosine() < 0.99
    exec(line.split("For the same embedding: ")[1], {"inputs": inputs, "model": model})
    assert cosine() > 1 - 1e-6


@torch.no_grad()
def test_a_text_whose_padding_token_transformers_zeroes_is_told(repo, tmp_path):
    exported = export(repo("chinese_clip").path, tmp_path / "NATIVE", to="transformers")
    (line,) = [each for each in exported.differs if "[PAD]" in each]
    assert "word embedding to zeros when it loads ChineseCLIPModel" in line
    tables = [
        AutoModel.from_pretrained(path).text_model.embeddings.word_embeddings.weight
        for path in (repo("chinese_clip").path, tmp_path / "NATIVE")
    ]
    different = (tables[0] != tables[1]).any(-1).nonzero().flatten().tolist()
    assert different in ([0], []), "[PAD]'s row, or none where a release of transformers keeps it"


@pytest.mark.quick(1)
@pytest.mark.parametrize("family", ["cn_clip_vit", "bert_clip"])
def test_where_no_text_with_the_padding_token_differs_none_is_told(family, repo, tmp_path):
    exported = export(repo(family).path, tmp_path / "NATIVE", to="transformers")
    assert not any("[PAD]" in each for each in exported.differs)


def test_older_readers_get_their_files_when_asked(repo, tmp_path):
    export(repo("cn_clip_vit").path, tmp_path / "NATIVE", to="transformers", also_legacy=True)

    assert {"preprocessor_config.json", "vocab.txt"} <= entries(tmp_path / "NATIVE")
    stated = json.loads((tmp_path / "NATIVE" / "preprocessor_config.json").read_text(encoding="utf-8"))
    assert stated["image_processor_type"] == "ChineseCLIPImageProcessor"
    assert stated["size"] == {"height": checkpoints.common.SIZE, "width": checkpoints.common.SIZE}
    assert stated["do_center_crop"] is False


def test_weights_are_cut_into_shards(repo, tmp_path):
    export(repo("cn_clip_vit").path, tmp_path / "NATIVE", to="transformers", max_shard_size="500KB")

    index = json.loads((tmp_path / "NATIVE" / "model.safetensors.index.json").read_text(encoding="utf-8"))
    shards = set(index["weight_map"].values())
    assert len(shards) > 1
    found = {key: tensor for shard in shards for key, tensor in load_file(tmp_path / "NATIVE" / shard).items()}
    same_bits(found, load_file(repo("cn_clip_vit").path / "model.safetensors"))


@pytest.mark.quick(1)
@pytest.mark.parametrize("family", ["cn_clip_resnet", "taiyi_head"])
def test_what_no_stock_class_holds_is_refused_and_nothing_is_written(family, repo, tmp_path):
    with pytest.raises(InputError, match="No class of transformers computes what this model computes"):
        export(repo(family).path, tmp_path / "NATIVE", to="transformers")

    assert entries(tmp_path) == set()


def wrong_activation(native, config):
    fields = native.config(config)
    return {**fields, "vision_config": {**fields["vision_config"], "hidden_act": "gelu"}}


PLANTED = {
    "activation": (
        {"config": wrong_activation},
        r"image: embeddings: smallest cosine 0\.\d+ \(0\.999999999\)",
    ),
    "keys": (
        {"rules": (rename("vision_model.*", "vision_tower.*"), *NATIVES[0].rules[1:])},
        r"load: AutoModel gives ChineseCLIPModel: kinds of keys that do not fit 2 \(0\)(.|\n)*"
        r"missing keys: vision_model\.(.|\n)*unexpected keys: vision_tower\.",
    ),
}


@pytest.mark.quick(1)
@pytest.mark.parametrize("error", PLANTED)
def test_an_export_that_computes_something_else_is_not_left(error, repo, tmp_path, monkeypatch):
    fields, said = PLANTED[error]
    native = NATIVES[0]
    if "config" in fields:
        own, wrong = native.config, fields["config"]
        monkeypatch.setattr(type(native), "config", lambda self, config: wrong(_Own(own), config))
    else:
        monkeypatch.setattr(exporting, "native_for", lambda config: replace(native, **fields))

    with pytest.raises(ParityError, match=said) as raised:
        export(repo("cn_clip_vit").path, tmp_path / "NATIVE", to="transformers")

    assert "Nothing was written." in str(raised.value)
    assert not all(comparison.passed for comparison in raised.value.report)
    assert entries(tmp_path) == set()


class _Own:
    def __init__(self, config):
        self.config = config


def test_weights_that_are_no_numbers_are_no_proof(changed, tmp_path):
    broken = changed("cn_clip_vit", tensors={"text_projection.weight": torch.full((48, 32), float("nan"))})

    with pytest.raises(ParityError, match="text: values: max abs difference nan"):
        export(broken, tmp_path / "NATIVE", to="transformers")


# To cn_clip


def source_tensors(path, prefix=""):
    """cn_clip's own tensors, with flash-attention's layout undone as cn_clip/clip/model.py does."""
    tensors = {}
    for key, tensor in torch.load(path, weights_only=True)["state_dict"].items():
        key = key.removeprefix("module.").replace("attn.Wqkv.", "attn.in_proj_")
        if key.startswith("bert.pooler."):
            continue
        if "attention.self.Wqkv." in key:
            parts = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
            tensors |= {prefix + key.replace("Wqkv", name): part for name, part in parts}
        else:
            tensors[prefix + key.replace("attention.self.out_proj.", "attention.output.dense.")] = tensor
    return tensors


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("family", "ddp"),
    [("cn_clip_vit", False), ("cn_clip_vit", True), ("cn_clip_flash", True), ("cn_clip_resnet", False)],
)
def test_a_model_that_goes_home_is_bit_equal_to_where_it_came_from(family, ddp, repo, original, tmp_path):
    exported = export(repo(family).path, tmp_path / "home.pt", to="cn_clip", ddp=ddp)

    assert entries(tmp_path) == {"home.pt"}
    assert exported.path == str(tmp_path / "home.pt")
    found = torch.load(tmp_path / "home.pt", weights_only=True)
    assert {key: found[key] for key in found if key != "state_dict"} == {"epoch": 0, "step": 0, "name": family}
    same_bits(found["state_dict"], source_tensors(original(family).source, "module." if ddp else ""))
    # A view would bring its strides, and all of the memory behind it.
    assert all(tensor.is_contiguous() for tensor in found["state_dict"].values())
    size = sum(tensor.nbytes for tensor in found["state_dict"].values())
    assert size <= (tmp_path / "home.pt").stat().st_size < size + 2**17


@pytest.mark.parametrize("family", every_third(["cn_clip_vit", "cn_clip_flash", "cn_clip_resnet"]))
def test_a_model_that_went_home_converts_into_the_same_repo(family, repo, original, tmp_path):
    export(repo(family).path, tmp_path / "home.pt", to="cn_clip", ddp=True)
    convert(tmp_path / "home.pt", tmp_path / "again", **original(family).arguments)

    own = ("README.md", "conversion_report.json")  # these name what was converted
    before, after = contents(repo(family).path), contents(tmp_path / "again")
    assert {name: after[name] for name in after if name not in own} == {
        name: before[name] for name in before if name not in own
    }


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("family", "lost"),
    [
        (
            "bert_clip",
            [
                "the tanh pooler of texts: cn_clip takes the state of [CLS] without a pooler",
                CROPPED,
            ],
        ),
        (
            "taiyi_head",
            [
                "the tanh pooler of texts: cn_clip takes the state of [CLS] without a pooler",
                "the bias of the text projection",
                CROPPED,
            ],
        ),
        (
            "taiyi_finetune",
            [
                "the tanh pooler of texts: cn_clip takes the state of [CLS] without a pooler",
                "the bias of the text projection",
                "the attention of the text tower to padding: cn_clip always masks padding",
                CROPPED,
            ],
        ),
        (
            "taiyi_plain",
            [
                "the tanh pooler of texts: cn_clip takes the state of [CLS] without a pooler",
                "texts without a projection: cn_clip always has a text projection",
                CROPPED,
            ],
        ),
    ],
)
def test_what_cn_clip_has_no_place_for_is_named(family, lost, repo, tmp_path):
    with pytest.raises(InputError) as error:
        export(repo(family).path, tmp_path / "home.pt", to="cn_clip")

    assert str(error.value).splitlines() == [
        f"cn_clip cannot hold this model exactly, and nothing was written. {repo(family).path} would lose:",
        *(f"  {line}" for line in lost),
    ]
    assert entries(tmp_path) == set()


@pytest.fixture(scope="module")
def loaded(repo):
    """A cn_clip repo as export reads it."""
    return read_repo(repo("cn_clip_vit").path)


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("where", "change", "loss"),
    [
        (
            "",
            {"text_attends_to_padding": True},
            "the attention of the text tower to padding: cn_clip always masks padding",
        ),
        ("", {"vision_pooling": "cls"}, "the raw class token: cn_clip applies a layer norm to the class token"),
        ("", {"visual_projection_type": "linear_bias"}, "the bias of the image projection"),
        (
            "",
            {"visual_projection_type": "none"},
            "images without a projection: cn_clip always has an image projection after a ViT",
        ),
        ("text_config", {"layer_norm_eps": 1e-5}, "text_config.layer_norm_eps 1e-05: the class can only hold 1e-12"),
        (
            "text_config",
            {"hidden_act": "quick_gelu"},
            "text_config.hidden_act 'quick_gelu': the class can only hold 'gelu' or 'relu' or 'swish'",
        ),
        (
            "vision_config",
            {"hidden_act": "gelu"},
            "vision_config.hidden_act 'gelu': the class can only hold 'quick_gelu'",
        ),
        ("vision_config", {"intermediate_size": 128}, "mlp_ratio 2.0: the class can only hold 4"),
    ],
    ids=str,
)
def test_each_thing_that_cn_clip_fixes_is_refused_when_it_is_another(where, change, loss, loaded):
    tower = {**loaded.config[where], **change} if where else {}
    config = {**loaded.config, **({where: tower} if where else change)}

    with pytest.raises(InputError) as error:
        cn_clip_file.home_for(replace(loaded, config=config))

    assert str(error.value).splitlines()[1:] == [f"  {loss}"]


def test_another_vocabulary_or_case_or_normalisation_is_no_cn_clip(changed, repo, tmp_path):
    backend = json.loads((repo("cn_clip_vit").path / "tokenizer.json").read_text(encoding="utf-8"))
    cased = [each for each in backend["normalizer"]["normalizers"] if each["type"] != "Lowercase"]
    normalizer = {**backend["normalizer"], "normalizers": cased}
    copy = changed("cn_clip_vit", "tokenizer.json", normalizer=normalizer)
    processor = json.loads((copy / "processor_config.json").read_text(encoding="utf-8"))
    processor["image_processor"] |= {"image_mean": [0.5, 0.5, 0.5], "image_order": "rgb_then_squash"}
    (copy / "processor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    with pytest.raises(InputError) as error:
        export(copy, tmp_path / "home.pt", to="cn_clip")
    assert str(error.value).splitlines()[1:] == [
        "  the image order: the repo makes pictures RGB before resizing, and cn_clip makes them RGB after resizing",
        "  image_mean (0.5, 0.5, 0.5): the class can only hold (0.48145466, 0.4578275, 0.40821073)",
        "  upper case and accents in texts: cn_clip's tokenizer removes them",
    ]

    text = (repo("cn_clip_vit").path / "tokenizer.json").read_text(encoding="utf-8")
    swapped = text.replace('"猫":', '"猫狗":').replace('"狗":', '"猫":').replace('"猫狗":', '"狗":')
    assert swapped != text
    (copy / "tokenizer.json").write_text(swapped, encoding="utf-8")
    with pytest.raises(InputError, match="the vocabulary: cn_clip's tokenizer has another vocabulary"):
        export(copy, tmp_path / "home.pt", to="cn_clip")


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", sorted(path.stem for path in KEYS.glob("cn_clip-*.json")))
def test_a_published_size_goes_home_under_its_name(name, loaded):
    recorded = json.loads((KEYS / f"{name}.json").read_text(encoding="utf-8"))
    tensors = {key: torch.empty(shape, device="meta") for key, shape in recorded["keys"].items()}
    found = cn_clip.describe(Checkpoint(Path(), (), "", tensors), {})
    config = {
        **loaded.config,
        "text_config": {"is_decoder": False, **found.text.config},
        "vision_config": {"num_channels": 3, **found.vision.config},
        "visual_projection_type": found.vision.projection,
        "projection_dim": found.text.width,
    }
    home = cn_clip_file.home_for(replace(loaded, config=config))

    assert home.architecture == recorded["architecture"]
    vision, text = recorded["architecture"].split("@")
    told = cn_clip_file.how_to_load(Path("F.pt"), home)
    size = 336 if vision.endswith("336") else 224
    assert f'vision_model_name="{vision}",\n    text_model_name="{text}",\n    input_resolution={size},' in told
    assert "model_configs" not in told

    other = {**config, "vision_config": {**config["vision_config"], "image_size": 448}}
    assert cn_clip_file.home_for(replace(loaded, config=other)).vision is None


def test_a_size_that_is_not_published_is_stated_for_cn_clip(repo, tmp_path):
    told = export(repo("cn_clip_vit").path, tmp_path / "my home.pt", to="cn_clip")

    assert told.wrote == "a cn_clip checkpoint of no published size"
    found = re.search(r"configs = (\{.*\})\n", told.load)
    assert found is not None
    configs = json.loads(found[1].replace("'", '"'))
    assert configs == {
        "my-home-vision": {
            "embed_dim": 48,
            "image_resolution": 64,
            "vision_head_width": 16,
            "vision_layers": 2,
            "vision_patch_size": 16,
            "vision_width": 64,
        },
        "my-home-text": {
            "text_attention_probs_dropout_prob": 0.1,
            "text_hidden_act": "gelu",
            "text_hidden_dropout_prob": 0.1,
            "text_hidden_size": 32,
            "text_initializer_range": 0.02,
            "text_intermediate_size": 64,
            "text_max_position_embeddings": 64,
            "text_num_attention_heads": 4,
            "text_num_hidden_layers": 2,
            "text_type_vocab_size": 2,
            "vocab_size": 21128,
        },
    }
    assert any("take only cn_clip's own sizes" in sentence for sentence in told.differs)
    assert any("keys that begin with module. (--ddp)" in sentence for sentence in told.differs)


def test_a_checkpoint_that_reads_back_differently_is_not_left(repo, tmp_path, monkeypatch):
    save = torch.save

    def damaged(value, file):
        save({**value, "state_dict": {**value["state_dict"], "logit_scale": torch.tensor(-0.0)}}, file)

    monkeypatch.setattr(torch, "save", damaged)
    with pytest.raises(WorkError, match="The checkpoint was read back after writing, and differs in logit_scale"):
        export(repo("cn_clip_vit").path, tmp_path / "home.pt", to="cn_clip")
    assert entries(tmp_path) == set()


def test_a_full_disk_is_told_as_such(repo, tmp_path, monkeypatch):
    def full(value, file):
        file.write(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/1: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(WorkError, match="could not be written: PytorchStreamWriter failed writing"):
        export(repo("cn_clip_vit").path, tmp_path / "home.pt", to="cn_clip")
    assert entries(tmp_path) == set()


# Fine-tuned


@pytest.fixture(scope="module")
def tuned(repo, tmp_path_factory):
    """A repo after one step of training in bfloat16, saved by save_pretrained in shards."""
    path = repo("cn_clip_vit").path
    model = AutoModel.from_pretrained(path, dtype=torch.bfloat16)
    processor = AutoProcessor.from_pretrained(path)
    inputs = processor(text=["一只猫", "两只狗"], images=[PICTURES[0][1], PICTURES[2][1]], return_tensors="pt")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    model(**inputs.to(torch.bfloat16), return_loss=True).loss.backward()
    optimizer.step()
    folder = tmp_path_factory.mktemp("tuned") / "OUT"
    model.save_pretrained(folder, max_shard_size="500KB")
    processor.save_pretrained(folder)
    return folder


def test_a_fine_tuned_model_goes_to_both_places(tuned, repo, tmp_path):
    assert not (tuned / "conversion_report.json").exists()
    assert (tuned / "model.safetensors.index.json").exists()
    before = load_file(repo("cn_clip_vit").path / "model.safetensors")
    weights = {key: tensor for file in tuned.glob("*.safetensors") for key, tensor in load_file(file).items()}
    assert not torch.equal(weights["text_projection.weight"], before["text_projection.weight"].bfloat16())

    export(tuned, tmp_path / "NATIVE", to="transformers")
    export(tuned, tmp_path / "home.pt", to="cn_clip")

    found = load_file(tmp_path / "NATIVE" / "model.safetensors")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[key], weights[key]) for key in weights)
    config = json.loads((tmp_path / "NATIVE" / "config.json").read_text(encoding="utf-8"))
    assert config["dtype"] == "bfloat16"
    home = torch.load(tmp_path / "home.pt", weights_only=True)["state_dict"]
    assert torch.equal(home["text_projection"], weights["text_projection.weight"].t())
    parts = [weights[f"vision_model.encoder.layers.1.self_attn.{name}_proj.weight"] for name in "qkv"]
    assert torch.equal(home["visual.transformer.resblocks.1.attn.in_proj_weight"], torch.cat(parts))


# Input and arguments


def test_an_export_of_an_unverified_repo_says_so(repo, tmp_path):
    place = tmp_path / "repo"
    shutil.copytree(repo("cn_clip_vit").path, place)

    def told():
        lines = []
        export(place, tmp_path / "home.pt", to="cn_clip", force=True, progress=lines.append)
        return [line for line in lines if "proves" in line]

    assert told() == []
    (place / "config.json").write_text((place / "config.json").read_text() + "\n")
    begins = f"Nothing proves that {place} computes what its original computes:"
    assert told() == [f"{begins} files changed or missing after the report was written: config.json."]
    (place / FILE).unlink()
    assert told() == [f"{begins} there is no {FILE}."]


@pytest.mark.parametrize(
    ("destination", "arguments", "message"),
    [
        ("x", {"to": "coreml"}, "There is no --to 'coreml'; wanted transformers, cn_clip, source or onnx"),
        ("x", {"to": "transformers", "ddp": True}, "--ddp writes keys as cn_clip's training does"),
        ("x.pt", {"to": "transformers"}, "x.pt looks like a file, but --to transformers writes a folder"),
        ("x", {"to": "transformers", "max_shard_size": "5 GB"}, "--max-shard-size '5 GB' is no size"),
        ("OUT/x", {"to": "transformers"}, "x lies in .*OUT, whose part it would become"),
        ("OUT/x.pt", {"to": "cn_clip"}, "x.pt lies in .*OUT, whose part it would become"),
        ("x.onnx", {"to": "onnx"}, "x.onnx looks like a file, but --to onnx writes a folder"),
        ("x", {"to": "cn_clip"}, r"x does not end in .pt or .pth, like cn_clip's files"),
        ("x.pt", {"to": "cn_clip", "also_legacy": True}, "--also-legacy writes files for older transformers"),
        ("there", {"to": "transformers"}, "there exists already, and is not overwritten"),
        ("there.pt", {"to": "cn_clip"}, "there.pt exists already, and is not overwritten"),
        ("folder.pt", {"to": "cn_clip", "force": True}, "folder.pt is not a file, so --force does not replace it"),
    ],
)
def test_a_wrong_argument_is_told_before_anything_is_read(destination, arguments, message, tmp_path):
    for name in ("there", "folder.pt"):
        (tmp_path / name).mkdir()
    (tmp_path / "there.pt").write_text("x")
    before = entries(tmp_path)

    with pytest.raises(InputError, match=message):
        export(tmp_path / "OUT", tmp_path / destination, **arguments)

    assert entries(tmp_path) == before


def test_force_does_not_delete_the_repo_itself(changed, tmp_path):
    out = changed("cn_clip_vit")
    (tmp_path / "config.json").write_text("{}")
    for destination, why in ((out, "holds no export to transformers"), (tmp_path, "holds no export")):
        with pytest.raises(InputError, match=why):
            export(out, destination, to="transformers", force=True)
    assert (out / "model.safetensors").exists()


def test_force_deletes_neither_the_current_folder_nor_one_that_is_no_repo(repo, tmp_path, monkeypatch):
    here, photos = tmp_path / "here", tmp_path / "photos"
    for folder in (here, photos):
        folder.mkdir()
        (folder / "precious.txt").write_text("x")
    (here / "config.json").write_text("{}")
    monkeypatch.chdir(here)
    for destination, why in (
        (".", "the current directory"),
        (here, "the current directory"),
        (photos, "holds no export"),
    ):
        with pytest.raises(InputError, match=why):
            export(repo("cn_clip_vit").path, destination, to="transformers", force=True)
    assert (here / "precious.txt").exists() and (photos / "precious.txt").exists()


@pytest.mark.parametrize("to", ["cn_clip", "source"])
def test_force_does_not_replace_the_original(to, original, repo, tmp_path):
    """Its name may be the name that an export has."""
    found = original("cn_clip_vit")
    folder = tmp_path / "original"
    folder.mkdir()
    place = folder / ("epoch_latest.pt" if to == "source" else "clip.pt")
    shutil.copy(found.source, place)
    destination = folder if to == "source" else place

    with pytest.raises(InputError, match=f"{place.name} is the original of .*, so --force does not replace it"):
        export(repo("cn_clip_vit").path, destination, to=to, force=True)

    assert entries(tmp_path) == {"original"} and entries(folder) == {place.name}

    another = tmp_path / ("another" if to == "source" else "another.pt")
    export(repo("cn_clip_vit").path, another, to=to)
    export(repo("cn_clip_vit").path, another, to=to, force=True)


def test_force_replaces_what_was_exported_before(repo, tmp_path):
    (tmp_path / "home.pt").write_text("old")
    export(repo("cn_clip_vit").path, tmp_path / "home.pt", to="cn_clip", force=True)
    assert torch.load(tmp_path / "home.pt", weights_only=True)["step"] == 0


def test_a_folder_that_is_no_whole_repo_is_told_what_it_lacks(changed, original, tmp_path):
    def told(folder):
        with pytest.raises(InputError) as error:
            export(folder, tmp_path / "home.pt", to="cn_clip")
        return str(error.value)

    (tmp_path / "empty").mkdir()
    assert "has no config.json. `zhclip convert SOURCE OUT` writes a converted repo" in told(tmp_path / "empty")
    assert "is of model_type 'clip', but a converted repo (hf_zhclip) was wanted" in told(original("bert_clip").source)
    out = changed("cn_clip_vit", architectures=["ZhCLIPTextModel"])
    assert "holds ['ZhCLIPTextModel']; a whole model (ZhCLIPModel) was wanted" in told(out)
    (out / "config.json").write_text(json.dumps({"model_type": "hf_zhclip", "architectures": ["ZhCLIPModel"]}))
    assert "wrong shapes:" in told(out)
    (out / "config.json").write_text(
        json.dumps({"model_type": "hf_zhclip", "architectures": ["ZhCLIPModel"], "text_pooling": "middle"})
    )
    assert "No model can be built from" in told(out)


@pytest.mark.parametrize(
    ("tower", "field", "value"),
    [
        ("text_config", "num_attention_heads", 0),
        ("vision_config", "num_attention_heads", 0),
        ("vision_config", "patch_size", 0),
        ("text_config", "hidden_size", -4),
        ("text_config", "hidden_act", "nope"),
    ],
)
def test_a_config_that_builds_no_model_is_told_in_words(tower, field, value, changed, tmp_path):
    out = changed("cn_clip_vit")
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    config[tower][field] = value
    (out / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match="No model can be built from"):
        export(out, tmp_path / "home.pt", to="cn_clip")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("processor_config.json", text) for text in ("[1]", "{}")),
        *(("tokenizer.json", text) for text in ("[1]", "{}", '{"model": {"type": "Nothing"}}')),
        ("tokenizer_config.json", "[1]"),
    ],
)
def test_a_damaged_processor_is_told_in_words(name, text, changed, tmp_path):
    out = changed("cn_clip_vit")
    (out / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError):
        export(out, tmp_path / "home.pt", to="cn_clip")


def test_a_fine_tuned_folder_without_its_processor_is_finished_first(changed, tmp_path):
    out = changed("cn_clip_vit")
    (out / "processor_config.json").unlink()
    with pytest.raises(InputError, match=r"`zhclip convert .* OUT --base REPO`"):
        export(out, tmp_path / "home.pt", to="cn_clip")


def test_a_processor_of_another_size_is_refused(changed, tmp_path):
    out = changed("cn_clip_vit")
    processor = json.loads((out / "processor_config.json").read_text(encoding="utf-8"))
    processor["image_processor"]["size"] = {"height": 224, "width": 224}
    (out / "processor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    with pytest.raises(InputError, match="says size .*224.* but the model takes 64 x 64"):
        export(out, tmp_path / "home.pt", to="cn_clip")


def test_weights_that_are_not_the_config_s_are_refused(changed, tmp_path):
    out = changed("cn_clip_vit", tensors={"text_model.pooler.dense.weight": torch.zeros(32, 32)})
    with pytest.raises(InputError, match=r"keys that the model does not have:\n  text_model.pooler.dense.weight"):
        export(out, tmp_path / "home.pt", to="cn_clip")


# What is told


def test_what_was_written_is_told_to_people_and_to_programs(repo, tmp_path):
    lines: list[str] = []
    exported = export(repo("cn_clip_vit").path, tmp_path / "NATIVE", to="transformers", progress=lines.append)

    assert json.loads(json.dumps(exported.to_json()))["wrote"] == "ChineseCLIPModel"
    page = exported.text().splitlines()
    assert page[0] == f"{tmp_path / 'NATIVE'}: ChineseCLIPModel"
    assert page[1].startswith("transformers' own ChineseCLIPModel is exact for this model: ")
    assert page[2] == "Not the same there:"
    assert lines == [
        f"Reading {repo('cn_clip_vit').path}",
        "Writing ChineseCLIPModel",
        "Verifying in a fresh process, without hf_zhclip",
    ]


def test_the_code_that_loads_a_folder_runs(repo, tmp_path, capsys):
    exec(export(repo("bert_clip").path, tmp_path / "NATIVE", to="transformers").load, {})
    assert capsys.readouterr().out.startswith("tensor([[")
