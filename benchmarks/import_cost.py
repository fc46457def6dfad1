"""What does `import hf_zhclip` cost beside `from transformers import AutoModel`? Whole processes, in turns.

python benchmarks/import_cost.py [ROUNDS] [--json FILE]
"""

import os
import subprocess
import sys

from measuring import Sides, arguments, give, in_turns, table

THEIRS = "from transformers import AutoModel"
OURS = THEIRS + "; import hf_zhclip"
HELP = "import runpy, sys; sys.argv = ['zhclip', '--help']; runpy.run_module('zhclip_cli', run_name='__main__')"


ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
"""Without the shim of the originals' environment, which imports torch."""


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=ENVIRONMENT)


def sides() -> Sides:
    return {
        THEIRS: lambda: run(THEIRS),
        "the same and import hf_zhclip": lambda: run(OURS),
        "zhclip --help": lambda: run(HELP),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=7)
    asked = parser.parse_args()
    found = in_turns(sides(), asked.rounds, least=0)
    give([table("Processes", found, 1, [THEIRS])], asked.json)


if __name__ == "__main__":
    main()
