"""`search`: the nearest pictures of a corpus, beside every cosine in float64; what is refused, and the ways out."""

import inspect
import json
import os
import re
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import hf_zhclip.inference
import zhclip_cli
from hf_zhclip.errors import InputError
from hf_zhclip.inference import search, serving
from hf_zhclip.inference.corpus import Corpus, Failure, write_manifest
from hf_zhclip.inference.loading import file_hashes
from hf_zhclip.inference.searching import Found, Index

from tests.inference.corpora import write_corpus
from tests.inference.test_embedder import made

COLOURS = ("red", "green", "blue", "white", "black")


def unit(rows) -> np.ndarray:
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def index_of(folder, rows, **given) -> Index:
    write_corpus(folder, rows, [f"{number}.png" for number in range(len(rows))], **given)
    return Index(Corpus.open(folder), None)


# The vectors


@pytest.mark.parametrize("shard_size", [1, 3, 64])
def test_the_nearest_pictures_are_those_of_all_cosines_in_float64(tmp_path, shard_size):
    rows = unit(np.random.default_rng(1).standard_normal((64, 8)))
    query = unit(np.random.default_rng(2).standard_normal((1, 8)))[0]
    cosines = rows.astype(np.float64) @ query.astype(np.float64)

    found = index_of(tmp_path / "OUT", rows, shard_size=shard_size).found(torch.from_numpy(query), 10, 0.1)

    wanted = [number for number in np.argsort(-cosines)[:10] if cosines[number] >= 0.1]
    assert list(found.rows) == wanted
    assert list(found.paths) == list(found.ids) == [f"{number}.png" for number in wanted]
    assert found.cosines == pytest.approx(cosines[wanted], abs=1e-7)
    assert (found.above, found.size) == ((cosines >= 0.1).sum(), 64)


def test_equal_vectors_keep_the_order_of_the_corpus(tmp_path):
    index = index_of(tmp_path / "OUT", unit([[1, 0], [0, 1], [1, 0], [0, 1], [1, 0], [0, 1], [1, 0]]), shard_size=2)
    found = index.found(torch.tensor([0.6, 0.8]), 5)
    assert found.rows == [1, 3, 5, 0, 2]
    assert found.cosines == pytest.approx([0.8, 0.8, 0.8, 0.6, 0.6])


@pytest.mark.parametrize("threshold, above", [(-1, 5), (0, 4), (0.6, 3), (0.61, 2), (0.8, 2), (1, 1)])
def test_a_cosine_that_equals_the_threshold_reaches_it_and_the_whole_corpus_is_counted(tmp_path, threshold, above):
    index = index_of(tmp_path / "OUT", np.float32([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1], [-1, 0]]), shard_size=2)
    found = index.found(torch.tensor([1.0, 0.0]), 2, threshold)
    assert (found.above, found.rows) == (above, [0, 1][: min(above, 2)])


