"""The readers, on files made by hand; nothing is decoded before it is asked for."""

import base64
import json
import os
import pickle
import tracemalloc

import pytest
from PIL import Image

from hf_zhclip.data import FORMATS, Text, read
from hf_zhclip.errors import InputError

from tests.data.made import RED_AND_BLUE, colours, picture, tsv, write

SPLITS = ("train", "valid")


def refused(place, *words, **arguments):
    with pytest.raises(InputError) as error:
        read(place, **arguments)
    for word in words:
        assert word in str(error.value)
    return str(error.value)


# cn_clip's files


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("place", ["", "valid", "valid_imgs.tsv", "valid_texts.jsonl"])
def test_tsv_files_are_read_by_folder_by_prefix_or_by_either_file(place, end, tmp_path):
    tsv(tmp_path, end=end)

    found = read(tmp_path / place)

    assert found.name == "valid"
    assert found.texts == [Text(3, "一只红猫", (7,)), Text(1, "两种颜色", (12, 7)), Text(2, "蓝\t\n色", (12,))]
    assert list(found.image_ids) == [7, 12]
    assert colours(found) == colours(found) == RED_AND_BLUE
    assert pickle.loads(pickle.dumps(found)).pictures[1][0] == 12


def test_a_file_without_its_last_line_break_is_read(tmp_path):
    tsv(tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes().rstrip())

    assert colours(read(tmp_path)) == RED_AND_BLUE


def test_of_several_splits_one_has_to_be_named(tmp_path):
    for split in SPLITS:
        tsv(tmp_path, split)

    refused(tmp_path, "train, valid", "split")
    refused(tmp_path, "no split vald", "Did you mean valid?", split="vald")
    assert read(tmp_path, "train").name == "train"
    assert read(tmp_path / "train").name == "train"


def test_a_blind_split_is_read_and_says_so(tmp_path):
    found = read(tsv(tmp_path, "test", texts=[{"text_id": 1, "text": "猫", "image_ids": []}]))

    assert found.blind
    assert not read(tsv(tmp_path / "other")).blind


GOOD = base64.b64encode(picture()).decode()


@pytest.mark.parametrize(
    "lines, words",
    [
        (["7\tno base64!"], ["valid_imgs.tsv, line 1", "' '"]),
        (["7\t" + GOOD[:-1]], ["line 1", "cut off"]),
        (["7\t"], ["line 1"]),
        (["\t" + GOOD], ["line 1"]),
        (["7 " + GOOD], ["line 1", "1 parts"]),
        (["7\t8\t" + GOOD], ["line 1", "3 parts"]),
        ([f"7\t{GOOD}", f"7\t{GOOD}"], ["1 image ids stand more than once: 7"]),
        ([f"7\t{GOOD}"], ["1 pictures that are not there: 12"]),
        ([f"007\t{GOOD}", f"12\t{GOOD}"], ["pictures that are not there: 7"]),
    ],
)
def test_wrong_lines_of_pictures_are_refused_before_any_picture_is_decoded(lines, words, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("a picture was decoded"))

    refused(tsv(tmp_path, pictures=lines), *words)


@pytest.mark.parametrize(
    "lines, words",
    [
        ([{"text": "猫", "image_ids": [7]}], ["line 1", "text_id"]),
        ([{"text_id": 1.5, "text": "猫", "image_ids": [7]}], ["line 1", "1.5"]),
        ([{"text_id": 1, "text": None, "image_ids": [7]}], ["line 1", "text None"]),
        ([{"text_id": 1, "text": "猫", "image_ids": 7}], ["line 1", "image_ids 7"]),
        ([{"text_id": 1, "text": "猫", "image_ids": [True]}], ["line 1", "True"]),
        ([{"text_id": 1, "text": "猫", "image_ids": [7]}] * 2, ["1 text ids stand more than once: 1"]),
        ([{"text_id": 1, "text": "猫", "image_ids": [8, 9]}], ["2 pictures that are not there: 8, 9"]),
    ],
)
def test_wrong_lines_of_texts_are_refused(lines, words, tmp_path):
    refused(tsv(tmp_path, texts=lines), *words)


