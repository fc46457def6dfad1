"""The READMEs: both say the same, and every block in them is run on small checkpoints and a hub on loopback."""

import importlib.metadata
import importlib.util
import itertools
import json
import re
import shlex
import shutil
import socket
from pathlib import Path

import pytest
import torch
from huggingface_hub import CommitOperationAdd, HfApi
from PIL import Image

import zhclip_cli
from hf_zhclip.conversion.exports import exporting
from hf_zhclip.conversion.exports.onnx import costs, writing
from hf_zhclip.conversion.layouts.cn_clip import FIELDS
from hf_zhclip.evaluation import lists

from tests import checkpoints
from tests.conversion.helpers import answer_here, list_operators_once, save_time
from tests.loopback_hub import connect, serve
from tests.newcomer import OF_ZHCLIP_ONNX, ROOT, clone, environment, environment_of, run_line

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INSTALL = "pip install ."
INSTALL_OFFLINE = f"python -m {INSTALL} --no-deps --no-index --no-build-isolation"
"""The same where no package can be fetched; the environment has no script `pip` of its own."""

LEFT_OUT = (INSTALL, "zhclip demo")
"""Commands that take long: the test of the opening alone runs them."""

SERVE = "zhclip search pokemon-vectors --serve"
DATABASES = ("import faiss", "from pymilvus import", "import psycopg")
"""A command that ends by Ctrl-C alone, and what blocks have that feed databases: `make test-page` runs them."""

SCREEN = 24
"""Lines of a terminal."""

# The small checkpoints are of no published size, so that some commands need what their users would not.
SUBSTITUTED = dict.fromkeys(
    (
        "zhclip inspect epoch_latest.pt",
        "zhclip convert epoch_latest.pt tuned-clip",
        "zhclip convert chinese-clip-vit-base-patch16 chinese-clip",
    ),
    "--config my_config.json",
)

PAIRS = [(f"{folder}README.md", f"{folder}README.zh-CN.md") for folder in ("", "model_cards/")]
"""Pages that are written in both languages."""

ELSEWHERE = "sentence_transformers"
"""A package that the suite's own environment lacks; `make parity` runs the blocks that import it."""


WITHOUT_TORCH = "from zhclip_onnx import"
"""What a block has that runs where neither torch nor transformers nor hf_zhclip is installed."""


def blocks(name: str) -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / name).read_text(encoding="utf-8"))


def commands() -> list[str]:
    return [line for language, text in blocks("README.md") if language == "bash" for line in text.splitlines()]


@pytest.fixture
def hub(tmp_path_factory, monkeypatch):
    """A hub with small checkpoints where the large ones are published, and a user who may write."""
    folder = tmp_path_factory.mktemp("published")
    checkpoints.cn_clip.cn_clip_file(folder / "clip_cn_vit-b-16.pt")
    published = {
        "OFA-Sys/chinese-clip-vit-base-patch16": [folder / "clip_cn_vit-b-16.pt"],
        "IDEA-CCNL/Taiyi-CLIP-Roberta-102M-Chinese": checkpoints.taiyi.taiyi_folder(folder / "t", head=True).iterdir(),
        "openai/clip-vit-base-patch32": checkpoints.hf_clip.clip_folder(folder / "c").iterdir(),
    }
    owners = {"hf_owner": tuple(repo.split("/")[0] for repo in published), "hf_user": ("user",)}
    with serve(tmp_path_factory.mktemp("hub"), owners) as server:
        connect(monkeypatch, server, "hf_owner", tmp_path_factory.mktemp("owner"))
        for repo, files in published.items():
            HfApi().create_repo(repo)
            files = [CommitOperationAdd(file.name, file) for file in files]
            HfApi().create_commit(repo, files, commit_message="publish")
        connect(monkeypatch, server, "hf_user", tmp_path_factory.mktemp("home"))
        yield server


