"""`zhclip search`: `hf_zhclip.inference.search` on the command line, and its page."""

import argparse
from pathlib import Path
from typing import Any

from .common import add_shared, is_told, print_progress, print_result

HELP = "find the pictures of an embedded corpus that are nearest to a sentence or a picture"


MANIFEST = "zhclip_corpus.json"
"""The name in `hf_zhclip.inference.corpus`, which is looked for without importing it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="the folder that `zhclip embed` wrote")
    parser.add_argument(
        "query", metavar="SENTENCE", nargs="?", help="what to find, in Chinese or in the model's languages"
    )
    parser.add_argument("--picture", metavar="FILE", help="find pictures like this picture, instead of a sentence")
    parser.add_argument(
        "-k", "--top-k", metavar="N", type=int, default=10, help="the most pictures that are shown (default: 10)"
    )
    parser.add_argument(
        "--threshold", metavar="COSINE", type=float, help="the least cosine; also counts the pictures that reach it"
    )
    parser.add_argument("--model", metavar="REPO", help="where the corpus's model lies now, if it has moved")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 … (default: cuda if there is one)")
    page = parser.add_argument_group("instead of SENTENCE")
    page.add_argument("--serve", action="store_true", help="open a page for searching, on this machine alone")
    page.add_argument("--port", metavar="N", type=int, help="the page's port (default: 7860)")
    add_shared(parser, "json")


def refusal(options: dict[str, Any]) -> str | None:
    """What is wrong with the words of the command; it is said before anything heavy is imported."""
    query, picture, top_k, threshold = (options[name] for name in ("query", "picture", "top_k", "threshold"))
    if options["serve"]:
        if options["json"] or query is not None or picture is not None:
            return (
                "found --serve with a query or --json; the page asks for the query. Leave SENTENCE, --picture and "
                "--json out, or leave --serve out."
            )
    elif options["port"] is not None:
        return "found --port without --serve; a port is that of the page. Leave --port out."
    elif (query is None) == (picture is None):
        found = "neither a sentence nor a picture" if query is None else "a sentence and a picture"
        return f'found {found}; wanted one of them: zhclip search OUT "一只狗", or --picture FILE.'
    elif query is not None and not query.strip():
        return "found an empty sentence; wanted words that say what to find."
    elif picture == "":
        return "found an empty text as --picture; the path of a picture was wanted."
    if top_k < 1:
        return f"found --top-k {top_k}; 1 or more was wanted."
    if threshold is not None and not -1 <= threshold <= 1:
        return f"found --threshold {threshold}; a cosine from -1 to 1 was wanted."
    return _missing(options["out"], picture)


def _missing(out: str, picture: str | None) -> str | None:
    """What is not where the words say; a file in the place of the folder is left to `search`."""
    folder = Path(out)
    if out and is_told(out) and not folder.is_file() and not (folder / MANIFEST).is_file():
        found = f"holds no corpus: it has no {MANIFEST}" if folder.exists() else "does not exist"
        return f"{folder} {found}. The folder was wanted that `zhclip embed REPO INPUT OUT` wrote."
    if picture is not None and is_told(picture) and not Path(picture).exists():
        return f"{picture} does not exist; a file with a picture was wanted."
    return None


def run(options: dict[str, Any], as_json: bool) -> int:
    from transformers.utils.logging import disable_progress_bar

    from hf_zhclip.inference import search, serve

    disable_progress_bar()  # transformers shows it also where stderr is no terminal
    serving, port = options.pop("serve"), options.pop("port")
    if not serving:
        found = search(**options, tell=print_progress)
        print_result(found.to_json(), found.text, as_json)
        return 0
    del options["query"], options["picture"]
    serve(**options, **({} if port is None else {"port": port}), tell=print_progress)
    return 0
