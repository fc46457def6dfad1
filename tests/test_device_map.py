"""Device maps, offloading and dtypes: the tensors are always the file's, and the numbers those of a plain load.

What needs a GPU is marked `gpu`; the same test bodies run on the CPU, and others on devices that are only pretended.
"""

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from accelerate.utils import align_module_device
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from transformers import AutoModel, pipeline
from transformers.utils import is_flash_attn_2_available

from hf_zhclip import (
    ZhCLIPModel,
    ZhCLIPTextModel,
    ZhCLIPTextModelWithProjection,
    ZhCLIPVisionModel,
    ZhCLIPVisionModelWithProjection,
)
from hf_zhclip.conversion import convert

from tests.checkpoints import FAMILIES
from tests.conversion.helpers import save_time
from tests.small_models import WHOLE_ON_DISK, both, build
from tests.thorough import in_turns, thorough

MODELS = ("cn_clip", "cn_clip_rn50")  # a ViT and a ResNet
MAPS = ("auto", "balanced", "balanced_low_0", "sequential", "cpu", {"": "cpu"}, None)
PARTS = ("logit_scale", "text_model", "vision_model", "text_projection", "visual_projection")
LAYOUTS = ("one file", "shards")
NO_GPU = {"cpu": 2**30}  # a limit that names no GPU keeps "auto" from taking one
BLOCKS = ("BertLayer", "XLMRobertaLayer", "CLIPEncoderLayer", "TransformerBlock")
BLOCKS += ("ZhCLIPBottleneck", "ZhCLIPAttentionPool2d")


def needs_gpus(count: int) -> list[pytest.MarkDecorator]:
    lacking = torch.cuda.device_count() < count
    return [pytest.mark.gpu, pytest.mark.skipif(lacking, reason=f"needs {count} CUDA device(s)")]


DEVICES = ("cpu", pytest.param("cuda:0", marks=needs_gpus(1)))
# Where the text side and the vision side lie.
PAIRS = (
    ("cpu", "cpu"),
    pytest.param(("cuda:0", "cpu"), marks=needs_gpus(1)),
    pytest.param(("cpu", "cuda:0"), marks=needs_gpus(1)),
    pytest.param(("cuda:0", "cuda:1"), marks=needs_gpus(2)),
    pytest.param(("cuda:1", "cuda:0"), marks=needs_gpus(2)),
)
# A kernel may round otherwise where a tensor starts at another byte of its file, by a few units of the last place.
TOLERANCE = {torch.float32: 2e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}


