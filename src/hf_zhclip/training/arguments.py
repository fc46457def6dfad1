"""transformers' TrainingArguments, with what contrastive training adds."""

import os
from dataclasses import dataclass, field, fields

import torch
from transformers import TrainingArguments
from transformers.utils import is_torch_bf16_gpu_available, is_torch_xla_available

from ..errors import InputError
from ..telling import near

NEGATIVES = ("exact", "cn_clip", "local")
DECAYS = ("usual", "cn_clip", "none")
FREEZES = {"none": (), "vision": ("vision_model", "visual_projection"), "vision_tower": ("vision_model",)}
"""What `freeze` keeps as it is: cn_clip's LiT freezes the projection, too; CLIP-Chinese's and Taiyi's train it."""


_NEWER = {
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
}
"""Names of TrainingArguments before transformers 5.24, and since then."""

_INSTALLED = {each.name for each in fields(TrainingArguments)}

RENAMED = {
    **{old: new for old, new in _NEWER.items() if new in _INSTALLED},
    **{new: old for old, new in _NEWER.items() if new not in _INSTALLED},
}
"""Names of arguments in other releases of transformers, and the names that the installed release takes."""

CHECKPOINTING = RENAMED.get("gradient_checkpointing", "gradient_checkpointing")
"""The installed name of the argument that computes activations twice, to save their memory."""


LEAST: dict[str, tuple[float, bool]] = {
    "num_train_epochs": (0, False),
    "learning_rate": (0, True),
    "seed": (0, True),
    "warmup_steps": (0, True),
    "weight_decay": (0, True),
    "max_grad_norm": (0, True),
    "adam_epsilon": (0, True),
    "dataloader_num_workers": (0, True),
    "cache_chunk": (0, True),
    "restart_every": (0, True),
    "per_device_train_batch_size": (1, True),
    "per_device_eval_batch_size": (1, True),
    "gradient_accumulation_steps": (1, True),
}
"""By argument, the least number, and whether that number itself is allowed."""

MOST: dict[str, int] = {
    "dataloader_num_workers": max(64, 4 * (os.cpu_count() or 1)),
    "dataloader_prefetch_factor": 64,
    "seed": 2**32 - 1,
    "data_seed": 2**32 - 1,
}
"""By argument, the greatest number: each worker is a process with batches in its memory; numpy takes such seeds."""


