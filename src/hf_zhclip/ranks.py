"""Which of several processes this is: of `accelerate launch`, of torchrun, or of MPI."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import InputError

RANK = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
SIZE = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
LOCAL = ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK")
"""The variables that launchers set, as accelerate reads them (utils/environment.py); the first that is set counts."""


@dataclass(frozen=True)
class Ranks:
    """This process's number among `size` processes, and among those of its machine."""

    rank: int
    size: int
    local: int

    def device(self) -> str | None:
        """The CUDA device of this process, if there are several processes and a CUDA device; else None."""
        import torch

        if self.size == 1 or not torch.cuda.is_available():
            return None
        return f"cuda:{self.local % torch.cuda.device_count()}"


def ranks() -> Ranks:
    """This process's place, by its environment; without a launcher it is the only process.

    Raises:
        InputError: the variables do not fit together.
    """
    rank, size, local = _stated(RANK, 0), _stated(SIZE, 1), _stated(LOCAL, 0)
    if not 0 <= rank < size:
        raise InputError(
            f"found the rank {rank} of {size} processes in the environment ({', '.join((RANK[0], SIZE[0]))}); a rank "
            "from 0 on and below their number was wanted. Start the processes with `accelerate launch` or torchrun."
        )
    return Ranks(rank, size, local)


def _stated(names: Sequence[str], default: int) -> int:
    for name in names:
        if value := os.environ.get(name):
            try:
                return int(value)
            except ValueError as error:
                raise InputError(f"found {name}={value!r} in the environment; a whole number was wanted.") from error
    return default