@dataclass(frozen=True)
class Saved:
    """A model, and the folder that holds it as one file and as shards."""

    model: ZhCLIPModel
    folder: Path

    @property
    def size(self) -> int:
        """Bytes of all its tensors."""
        return sum(tensor.nbytes for tensor in self.model.state_dict().values())

    def load(self, layout: str = "shards", model_class: Any = AutoModel, **options) -> Any:
        return model_class.from_pretrained(self.folder / layout, offload_folder=self.folder / "offload", **options)

    def share(self, share: float, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
        """Options that let that share of the model into memory; the rest has to go to disk."""
        return {"device_map": "auto", "max_memory": {"cpu": int(share * self.size * dtype.itemsize / 4)}}


@pytest.fixture(scope="module")
def save(tmp_path_factory) -> Callable[[str], Saved]:
    """Gives a saved model by the name of its variant; made once, not to be changed."""
    made: dict[str, Saved] = {}

    def make(variant: str) -> Saved:
        if variant not in made:
            saved = made[variant] = Saved(build(variant), tmp_path_factory.mktemp(variant))
            saved.model.save_pretrained(saved.folder / "one file")
            saved.model.save_pretrained(saved.folder / "shards", max_shard_size="20KB")
            assert len(list((saved.folder / "shards").glob("*.safetensors"))) > 4
        return made[variant]

    return make


def placed(*devices: str) -> dict[str, str]:
    """A device map that lists every part."""
    return dict(zip(PARTS, devices, strict=True))


def call(model: nn.Module, inputs: dict[str, torch.Tensor], **arguments) -> dict[str, torch.Tensor]:
    """The tensors that a call returns, by name."""
    with torch.no_grad():
        outputs = model(**inputs, **arguments)
    return {name: value for name, value in outputs.items() if isinstance(value, torch.Tensor)}


def tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer, those that are not saved too, fetched from wherever it is offloaded."""
    found = {}
    for place, module in model.named_modules():
        with align_module_device(module):
            own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            found |= {f"{place}.{name}".strip("."): tensor.detach().to("cpu", copy=True) for name, tensor in own}
    return found


def assert_same_tensors(found: nn.Module, wanted: nn.Module) -> None:
    found_tensors, wanted_tensors = tensors(found), tensors(wanted)
    assert found_tensors.keys() == wanted_tensors.keys()
    for name, tensor in wanted_tensors.items():
        assert found_tensors[name].dtype == tensor.dtype, name
        assert torch.equal(found_tensors[name], tensor), name


def assert_same_numbers(found: nn.Module, wanted: nn.Module, inputs: dict[str, torch.Tensor], **arguments) -> None:
    found_outputs, wanted_outputs = call(found, inputs, **arguments), call(wanted, inputs, **arguments)
    assert found_outputs.keys() == wanted_outputs.keys() and wanted_outputs
    for name, value in wanted_outputs.items():
        assert found_outputs[name].dtype == value.dtype, name
        scale = value.float().abs().max().clamp(min=1).item()
        atol = TOLERANCE[next(wanted.parameters()).dtype] * scale
        torch.testing.assert_close(found_outputs[name].cpu(), value.cpu(), atol=atol, rtol=0, msg=name)


def assert_same(found: nn.Module, wanted: ZhCLIPModel) -> None:
    """Logits, loss, embeddings, parameters and buffers are those of `wanted`."""
    assert_same_tensors(found, wanted)
    assert_same_numbers(found, wanted, both(wanted), return_loss=True)
    inputs = both(wanted)
    with torch.no_grad():
        output = call(wanted, inputs)
        text, image = found.encode_text(inputs["input_ids"]), found.encode_image(inputs["pixel_values"])
    atol = TOLERANCE[wanted.dtype]
    torch.testing.assert_close(text, output["text_embeds"], atol=atol, rtol=0)
    torch.testing.assert_close(image, output["image_embeds"], atol=atol, rtol=0)


def on_meta(model: nn.Module) -> set[str]:
    """Names of parts that hold a parameter or a buffer without data."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name.split(".")[0] for name, tensor in named if tensor.is_meta}


def blocks(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if type(module).__name__ in BLOCKS]


def cut_blocks(model: nn.Module, device_map: dict[str, Any]) -> list[str]:
    """Entries of a device map that lie inside a block."""
    return [entry for entry in device_map if any(entry.startswith(f"{block}.") for block in blocks(model))]


# Maps of the CPU and the disk


@pytest.mark.quick(3)
@pytest.mark.parametrize(("device_map", "variant"), in_turns(product(MAPS, MODELS), lambda row: str(row[0])), ids=str)
def test_a_model_that_fits_lies_whole_in_memory(save, variant, device_map):
    saved = save(variant)

    # Each map with one of the layouts; a plain load, which the others are compared with, with both.
    for layout in LAYOUTS if device_map is None else LAYOUTS[len(str(device_map)) % 2 :][:1]:
        loaded = saved.load(layout, device_map=device_map, max_memory=NO_GPU)

        assert on_meta(loaded) == set()
        assert set((getattr(loaded, "hf_device_map", None) or {"": "cpu"}).values()) == {"cpu"}
        assert_same(loaded, saved.model)


@pytest.mark.quick(3)
@pytest.mark.parametrize("variant", MODELS)
@pytest.mark.parametrize(
    "layout, device_map",
    [
        pytest.param("shards", {"": "disk"}, marks=WHOLE_ON_DISK, id="whole"),
        pytest.param("shards", placed("cpu", "disk", "cpu", "cpu", "cpu"), id="text tower"),
        pytest.param("one file", placed("cpu", "cpu", "disk", "disk", "cpu"), id="vision tower"),
        pytest.param("shards", placed("cpu", "disk", "disk", "disk", "disk"), id="all but the scale"),
        pytest.param("one file", placed("cpu", "disk", "disk", "disk", "disk"), id="all but the scale, one file"),
    ],
)
def test_parts_on_disk_change_no_number(save, variant, layout, device_map):
    saved = save(variant)

    loaded = saved.load(layout, device_map=device_map)

    assert loaded.hf_device_map == device_map
    on_disk = {part for part in PARTS if device_map.get(part, device_map.get("")) == "disk"}
    # An empty part, as the projection after a ResNet, has nothing to leave on disk.
    assert on_meta(loaded) == {part for part in on_disk if any(k.startswith(part) for k in loaded.state_dict())}
    assert_same(loaded, saved.model)


@pytest.mark.parametrize("variant", MODELS)
def test_a_map_of_layers_and_blocks_is_followed(save, variant):
    saved = save(variant)
    names = [name for name in split(saved.model) if name != "logit_scale"]
    device_map = {"logit_scale": "cpu"} | {name: ("cpu", "disk")[number % 2] for number, name in enumerate(names)}
    assert len(device_map) > 10

    loaded = saved.load(device_map=device_map)

    assert loaded.hf_device_map == device_map
    assert_same(loaded, saved.model)


@pytest.mark.quick(1)
@pytest.mark.parametrize("variant", MODELS)
def test_a_small_memory_splits_towers_and_stages_but_no_block(save, variant):
    saved = save(variant)
    maps = []
    for layout, share, options in (
        ("shards", 0.65, {}),
        ("one file", 0.75, {"device_map": "sequential", "offload_state_dict": True}),
        ("shards", 0.85, {"offload_buffers": True}),
        ("shards", 0.97, {}),
    ):
        loaded = saved.load(layout, **saved.share(share) | options)

        maps.append(loaded.hf_device_map)
        assert set(maps[-1].values()) == {"cpu", "disk"}
        assert cut_blocks(saved.model, maps[-1]) == []
        assert_same(loaded, saved.model)
    # The ViT's maps part its towers, the ResNet's, which is most of its model, a stage.
    for part in {"cn_clip": ("text_model.", "vision_model."), "cn_clip_rn50": ("vision_model.layer",)}[variant]:
        devices = [{device for name, device in each.items() if name.startswith(part)} for each in maps]
        assert {"cpu", "disk"} in devices, f"no map split {part}"
    if variant == "cn_clip_rn50":
        assert any("vision_model.layer2.0" in each for each in maps), "no stage was split"


@WHOLE_ON_DISK
@pytest.mark.parametrize("variant", MODELS)
def test_with_no_memory_to_speak_of_a_model_runs_from_disk(save, variant):
    saved = save(variant)

    loaded = saved.load(**saved.share(0.05))

    assert loaded.hf_device_map == {"": "disk"}
    assert_same(loaded, saved.model)


def test_an_offloaded_model_can_be_saved_and_trained(save, tmp_path):
    saved = save("cn_clip_rn50")
    loaded = saved.load(device_map=placed("cpu", "disk", "cpu", "disk", "cpu"))

    loaded.save_pretrained(tmp_path)
    assert_same(AutoModel.from_pretrained(tmp_path), saved.model)

    plain = copy.deepcopy(saved.model)
    for model in (loaded, plain):
        model(**both(plain), return_loss=True).loss.backward()
    torch.testing.assert_close(loaded.vision_model.conv1.weight.grad, plain.vision_model.conv1.weight.grad)


# One tower


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    "tower, variant",
    [
        (ZhCLIPTextModel, "cn_clip"),
        (ZhCLIPTextModelWithProjection, "cn_clip"),
        (ZhCLIPVisionModel, "cn_clip"),
        (ZhCLIPVisionModelWithProjection, "cn_clip"),
        (ZhCLIPVisionModelWithProjection, "cn_clip_rn50"),
    ],
)
def test_one_tower_takes_a_device_map(save, tower, variant):
    saved = save(variant)
    wanted = saved.load(model_class=tower)
    inputs = {wanted.main_input_name: both(saved.model)[wanted.main_input_name]}
    size = sum(tensor.nbytes for tensor in wanted.state_dict().values())
    split_tower = {name: ("cpu", "disk")[number % 2] for number, name in enumerate(split(wanted))}

    for layout, options in (
        ("shards", {"device_map": "auto", "max_memory": NO_GPU}),
        ("shards", {"device_map": split_tower}),
        # A map for the whole model serves one tower of it.
        ("one file", {"device_map": {part: "cpu" for part in PARTS} | {part: "cpu" for part in split_tower}}),
        ("one file", {"device_map": "auto", "max_memory": {"cpu": int(0.9 * size)}}),
    ):
        loaded = saved.load(layout, tower, **options)
        assert_same_tensors(loaded, wanted)
        assert_same_numbers(loaded, wanted, inputs)