def test_a_line_that_never_ends_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_zhclip.data.readers.tsv_files.MOST_LINE_BYTES", 1000)

    refused(tsv(tmp_path, pictures=["7\t" + "A" * 2000]), "line 1", "1,000 bytes")


def test_a_folder_of_the_same_name_beside_hides_no_tsv(tmp_path):
    (tsv(tmp_path) / "valid").mkdir()

    assert read(tmp_path).name == "valid"


def test_a_missing_half_of_a_split_is_named(tmp_path):
    tsv(tmp_path)
    (tmp_path / "valid_texts.jsonl").unlink()

    refused(tmp_path, "valid_texts.jsonl is missing")


def test_ids_that_are_texts_stay_and_numbers_in_quotes_are_numbers(tmp_path):
    """dataset_transform.py writes file names as ids; in cn_clip's LMDB, 12 and "12" are the same key."""
    texts = [{"text_id": "a.png", "text": "猫", "image_ids": ["a.png", "12"]}]

    found = read(tsv(tmp_path, pictures=[f"a.png\t{GOOD}", f"12\t{GOOD}"], texts=texts))

    assert found.texts == [Text("a.png", "猫", ("a.png", 12))]
    assert list(found.image_ids) == ["a.png", 12]


def test_memory_stays_flat_however_large_the_pictures_are(tmp_path):
    large = base64.b64encode(picture(format="BMP", size=(600, 600))).decode()  # 1.4 MB
    texts = [{"text_id": 1, "text": "猫", "image_ids": [0]}]
    tsv(tmp_path, pictures=[f"{number}\t{large}" for number in range(20)], texts=texts)
    tracemalloc.start()

    found = read(tmp_path)
    for _ in found.pictures:
        pass

    assert tracemalloc.get_traced_memory()[1] < 12e6
    tracemalloc.stop()


def test_a_broken_picture_is_named_by_its_line(tmp_path):
    cut = base64.b64encode(picture(size=(200, 200), format="JPEG")[:-100]).decode()
    found = read(tsv(tmp_path, pictures=[f"7\t{GOOD}", f"12\t{cut}"]))

    assert found.pictures[0][0] == 7
    with pytest.raises(InputError, match="valid_imgs.tsv, line 2.*cut off"):
        found.pictures[1]


# Folders


def test_a_folder_of_pictures_that_are_named_by_their_texts(tmp_path):
    names = ["0001妙蛙种子.png", "0025_皮卡丘.JPG", "小火龙.webp", "sub/0100 雪.gif"]
    write(tmp_path, **{name: picture(format=f) for name, f in zip(names, ("PNG", "JPEG", "WEBP", "GIF"), strict=True)})
    write(
        tmp_path,
        **{".DS_Store": b"x", "._0001妙蛙种子.png": b"x", "__MACOSX/0001妙蛙种子.png": b"x", "readme.txt": b"x"},
    )

    found = read(tmp_path)

    assert found.texts == [
        Text(1, "妙蛙种子", (1,)),
        Text(25, "皮卡丘", (25,)),
        Text("小火龙.webp", "小火龙", ("小火龙.webp",)),
        Text(100, "雪", (100,)),
    ]
    assert [each for each, _ in found.pictures] == [1, 25, "小火龙.webp", 100]


def test_pictures_without_text_or_with_the_same_number_are_refused(tmp_path):
    refused(
        write(tmp_path / "a", **{"0001.png": picture(), "2猫.png": picture()}), "1 of 2", "0001.png", "metadata.csv"
    )
    refused(
        write(tmp_path / "b", **{"1狗.png": picture(), "01猫.png": picture()}), "01猫.png and 1狗.png", "metadata.csv"
    )


