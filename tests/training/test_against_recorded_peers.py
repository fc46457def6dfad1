"""Steps under a recipe give the losses and the weights that the peer's own training gave (tests/training/recorded)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts
from transformers import AutoModel

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.mapping import plan
from hf_zhclip.conversion.sources import bert_clip, taiyi_finetune
from hf_zhclip.conversion.tokenizers.vocabularies import default_vocab
from hf_zhclip.training import ContrastiveArguments
from hf_zhclip.training.recipes import FIELDS, read_recipe

from tests.conversion.helpers import save_time
from tests.training.beside_cn_clip import Noting, collate
from tests.training.recording import COUNT, SIZE, TEXT, VISION, Batch, batches, changes, kept, read
from tests.weights import fingerprint, seeded_state_dict

TAIYI, CLIP_CHINESE = read("taiyi"), read("clip_chinese")
HERE = {
    **{"per_device_train_batch_size": SIZE, "max_steps": COUNT, "train_sampling_strategy": "sequential"},
    **{"save_strategy": "no", "use_cpu": True, "optim": "adamw_torch", "disable_tqdm": True},
    **{"logging_strategy": "no"},
}
"""What a small run sets in the place of a recipe's values."""


def taiyi_file(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The checkpoint that Taiyi's training started from, and what `convert` is told about it."""
    state = {"state_dict": weights_of(TAIYI), "pytorch-lightning_version": "1.9.5"}
    torch.save(state, folder / "epoch=0-step=0.ckpt")
    facts = {
        "text_config": {name: TEXT[name] for name in ("num_attention_heads", "hidden_act", "layer_norm_eps")},
        "vision_config": {name: VISION[name] for name in ("num_attention_heads", "hidden_act", "layer_norm_eps")},
    }
    (folder / "facts.json").write_text(json.dumps(facts))
    return folder / "epoch=0-step=0.ckpt", {"config": folder / "facts.json"}


def clip_chinese_folder(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The folder that CLIP-Chinese's training started from."""
    torch.save(weights_of(CLIP_CHINESE), folder / "pytorch_model.bin")
    config = {"model_type": "clip", "architectures": ["BertCLIPModel"], **CLIP_CHINESE["config"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("".join(f"{line}\n" for line in default_vocab()), encoding="utf-8")
    return folder, {}


def weights_of(recorded: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    found = seeded_state_dict(recorded["shapes"])
    assert fingerprint(found) == recorded["weights_sha256"], "these are not the weights that the peer ran on"
    return found


@pytest.fixture(scope="module")
def repos(tmp_path_factory):
    """The converted starts of the recorded trainings, by the recipe."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        for recipe, make in {"taiyi": taiyi_file, "clip-chinese-lit": clip_chinese_folder}.items():
            source, arguments = make(tmp_path_factory.mktemp("source"))
            found[recipe] = tmp_path_factory.mktemp("repos") / recipe
            convert(source, found[recipe], skip_verify=True, **arguments)
    return found


def start(repo: Path) -> Any:
    """The model in float64, without dropout."""
    model = AutoModel.from_pretrained(repo, dtype=torch.float64)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def trainer(kind: type[Noting], model: Any, recipe: str, data: list[Batch], out: Path, **given: Any) -> Noting:
    values = {name: value for name, value in read_recipe(recipe).items() if name not in FIELDS}
    args = ContrastiveArguments(output_dir=str(out), **{**values, **HERE, **given})
    rows = [row for batch in data for row in zip(*batch, strict=True)]
    found = kind(model, args, train_dataset=rows, data_collator=collate)
    found.losses = []
    return found


def by_their_keys(
    tensors: Mapping[str, torch.Tensor], rules: Any, recorded: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """Ours under the peer's keys: both tables only rename."""
    shapes = {key: tuple(shape) for key, shape in recorded["shapes"].items()}
    steps = plan(rules(shapes), shapes).steps
    names = {step.targets[0]: step.sources[0] for step in steps if step.op == "rename"}
    return {names[key]: each for key, each in tensors.items()}


def same(found: Mapping[str, list[float]], wanted: Mapping[str, list[float]]) -> None:
    assert found.keys() == wanted.keys()
    for key, each in wanted.items():
        assert found[key] == pytest.approx(each, abs=1e-9), key


def test_clip_chinese(repos, tmp_path):
    """Its local loss, frozen tower, clipped gradients, and the schedule of transformers, whose first rate is 0."""
    model = start(repos["clip-chinese-lit"])
    before = {key: each.clone() for key, each in model.state_dict().items()}
    made = trainer(Noting, model, "clip-chinese-lit", batches(12), tmp_path, warmup_steps=2)
    made.train()

    assert made.losses == pytest.approx(CLIP_CHINESE["losses"], abs=1e-9)
    learns = {name for name, each in model.named_parameters() if each.requires_grad}
    changed = {key: each for key, each in changes(before, model.state_dict()).items() if key in learns}
    same(kept(by_their_keys(changed, bert_clip.rules, CLIP_CHINESE)), CLIP_CHINESE["changes"])
    assert max(each.abs().max() for each in changed.values()) > 1e-6


class AsItsMinibatches(Noting):
    """What Taiyi's code does beside its loss: the last minibatch gets no gradient, and the scale's counts twice."""

    def _loss(self, image, text, scale, captions):
        first = len(image) // 2
        image, text = (torch.cat([each[:first], each[first:].detach()]) for each in (image, text))
        return super()._loss(image, text, 2 * scale - scale.detach(), captions)


def test_taiyi(repos, tmp_path):
    """Its loss, its optimiser, which decays every weight, and its rates, which do not fall to the training's end."""
    model = start(repos["taiyi"])
    before = {key: each.clone() for key, each in model.state_dict().items()}
    made = trainer(AsItsMinibatches, model, "taiyi", batches(77), tmp_path, cache_chunk=SIZE // 2)
    made.train()

    assert made.losses == pytest.approx(TAIYI["losses"], abs=1e-9)
    changed = changes(before, model.state_dict())
    same(kept(by_their_keys(changed, taiyi_finetune.rules, TAIYI)), TAIYI["changes"])
    assert max(each.abs().max() for each in changed.values()) > 1e-4


def test_the_gradients_of_taiyis_halves_are_together_those_of_the_whole_batch(repos, tmp_path):
    """Of a batch and of the same batch with its halves swapped, in each of which the scale's counts twice."""
    model = start(repos["taiyi"])
    made = trainer(Noting, model, "taiyi", batches(77), tmp_path, cache_chunk=SIZE // 2)
    made.create_optimizer_and_scheduler(COUNT)
    made.current_gradient_accumulation_steps = 1
    made.training_step(model, collate([*zip(*batches(77)[0], strict=True)]))

    found = {name: each.grad for name, each in model.named_parameters()}
    first, second = TAIYI["gradients"], TAIYI["gradients_of_swapped_halves"]
    wanted = {
        key: [(one + other) / (4 if "logit_scale" in key else 1) for one, other in zip(each, second[key], strict=True)]
        for key, each in first.items()
    }
    same(kept(by_their_keys(found, taiyi_finetune.rules, TAIYI)), wanted)


def test_the_cosine_restarts_as_the_schedule_that_taiyi_calls(repos, tmp_path):
    made = trainer(Noting, start(repos["taiyi"]), "taiyi", batches(77), tmp_path)
    made.create_optimizer_and_scheduler(5000)
    weight = torch.nn.Parameter(torch.zeros(()))
    theirs = CosineAnnealingWarmRestarts(torch.optim.SGD([weight], lr=5e-4), T_0=2000)
    for schedule in (made.lr_scheduler, theirs):
        schedule.optimizer.step()

    rates = []
    for _ in range(4100):
        rates.append([schedule.get_last_lr()[0] for schedule in (made.lr_scheduler, theirs)])
        made.lr_scheduler.step()
        theirs.step()

    found, wanted = zip(*rates, strict=True)
    assert found == pytest.approx(wanted, abs=1e-12)
    assert found[:COUNT] == pytest.approx(TAIYI["rates"], abs=1e-12)
    assert found[0] == found[2000] == found[4000] > 1000 * found[1999]
