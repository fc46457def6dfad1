"""transformers' Trainer with the contrastive loss of all processes, cached gradients, and recall as its evaluation."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainerCallback

from ..data.split import Id
from ..errors import InputError
from ..evaluation.encoding import Encoder
from ..json_files import brief
from .arguments import ContrastiveArguments
from .caching import Inputs, Step, Vectors, cached_step, cached_step_as_cn_clip, in_chunks
from .loss import loss_of_pairs
from .parts import (
    LARGEST_SCALE,
    check_chunks,
    check_curves,
    check_patches,
    freeze,
    keep_statistics,
    patches_dropped,
    rate,
    without_decay,
)
from .resuming import check_optimizer, check_schedule, loading
from .sharding import make_shardable, whole, with_scalar
from .validation import recall_of_split

logger = logging.getLogger(__name__)


class DivergedError(InputError):
    """The weights of a training are no numbers any more."""

    def __init__(self, found: str):
        super().__init__(f"The training diverged: {found}. Lower --learning_rate, and choose another OUT.")


class ContrastiveTrainer(Trainer):
    """Trains a ZhCLIPModel on batches of pairs; each batch is a row of a `Collator`.

    `eval_dataset` is a `hf_zhclip.data.Split`: its evaluation is recall over the whole pool, as `mean_recall` and by
    direction, and not the accuracy inside of batches. `tell` is called with one line about everything that a reader of
    the result should know.
    """

    args: ContrastiveArguments
    control: Any
    lr_scheduler: Any

    def __init__(
        self,
        model: nn.Module,
        args: ContrastiveArguments,
        *,
        tell: Callable[[str], object] = logger.warning,
        **kwargs: Any,
    ) -> None:
        freeze(inner(model), args.freeze)
        check_patches(inner(model), args.patch_dropping)
        check_chunks(model, args)
        super().__init__(model, args, **kwargs)
        if args.torch_compile:  # the code of an earlier training knows nothing of this training's patch dropping
            torch.compiler.reset()
        if self.is_fsdp_enabled:
            make_shardable(inner(model), self.accelerator.state.fsdp_plugin)
        self.add_callback(ClampsScale())
        self.add_callback(KnowsItsEnd())
        self._tell, self._broken = tell, set[Id]()
        if args.gradient_accumulation_steps > 1:
            tell(
                f"gradient_accumulation_steps is {args.gradient_accumulation_steps}: it adds no negatives, because "
                "each batch is compared only with itself. A larger per_device_train_batch_size with cache_chunk does, "
                "in the same memory."
            )

    def get_batch_samples(self, *given, **named):
        """No batch after the last step: Trainer takes a step more where it resumes a training that is complete."""
        if self.state.global_step >= self.state.max_steps:
            return [], None
        return super().get_batch_samples(*given, **named)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The loss of one batch, computed at once."""
        keep_statistics(self._inner(model))  # after the Trainer's model.train()
        captions = self._captions(inputs)
        image, text = self._encode(model, inputs)
        return self._loss(image, text, whole(self._inner(model).logit_scale), captions)

    def training_step(self, model, inputs, num_items_in_batch=None):
        """One batch: forward and backward, in chunks if `cache_chunk` asks for them.

        Raises:
            DivergedError: the loss is no number.
        """
        if self.args.cache_chunk:
            loss = self._cached_step(model, inputs)
        else:
            loss = super().training_step(model, inputs, num_items_in_batch)
        if not loss.isfinite():
            raise DivergedError(f"step {self.state.global_step + 1} has the loss {loss.item()}")
        return loss

    def _cached_step(self, model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        model.train()
        keep_statistics(self._inner(model))
        inputs = self._prepare_inputs(inputs)
        captions = self._captions(inputs)
        accumulated = self.current_gradient_accumulation_steps
        step = Step(
            encode=partial(self._encode, model),
            loss=partial(self._loss, captions=captions),
            scale=whole(self._inner(model).logit_scale),
            # The mean over the batches of gradient_accumulation_steps, as Trainer's own step.
            backward=lambda loss: self.accelerator.backward(loss / accumulated),
            apart=partial(self.accelerator.no_sync, model),
        )
        chunks = in_chunks(inputs, self.args.cache_chunk)
        if self.args.as_cn_clip:
            return cached_step_as_cn_clip(step, chunks, partial(self._encode, model, whole=True)) / accumulated
        return cached_step(step, chunks, model) / accumulated

    def _encode(self, model: nn.Module, inputs: Inputs, whole: bool = False) -> Vectors:
        share = 0.0 if whole else self.args.patch_dropping
        with self.compute_loss_context_manager(), patches_dropped(self._inner(model), share):
            outputs = model(**inputs)
        return outputs.image_embeds, outputs.text_embeds

    def _loss(self, image, text, scale, captions):
        return loss_of_pairs(image, text, scale, self.args.negatives, captions)

    def _captions(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor | None:
        captions = inputs.pop("captions", None)
        return captions if self.args.mask_equal_captions else None

    def _inner(self, model: nn.Module) -> Any:
        return inner(self.accelerator.unwrap_model(model))

    def get_decay_parameter_names(self, model):
        """The weights that decay, by the rule of `decay`."""
        exempt = set(without_decay(model, self.args.decay))
        return [name for name, _ in model.named_parameters() if name not in exempt]

    def create_optimizer(self, *given, **named):
        """The optimizer that the arguments name."""
        with _of_arguments("optim", "optim_args", self.args):
            return super().create_optimizer(*given, **named)

    def create_scheduler(self, num_training_steps, optimizer=None):
        """cn_clip's warm-up and half cosine; other schedules are transformers' own."""
        if self.args.lr_scheduler_type != "cosine":
            with _of_arguments("lr_scheduler_type", "lr_scheduler_kwargs", self.args):
                found = super().create_scheduler(num_training_steps, optimizer)
                check_curves(found, self.args.get_warmup_steps(num_training_steps), num_training_steps)
            return found
        if self.lr_scheduler is None:
            warmup = self.args.get_warmup_steps(num_training_steps)
            curve = partial(rate, warmup=warmup, steps=num_training_steps, restart_every=self.args.restart_every)
            self.lr_scheduler = LambdaLR(self.optimizer if optimizer is None else optimizer, curve)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """Recall over the whole split, in percent; every process computes all of it.

        A picture that is broken is told once and left out; `pictures` says how many are counted.
        """
        split = self.eval_dataset if eval_dataset is None else eval_dataset
        self.model.eval()
        found, broken = recall_of_split(self._encoder(), split)
        self._tell_broken(broken)
        figures = {
            f"{side}_{name}": value for side, values in found.to_json().items() for name, value in values.items()
        }
        mean = sum(each.mean_recall for each in found.of.values()) / len(found.of)
        metrics = {
            f"{metric_key_prefix}_{name}": value
            for name, value in {**figures, "mean_recall": mean, "pictures": len(split.pictures) - len(broken)}.items()
        }
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _tell_broken(self, broken: Mapping[Id, str]) -> None:
        for each in broken.keys() - self._broken:
            self._tell(f"{broken[each]} The recall of the validation does not count it.")
        self._broken |= broken.keys()

    def _load_from_checkpoint(self, resume_from_checkpoint, *more, **named):
        with loading(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, *more, **named)

    def _load_optimizer_and_scheduler(self, checkpoint):
        with loading(checkpoint):
            if checkpoint is not None:
                if not self.is_fsdp_enabled:  # whose optimizer is gathered only while it is read
                    check_optimizer(Path(checkpoint), self.optimizer)
                check_schedule(Path(checkpoint), self.lr_scheduler)
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_scaler(self, checkpoint):
        with loading(checkpoint):
            super()._load_scaler(checkpoint)

    def _load_rng_state(self, checkpoint):
        with loading(checkpoint):
            super()._load_rng_state(checkpoint)

    def gathered(self) -> dict[str, torch.Tensor]:
        """The trained weights on the first process; all processes have to ask."""
        return with_scalar(self.accelerator.get_state_dict(self.model))

    def _save(self, output_dir=None, state_dict=None):
        super()._save(output_dir, None if state_dict is None else with_scalar(state_dict))

    def _encoder(self) -> Encoder:
        args, model = self.args, self._inner(self.model)
        # Called through `forward`, where FSDP gathers the weights.
        forwarded = SimpleNamespace(
            encode_text=lambda **inputs: self.model_wrapped(**inputs).text_embeds,
            encode_image=lambda **inputs: self.model_wrapped(**inputs).image_embeds,
            config=model.config,
            dtype=model.dtype,
            _input_device=lambda: args.device,
        )
        return Encoder(forwarded, self.processing_class, args.per_device_eval_batch_size, args.context_length, False)


@contextmanager
def _of_arguments(kind: str, more: str, args: ContrastiveArguments) -> Iterator[None]:
    """Says in words that torch or transformers does not take the values of two arguments."""
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, AssertionError) as error:
        value = getattr(getattr(args, kind), "value", getattr(args, kind))
        raise InputError(
            f"found {kind} {value} with {more} {brief(getattr(args, more))}, which cannot be used: {error}."
        ) from error


class ClampsScale(TrainerCallback):
    """Keeps the logarithm of a scale that trains in [0, ln 100] after each step, as cn_clip and OpenAI do."""

    def on_optimizer_step(self, args, state, control, model=None, **kwargs):
        scale = inner(model).logit_scale
        if scale.requires_grad:
            scale.data.clamp_(0, LARGEST_SCALE)


class KnowsItsEnd(TrainerCallback):
    """Refuses a checkpoint of more steps than the training has."""

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step > state.max_steps:
            raise InputError(
                f"found a checkpoint of {state.global_step} steps, but the training has {state.max_steps} steps. Give "
                f"--max_steps {state.global_step} or more."
            )


def inner(model: Any) -> Any:
    """The ZhCLIPModel inside of PEFT's model."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
