"""What a training saves beside the weights, for itself: read by the inert reader, under the budget of its file.

`torch.load` would give each record of the zip, and each view of a tensor, the size that the file states.
"""

import errno
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_zhclip.budget import check_regular

from ..errors import InputError, WorkError
from . import numpy_pickle, torch_pickle
from .archive import Archive, mapped
from .inert import Foreign, Maker, Refused
from .pickles import DAMAGE, reason

ARRAYS: Mapping[str, Maker] = {
    name: maker
    for name, maker in numpy_pickle.MAKERS.items()
    if name == "numpy.ndarray" or name.endswith("multiarray._reconstruct")
}
"""numpy's arrays, of which the state of its random generator holds one."""


def read_training_state(path: Path) -> Any:
    """Reads a zip of `torch.save`, whose records are all stored; tensors lie on the file's own bytes.

    Raises:
        InputError: the file is no such zip, is damaged, names what is no data, or takes too much memory.
        WorkError: the system has no memory for it.
    """
    check_regular(path, "a part of a checkpoint")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            archive = Archive(path, file, size, mapped(path, size))
            for record in archive.records.values():
                if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
                    raise InputError(f"{path} holds a compressed record; torch.save stores its records.")
            if "data.pkl" not in archive.records:
                raise InputError(f"{path} is a zip file without a data.pkl; a file of torch.save was wanted.")
            return torch_pickle.of_archive(archive, ARRAYS)
    except InputError:
        raise
    except Refused as error:
        raise InputError(
            f"{path} is a pickle that needs code to be read: {str(error):.200}. Code in a file is never run here."
        ) from error
    except Foreign as error:
        raise InputError(f"{path} holds {error}; the state of a training was wanted.") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, *DAMAGE) as error:
        raise InputError(f"{path} is damaged or cut off: {reason(error)}.") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a place before the file's first byte
            raise
        raise InputError(f"{path} is damaged or cut off: it states a place outside of itself.") from error
    except MemoryError as error:
        raise WorkError(f"{path} does not fit into memory, or is damaged.") from error
