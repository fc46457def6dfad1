"""LMDB, Taiyi's captions and what the package datasets reads; pickles and databases may be hostile."""

import base64
import json
import os
import pickle
import random
import struct
from types import SimpleNamespace

import datasets
import huggingface_hub
import lmdb
import pytest

from hf_zhclip.data import Text, lmdb_file, prepare, read
from hf_zhclip.data.readers import foreign_tables
from hf_zhclip.errors import InputError

from tests.data.made import RED_AND_BLUE, colours, picture, tsv, write


def fill(path, entries):
    """A database made by lmdb alone."""
    path.mkdir(parents=True)
    environment = lmdb.open(str(path), map_size=2**24)
    with environment.begin(write=True) as transaction:
        for key, value in entries.items():
            transaction.put(key.encode(), value)
    environment.close()


PAIRS = {
    "0": pickle.dumps((7, 3, "一只红猫")),
    "1": pickle.dumps((12, 1, "两种颜色")),
    "2": pickle.dumps((7, 1, "两种颜色"), protocol=0),
    "num_samples": b"3",
}
IMAGES = {
    "7": base64.b64encode(picture("red")),
    "12": base64.urlsafe_b64encode(picture("blue")),
    "num_images": b"2",
}


def database(folder, pairs=PAIRS, images=IMAGES):
    fill(folder / "pairs", pairs)
    fill(folder / "imgs", images)
    return folder


def refused(place, *words, **arguments):
    with pytest.raises(InputError) as error:
        read(place, **arguments)
    for word in words:
        assert word in str(error.value)


# LMDB


def test_cn_clips_database_is_read_by_its_folder_or_by_the_folder_above(tmp_path):
    database(tmp_path / "valid")

    for place in (tmp_path, tmp_path / "valid"):
        found = read(place)

        assert found.name == "valid"
        assert found.texts == [Text(3, "一只红猫", (7,)), Text(1, "两种颜色", (12, 7))]
        assert sorted(colours(found)) == RED_AND_BLUE
        assert list(found.image_ids) == [12, 7]  # the order of the keys, as cn_clip's extract_features.py reads
        assert sorted(colours(pickle.loads(pickle.dumps(found)))) == RED_AND_BLUE
        del found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes that fork")
def test_a_process_that_forks_reads_the_database(tmp_path):
    found = read(database(tmp_path / "valid"))
    colours(found)
    child = os.fork()
    if not child:
        os._exit(0 if sorted(colours(found)) == RED_AND_BLUE else 1)

    assert os.waitpid(child, 0)[1] == 0
    assert sorted(colours(found)) == RED_AND_BLUE


class Canary:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def hostile(folder):
    """Pickles that would write a file, or whose values are of other kinds."""
    write = f"open({str(folder / 'canary')!r}, 'w')"
    yield pickle.dumps((7, 3, Canary(eval, write)))
    yield pickle.dumps(Canary(exec, write), protocol=0)
    yield pickle.dumps(Canary(os.system, f"touch {folder / 'canary'}"))
    yield b"cbuiltins\neval\n(V" + write.encode() + b"\ntR."
    yield pickle.dumps((7, 3))
    yield pickle.dumps([7, 3, "x"])
    yield pickle.dumps((7, "3", "x"))
    yield pickle.dumps((True, 3, "x"))
    yield pickle.dumps((7, 3, b"x"))
    yield pickle.dumps((7.0, 3, "x"))
    yield pickle.dumps((7, 3, "一只红猫"))[:-5]
    yield b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f."  # a text of 8 EiB
    yield b"\x82\x01."  # an extension, which names a class
    yield b"P1\n."  # a persistent id
    yield b""