# Precision


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("dtype", "variant"), in_turns(product((torch.bfloat16, torch.float16), MODELS), lambda row: row[0]), ids=str
)
def test_a_dtype_on_load_is_that_of_every_weight_wherever_it_lies(save, tmp_path, variant, dtype):
    saved = save(variant)
    wanted = copy.deepcopy(saved.model).to(dtype)
    # float32 pixels, as the processor makes them, are taken in every dtype.
    for layout, options in (
        ("one file", {}),
        ("shards", {"device_map": placed("cpu", "disk", "disk", "cpu", "cpu")}),
    ):
        loaded = saved.load(layout, dtype=dtype, **options)
        assert {parameter.dtype for parameter in loaded.parameters()} == {dtype} and loaded.dtype == dtype
        assert_same(loaded, wanted)
        assert all(value.isfinite().all() for value in call(loaded, both(saved.model)).values())

    # Saved in that precision, it is loaded in it without a word.
    loaded.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path, offload_folder=tmp_path, **saved.share(0.85, dtype))
    assert again.dtype == dtype
    assert_same(again, wanted)


@pytest.mark.quick(1)
@pytest.mark.parametrize("variant", MODELS)
def test_a_file_of_mixed_precision_loads_in_the_configs_dtype(save, tmp_path, variant):
    saved = save(variant)
    saved.model.save_pretrained(tmp_path)
    kept = {
        name: tensor.half() if name.startswith("text_model") else tensor
        for name, tensor in load_file(tmp_path / "model.safetensors").items()
    }
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    wanted = copy.deepcopy(saved.model)
    wanted.text_model.half().float()

    for options in ({"dtype": "auto"}, saved.share(0.85), {"device_map": placed("cpu", "disk", "cpu", "disk", "cpu")}):
        assert_same(AutoModel.from_pretrained(tmp_path, offload_folder=tmp_path, **options), wanted)
    lower = AutoModel.from_pretrained(tmp_path, dtype=torch.bfloat16, **saved.share(0.85, torch.bfloat16))
    assert_same(lower, wanted.to(torch.bfloat16))


