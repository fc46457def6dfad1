"""The same training twice in float64: by cn_clip's own functions, and by ContrastiveTrainer on the converted repo.

As a program, it is one of several gloo processes, and compares trainings whose vectors are gathered.
"""

import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from transformers import AutoModel

from hf_zhclip.conversion.layouts import cn_clip as layout
from hf_zhclip.conversion.mapping import plan
from hf_zhclip.training import ContrastiveArguments, ContrastiveTrainer

from tests.checkpoints import common
from tests.checkpoints.cn_clip import CN_CLIP_FACTS, cn_clip_resnet, cn_clip_vit
from tests.parity.peers import cn_clip
from tests.weights import seeded_state_dict

Batch = tuple[torch.Tensor, torch.Tensor]
"""Pictures and token ids."""

NO_DROPOUT = {"text_attention_probs_dropout_prob": 0.0, "text_hidden_dropout_prob": 0.0}
FACTS = {**CN_CLIP_FACTS, **NO_DROPOUT}
SHAPES = {"ViT-B-16": cn_clip_vit, "RN50": cn_clip_resnet}
VISION = {
    "ViT-B-16": {"vision_width": common.WIDTH, "vision_layers": common.LAYERS, "vision_patch_size": common.PATCH},
    "RN50": {"vision_width": 16, "vision_layers": [1, 1, 1, 1], "vision_patch_size": None},
}
# cn_clip's arguments, and Trainer's names for them
OPTIMISER = {"lr": 1e-3, "betas": (0.9, 0.98), "eps": 1e-6}
DECAY, WARMUP = 0.2, 2
SEED = 42
"""Set before each step: both drop the same patches."""
TRAINER: dict[str, Any] = {
    **{"learning_rate": OPTIMISER["lr"], "adam_beta1": 0.9, "adam_beta2": 0.98, "adam_epsilon": OPTIMISER["eps"]},
    **{"weight_decay": DECAY, "warmup_steps": WARMUP, "decay": "cn_clip", "max_grad_norm": 0.0},
    **{"train_sampling_strategy": "sequential", "save_strategy": "no", "use_cpu": True, "optim": "adamw_torch"},
    **{"disable_tqdm": True, "logging_strategy": "no"},
}


def batches(count: int, size: int) -> list[Batch]:
    """Random pictures, and texts of different lengths."""
    generator = torch.Generator().manual_seed(7)
    found = []
    for _ in range(count):
        texts = torch.randint(1000, 20000, (size, 12), generator=generator)
        texts[:, 0] = 101
        for row, length in zip(texts, torch.randint(3, 13, (size,), generator=generator).tolist(), strict=True):
            row[length - 1] = 102
            row[length:] = 0
        found.append((torch.randn(size, 3, 64, 64, generator=generator, dtype=torch.float64), texts))
    return found


class Batches(list):
    """A data loader as cn_clip's training sees it."""

    @property
    def num_batches(self) -> int:
        return len(self)

    num_samples = num_batches


class Alone(torch.nn.Module):
    """DistributedDataParallel of one process: the wrapper whose `module` cn_clip's training asks for."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    @property
    def visual(self) -> torch.nn.Module:
        return self.module.visual

    def forward(self, *inputs: Any) -> Any:
        return self.module(*inputs)


@contextmanager
def cuda_does_nothing() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for kind in (torch.Tensor, torch.nn.Module):
            patch.setattr(kind, "cuda", lambda self, *args, **kwargs: self)
        yield


def original(vision: str) -> torch.nn.Module:
    """cn_clip's model of seeded weights in float64."""
    model = cn_clip("clip.model").CLIP(
        embed_dim=common.EMBED,
        image_resolution=common.SIZE,
        vocab_size=common.VOCAB,
        text_hidden_size=common.HIDDEN,
        text_num_hidden_layers=common.LAYERS,
        text_intermediate_size=common.INTERMEDIATE,
        text_max_position_embeddings=common.POSITIONS,
        text_type_vocab_size=2,
        text_initializer_range=0.02,
        **VISION[vision],
        **FACTS,
    )
    model.load_state_dict(seeded_state_dict(SHAPES[vision]()))
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):  # its own casts to float32, which does not fit float64 weights
            module.forward = MethodType(torch.nn.LayerNorm.forward, module)
    return model.double()