def test_no_pickle_runs_and_none_is_read_but_of_two_whole_numbers_and_a_text(tmp_path):
    for number, content in enumerate(hostile(tmp_path)):
        folder = database(tmp_path / str(number), {"0": content, "num_samples": b"1"})
        refused(folder, "pair 0", "zhclip data")
        assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "pairs, images, words",
    [
        ({**PAIRS, "num_samples": b"4"}, IMAGES, ["holds 3 entries", "num_samples states 4"]),
        ({**PAIRS, "num_samples": b"many"}, IMAGES, ["num_samples states many"]),
        (PAIRS, {**IMAGES, "num_images": b"3"}, ["holds 2 entries", "num_images states 3"]),
        (PAIRS, {"7": IMAGES["7"]}, ["num_images states nothing"]),
        (PAIRS, {"7": IMAGES["7"], "num_images": b"1"}, ["1 pictures that are not there: 12"]),
        ({"1": PAIRS["1"], "num_samples": b"1"}, IMAGES, ["pair 0 is missing"]),
        ({**PAIRS, "2": pickle.dumps((7, 1, "other"))}, IMAGES, ["pair 2", "text id 1 another text"]),
    ],
)
def test_a_database_that_does_not_fit_together_is_refused(pairs, images, words, tmp_path):
    refused(database(tmp_path / "valid", pairs, images), *words)


@pytest.mark.parametrize("kept", [0, 100, 4096, 8192, -40960, -4096])
def test_a_database_that_is_cut_off_is_refused(kept, tmp_path):
    file = (
        database(tmp_path / "valid", images={**IMAGES, "13": b"A" * 40000, "num_images": b"3"}) / "imgs" / "data.mdb"
    )
    file.write_bytes(file.read_bytes()[:kept])

    refused(tmp_path, "imgs/data.mdb is cut off" if os.name == "posix" else "is cut off")


def test_base64_that_is_none_is_a_broken_picture(tmp_path):
    found = read(database(tmp_path / "valid", images={**IMAGES, "12": b"AAAAA"}))

    with pytest.raises(InputError, match="picture 12"):
        found.pictures[list(found.image_ids).index(12)]


def test_the_package_lmdb_reads_the_same_keys_and_values(tmp_path):
    """Long keys make the tree deep; values lie in the leaves or, from about half a page, on pages of their own."""
    generator = random.Random(0)
    sizes = [0, 1, 2000, 2020, 2030, 2040, 2100, 4080, 4081, 9000]
    values = {generator.randbytes(generator.choice([1, 20, 500])).hex()[:500]: size for size in sizes * 60}
    values = {key: generator.randbytes(size) for key, size in values.items()}
    fill(tmp_path / "db", values)
    with lmdb.open(str(tmp_path / "db")) as environment, environment.begin(write=True) as transaction:
        for key in list(values)[::7]:
            transaction.delete(key.encode())
    with lmdb.open(str(tmp_path / "db"), readonly=True) as environment, environment.begin() as transaction:
        assert environment.stat()["depth"] >= 3
        wanted = list(transaction.cursor())

    content = (tmp_path / "db" / "data.mdb").read_bytes()
    found = list(lmdb_file.entries(tmp_path / "db" / "data.mdb"))

    assert [(each.key, content[each.start : each.start + each.length]) for each in found] == wanted
    fill(tmp_path / "empty", {})
    assert list(lmdb_file.entries(tmp_path / "empty" / "data.mdb")) == []


@pytest.mark.parametrize("child", ["root", "first", 0, 2**40])
def test_a_tree_that_names_a_page_twice_or_no_page_of_a_tree_is_refused(child, tmp_path):
    """The root's second node is changed; a reader that follows a circle would never end."""
    fill(tmp_path / "db", {f"{number:0400}": b"x" * 1000 for number in range(30)})
    file = tmp_path / "db" / "data.mdb"
    content = bytearray(file.read_bytes())
    root = max(
        struct.unpack_from("<Q", content, at + 144) + struct.unpack_from("<Q", content, at + 128) for at in (0, 4096)
    )
    page = root[1] * 4096
    first, second = struct.unpack_from("<2H", content, page + 16)
    low, middle, high = struct.unpack_from("<3H", content, page + first)
    number = {"root": root[1], "first": low | middle << 16 | high << 32}.get(child, child)
    struct.pack_into("<3H", content, page + second, number & 0xFFFF, number >> 16 & 0xFFFF, number >> 32)
    assert len(list(lmdb_file.entries(file))) == 30
    file.write_bytes(content)

    with pytest.raises(InputError, match="no whole LMDB"):
        list(lmdb_file.entries(file))


