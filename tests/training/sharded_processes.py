"""Trains in the processes of torchrun: `python -m tests.training.sharded_processes REPO DATA FOLDER [--fsdp]`.

accelerate has FSDP for accelerators alone. Here it takes two processes of gloo for two accelerators: its wrapping,
PyTorch's fully_shard, checkpoints and gathered weights run as they do there.
"""

import os
import sys
from pathlib import Path

import torch.distributed as dist
from accelerate.state import PartialState
from accelerate.utils import DistributedType

from hf_zhclip.training import train

STEPS = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "per_device_train_batch_size": 2}
# Adam would make whole steps of the rounding where a gradient is 0 (the keys' biases).
PLAIN = {"optim": "sgd", "learning_rate": 0.1}
WAYS = {
    "at_once": {"recipe": "full"},
    "clipped_and_in_chunks": {"recipe": "full", "cache_chunk": 1, "max_grad_norm": 1.0, **PLAIN},
    "as_cn_clip": {"recipe": "full", "cache_chunk": 1, "as_cn_clip": True, "negatives": "local", **PLAIN},
    "lit": {"recipe": "lit", **PLAIN},
    "lora": {"recipe": "lora", **PLAIN},
}


def take_gloo_for_accelerators() -> None:
    prepare = PartialState.__init__

    def prepared(self, *args, **kwargs):
        prepare(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = prepared


if __name__ == "__main__":
    repo, data, folder, *sharded = sys.argv[1:]
    more = {}
    if sharded:
        take_gloo_for_accelerators()
        more = {"fsdp": True, "fsdp_config": {"version": 2}}
    common = {**STEPS, "learning_rate": 1e-3, "warmup_steps": 1, **more}
    for way, given in WAYS.items():
        train(repo, data, Path(folder) / way, **{**common, **given})
    if os.environ["RANK"] == "0":
        for place in ("checkpoint-4", "trained"):
            (Path(folder) / "at_once" / place).rename(Path(folder) / f"first-{place}")
    dist.barrier()
    train(repo, data, Path(folder) / "at_once", resume=True, **{**common, **WAYS["at_once"]})