@pytest.mark.parametrize(
    "name, content",
    [
        ("metadata.csv", 'file_name,text\na.png,一只猫\nb/c.png,"狗,\n""坐"""\na.png,红色\n'),
        ("captions.csv", '\ufefftext,filename,other\r\n一只猫,a.png,1\r\n"狗,\n""坐""",b/c.png,2\r\n红色,a.png,3'),
        (
            "metadata.jsonl",
            '{"file_name": "a.png", "text": "一只猫"}\n{"file_name": "b/c.png", "text": "狗,\\n\\"坐\\""}\n\n'
            '{"file_name": "a.png", "text": "红色", "more": 1}\n',
        ),
    ],
)
def test_a_folder_with_captions_beside(name, content, tmp_path):
    write(tmp_path, **{"a.png": picture("red"), "b/c.png": picture("blue"), name: content.encode()})

    for place in (tmp_path, tmp_path / name):
        found = read(place)

        assert found.texts == [
            Text(0, "一只猫", ("a.png",)),
            Text(1, '狗,\n"坐"', ("b/c.png",)),
            Text(2, "红色", ("a.png",)),
        ]
        assert colours(found) == [("a.png", (255, 0, 0)), ("b/c.png", (0, 0, 255))]


def test_a_csv_with_its_pictures_in_another_folder(tmp_path):
    write(tmp_path / "images", **{"a.png": picture()})
    write(tmp_path, **{"train.csv": b"text,filename\ncat,a.png\n"})

    refused(tmp_path / "train.csv", "a.png", "line 2", "--pictures")
    assert list(read(tmp_path / "train.csv", pictures=tmp_path / "images").image_ids) == ["a.png"]


def test_a_folder_of_pictures_is_refused_where_it_has_no_effect(tmp_path):
    refused(tsv(tmp_path / "in"), "read as tsv", "--pictures", pictures=tmp_path)
    write(tmp_path, **{"a.csv": b"text,filename\ncat,a.png\n"})
    write(tmp_path / "named", **{"1猫.png": picture()})
    refused(tmp_path / "named", "no captions", "--pictures", pictures=tmp_path)
    refused(tmp_path / "a.csv", "images is no folder", pictures=tmp_path / "images")


@pytest.mark.parametrize("format", ["captions", "taiyi"])
def test_a_stated_format_of_nothing_is_no_traceback(format, tmp_path):
    refused(tmp_path / "nothing", "does not exist", format=format)
    refused(tmp_path, "is no file", format=format)


def test_captions_may_state_ids(tmp_path):
    rows = "file_name,text,image_id,text_id\na.png,猫,5,8\na.png,红,5,9\n"
    write(tmp_path, **{"a.png": picture(), "metadata.csv": rows.encode()})

    assert read(tmp_path).texts == [Text(8, "猫", (5,)), Text(9, "红", (5,))]


@pytest.mark.parametrize(
    "file", ["../x.png", "/etc/x.png", "a/../../x.png", "..\\x.png", "C:\\x.png", "C:x.png", "\\\\h\\x", ""]
)
def test_captions_name_no_file_outside_their_folder(file, tmp_path):
    write(tmp_path, **{"x.png": picture()})
    write(tmp_path / "in", **{"metadata.jsonl": json.dumps({"file_name": file, "text": "x"}).encode()})

    refused(tmp_path / "in", "metadata.jsonl, line 1", "inside the folder")