def test_a_database_that_is_damaged_ends_in_a_message_or_is_read(tmp_path):
    """The package lmdb would end the process for some of these files."""
    database(tmp_path / "valid", images={**{str(n): IMAGES["7"] * 9 for n in range(99)}, "num_images": b"99"})
    file = tmp_path / "valid" / "imgs" / "data.mdb"
    whole = file.read_bytes()
    endings = set()
    for seed in range(150):
        generator, damaged = random.Random(seed), bytearray(whole)
        page = generator.randrange(len(whole) // 4096) * 4096
        for _ in range(4):
            damaged[page + generator.randrange(160)] = generator.randrange(256)
        file.write_bytes(damaged)
        try:
            endings.add(len(read(tmp_path).pictures))
        except InputError:
            endings.add("refused")
    assert endings == {99, "refused"}


def test_the_text_files_that_lie_in_a_database_folder_do_not_make_it_tsv(tmp_path):
    prepare(tsv(tmp_path / "in"), tmp_path / "OUT", to="lmdb")

    assert (tmp_path / "OUT" / "valid_texts.jsonl").read_bytes() == (
        tmp_path / "in" / "valid_texts.jsonl"
    ).read_bytes()
    assert sorted(colours(read(tmp_path / "OUT"))) == RED_AND_BLUE


# Taiyi's captions


def taiyi(folder, lines, *pictures):
    write(folder, **{name: picture() for name in pictures})
    (folder / "flickr30k_cna_test.txt").write_bytes(lines.encode() if isinstance(lines, str) else lines)
    return folder / "flickr30k_cna_test.txt"


def test_taiyis_captions_are_read(tmp_path):
    lines = "100#0\t一只 红猫\r\n100#1\t红色#1\r\n\nb.jpg#0\t狗"

    found = read(taiyi(tmp_path, lines, "100.jpg", "b.jpg"))

    assert found.texts == [
        Text("100#0", "一只 红猫", (100,)),
        Text("100#1", "红色#1", (100,)),
        Text("b.jpg#0", "狗", ("b.jpg",)),
    ]
    assert list(found.image_ids) == [100, "b.jpg"]


@pytest.mark.parametrize(
    "lines, words",
    [
        ("100#0\t猫\n100 #\t狗\n", ["line 2", "key#number"]),
        ("100#0\t猫\n100#1\t狗\t大\n", ["line 2"]),
        ("100#0\t猫\n100#0\t狗\n", ["100#0", "more than once"]),
        ("100#0\t猫\n101#0\t狗\n", ["101.jpg", "line 2", "--pictures"]),
        ("100#0\t猫\n../100#0\t狗\n", ["line 2", "inside the folder"]),
        (b"100#0\tok\n" + "100#1\t一只红色的猫\n".encode("gbk"), ["line 2", "UTF-8"]),
    ],
)
def test_wrong_captions_of_taiyi_are_refused(lines, words, tmp_path):
    refused(taiyi(tmp_path, lines, "100.jpg"), *words)


# The package datasets


def rows():
    return {
        "picture": [{"bytes": picture("red"), "path": None}, {"bytes": picture("blue"), "path": None}],
        "caption": [["猫", "红"], ["蓝"]],
    }


FEATURES = datasets.Features({"picture": datasets.Image(), "caption": datasets.List(datasets.Value("string"))})


def test_a_data_set_on_disk_is_read(tmp_path):
    datasets.Dataset.from_dict(rows(), FEATURES).save_to_disk(tmp_path / "one")
    both = {name: datasets.Dataset.from_dict(rows(), FEATURES) for name in ("train", "test")}
    datasets.DatasetDict(both).save_to_disk(tmp_path / "several")

    for found in (read(tmp_path / "one"), read(tmp_path / "several", "test")):
        assert found.texts == [Text(0, "猫", (0,)), Text(1, "红", (0,)), Text(2, "蓝", (1,))]
        assert colours(found) == [(0, (255, 0, 0)), (1, (0, 0, 255))]
        assert colours(pickle.loads(pickle.dumps(found))) == colours(found)
    refused(tmp_path / "several", "train, test")


def test_rows_with_ids_are_pairs(tmp_path):
    pairs = {
        "image": [{"bytes": picture(each), "path": None} for each in ("red", "blue", "red")],
        "text": ["一只红猫", "两种颜色", "两种颜色"],
        "text_id": [3, 1, 1],
        "image_id": ["7", "12", "7"],
    }
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "text": datasets.Value("string"),
            "text_id": datasets.Value("int64"),
            "image_id": datasets.Value("string"),
        }
    )
    datasets.Dataset.from_dict(pairs, features).to_parquet(tmp_path / "train.parquet")

    for place in (tmp_path, tmp_path / "train.parquet"):
        found = read(place)
        assert found.texts == [Text(3, "一只红猫", (7,)), Text(1, "两种颜色", (12, 7))]
        assert colours(found) == RED_AND_BLUE


