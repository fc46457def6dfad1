"""Runs calls in forked children, under limits of memory and time: imports cost seconds, and are made once.

As a program it is the server: it reads one request a line, forks, and answers with one line.
"""

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GROWTH = 3 * 2**30
"""Address space beyond the server's own that a child may take, so that an attack cannot take the machine's memory."""

SECONDS = 60
"""A child that takes longer is killed; a fresh process of `verify` takes a while where others share the machine."""

IMPORTED = (
    *("zhclip_cli.command_line", "torch", "transformers", "hf_zhclip", "hf_zhclip.conversion.pipeline"),
    *("hf_zhclip.conversion.inspection", "hf_zhclip.conversion.publishing.cards", "hf_zhclip.inference"),
    *("hf_zhclip.evaluation.evaluating", "hf_zhclip.conversion.exports.cn_clip_file", "PIL.PngImagePlugin"),
    *("hf_zhclip.conversion.reading.distributed", "hf_zhclip.inference.loading", "transformers.models.bert"),
    *("hf_zhclip.training.training", "hf_zhclip.inference.embedding", "hf_zhclip.data.reading"),
)


ENVIRONMENT = {
    **{"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"},
    **{"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"},
}


@dataclass(frozen=True)
class Ending:
    """How a child ended: its exit code (minus the signal that killed it), its output, and what it cost."""

    code: int
    output: str
    mib: float
    seconds: float


class Server:
    """A process with the imports made; `run` forks it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ENVIRONMENT},
        )

    def run(self, function: str, *arguments: Any, output: Path) -> Ending:
        """Calls `module:function` with arguments of JSON in a child; what it returns is the exit code."""
        request = {"function": function, "arguments": [*arguments], "output": str(output)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Ending(output=output.read_text(encoding="utf-8", errors="replace"), **answer)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)


def _memory(field: str) -> int:
    """A number of KiB of this process, by its name in /proc."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1])


def _child(request: dict[str, Any], told: int) -> None:
    os.write(told, str(_memory("VmRSS")).encode())
    os.close(told)
    with open(request["output"], "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    most = _memory("VmSize") * 1024 + GROWTH
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    module, name = request["function"].split(":")
    code = 99
    try:
        code = getattr(importlib.import_module(module), name)(*request["arguments"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 98
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    start, (heard, told) = time.monotonic(), os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        _child(request, told)
    os.close(told)
    before = int(os.read(heard, 20))  # of the child itself, which shares less than the server holds
    os.close(heard)
    while True:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            break
        if time.monotonic() - start > SECONDS:
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.005)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "mib": max(0, usage.ru_maxrss - before) / 1024,
        "seconds": usage.ru_utime + usage.ru_stime if os.WIFEXITED(status) else time.monotonic() - start,
    }


def load(place: str) -> int:
    """Loads a repo as the Embedder does; its errors are printed as a command prints them."""
    from hf_zhclip.inference.loading import load_pair

    return _told(lambda: load_pair(place))


def train(place: str, data: str, out: str) -> int:
    """`zhclip train` for a step, without the conversion of the result, which is a command of its own."""
    from hf_zhclip.training import train

    steps = {"max_steps": 1, "per_device_train_batch_size": 2, "use_cpu": True, "report_to": []}
    return _told(lambda: train(place, data, out, recipe="full", **steps))


def _told(call: Callable[[], Any]) -> int:
    from hf_zhclip.errors import ZhclipError

    try:
        call()
    except ZhclipError as error:
        print(f"zhclip: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def serve() -> None:
    sys.modules["tests.fork_server"] = sys.modules["__main__"]
    for name in IMPORTED:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    serve()