def trained_by_cn_clip(
    vision: str, data: Sequence[Batch], steps: int, wrap: Any = Alone, **given: Any
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The losses of `steps` and the weights after them, by our keys.

    `get_loss`, `train` and the schedule are cn_clip's own functions; the optimiser's groups are those of its main.py.
    """
    training = cn_clip("training.train")
    processes = dist.get_world_size() if dist.is_initialized() else 1
    args = SimpleNamespace(
        **{"accum_freq": 1, "aggregate": processes > 1, "gather_with_grad": False, "distillation": False},
        **{"freeze_vision": False, "mask_ratio": 0, "vision_model": vision, "precision": "fp32", "max_steps": steps},
        **{"local_device_rank": 0, "rank": 1, "val_data": None, "should_save": False, "use_flash_attention": False},
        **{"report_training_batch_acc": False, "log_interval": 10},
    )
    vars(args).update(given)
    model = original(vision)
    if args.freeze_vision:
        for weight in model.visual.parameters():
            weight.requires_grad = False
    wrapped = wrap(model)
    groups: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    for name, weight in wrapped.named_parameters():
        if weight.requires_grad:
            groups["bn" in name or "ln" in name or "bias" in name or "logit_scale" in name].append(weight)
    optimiser = torch.optim.AdamW(
        [{"params": groups[True], "weight_decay": 0.0}, {"params": groups[False], "weight_decay": DECAY}], **OPTIMISER
    )
    schedule = cn_clip("training.scheduler").cosine_lr(optimiser, OPTIMISER["lr"], WARMUP, steps)
    losses, own = [], training.get_loss

    def noted(*args: Any, **kwargs: Any) -> Any:
        torch.manual_seed(SEED)
        found = own(*args, **kwargs)
        losses.append(found[0].item())
        return found

    loader = Batches((*batch, torch.zeros(len(batch[1]), dtype=torch.long)) for batch in data)
    with cuda_does_nothing(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "get_loss", noted)
        for epoch in range(-(-steps * args.accum_freq // len(data))):
            training.train(
                wrapped,
                {"train": SimpleNamespace(dataloader=loader, sampler=None)},
                epoch,
                optimiser,
                None,
                schedule,
                args,
                0,
            )
    return losses[args.accum_freq - 1 :: args.accum_freq], by_our_keys(model.state_dict())


def by_our_keys(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    return dict(plan(layout.rules(shapes), shapes).run(state))


class Noting(ContrastiveTrainer):
    """Notes the loss of each step."""

    losses: list[float]

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        torch.manual_seed(SEED)
        loss = super().training_step(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


def collate(rows: Sequence[Batch]) -> dict[str, torch.Tensor]:
    pictures, texts = (torch.stack(each) for each in zip(*rows, strict=True))
    return {"pixel_values": pictures, "input_ids": texts, "attention_mask": (texts != 0).long()}


def trained_by_us(
    repo: Path, out: Path, data: Sequence[Batch], steps: int, **given: Any
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The losses of `steps` and the weights after them."""
    model = AutoModel.from_pretrained(repo, dtype=torch.float64)
    args = ContrastiveArguments(
        output_dir=str(out), per_device_train_batch_size=len(data[0][1]), max_steps=steps, **{**TRAINER, **given}
    )
    rows = [row for batch in data for row in zip(*batch, strict=True)]
    trainer = Noting(model, args, train_dataset=rows, data_collator=collate)
    trainer.losses = []
    trainer.train()
    return trainer.losses, model.state_dict()


def farthest(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """The largest difference between two sets of weights."""
    assert ours.keys() == theirs.keys()
    return max((ours[key].double() - theirs[key].double()).abs().max().item() for key in ours)


GATHERED = {
    "exact": ({"gather_with_grad": True}, {"negatives": "exact"}),
    "cn_clip": ({}, {"negatives": "cn_clip"}),
    "exact, cached": (
        {"gather_with_grad": True, "accum_freq": 2},
        {"negatives": "exact", "cache_chunk": 3, "as_cn_clip": True},
    ),
    "cn_clip, cached": ({"accum_freq": 2}, {"negatives": "cn_clip", "cache_chunk": 3, "as_cn_clip": True}),
}
"""By name, what cn_clip's training is given, and what ours is given."""


def main(repo: Path, out: Path) -> None:
    """Trains every way of `GATHERED` twice; process 0 writes losses and the farthest weights."""
    torch.set_num_threads(1)
    ContrastiveArguments(output_dir=str(out), use_cpu=True).device  # noqa: B018  (starts gloo)
    own, processes = dist.get_rank(), dist.get_world_size()
    found = {}
    for name, (theirs, ours) in GATHERED.items():
        data = batches(4, 6)
        # Trainer deals whole batches out in turn.
        of_process = data[own::processes]
        chunks = theirs.get("accum_freq", 1)
        cut = [
            tuple(each[row : row + 6 // chunks] for each in batch)
            for batch in of_process
            for row in range(0, 6, 6 // chunks)
        ]
        wanted, their_weights = trained_by_cn_clip(
            "ViT-B-16", cut, 2, torch.nn.parallel.DistributedDataParallel, **theirs
        )
        losses, our_weights = trained_by_us(repo, out / "training", data, 2, **ours)
        found[name] = {"wanted": wanted, "found": losses, "farthest": farthest(our_weights, their_weights)}
    if own == 0:
        (out / "found.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    code = 1
    try:
        main(*map(Path, sys.argv[1:]))
        code = 0
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)  # gloo's threads of a failed process wait for the other process