def test_a_row_that_names_a_file_elsewhere_is_broken(tmp_path):
    write(tmp_path, **{"secret.png": picture()})
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    (tmp_path / "in").mkdir()
    values = {"image": [{"bytes": None, "path": str(tmp_path / "secret.png")}], "text": ["x"]}
    datasets.Dataset.from_dict(values, features).to_parquet(tmp_path / "in" / "train.parquet")

    with pytest.raises(InputError, match="row 0"):
        read(tmp_path / "in").pictures[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_a_pipe_among_the_files_of_a_data_set_is_refused(tmp_path):
    os.mkfifo(tmp_path / "train.parquet")
    refused(tmp_path, "train.parquet is a pipe; a file of a data set was wanted")


def test_wrong_columns_are_refused(tmp_path):
    datasets.Dataset.from_dict({"text": ["x"], "number": [1]}).save_to_disk(tmp_path / "a")
    refused(tmp_path / "a", "text, number", "datasets.Image")


def test_a_data_set_of_the_hub_is_read_by_its_name(tmp_path, monkeypatch):
    """The package datasets fetches it; here it gives what a hub would have."""
    monkeypatch.chdir(tmp_path)
    asked = []
    split = datasets.Dataset.from_dict(rows(), FEATURES)
    builder = SimpleNamespace(download_and_prepare=lambda: None, as_dataset=lambda: datasets.DatasetDict(valid=split))
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda name: asked.append(name) or builder)
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name: ["valid"])

    found = read("user/name")

    assert (found.name, len(found.texts), len(found.pictures)) == ("valid", 3, 2)
    assert set(asked) == {"user/name"}


def parquet_folder(folder):
    folder.mkdir(parents=True)
    datasets.Dataset.from_dict(rows(), FEATURES).to_parquet(folder / "a.parquet")
    return folder


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("{secret}", "/secret/a.parquet"),
        ("../secret/a.parquet", "'../secret/a.parquet'"),
        ("x/../../secret/*", "'x/../../secret/*'"),
        ("~/a.parquet", "'~/a.parquet'"),
        ("http://127.0.0.1:9/a.parquet", "'http://127.0.0.1:9/a.parquet'"),
        ("hf://datasets/user/name/a.parquet", "'hf://datasets/user/name/a.parquet'"),
        ("zip://a.parquet::b.zip", "'zip://a.parquet::b.zip'"),
    ],
)
@pytest.mark.parametrize("file", ["README.md", ".huggingface.yaml"])
def test_metadata_that_name_files_elsewhere_are_refused(file, named, found, tmp_path):
    secret = parquet_folder(tmp_path / "secret") / "a.parquet"
    place = parquet_folder(tmp_path / "in")
    split = {"split": "train", "path": [named.format(secret=secret)]}
    block = json.dumps({"configs": [{"config_name": "default", "data_files": [split]}]})
    (place / file).write_text(f"---\n{block}\n---\n" if file == "README.md" else block)
    refused(place, file, found, "Name its parquet file instead")
    assert len(read(place / "a.parquet").texts) == 3