# accelerate's own functions


def empty(model: ZhCLIPModel) -> ZhCLIPModel:
    with accelerate.init_empty_weights():
        return ZhCLIPModel(model.config).eval()


@pytest.mark.quick(1)
@pytest.mark.parametrize("variant", MODELS)
def test_accelerates_functions_offload_and_dispatch_the_model(save, variant, tmp_path):
    saved = save(variant)
    model, cpu, file = saved.model, torch.device("cpu"), str(saved.folder / "one file" / "model.safetensors")
    memory = {"cpu": int(0.85 * saved.size), "disk": 9 * saved.size}
    # A list: accelerate takes the set, which transformers makes of it, for the name of one class.
    no_split = {"no_split_module_classes": sorted(model._no_split_modules)}
    device_map = accelerate.infer_auto_device_map(model, memory, **no_split)
    assert set(device_map.values()) == {"cpu", "disk"} and cut_blocks(model, device_map) == []

    offloaded = (
        accelerate.cpu_offload(copy.deepcopy(model), execution_device=cpu),
        accelerate.disk_offload(copy.deepcopy(model), tmp_path / "disk", execution_device=cpu),
        accelerate.dispatch_model(
            copy.deepcopy(model), device_map, main_device="cpu", offload_dir=tmp_path / "dispatch"
        ),
        # Without offload_buffers, accelerate never fills the running statistics of a BatchNorm on disk.
        accelerate.load_checkpoint_and_dispatch(
            empty(model), file, device_map, offload_folder=tmp_path / "load", offload_buffers=True
        ),
    )
    for each in offloaded:
        assert_same_numbers(each, model, both(model), return_loss=True)
    whole = accelerate.load_checkpoint_and_dispatch(empty(model), file, "auto", NO_GPU, **no_split)
    assert_same(whole, model)


