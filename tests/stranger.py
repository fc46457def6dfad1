"""A process of somebody who has transformers and not hf_zhclip."""

import json
import os
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HEAD = """
    import importlib.util, json, os, socket, sys

    def refuse(*arguments):
        raise OSError("a connection was tried")

    socket.socket.connect = refuse
    assert not os.path.exists(os.environ["HF_HOME"]) or not os.listdir(os.environ["HF_HOME"])
    request = json.load(open(sys.argv[1], encoding="utf-8"))
    assert (importlib.util.find_spec("hf_zhclip") is not None) == request["plugin"]
"""


def enter(program: str, request: Mapping[str, Any], folder: Path, plugin: bool = False) -> None:
    """Runs a program that finds `request`; its cache is empty, and without the plugin hf_zhclip can't be imported.

    Raises:
        AssertionError: the program failed.
    """
    (folder / "request.json").write_text(json.dumps({**request, "plugin": plugin}), encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
    environment = {**inherited, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
    switches = []
    if not plugin:
        # -S leaves the .pth files alone, by one of which an editable install is found.
        switches = ["-S"]
        environment["PYTHONPATH"] = os.pathsep.join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    ran = subprocess.run(
        [sys.executable, *switches, "-c", textwrap.dedent(HEAD) + textwrap.dedent(program), folder / "request.json"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
