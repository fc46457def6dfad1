"""One of several gloo processes: trains the tiny model on gathered batches; process 0 writes the weights."""

import os
import sys
import traceback
import warnings
from pathlib import Path

import torch
import torch.distributed as dist

from hf_zhclip.training.arguments import CHECKPOINTING

from tests.training.test_trainer import model, rows, trainer

WAYS = {
    "at once": {},
    "in chunks": {"cache_chunk": 2},
    "in checkpoints": {"cache_chunk": 2, CHECKPOINTING: True},
    "equal captions": {"mask_equal_captions": True},
    "frozen": {"freeze": "vision"},
    "dropped": {"patch_dropping": 0.5},
    "odd": {"max_steps": 3},
}
"""By name, the arguments of a training."""


def data(name):
    found = rows(9 if name == "odd" else 12)
    return [{**row, "captions": number % 4} for number, row in enumerate(found)]


def trained(folder, name, batch):
    given = {"max_steps": 2, "train_sampling_strategy": "sequential", "optim": "sgd", "learning_rate": 1e-3}
    found = model(dropout=False)
    given |= {"per_device_train_batch_size": batch, **WAYS[name]}
    trainer(folder, found, data(name), **given).train()
    return {key: value.clone() for key, value in found.state_dict().items()}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("error", message="torch.distributed.*is deprecated")
    found = {name: trained(folder, name, 3) for name in WAYS}
    if dist.get_rank() == 0:
        torch.save(found, folder / "found.pt")
    dist.barrier()


if __name__ == "__main__":
    code = 1
    try:
        main(Path(sys.argv[1]))
        code = 0
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)  # gloo's threads of a failed process wait for the other process