@pytest.mark.parametrize(
    "content, words",
    [
        ("file_name,text\na.png,一只红色的猫\n".encode("gbk"), ["no UTF-8", "GBK", "iconv"]),
        ("file_name,text\na.png,猫\n".encode("utf-16"), ["no UTF-8"]),
        (b"file_name,words\na.png,x\n", ["file_name, words", "text, caption"]),
        (b"file_name,text\na.png,x,y\n", ["line 2", "3 fields", "2 were wanted"]),
        (b'file_name,text\na.png,"x\n', ["no csv"]),
        (b"file_name,file_name\na.png,x\n", ["columns' names"]),
        (b"", ["columns' names"]),
        (b"file_name,text\nb.png,x\na.png,y\n", ["1 pictures", "b.png", "line 2"]),
    ],
)
def test_wrong_captions_are_refused(content, words, tmp_path):
    refused(write(tmp_path, **{"a.png": picture(), "metadata.csv": content}), *words)


def test_pictures_without_a_row_are_left_out_and_told(tmp_path):
    write(tmp_path, **{"a.png": picture(), "b.png": picture(), "metadata.csv": b"file_name,text\na.png,x\n"})

    found = read(tmp_path)

    assert list(found.image_ids) == ["a.png"]
    assert "b.png" in found.told[0]


def test_sub_folders_may_be_splits(tmp_path):
    for split in SPLITS:
        write(tmp_path / split, **{f"1{split}.png": picture()})

    refused(tmp_path, "train, valid")
    assert read(tmp_path, "valid").texts == [Text(1, "valid", (1,))]


def test_a_sub_folder_may_be_named_train_and_be_no_split(tmp_path):
    write(tmp_path, **{"train/1火车.png": picture(), "dog/2狗.png": picture(), "valid/notes.txt": b"x"})

    assert [text.text for text in read(tmp_path).texts] == ["狗", "火车"]


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_a_link_to_a_picture_is_a_picture_and_a_link_to_a_folder_is_not_entered(tmp_path):
    write(tmp_path, **{"else.png": picture("blue"), "in/1猫.png": picture("red")})
    (tmp_path / "in" / "2狗.png").symlink_to(tmp_path / "else.png")
    (tmp_path / "in" / "3没有.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")

    found = read(tmp_path / "in")

    assert list(found.image_ids) == [1, 2, 3]
    assert found.pictures[1][1].getpixel((0, 0)) == (0, 0, 255)
    with pytest.raises(InputError, match="3没有.png is no file"):
        found.pictures[2]


def test_several_files_of_captions_are_a_question(tmp_path):
    write(tmp_path, **{"a.png": picture(), "a.csv": b"file_name,text\n", "b.csv": b"file_name,text\n"})

    refused(tmp_path, "a.csv, b.csv")


@pytest.mark.skipif(os.name != "posix", reason="pipes and names of POSIX")
def test_a_pipe_is_no_picture_and_a_name_may_be_no_text(tmp_path):
    tmp_path.joinpath("a").mkdir()
    os.mkfifo(tmp_path / "a" / "1猫.png")
    found = read(tmp_path / "a")
    with pytest.raises(InputError, match="no file"):
        found.pictures[0]

    tmp_path.joinpath("b").mkdir()
    with open(os.fsencode(tmp_path / "b") + b"/1" + "一只红色的猫".encode("gbk") + b".png", "wb") as file:
        file.write(picture())
    refused(tmp_path / "b", "GBK")


# Which format


def test_a_place_of_no_format_is_told_every_format(tmp_path, monkeypatch):
    said = refused(tmp_path, "holds data of no format")
    assert all(f"{name}: {each.wants}" in said for name, each in FORMATS.items())

    refused(tmp_path / "missing", "does not exist")
    monkeypatch.chdir(tmp_path.parent)
    refused(f"{tmp_path.name}/missing", "does not exist")  # and no name of the hub, which would be asked
    refused(tmp_path, "foldr is no format", "Did you mean folder?", format="foldr")


def test_a_place_of_several_formats_is_a_question(tmp_path):
    tsv(tmp_path)
    write(tmp_path, **{"1猫.png": picture()})

    refused(tmp_path, "tsv and as folder", "--format")
    assert len(read(tmp_path, format="tsv").texts) == 3
    assert len(read(tmp_path, format="folder").texts) == 1
