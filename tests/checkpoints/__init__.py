"""Small checkpoints of every format, one file a family: keys written by hand from the upstreams, seeded weights.

Each file is an attribute (`checkpoints.cn_clip`), and gives in `ORIGINALS` how its checkpoints are made and converted.
"""

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

from tests.checkpoints import common

MODULES = [importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__)]

FAMILIES: dict[str, Callable[[Path], common.Original]] = {
    family: make for module in MODULES for family, make in getattr(module, "ORIGINALS", {}).items()
}