# A converted repo


@pytest.mark.parametrize("family", ["cn_clip_vit", thorough("cn_clip_resnet")])
def test_a_converted_repo_takes_device_maps_and_so_does_a_pipeline_of_it(tmp_path, monkeypatch, family):
    original = FAMILIES[family](tmp_path)
    save_time(monkeypatch)
    convert(original.source, tmp_path / "repo", max_shard_size="300KB", **original.arguments)
    assert len(list((tmp_path / "repo").glob("*.safetensors"))) > 3
    plain = AutoModel.from_pretrained(tmp_path / "repo")
    size = sum(tensor.nbytes for tensor in plain.state_dict().values())
    picture = Image.effect_mandelbrot((60, 50), (-2, -1.5, 1, 1.5), 20).convert("RGB")
    asked = {"candidate_labels": ["一只猫", "一条狗", "山"], "hypothesis_template": "{}"}
    wanted = pipeline("zero-shot-image-classification", model=str(tmp_path / "repo"), device="cpu")(picture, **asked)
    # A pipeline takes the GPU for a model that lies whole on the CPU.
    atol = 0.02 if torch.cuda.is_available() else 1e-5

    for options in (
        {"device_map": "auto", "max_memory": NO_GPU},
        {"device_map": placed("cpu", "disk", "cpu", "cpu", "cpu")},
        {"device_map": "auto", "max_memory": {"cpu": int(0.97 * size)}},
    ):
        device_map = options.pop("device_map")
        offloading = options | {"offload_folder": tmp_path / "offload"}
        assert_same(AutoModel.from_pretrained(tmp_path / "repo", device_map=device_map, **offloading), plain)
        classify = pipeline(
            "zero-shot-image-classification",
            model=str(tmp_path / "repo"),
            device_map=device_map,
            model_kwargs=dict(offloading),
        )
        found = classify(picture, **asked)
        assert [each["label"] for each in found] == [each["label"] for each in wanted]
        assert [each["score"] for each in found] == pytest.approx([each["score"] for each in wanted], abs=atol)


# Several devices that do not exist: FakeTensors know shapes and devices, and refuse to mix devices as a GPU does


@pytest.fixture
def pretend(monkeypatch):
    """Puts a model on "lazy:0", "lazy:1" ...: besides "meta", the one device type that every build of torch indexes.

    Returns the model and inputs on the CPU, as FakeTensors.
    """

    def move(module, name, device, *args, **kwargs):
        # accelerate makes the parameter again from its class, which a FakeTensor does not allow.
        *path, name = name.split(".")
        module = module.get_submodule(".".join(path))
        if name in module._parameters:
            old = module._parameters[name]
            module._parameters[name] = nn.Parameter(old.to(device), requires_grad=old.requires_grad)
        else:
            module._buffers[name] = module._buffers[name].to(device)

    monkeypatch.setattr("accelerate.hooks.set_module_tensor_to_device", move)
    devices, entered = FakeTensorMode(), contextlib.ExitStack()

    def dispatch(model: ZhCLIPModel, device_map: dict[str, str]) -> tuple[ZhCLIPModel, dict[str, Any]]:
        with FakeCopyMode(devices):
            model = copy.deepcopy(model)
        entered.enter_context(devices)
        inputs = {name: torch.empty(value.shape, dtype=value.dtype) for name, value in both(model).items()}
        return accelerate.dispatch_model(model, device_map), inputs

    with entered:
        yield dispatch