def test_metadata_may_name_the_splits_of_a_folder(tmp_path):
    place = parquet_folder(tmp_path / "in")
    block = "configs:\n- config_name: default\n  data_files:\n  - split: odd\n    path: a*.parquet\n"
    (place / "README.md").write_text(f"---\n{block}---\n")
    assert read(place).name == "odd"


def test_rows_of_many_gigabytes_in_a_file_of_that_size_are_taken(tmp_path, monkeypatch):
    file = parquet_folder(tmp_path / "in") / "a.parquet"
    monkeypatch.setattr(foreign_tables, "ROWS_PER_BYTE", 10**9)
    monkeypatch.setattr(foreign_tables, "_answers", lambda most: [{"bytes": 10**10} for _ in most])
    foreign_tables.check_rows([file])


def test_a_file_may_belong_to_two_splits(tmp_path):
    place = parquet_folder(tmp_path / "in")
    files = "".join(f"  - split: {name}\n    path: a.parquet\n" for name in ("train", "test"))
    (place / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n")
    assert [len(read(place, name).texts) for name in ("train", "test")] == [3, 3]


def test_a_data_set_of_the_hub_whose_metadata_name_a_file_here_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("---\nconfigs:\n- data_files: /etc/passwd\n---\n")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(tmp_path / "README.md"))
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name: pytest.fail("it was read"))
    refused("user/name", "names '/etc/passwd' in its configs")


def test_other_data_beside_parquet_files_are_not_read_instead_of_them(tmp_path):
    place = parquet_folder(tmp_path / "in")
    for number in range(3):
        (place / f"{number}.json").write_text('{"text": "x"}\n')
    refused(place, "would read instead", "0.json", "Name the parquet file, or remove the other files")
    assert len(read(place / "a.parquet").texts) == 3


@pytest.mark.parametrize("name", ["../a/data.arrow", "/etc/passwd", "..", "", 3, "a\\b", "C:x"])
def test_a_data_set_on_disk_that_names_files_elsewhere_is_refused(name, tmp_path):
    datasets.Dataset.from_dict(rows(), FEATURES).save_to_disk(tmp_path / "one")
    state = json.loads((tmp_path / "one" / "state.json").read_text())
    (tmp_path / "one" / "state.json").write_text(json.dumps({**state, "_data_files": [{"filename": name}]}))
    refused(tmp_path / "one", "state.json", "wanted")


def test_splits_on_disk_that_lie_elsewhere_are_refused(tmp_path):
    datasets.DatasetDict(a=datasets.Dataset.from_dict(rows(), FEATURES)).save_to_disk(tmp_path / "in")
    (tmp_path / "in" / "dataset_dict.json").write_text('{"splits": ["../in/a"]}')
    refused(tmp_path / "in", "dataset_dict.json names '../in/a'")


@pytest.mark.parametrize("file", ["a.parquet", "data-00000-of-00001.arrow"])
def test_a_damaged_table_is_told_in_a_line(file, tmp_path):
    place = tmp_path / "in"
    if file == "a.parquet":
        parquet_folder(place)
    else:
        datasets.Dataset.from_dict(rows(), FEATURES).save_to_disk(place)
    content = bytearray((place / file).read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    (place / file).write_bytes(content)
    refused(place, file, "cannot be read")


def test_a_name_that_the_hub_does_not_know_is_no_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception) as error:
        read("nobody/nothing")
    assert type(error.value).__name__ in ("InputError", "WorkError")
    assert "no path here" in str(error.value)


def test_a_split_becomes_a_dataset_whose_pictures_stay_where_they_are(tmp_path):
    found = read(tsv(tmp_path)).to_dataset()

    assert found.column_names == ["image", "text", "text_id", "image_id"]
    assert [(row["text_id"], row["image_id"]) for row in found] == [(3, 7), (1, 12), (1, 7), (2, 12)]
    assert [row["image"].convert("RGB").getpixel((0, 0)) for row in found][:2] == [(255, 0, 0), (0, 0, 255)]
    assert found["text"][:2] == ["一只红猫", "两种颜色"]