@pytest.fixture
def home(tmp_path, monkeypatch, hub):
    """A folder that holds every file that the README names."""
    for name in ("epoch_latest.pt", "own_sizes.pt"):
        checkpoints.cn_clip.cn_clip_file(tmp_path / name)
    checkpoints.cn_clip.cn_clip_config(tmp_path / "my_config.json")
    checkpoints.taiyi.taiyi_folder(tmp_path / "my-taiyi-text", head=True)
    checkpoints.hf_clip.clip_folder(tmp_path / "clip-vit-base-patch32")
    checkpoints.bert_clip.bert_clip_config(tmp_path / "clip-vit-bert-chinese-1M")
    shutil.copytree(ROOT / "examples" / "scenes", tmp_path / "examples" / "scenes")
    image_text_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZHCLIP_CACHE", str(tmp_path / "cache"))
    save_time(monkeypatch)
    monkeypatch.setattr(lists, "_installed_lists", lambda: {"openai_templates": ["{}的照片"]})
    monkeypatch.setattr(exporting, "in_fresh_process", answer_here)
    list_operators_once(monkeypatch)
    monkeypatch.setattr(writing, "write_graph", once_for_each_repo(writing.write_graph))
    monkeypatch.setattr(costs, "SECONDS", 0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, str(value))  # as torchrun sets them
    yield tmp_path
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def once_for_each_repo(write_graph):
    """Exports a tower once: float32 and a lower precision begin with the same graph, which takes seconds."""
    written: dict[tuple, bytes] = {}

    def write(module, tower, repo, opset, file):
        if (key := (repo.path, tower.name, opset)) not in written:
            write_graph(module, tower, repo, opset, file)
            written[key] = file.read_bytes()
        file.write_bytes(written[key])

    return write


@pytest.fixture
def without_torch(tmp_path_factory) -> Path:
    """The scripts of an environment that has what zhclip_onnx.py imports, and nothing else."""
    return environment_of(tmp_path_factory.mktemp("without_torch"), *OF_ZHCLIP_ONNX)


def image_text_data(folder: Path) -> None:
    (folder / "pokemon").mkdir()
    (folder / "images").mkdir()
    for number in range(10):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / "pokemon" / f"{number:04}妙蛙種子{number}號.png")
    Image.new("RGB", (8, 8)).save(folder / "images" / "a.png")
    (folder / "captions.csv").write_text("text,filename\n黑色,a.png\n", encoding="utf-8")
    for name in ("cats", "dogs"):
        (folder / "animals" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "animals" / name / "a.png")
    (folder / "names.txt").write_text("猫\n狗\n", encoding="utf-8")
    rows = [{"image": "images/a.png", "text": text, "fits": text == "黑色"} for text in ("黑色", "白色")]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def run_command(line: str) -> None:
    if line in (*LEFT_OUT, SERVE):
        return
    program, *arguments = shlex.split(f"{line} {SUBSTITUTED.get(line, '')}")
    assert program == "zhclip"
    assert zhclip_cli.main(arguments) == 0, line


def section(name: str, number: int) -> str:
    """The text under a heading of the second level."""
    return re.split("^## .*$", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)[number]


def section_of(name: str, heading: str) -> str:
    """The text under a heading, up to the next heading."""
    _, _, after = (ROOT / name).read_text(encoding="utf-8").partition(f"{heading}\n")
    return re.split("^##+ ", after, flags=re.MULTILINE)[0]


def figures(text: str) -> list[float]:
    """The decimal numbers of a text."""
    return [float(figure) for figure in re.findall(r"\d+\.\d+(?:e-?\d+)?", text)]


@pytest.mark.thorough  # test_cli.py and test_packaging.py have a whole run and an installed wheel
def test_the_opening_does_what_the_page_says_in_a_fresh_clone(tmp_path):
    """Each line is run by a shell as it is written, the code in a process of its own."""
    scripts = environment(tmp_path / "environment")
    folder = clone(tmp_path / "clone")
    printed = {}
    for language, text in BLOCK.findall(section("README.md", 1)):
        for line in text.splitlines() if language == "bash" else ():
            printed[line] = run_line(INSTALL_OFFLINE if line == INSTALL else line, folder, scripts)
    assert printed["zhclip demo"].splitlines()[-1] == str(Path("demo") / "contact_sheet.png")
    assert (folder / "demo" / "contact_sheet.png").is_file()
    assert (folder / "demo" / "model" / "model.safetensors").is_file()
    (promised,) = [text for language, text in BLOCK.findall(section("README.md", 1)) if language == "text"]
    (convert,) = [line for line in printed if line.startswith("zhclip convert ")]
    assert printed[convert] == promised

    code = next(text for language, text in BLOCK.findall(section("README.md", 2)) if language == "python")
    (folder / "use.py").write_text(code, encoding="utf-8")
    found = figures(run_line("python use.py", folder, scripts))
    assert found == pytest.approx(figures("".join(re.findall("#.*:.*", code))), abs=0.01)


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_at_most_a_screen_of_text_comes_before_the_first_command(name):
    before = (ROOT / name).read_text(encoding="utf-8").partition("```bash\n")[0]
    assert before.count("\n") < SCREEN