def split(model: nn.Module, place: str = "") -> list[str]:
    """The smallest pieces that may lie on a device of their own, by `_no_split_modules`."""
    pieces = [place + name for name, _ in model.named_parameters(recurse=False)]
    for name, child in model.named_children():
        whole = type(child).__name__ in BLOCKS or "Embeddings" in type(child).__name__ or not [*child.children()]
        has_tensors = any(True for _ in child.state_dict())
        pieces += [place + name] if whole and has_tensors else split(child, f"{place}{name}.")
    return pieces


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "variant, device_map",
    [
        ("cn_clip", placed("lazy:0", "lazy:0", "lazy:1", "lazy:0", "lazy:1")),
        ("cn_clip_rn50", placed("lazy:0", "lazy:1", "lazy:0", "lazy:1", "lazy:0")),
        ("cn_clip_rn50", placed("lazy:2", "lazy:0", "lazy:1", "lazy:1", "lazy:0")),
        ("cn_clip", placed("lazy:1", "cpu", "lazy:1", "cpu", "lazy:1")),
    ],
    ids=["text first", "vision first", "scale and projections elsewhere", "text offloaded to the CPU"],
)
def test_towers_may_lie_on_different_devices(save, variant, device_map, pretend):
    model, inputs = pretend(save(variant).model, device_map)

    with torch.no_grad():
        output = model(**inputs, return_loss=True)

        assert output.logits_per_text.shape == output.logits_per_image.shape == (3, 3) and output.loss.shape == ()
        for value in (output.logits_per_text, output.loss, output.text_embeds, output.image_embeds):
            assert value.device.type == "cpu", "a call's outputs lie where its inputs do"
        cosine = model.encode_text(inputs["input_ids"]) @ model.encode_image(inputs["pixel_values"]).t()
    assert cosine.shape == (3, 3)


@pytest.mark.quick(1)
@pytest.mark.parametrize("variant", ["cn_clip_rn50", "mclip"])
def test_every_piece_may_lie_on_a_device_of_its_own(save, variant, pretend):
    saved = save(variant)
    device_map = {piece: f"lazy:{number % 3}" for number, piece in enumerate(split(saved.model))}
    model, inputs = pretend(saved.model, device_map)
    mask = torch.ones(inputs["input_ids"].shape, dtype=torch.long)

    model(**inputs, return_loss=True).loss.backward()
    with torch.no_grad():
        model.set_attn_implementation("eager")
        larger = {"pixel_values": torch.empty(3, 3, 96, 96), "interpolate_pos_encoding": True}
        asked = {"attention_mask": mask, "token_type_ids": mask * 0, "output_attentions": True}
        assert model(**inputs | larger | asked).logits_per_text.shape == (3, 3)


# Devices that exist


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("variant", MODELS)
def test_a_model_loads_onto_a_device(save, variant, device):
    saved = save(variant)
    wanted = copy.deepcopy(saved.model).to(device)
    inputs = {name: value.to(device) for name, value in both(saved.model).items()}

    for device_map in (device, {"": device}):
        loaded = saved.load(device_map=device_map)

        assert {tensor.device for tensor in loaded.state_dict().values()} == {torch.device(device)}
        found, expected = call(loaded, inputs, return_loss=True), call(wanted, inputs, return_loss=True)
        for name, value in expected.items():
            assert found[name].device == value.device == torch.device(device)
            assert found[name].shape == value.shape and found[name].dtype == value.dtype
            torch.testing.assert_close(found[name], value, atol=1e-3, rtol=1e-4)