@dataclass
class ContrastiveArguments(TrainingArguments):
    """The arguments of a `ContrastiveTrainer`; those of TrainingArguments keep their names and meanings.

    Other defaults: `remove_unused_columns=False`, because the collator reads the rows themselves; a cosine schedule,
    whose warm-up gives the first step the rate `learning_rate / warmup_steps` as in cn_clip; nothing is reported.
    """

    remove_unused_columns: bool = False
    lr_scheduler_type: str = "cosine"
    report_to: str = "none"

    negatives: str = field(
        default="exact",
        metadata={
            "help": "exact: those of all processes, with exact gradients; cn_clip: its default gather, whose "
            "gradients stay in the process; local: those of the process.",
            "choices": NEGATIVES,
        },
    )
    cache_chunk: int = field(
        default=0,
        metadata={
            "help": "Compute a batch in chunks of this size with cached vectors: the loss and gradients of the whole "
            "batch in the memory of a chunk. 0: at once."
        },
    )
    as_cn_clip: bool = field(
        default=False,
        metadata={
            "help": "Cache as cn_clip's accum-freq does: the scale's gradient once for each chunk, and dropout drawn "
            "anew."
        },
    )
    mask_equal_captions: bool = field(
        default=False, metadata={"help": "Pairs with equal captions are not each other's negatives."}
    )
    freeze: str = field(
        default="none",
        metadata={
            "help": "vision: the vision tower and its projection stay as they are (LiT); vision_tower: the tower "
            "alone.",
            "choices": tuple(FREEZES),
        },
    )
    patch_dropping: float = field(
        default=0.0, metadata={"help": "FLIP: the share of a picture's patches that a training step leaves out."}
    )
    decay: str = field(
        default="usual",
        metadata={
            "help": "usual: no weight decay of biases, norms and the scale; cn_clip: its rule, which decays BERT's "
            "norms; none: every weight decays.",
            "choices": DECAYS,
        },
    )
    restart_every: int = field(
        default=0,
        metadata={
            "help": "Start the cosine anew after each so many steps, as Taiyi's training does. 0: a single cosine, "
            "which ends with the training."
        },
    )
    augment: bool = field(
        default=False,
        metadata={"help": "Crop, mirror and change the training pictures at random, as cn_clip's use-augment does."},
    )
    crop: bool = field(
        default=False,
        metadata={"help": "Crop the training pictures at random, as Taiyi's training does; augment does so, too."},
    )
    text_as_cn_clip: bool = field(
        default=False, metadata={"help": "Lower-case texts and straighten quotes first, as cn_clip's training does."}
    )
    context_length: int | None = field(
        default=None,
        metadata={
            "help": "The longest text in tokens during the training; by default the repo's own, which the trained "
            "repo keeps."
        },
    )

    def __post_init__(self) -> None:
        if _started() > 1 and not torch.accelerator.is_available():
            self.use_cpu = True  # without it, each process would train by itself
        self._check_bfloat16()
        super().__post_init__()
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False  # it speeds up copies to an accelerator alone
        check_processes(self.world_size)
        for name, known in {"negatives": NEGATIVES, "decay": DECAYS, "freeze": tuple(FREEZES)}.items():
            if (found := getattr(self, name)) not in known:
                raise InputError(f"found {name} {found}; one of {', '.join(known)} was wanted.{near(found, known)}")
        if not 0 <= self.patch_dropping < 1:
            raise InputError(f"found patch_dropping {self.patch_dropping}; a share from 0 to below 1 was wanted.")
        self._check_numbers()
        if self.as_cn_clip and not self.cache_chunk:
            raise InputError("found as_cn_clip without cache_chunk, where it changes nothing. Give both or none.")
        if self.restart_every and self.lr_scheduler_type != "cosine":
            raise InputError(
                "found restart_every with another lr_scheduler_type than cosine, where it changes nothing. Leave one "
                "of them out."
            )

    def _check_bfloat16(self) -> None:
        asked = next((name for name in ("bf16", "bf16_full_eval") if getattr(self, name)), None)
        if asked and not (self.use_cpu or is_torch_bf16_gpu_available() or is_torch_xla_available()):
            raise InputError(
                f"found {asked}, and no device that computes in bfloat16. Leave {asked} out; or give --use_cpu, too, "
                "to train on the processor."
            )

    def _check_numbers(self) -> None:
        for name, (least, allowed) in LEAST.items():
            found = getattr(self, name)
            if found < least or (found == least and not allowed):
                wanted = f"{least:g} or more" if allowed else f"more than {least:g}"
                raise InputError(f"found {name} {found}; {wanted} was wanted.")
        for name, most in MOST.items():
            if (getattr(self, name) or 0) > most:
                raise InputError(f"found {name} {getattr(self, name)}; at most {most} was wanted.")
        for name in ("adam_beta1", "adam_beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"found {name} {getattr(self, name)}; a number from 0 to below 1 was wanted.")
        if self.max_steps == 0 or self.max_steps < -1:
            raise InputError(f"found max_steps {self.max_steps}; 1 or more, or -1 for whole epochs, was wanted.")


def check_processes(seen: int) -> None:
    """Refuses processes of which transformers sees fewer than were started.

    Raises:
        InputError: see above; each process would train by itself.
    """
    if (started := _started()) != seen:
        raise InputError(
            f"found {started} processes (WORLD_SIZE), of which transformers sees {seen}: each would train by itself. "
            "Start them with torchrun or `accelerate launch`."
        )


def _started() -> int:
    return int(os.environ.get("WORLD_SIZE") or 1)