@pytest.mark.parametrize("english, chinese", PAIRS)
def test_both_languages_hold_the_same_blocks(english, chinese):
    assert blocks(english) == blocks(chinese)


def outline(name: str) -> list[str]:
    """The level of each heading and the columns of each row of a table, outside blocks."""
    text = BLOCK.sub("", (ROOT / name).read_text(encoding="utf-8"))
    return [re.sub("[^#|]", "", line) for line in text.splitlines() if line.startswith(("#", "|"))]


@pytest.mark.parametrize("english, chinese", PAIRS)
def test_both_languages_have_the_same_headings_and_tables(english, chinese):
    assert outline(english) == outline(chinese)


def test_every_command_and_every_python_block_runs_in_the_order_of_the_page(home, without_torch, capsys):
    for part in re.split("^## ", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE):
        names: dict[str, object] = {"__name__": "readme"}  # the blocks under one heading may go on with its names
        for language, text in BLOCK.findall(part):
            if language == "bash":
                for line in text.splitlines():
                    run_command(line)
            elif language == "python" and WITHOUT_TORCH in text:
                (home / "use.py").write_text(text, encoding="utf-8")
                found = figures(run_line("python use.py", home, without_torch))
                assert found == pytest.approx(figures("".join(re.findall("#.*:.*", text))), abs=0.01)
            elif language == "python" and any(each in text for each in DATABASES):
                continue
            elif language == "python" and (ELSEWHERE not in text or importlib.util.find_spec(ELSEWHERE)):
                exec(compile(text, f"README.md: {text.splitlines()[0]} ...", "exec"), names)
    assert {path.name for path in home.iterdir()} >= {"tuned", "my-lora", "my-merged-clip"}
    assert {path.name for path in home.iterdir()} >= {"my-clip", "tuned-clip", "own-clip", "taiyi-clip", "bert-clip"}
    assert {path.name for path in home.iterdir()} >= {"chinese-clip", "taiyi", "my-native-clip", "my-clip.pt"}
    assert "model.safetensors" in HfApi().list_repo_files("user/my-clip")
    assert (home / "my-clip" / "measured_figures.json").is_file() and (home / "figures").is_dir()
    assert '"clip" 模型' in capsys.readouterr().out


@pytest.mark.parity
def test_every_block_runs_where_the_packages_that_they_import_are_installed(home):
    assert importlib.util.find_spec(ELSEWHERE)
    Image.new("RGB", (48, 48), "red").save("picture.png")
    for line in commands():
        if line.startswith("zhclip convert examples/"):
            run_command(line)
    elsewhere = [text for language, text in blocks("README.md") if language == "python" and ELSEWHERE in text]

    for text in elsewhere:
        exec(compile(text, "README.md", "exec"), {"__name__": "readme"})

    assert elsewhere


def test_every_substituted_command_is_on_the_page():
    assert {*SUBSTITUTED, SERVE} <= set(commands())


def test_the_json_block_states_fields_of_model_configs():
    stated = [json.loads(text) for language, text in blocks("README.md") if language == "json"]
    assert stated and all(set(each) <= FIELDS for each in stated)


def test_every_make_target_that_a_page_names_exists():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md")]
    named = {name for page in pages for name in re.findall(r"(?:^|`)make ([\w-]+)", page, re.MULTILINE)}
    assert {"demo", "test"} <= named <= targets


def floors() -> dict[str, str]:
    """The lower bounds of the dependencies."""
    required = importlib.metadata.requires("hf-zhclip") or []
    return dict(each.split(">=") for each in required if "extra ==" not in each)


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_versions_that_a_page_asks_for_are_those_of_the_package(name):
    page = (ROOT / name).read_text(encoding="utf-8")
    python = importlib.metadata.metadata("hf-zhclip")["Requires-Python"].removeprefix(">=")
    for wanted in (f"transformers {floors()['transformers']} ", f"PyTorch {floors()['torch']} ", f"Python {python} "):
        assert wanted in page


def test_the_floor_environment_pins_the_lower_bounds():
    """All but torch's, whose oldest builds bring gigabytes of CUDA."""
    lines = (ROOT / "tests" / "floor" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    other = {name: (pins[name], floor) for name, floor in floors().items() if not pins[name].startswith(floor)}
    assert set(other) == {"torch"}


@pytest.mark.parametrize("name", [*itertools.chain(*PAIRS), "CONTRIBUTING.md", "SECURITY.md"])
def test_every_file_that_a_page_links_to_exists(name):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / name).read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / name).parent.joinpath(link).exists()] == []