@pytest.mark.quick(2)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("device_map", ["auto", "balanced", "sequential"])
@pytest.mark.parametrize("variant", MODELS)
def test_auto_uses_the_device_there_is(save, variant, device_map, device):
    if device == "cpu" and torch.cuda.is_available():
        pytest.skip("auto takes the GPU")
    saved = save(variant)

    loaded = saved.load(device_map=device_map)

    assert loaded.device == torch.device(device) and on_meta(loaded) == set()
    assert_close_on(device, loaded, saved.model)


@pytest.mark.quick(1)
@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("variant", MODELS)
def test_each_side_has_its_own_device(save, variant, pair):
    saved = save(variant)
    text, vision = pair
    for scale in pair:
        device_map = placed(scale, text, vision, text, vision)
        # With a GPU in the map, what the map puts on the CPU is only kept there and computed on the GPU.
        loaded = [saved.load(device_map=device_map)]
        # This one computes it there.
        loaded.append(accelerate.dispatch_model(copy.deepcopy(saved.model), device_map, "cpu", force_hooks=True))
        for model in loaded:
            assert_close_on("cpu", model, saved.model)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("variant", MODELS)
def test_half_precision_stays_near_full_precision(save, variant, dtype, device):
    saved = save(variant)
    inputs = {name: value.to(device) for name, value in both(saved.model).items()}

    found = call(saved.load(dtype=dtype, device_map=device), inputs)

    for name, cosine in cosines(found, call(saved.model, both(saved.model))).items():
        assert cosine >= 0.999, name


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "kernel, dtype",
    [
        ("eager", torch.float32),
        ("sdpa", torch.bfloat16),
        pytest.param(
            "flash_attention_2",
            torch.bfloat16,
            marks=pytest.mark.skipif(not is_flash_attn_2_available(), reason="flash-attn is not installed"),
        ),
    ],
)
@pytest.mark.parametrize("variant", MODELS)
def test_every_attention_kernel_gives_the_same_embeddings(save, variant, kernel, dtype, device):
    if kernel == "flash_attention_2" and device == "cpu":
        pytest.skip("flash attention runs on a GPU")
    saved = save(variant)
    inputs = {name: value.to(device) for name, value in both(saved.model).items()}

    found = call(saved.load(attn_implementation=kernel, dtype=dtype, device_map=device), inputs)

    for name, cosine in cosines(found, call(saved.model, both(saved.model))).items():
        assert cosine >= (0.99999 if dtype == torch.float32 else 0.999), name


def cosines(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, float]:
    """The smallest cosine of the rows of each kind of embedding."""
    names = ("text_embeds", "image_embeds")
    return {
        name: nn.functional.cosine_similarity(found[name].float().cpu(), wanted[name].cpu(), dim=-1).min().item()
        for name in names
    }


def assert_close_on(device: str, found: nn.Module, wanted: ZhCLIPModel) -> None:
    """On a GPU convolutions are computed in TF32, so the directions are compared and not the last bits."""
    inputs = {name: value.to(device) for name, value in both(wanted).items()}
    assert_same_tensors(found, wanted)
    output = call(found, inputs, return_loss=True)
    assert {value.device for value in output.values()} == {torch.device(device)}
    expected = call(wanted, both(wanted), return_loss=True)
    assert min(cosines(output, expected).values()) >= 0.9999
    torch.testing.assert_close(output["loss"].cpu(), expected["loss"], atol=0.05, rtol=0.02)
    with torch.no_grad():
        cosine = found.encode_text(inputs["input_ids"]) @ found.encode_image(inputs["pixel_values"]).t()
    wanted_cosine = expected["text_embeds"] @ expected["image_embeds"].t()
    torch.testing.assert_close(cosine.cpu(), wanted_cosine, atol=0.02, rtol=0)
