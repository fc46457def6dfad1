"""The drawn scenes: what they show is what their captions say, and the split is what it claims to be."""

import hashlib
import math
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont
from PIL import Image

from hf_zhclip.examples import scenes
from hf_zhclip.examples.scenes import Facts

from tests.newcomer import ROOT

HELD_OUT = [task for split in scenes.SPLITS for task in scenes.held_out_tasks(split)]


@cache
def training():
    return [scenes.training_example(i) for i in range(3000)]


def every_scene():
    return [scene for scene, _ in training()] + [scene for task in HELD_OUT for scene in task.scenes]


def test_an_example_is_the_same_each_time():
    first, again = scenes.training_example(7), scenes.training_example(7)
    assert first == again
    assert scenes.draw(first[0]).tobytes() == scenes.draw(again[0]).tobytes()


def test_an_example_does_not_depend_on_the_process():
    program = (  # without hf_zhclip, whose import costs seconds
        "import hashlib, sys; sys.path.insert(0, sys.argv[1]); import scenes;"
        "scene, caption = scenes.training_example(11);"
        "print(hashlib.sha256(repr(scene).encode() + caption.encode() + scenes.draw(scene).tobytes()).hexdigest())"
    )
    scene, caption = scenes.training_example(11)
    expected = hashlib.sha256(repr(scene).encode() + caption.encode() + scenes.draw(scene).tobytes()).hexdigest()
    other = subprocess.run(
        [sys.executable, "-c", program, Path(scenes.__file__).parent], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == expected


def test_two_seeds_draw_two_pictures():
    facts = Facts("object", (("red", "circle"),))
    assert scenes.draw(scenes.compose(facts, "a")) != scenes.draw(scenes.compose(facts, "b"))


def test_a_picture_is_rgb_of_the_asked_size():
    picture = scenes.draw(training()[0][0], 40)
    assert (picture.mode, picture.size) == ("RGB", (40, 40))


@pytest.mark.parametrize(
    "facts, chinese, english",
    [
        (Facts("object", (("red", "circle"),)), "一个红色圆形", "one red circle"),
        (
            Facts("place", (("blue", "star"),), size="small", place="top left"),
            "左上角有一个小的蓝色五角星",
            "one small blue star, top left",
        ),
        (Facts("count", (("black", "cross"),), count=3), "三个黑色十字形", "three black crosses"),
        (
            Facts("relation", (("green", "heart"), ("cyan", "ring")), relation="left of"),
            "绿色心形在青色圆环的左边",
            "green heart left of cyan ring",
        ),
    ],
)
def test_a_caption_says_its_facts(facts, chinese, english):
    assert scenes.caption(facts) == chinese
    assert scenes.gloss(facts) == english


def test_the_inverse_relation_names_the_objects_the_other_way_round():
    facts = Facts("relation", (("green", "heart"), ("cyan", "ring")), relation="above")
    assert scenes.caption(scenes.inverse(facts)) == "青色圆环在绿色心形的下面"
    assert scenes.inverse(scenes.inverse(facts)) == facts


def test_there_are_as_many_objects_as_the_caption_counts():
    for scene in every_scene():
        wanted = {"relation": 2, "count": scene.facts.count}.get(scene.facts.kind, 1)
        assert len(scene.items) == wanted
        assert {item.thing for item in scene.items} == set(scene.facts.things)


def test_objects_lie_inside_the_picture_and_apart():
    for scene in every_scene():
        for item in scene.items:
            assert item.radius < min(item.x, item.y, 1 - item.x, 1 - item.y) + 0.03
        for i, a in enumerate(scene.items):
            for b in scene.items[i + 1 :]:
                assert math.hypot(a.x - b.x, a.y - b.y) > 0.9 * (a.radius + b.radius)


def test_places_and_sizes_are_where_the_caption_puts_them():
    def third(value):
        return "low" if value < 0.4 else "high" if value > 0.6 else "middle"

    words = {
        "top left": ("low", "low"),
        "top right": ("high", "low"),
        "bottom left": ("low", "high"),
        "bottom right": ("high", "high"),
        "middle": ("middle", "middle"),
    }
    placed = [scene for scene in every_scene() if scene.facts.kind == "place"]
    assert placed
    for scene in placed:
        (item,) = scene.items
        assert (third(item.x), third(item.y)) == words[scene.facts.place]
        assert (item.radius > 0.15) == (scene.facts.size == "large")


def test_relations_are_as_the_caption_tells():
    related = [scene for scene in every_scene() if scene.facts.kind == "relation"]
    assert related
    for scene in related:
        first, second = scene.items
        assert (first.thing, second.thing) == scene.facts.things
        across, down = first.x - second.x, first.y - second.y
        told = (
            ("left of" if across < 0 else "right of") if abs(across) > abs(down) else "above" if down < 0 else "below"
        )
        assert told == scene.facts.relation


def test_the_drawn_colour_is_the_named_one():
    def distance(a, b):
        return sum(abs(x - y) for x, y in zip(a, b, strict=True))

    solid = [scene for scene in every_scene() if "ring" not in {item.thing[1] for item in scene.items}]
    for scene in solid[::10]:
        picture = scenes.draw(scene, 128)
        for item in scene.items:
            pixel = picture.getpixel((round(item.x * 128), round(item.y * 128)))
            nearest = min(scenes.COLOURS, key=lambda name: distance(scenes.COLOURS[name][1], pixel))  # noqa: B023
            assert nearest == item.thing[0]


def test_a_ring_has_the_background_in_its_middle():
    scene = scenes.compose(Facts("place", (("red", "ring"),), size="large", place="middle"), "ring")
    (item,) = scene.items
    assert scenes.draw(scene, 128).getpixel((round(item.x * 128), round(item.y * 128))) == scene.background


def test_unseen_takes_each_colour_and_each_shape_once():
    assert sorted(colour for colour, _ in scenes.UNSEEN) == sorted(scenes.COLOURS)
    assert sorted(shape for _, shape in scenes.UNSEEN) == sorted(scenes.SHAPES)
    assert not set(scenes.SEEN) & set(scenes.UNSEEN)
    assert len(scenes.SEEN) + len(scenes.UNSEEN) == 64


def test_no_unseen_object_is_drawn_or_named_in_training():
    names = [scenes.COLOURS[colour][0].chinese + scenes.SHAPES[shape].chinese for colour, shape in scenes.UNSEEN]
    for scene, caption in training():
        assert not {item.thing for item in scene.items} & set(scenes.UNSEEN)
        assert not [name for name in names if name in caption]


def test_each_training_kind_and_each_seen_object_occurs():
    assert {scene.facts.kind for scene, _ in training()} == {"object", "place", "count", "relation"}
    assert {item.thing for scene, _ in training() for item in scene.items} == set(scenes.SEEN)


def test_two_training_scenes_in_a_row_differ_in_what_they_state():
    for (first, _), (second, _) in zip(training()[::2], training()[1::2], strict=True):
        assert first.facts.kind == second.facts.kind
        assert first.facts != second.facts


def test_held_out_pictures_are_not_training_pictures():
    drawn = {scene for scene, _ in training()}
    assert not [scene for task in HELD_OUT for scene in task.scenes if scene in drawn]


@pytest.mark.parametrize("split, things", [("seen", scenes.SEEN), ("unseen", scenes.UNSEEN)])
def test_a_held_out_picture_shows_an_object_of_its_split(split, things):
    for task in scenes.held_out_tasks(split):
        assert {scene.facts.things[0] for scene in task.scenes} <= set(things)
        if split == "seen":
            assert not {thing for scene in task.scenes for thing in scene.facts.things} & set(scenes.UNSEEN)


def test_each_task_has_at_least_24_distinct_captions_and_right_answers():
    for task in HELD_OUT:
        captions = [scenes.caption(facts) for facts in task.captions]
        assert len(set(captions)) == len(captions) >= 24
        assert len(task.scenes) == len(task.answers) > 0
        for scene, answer in zip(task.scenes, task.answers, strict=True):
            assert task.captions[answer] == scene.facts


def test_no_two_pictures_of_the_gallery_share_a_caption():
    gallery = scenes.held_out_gallery()
    captions = {scenes.caption(scene.facts) for scene, _ in gallery}
    assert len(captions) == len(gallery) > 100
    assert {split for _, split in gallery} == {"seen", "unseen"}


def test_an_unknown_split_is_refused():
    with pytest.raises(KeyError, match="training"):
        scenes.held_out_tasks("training")


def sheet_rows():
    scene = scenes.compose(Facts("count", (("red", "star"),), count=2), "sheet")
    found = (scenes.Found(scene, 0.5, True), scenes.Found(scene, 0.25, False))
    return [scenes.SheetRow(scene.facts, "seen", found)] * 2


def test_the_contact_sheet_grows_with_its_rows_and_pictures(tmp_path):
    scenes.contact_sheet(sheet_rows(), tmp_path / "two.png")
    scenes.contact_sheet(sheet_rows()[:1], tmp_path / "one.png")
    with Image.open(tmp_path / "two.png") as two, Image.open(tmp_path / "one.png") as one:
        assert two.width == one.width
        assert two.height > one.height > scenes.TILE


def test_the_contact_sheet_frames_only_the_right_picture_green(tmp_path):
    scenes.contact_sheet(sheet_rows()[:1], tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        left = scenes.GAP + scenes.TEXT_WIDTH
        assert sheet.getpixel((left - 2, scenes.HEAD)) == scenes.GREEN
        assert sheet.getpixel((left + scenes.TILE + scenes.GAP - 2, scenes.HEAD)) == scenes.PALE


def test_the_font_of_the_contact_sheet_has_the_characters_of_all_captions_and_no_others():
    drawn = {each for _, caption in training() for each in caption}
    drawn |= {each for scene in scenes.new_gallery() for each in scenes.caption(scene.facts)}

    font = TTFont(scenes.FONT)

    assert {chr(code) for code in font.getBestCmap()} == drawn == scenes.font_characters()
    assert scenes.FONT.stat().st_size < 50_000


def test_the_font_names_its_licence_and_notice_has_its_text():
    names = {each.nameID: str(each) for each in TTFont(scenes.FONT)["name"].names}
    notice = (ROOT / "NOTICE").read_text("utf-8")

    assert names[0].removeprefix("© ") in notice  # the copyright
    assert "SIL Open Font License, Version 1.1" in names[13]
    assert "SIL OPEN FONT LICENSE Version 1.1" in notice and "PERMISSION & CONDITIONS" in notice


def lines_of_the_query(sheet: Path) -> list[bool]:
    """Whether something is written on each of the three lines beside the first row of pictures."""
    with Image.open(sheet) as whole:
        left, right = scenes.GAP + 32, scenes.GAP + scenes.TEXT_WIDTH - 8
        tops = [scenes.HEAD + 4 + 30 * i for i in range(3)]
        return [whole.crop((left, top, right, top + 28)).getcolors(1) is None for top in tops]


def test_the_contact_sheet_shows_the_query_in_chinese_and_in_english(tmp_path):
    scenes.contact_sheet(sheet_rows()[:1], tmp_path / "sheet.png")
    assert lines_of_the_query(tmp_path / "sheet.png") == [True, True, True]


def test_a_query_with_a_character_that_the_font_lacks_stands_in_english_alone(tmp_path, monkeypatch):
    rows = sheet_rows()[:1]
    scenes.font_characters()
    monkeypatch.setitem(scenes._COLOURS, "red", (scenes.Word("绛色", "red"), (214, 40, 40)))
    scenes.contact_sheet(rows, tmp_path / "sheet.png")
    assert lines_of_the_query(tmp_path / "sheet.png") == [True, True, False]


def test_the_scenes_need_neither_torch_nor_cn_clip():
    program = (
        "import importlib.util, sys;"
        f"spec = importlib.util.spec_from_file_location('scenes', {scenes.__file__!r});"
        "module = importlib.util.module_from_spec(spec); sys.modules['scenes'] = module;"
        "spec.loader.exec_module(module);"
        "module.draw(module.training_example(0)[0]);"
        "print(sorted({'torch', 'cn_clip', 'numpy'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