def test_the_count_rounds_as_the_cosines_of_the_results_do(tmp_path):
    rows = unit(np.random.default_rng(3).standard_normal((200, 300)))
    query = unit(np.random.default_rng(4).standard_normal((1, 300)))[0]
    cosines = (rows.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    index = index_of(tmp_path / "OUT", rows, shard_size=128)
    for each in map(float, cosines):
        assert index.found(torch.from_numpy(query), 1, each).above == (cosines >= each).sum()


def test_more_pictures_than_the_corpus_has_are_all_its_pictures(tmp_path):
    found = index_of(tmp_path / "OUT", unit([[1, 0], [0, 1]])).found(torch.tensor([0.0, 1.0]), 1000)
    assert found.rows == [1, 0]


@pytest.mark.parametrize("factor", [1.17, 0.5, 0, -100, float("nan")])
def test_rows_that_have_not_the_length_1_are_refused_and_their_file_is_named(factor, tmp_path):
    rows = unit(np.random.default_rng(5).standard_normal((6, 8)))
    index_of(tmp_path / "OUT", rows)
    shard = tmp_path / "OUT" / "image-000001.safetensors"
    content, good = shard.read_bytes(), rows[5:].tobytes()
    assert content.count(good) == 1
    shard.write_bytes(content.replace(good, (rows[5:] * np.float32(factor)).tobytes()))
    with pytest.raises(InputError, match=f"{re.escape(str(shard))}.*length"):
        Index(Corpus.open(tmp_path / "OUT"), None)


def test_a_result_has_a_line_for_each_picture_and_counts_what_reaches_the_threshold():
    found = Found([7, "a.png"], ["", "b/a\x1b.png"], [0.81239, -0.05], [0, 1], 12, 2)
    assert found.text().splitlines() == [
        "rank   cosine  picture",
        "   1   0.8124  7",
        "   2  -0.0500  b/a\\u001b.png",
        "2 of 12 pictures reach the threshold.",
    ]
    assert found.to_json()["results"][1] == {"rank": 2, "id": "a.png", "path": "b/a\x1b.png", "cosine": -0.05}


def test_where_nothing_reaches_the_threshold_the_count_says_so():
    assert Found([], [], [], [], 12, 0).text() == "0 of 12 pictures reach the threshold."


# The command


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a model, `repo`, five pictures of one colour each, `pictures`, and their corpus, `OUT`."""
    folder = tmp_path_factory.mktemp("search")
    small = made()
    small.model.float().save_pretrained(folder / "repo")
    small.processor.save_pretrained(folder / "repo")
    (folder / "pictures").mkdir()
    for colour in COLOURS:
        Image.new("RGB", (9, 9), colour).save(folder / "pictures" / f"{colour}.png")
    rows = small.encode_images([folder / "pictures" / f"{colour}.png" for colour in COLOURS])
    write_corpus(
        folder / "OUT",
        rows,
        [f"{colour}.png" for colour in COLOURS],
        shard_size=2,
        repo=str(folder / "repo"),
        files=file_hashes(folder / "repo"),
        root=str(folder / "pictures"),
    )
    return folder


@pytest.fixture
def run(home, monkeypatch, capsys):
    """Runs `zhclip search` in the folder; gives its exit code, its output and its last message."""
    monkeypatch.chdir(home)

    def run(*arguments):
        code = zhclip_cli.main(["search", *map(str, arguments)])
        found = capsys.readouterr()
        return code, found.out, found.err

    return run


def copy(home, tmp_path) -> None:
    """Copies the corpus and the model to where a test may change them."""
    for name in ("OUT", "repo"):
        shutil.copytree(home / name, tmp_path / name)


def test_a_sentence_and_a_picture_find_what_the_model_s_vectors_say(home, run):
    model = made().model
    pictures = model.encode_image([str(home / "pictures" / f"{colour}.png") for colour in COLOURS])
    with torch.no_grad():
        by_text = (model.encode_text("一只红色的狗") @ pictures.T)[0]
        order = by_text.argsort(descending=True).tolist()

    code, text, _ = run("OUT", "一只红色的狗", "--json")

    found = json.loads(text)
    assert (code, found["size"], found["above"]) == (0, 5, None)
    assert [each["path"] for each in found["results"]] == [f"{COLOURS[number]}.png" for number in order]
    assert [each["cosine"] for each in found["results"]] == pytest.approx(by_text[order].tolist(), abs=1e-5)
    code, text, _ = run("OUT", "--picture", home / "pictures" / "blue.png", "-k", 1)
    assert (code, text) == (0, "rank   cosine  picture\n   1   1.0000  blue.png\n")


def test_the_function_gives_ids_and_cosines(home):
    found = search(home / "OUT", picture=home / "pictures" / "green.png", top_k=1, threshold=0.99)
    assert (found.ids, found.cosines, found.above) == (["green.png"], pytest.approx([1.0]), 1)


@pytest.mark.parametrize("line, function", [("OUT 狗", "search"), ("OUT --serve --port 80", "serve")])
def test_every_option_of_the_command_is_an_argument_of_its_function(line, function, run, monkeypatch):
    wanted, seen = inspect.signature(getattr(hf_zhclip.inference, function)).parameters, {}

    def stand_in(**options):
        seen.update(options)
        raise InputError("seen")

    monkeypatch.setattr(hf_zhclip.inference, function, stand_in, raising=False)
    run(*line.split(), "-k", 3, "--threshold", "0.5", "--model", "m", "--device", "d")

    assert seen.keys() == wanted.keys()
    given = {"out": "OUT", "top_k": 3, "threshold": 0.5, "model": "m", "device": "d"}
    assert {name: seen[name] for name in given} == given


# Bad input


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["OUT"], "found neither a sentence nor a picture; wanted one of them"),
        (["OUT", "狗", "--picture", "pictures/red.png"], "found a sentence and a picture; wanted one of them"),
        (["OUT", " \n"], "found an empty sentence"),
        (["OUT", "\udce4"], "half a character"),
        (["OUT", "狗", "-k", 0], "found --top-k 0; 1 or more was wanted."),
        (["OUT", "狗", "--threshold", "1.5"], "found --threshold 1.5; a cosine from -1 to 1 was wanted."),
        (["OUT", "狗", "--threshold", "nan"], "found --threshold nan"),
        (["OUT", "\u200b\ufeff \u3164\ufe0f"], "found an empty sentence"),
        (["OUT", "--picture", ""], "found an empty text as --picture; the path of a picture was wanted."),
        (["OUT", "--picture", "none.png"], "none.png does not exist; a file with a picture was wanted."),
        (["OUT", "--picture", "pictures"], "pictures is a folder; a file with a picture was wanted."),
        (["OUT", "--picture", "OUT/zhclip_corpus.json"], "OUT/zhclip_corpus.json"),
        (["pictures", "狗"], "holds no corpus"),
        (["none", "狗"], "none does not exist"),
        (["OUT/zhclip_corpus.json", "狗"], "OUT/zhclip_corpus.json is a file; the folder was wanted"),
        (["", "狗"], "found an empty text as out"),
        (["OUT", "狗", "--device", "gpu"], "found --device gpu, which this machine does not have"),
        (["OUT", "狗", "--model", ""], "found an empty text as model"),
        (["OUT", "狗", "--port", "7861"], "found --port without --serve"),
        (["OUT", "狗", "--serve"], "found --serve with a query"),
        (["OUT", "--serve", "--json"], "found --serve with a query or --json"),
    ],
)
def test_bad_arguments_end_with_2_and_say_what_was_wanted(arguments, told, run):
    code, text, said = run(*arguments)
    assert (code, text) == (2, "")
    assert said.startswith("zhclip: ") and told in said


@pytest.mark.parametrize(
    "line",
    ["none 狗", "pictures 狗", "OUT --picture none.png", "OUT 狗 -k 0", "OUT 狗 --threshold 2"],
)
def test_wrong_words_are_told_before_anything_heavy_is_imported_and_as_the_function_tells_them(line, run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("zhclip_cli.search.run", None)
        code, _, said = run(*line.split())
    assert code == 2
    if "-k" not in line and "--threshold" not in line:  # the function names its arguments otherwise
        monkeypatch.setattr("zhclip_cli.search.refusal", lambda options: None)
        assert run(*line.split())[2] == said


def test_a_picture_that_is_missing_is_told_before_the_model_is_loaded(home, monkeypatch):
    monkeypatch.setattr("hf_zhclip.inference.searching.Index", None)
    with pytest.raises(InputError, match="none.png does not exist; a file with a picture was wanted."):
        search(home / "OUT", picture="none.png")


@pytest.mark.parametrize(
    "wrong, told, right",
    [
        ("OUT", 'zhclip search OUT "一只狗", or --picture FILE.', ("OUT 狗", "OUT --picture pictures/red.png")),
        ("OUT 狗 --top-k 0", "1 or more was wanted.", ("OUT 狗 --top-k 1",)),
        (
            "OUT 狗 --threshold 2",
            "a cosine from -1 to 1 was wanted.",
            ("OUT 狗 --threshold -1", "OUT 狗 --threshold 1"),
        ),
        ("OUT 狗 --device gpu", "Try cpu.", ("OUT 狗 --device cpu",)),
        ("OUT --picture ''", "the path of a picture was wanted.", ("OUT --picture pictures/red.png",)),
        ("OUT/zhclip_corpus.json 狗", "Name its folder: OUT", ("OUT 狗",)),
        ("OUT 狗 --port 1", "Leave --port out.", ("OUT 狗",)),
        ("OUT 狗 --serve", "or leave --serve out.", ("OUT 狗",)),
        ("OUT --json --serve", "Leave SENTENCE, --picture and --json out", ("OUT --serve",)),
    ],
)
def test_what_a_message_names_works(wrong, told, right, run, monkeypatch):
    served = []
    monkeypatch.setattr(hf_zhclip.inference, "serve", lambda **options: served.append(options), raising=False)
    code, _, said = run(*shlex.split(wrong))
    assert code == 2 and told in said
    for line in right:
        assert run(*line.split())[0] == 0
    assert len(served) == right[0].count("--serve")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_a_pipe_and_a_device_are_no_pictures(tmp_path, run):
    os.mkfifo(tmp_path / "pipe.png")
    for place, kind in ((tmp_path / "pipe.png", "pipe"), ("/dev/zero", "device")):
        code, _, said = run("OUT", "--picture", place)
        assert code == 2 and f"{place} is a {kind}; a file with a picture was wanted." in said
    with pytest.raises(InputError, match="is a pipe"):  # the page shows that it is gone
        serving._file(tmp_path, "pipe.png")


NUMBERS = {"top_k": (1.5, "3", None, True), "threshold": ("0.5", True, 2, float("nan"))}


@pytest.mark.parametrize(("name", "value"), [(name, each) for name, values in NUMBERS.items() for each in values])
def test_a_number_of_another_kind_is_refused_by_its_name(name, value, home):
    with pytest.raises(InputError, match=f"found {name}={value!r}; .* was wanted"):
        search(home / "OUT", "狗", **{name: value})
    with pytest.raises(InputError, match=f"found {name}={value!r}; .* was wanted"):
        hf_zhclip.inference.serve(home / "OUT", **{name: value})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"query": 5}, "found query of the type int; a sentence was wanted"),
        ({"query": ["狗"]}, "found query of the type list; a sentence was wanted"),
        ({"picture": b"\x89PNG"}, "found picture of the type bytes; the path of a picture was wanted"),
        ({"picture": ""}, "found an empty text as picture"),
        ({}, "found neither query nor picture"),
        ({"query": "狗", "out": None}, "found out of the type NoneType; the folder of a corpus was wanted"),
        ({"query": "狗", "model": 5}, "found model of the type int; a folder, or a name on the hub, was wanted"),
    ],
)
def test_an_argument_of_another_type_is_refused(given, told, home):
    with pytest.raises(InputError, match=told):
        search(**{"out": home / "OUT", **given})


def test_a_sentence_beyond_all_contexts_is_refused_before_the_model_is_loaded(run, monkeypatch):
    """A tokenizer reads all of it: 3 million characters took 17 seconds and a gigabyte."""
    monkeypatch.setattr("hf_zhclip.inference.searching.Index", None)
    for sentence in ("狗" * 10_001, " " * 10_000 + "狗"):
        code, text, said = run("OUT", sentence)
        assert (code, text) == (2, "")
        assert "found a sentence of 10,001 characters; 10,000 at most were wanted" in said and len(said) < 200


def test_a_sentence_that_is_too_long_is_cut_and_told_with_what_its_user_can_do(run, caplog):
    with caplog.at_level("WARNING"):
        assert run("OUT", "狗" * 10_000)[0] == 0
    (said,) = caplog.messages
    assert said.startswith("1 of 1 texts have more than ") and "Shorten these texts." in said


def test_a_corpus_without_any_vector_says_why(tmp_path, run):
    write_corpus(tmp_path / "OUT", np.zeros((0, 4), np.float32), [], failed=[Failure("a.png", "a.png", "cut off")])
    code, _, said = run(tmp_path / "OUT", "狗")
    assert code == 2 and "holds no vectors: every picture failed" in said


@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_damaged_shard_is_named(harm, home, tmp_path, run):
    copy(home, tmp_path)
    shard = sorted((tmp_path / "OUT").glob("image-*.safetensors"))[1]
    if harm == "cut":
        os.truncate(shard, 40)
    else:
        shard.unlink()
    code, _, said = run(tmp_path / "OUT", "狗", "--model", home / "repo")
    assert code == 2 and f"{shard} " in said


def test_a_model_that_has_moved_is_named_with_model(home, tmp_path, run):
    shutil.copytree(home / "repo", tmp_path / "moved")
    write_corpus(
        tmp_path / "OUT",
        made().encode_images([home / "pictures" / "red.png"]),
        ["red.png"],
        repo=str(tmp_path / "repo"),
        files=file_hashes(tmp_path / "moved"),
    )

    code, _, said = run(tmp_path / "OUT", "狗")

    assert code == 2 and f"the model {tmp_path / 'repo'}, which is not there" in said
    assert "say where it lies now: --model REPO" in said
    code, text, _ = run(tmp_path / "OUT", "狗", "--model", tmp_path / "moved")
    assert code == 0 and "red.png" in text


def test_another_model_is_refused_and_the_corpus_s_own_is_the_way_out(home, tmp_path, run):
    copy(home, tmp_path)
    weights = tmp_path / "repo" / "model.safetensors"
    save_file({name: tensor + 1e-3 for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})

    code, text, said = run(tmp_path / "OUT", "狗", "--model", tmp_path / "repo")

    assert (code, text) == (2, "")
    assert "the sha256 of model.safetensors differs" in said and "Name the corpus's own model with --model" in said
    assert run(tmp_path / "OUT", "狗", "--model", home / "repo")[0] == 0


@pytest.mark.parametrize("dim", [1, 4096])
def test_vectors_of_another_length_than_the_model_s_are_refused(dim, home, tmp_path, run):
    files = file_hashes(home / "repo")
    write_corpus(tmp_path / "OUT", unit(np.ones((2, dim))), ["a.png", "b.png"], repo=str(home / "repo"), files=files)
    code, text, said = run(tmp_path / "OUT", "狗")
    assert (code, text) == (2, "") and f"found vectors of {dim} numbers in " in said


def test_a_model_whose_name_is_too_long_is_told_in_words(home, tmp_path):
    write_corpus(tmp_path / "OUT", unit([[1, 0]]), ["a.png"], repo="x" * 5_000)
    with pytest.raises(InputError):
        search(tmp_path / "OUT", "狗")


def test_a_model_on_the_hub_is_taken_at_the_commit_of_the_manifest(tmp_path, run, monkeypatch):
    manifest = write_corpus(tmp_path / "OUT", unit([[1, 0]]), ["a.png"], repo="user/model")
    stated = replace(manifest, model={**manifest.model, "revision": "abc"})
    write_manifest(tmp_path / "OUT", stated, tmp_path / "new")
    seen = []

    def stand_in(repo, **options):
        seen.append((repo, options["revision"]))
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", stand_in)
    assert run(tmp_path / "OUT", "狗")[0] == 2
    assert run(tmp_path / "OUT", "狗", "--model", "user/other")[0] == 2
    assert seen == [("user/model", "abc"), ("user/other", None)]


def test_another_tokenizer_beside_the_same_weights_is_told(home, tmp_path, run):
    copy(home, tmp_path)
    file = tmp_path / "repo" / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "note": "x"}))

    code, text, said = run(tmp_path / "OUT", "狗", "--model", tmp_path / "repo")

    assert code == 0 and "red.png" in text
    assert said.startswith("tokenizer_config.json in ")


def test_the_page_without_gradio_names_the_extra(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gradio", None)
    code, _, said = run("OUT", "--serve")
    assert code == 2 and 'pip install "hf-zhclip[serve]"' in said
