"""The demo's data: drawn scenes with Chinese captions, from seeds alone (Pillow and the standard library, no torch).

A scene states facts of one of four kinds: an object ("一个红色圆形"), its place and size, a count, or a relation of
two objects. Eight pairs of a colour and a shape are never drawn or named in training (`UNSEEN`). The pictures that
are evaluated have seeds of their own.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIDE = 48  # pixels of a drawn picture: the image_resolution of the model in scenes/model_config.json
OVERSAMPLING = 4  # drawn this much larger, then averaged: smooth edges without a drawing library


def _regular(corners: int, inner: float = 1.0) -> tuple[tuple[float, float], ...]:
    """Points on the unit circle from the top, clockwise; every second one at radius `inner`."""
    radii = [1.0 if i % 2 == 0 else inner for i in range(corners)]
    turns = [2 * math.pi * i / corners for i in range(corners)]
    return tuple((r * math.sin(t), -r * math.cos(t)) for r, t in zip(radii, turns, strict=True))


def _heart() -> tuple[tuple[float, float], ...]:
    turns = [2 * math.pi * i / 40 for i in range(40)]
    heights = [13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) for t in turns]
    return tuple((16 * math.sin(t) ** 3 / 15, -(y + 2) / 15) for t, y in zip(turns, heights, strict=True))


@dataclass(frozen=True)
class Word:
    chinese: str
    english: str


@dataclass(frozen=True)
class Shape:
    chinese: str
    english: str
    points: tuple[tuple[float, float], ...]  # outline in units of the radius, y down
    hole: float = 0.0  # the same outline again, this much smaller, in the background's colour


COLOURS = {
    "red": (Word("红色", "red"), (214, 40, 40)),
    "orange": (Word("橙色", "orange"), (244, 140, 20)),
    "yellow": (Word("黄色", "yellow"), (248, 222, 30)),
    "green": (Word("绿色", "green"), (40, 160, 60)),
    "cyan": (Word("青色", "cyan"), (40, 200, 210)),
    "blue": (Word("蓝色", "blue"), (40, 80, 210)),
    "purple": (Word("紫色", "purple"), (145, 60, 190)),
    "black": (Word("黑色", "black"), (30, 30, 30)),
}
_ARM = 0.36  # half the width of the cross's arms
SHAPES = {
    "circle": Shape("圆形", "circle", _regular(48)),
    "square": Shape("正方形", "square", ((-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86))),
    "triangle": Shape("三角形", "triangle", _regular(3)),
    "star": Shape("五角星", "star", _regular(10, inner=0.42)),
    "cross": Shape(
        "十字形",
        "cross",
        tuple(
            (sx * x, sy * y)
            for sx, sy, corner in (
                (1, -1, ((_ARM, 1), (_ARM, _ARM), (1, _ARM))),
                (1, 1, ((1, _ARM), (_ARM, _ARM), (_ARM, 1))),
                (-1, 1, ((_ARM, 1), (_ARM, _ARM), (1, _ARM))),
                (-1, -1, ((1, _ARM), (_ARM, _ARM), (_ARM, 1))),
            )
            for x, y in corner
        ),
    ),
    "ring": Shape("圆环", "ring", _regular(48), hole=0.55),
    "diamond": Shape("菱形", "diamond", ((0, -1.1), (0.66, 0), (0, 1.1), (-0.66, 0))),
    "heart": Shape("心形", "heart", _heart()),
}
SIZES = {"small": (Word("小", "small"), (0.125, 0.145)), "large": (Word("大", "large"), (0.205, 0.240))}
PLACES = {
    "top left": (Word("左上角", "top left"), (0.27, 0.27)),
    "top right": (Word("右上角", "top right"), (0.73, 0.27)),
    "bottom left": (Word("左下角", "bottom left"), (0.27, 0.73)),
    "bottom right": (Word("右下角", "bottom right"), (0.73, 0.73)),
    "middle": (Word("中间", "middle"), (0.50, 0.50)),
}
RELATIONS = {
    "left of": (Word("左边", "left of"), (-1, 0), "right of"),
    "right of": (Word("右边", "right of"), (1, 0), "left of"),
    "above": (Word("上面", "above"), (0, -1), "below"),
    "below": (Word("下面", "below"), (0, 1), "above"),
}
COUNTS = {2: Word("两个", "two"), 3: Word("三个", "three"), 4: Word("四个", "four")}

Thing = tuple[str, str]  # (colour, shape)
THINGS: tuple[Thing, ...] = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
# One shape of each colour and one colour of each shape: 3 has no factor in common with 8.
UNSEEN: tuple[Thing, ...] = tuple((c, tuple(SHAPES)[(3 * i + 1) % len(SHAPES)]) for i, c in enumerate(COLOURS))
SEEN: tuple[Thing, ...] = tuple(thing for thing in THINGS if thing not in UNSEEN)

# What the shipped model never saw and never read: a set to fine-tune it on.
NEW_COLOURS = {
    "pink": (Word("粉色", "pink"), (240, 130, 185)),
    "brown": (Word("棕色", "brown"), (125, 75, 35)),
    "olive": (Word("橄榄色", "olive"), (120, 130, 15)),
    "grey": (Word("灰色", "grey"), (125, 125, 125)),
}
NEW_SHAPES = {
    "hexagon": Shape("六边形", "hexagon", _regular(6)),
    "semicircle": Shape("半圆形", "semicircle", tuple((x, y + 0.5) for x, y in _regular(48) if y <= 1e-9)),
    "arrow": Shape(
        "箭头",
        "arrow",
        ((0, -1), (0.8, -0.1), (0.3, -0.1), (0.3, 1), (-0.3, 1), (-0.3, -0.1), (-0.8, -0.1)),
    ),
    "trapezium": Shape("梯形", "trapezium", ((-0.45, -0.65), (0.45, -0.65), (1, 0.65), (-1, 0.65))),
    "lightning": Shape(
        "闪电", "lightning bolt", ((0.3, -1), (-0.6, 0.2), (-0.05, 0.2), (-0.3, 1), (0.6, -0.25), (0.05, -0.25))
    ),
    "flag": Shape("旗子", "flag", ((-0.6, -1), (0.8, -0.5), (-0.4, 0.0), (-0.4, 1), (-0.6, 1))),
}
NEW: tuple[Thing, ...] = tuple((colour, shape) for colour in NEW_COLOURS for shape in NEW_SHAPES)
_COLOURS, _SHAPES = COLOURS | NEW_COLOURS, SHAPES | NEW_SHAPES


@dataclass(frozen=True)
class Facts:
    """What a caption states. `things` holds one thing, or two for a relation, such as the first left of the second."""

    kind: str
    things: tuple[Thing, ...]
    size: str = ""
    place: str = ""
    count: int = 1
    relation: str = ""


@dataclass(frozen=True)
class Item:
    """One drawn object: centre and radius in units of the picture's side, angle in radians, 8-bit colour."""

    thing: Thing
    x: float
    y: float
    radius: float
    angle: float
    rgb: tuple[int, int, int]


@dataclass(frozen=True)
class Scene:
    facts: Facts
    items: tuple[Item, ...]
    background: tuple[int, int, int]


def _thing(thing: Thing) -> str:
    return _COLOURS[thing[0]][0].chinese + _SHAPES[thing[1]].chinese


def _sized(facts: Facts) -> str:
    return f"一个{SIZES[facts.size][0].chinese}的{_thing(facts.things[0])}"


# kind -> wordings; the first is the caption that is evaluated, the others only train
WORDINGS = {
    "object": (
        lambda f: f"一个{_thing(f.things[0])}",
        lambda f: f"图中有一个{_thing(f.things[0])}",
        lambda f: _thing(f.things[0]),
    ),
    "place": (
        lambda f: f"{PLACES[f.place][0].chinese}有{_sized(f)}",
        lambda f: f"{_sized(f)}在{PLACES[f.place][0].chinese}",
        lambda f: f"{PLACES[f.place][0].chinese}有一个{_thing(f.things[0])}",
        lambda f: _sized(f),
    ),
    "count": (
        lambda f: f"{COUNTS[f.count].chinese}{_thing(f.things[0])}",
        lambda f: f"图中有{COUNTS[f.count].chinese}{_thing(f.things[0])}",
    ),
    "relation": (
        lambda f: f"{_thing(f.things[0])}在{_thing(f.things[1])}的{RELATIONS[f.relation][0].chinese}",
        lambda f: f"{_thing(f.things[1])}的{RELATIONS[f.relation][0].chinese}有一个{_thing(f.things[0])}",
    ),
}


def caption(facts: Facts) -> str:
    """The Chinese caption that the evaluation uses, such as "左上角有一个小的红色圆形"."""
    return WORDINGS[facts.kind][0](facts)


def gloss(facts: Facts) -> str:
    """The caption in English, for a reader or a machine without Chinese."""
    names = [f"{colour} {shape}" for colour, shape in facts.things]
    if facts.kind == "object":
        return f"one {names[0]}"
    if facts.kind == "place":
        return f"one {facts.size} {names[0]}, {facts.place}"
    if facts.kind == "count":
        return f"{COUNTS[facts.count].english} {names[0]}s".replace("crosss", "crosses")
    return f"{names[0]} {facts.relation} {names[1]}"


def inverse(facts: Facts) -> Facts:
    """The same relation told from its second object: A left of B is B right of A."""
    return replace(facts, things=facts.things[::-1], relation=RELATIONS[facts.relation][2])


def _jitter(rgb: tuple[int, int, int], rng: random.Random, width: int) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, value + rng.randint(-width, width))) for value in rgb)
    return red, green, blue


def _item(thing: Thing, x: float, y: float, radius: float, rng: random.Random) -> Item:
    return Item(thing, x, y, radius, rng.uniform(-0.17, 0.17), _jitter(_COLOURS[thing[0]][1], rng, 12))


def _place_one(facts: Facts, rng: random.Random) -> tuple[Item, ...]:
    size = facts.size or rng.choice(tuple(SIZES))
    x, y = PLACES[facts.place or rng.choice(tuple(PLACES))][1]
    radius = rng.uniform(*SIZES[size][1])
    return (_item(facts.things[0], x + rng.uniform(-0.05, 0.05), y + rng.uniform(-0.05, 0.05), radius, rng),)


def _place_many(facts: Facts, rng: random.Random) -> tuple[Item, ...]:
    """Centres in distinct cells of a 3 x 3 grid: far enough apart not to touch."""
    cells = rng.sample([(i, j) for i in range(3) for j in range(3)], facts.count)
    return tuple(
        _item(
            facts.things[0],
            0.18 + 0.32 * i + rng.uniform(-0.02, 0.02),
            0.18 + 0.32 * j + rng.uniform(-0.02, 0.02),
            rng.uniform(0.125, 0.140),
            rng,
        )
        for i, j in cells
    )


def _place_two(facts: Facts, rng: random.Random) -> tuple[Item, ...]:
    across, down = RELATIONS[facts.relation][1]
    half, slip = rng.uniform(0.21, 0.26), rng.uniform(-0.05, 0.05)
    x, y = rng.uniform(0.45, 0.55), rng.uniform(0.45, 0.55)
    first, second = facts.things
    dx, dy = across * half + abs(down) * slip, down * half + abs(across) * slip
    return (
        _item(first, x + dx, y + dy, rng.uniform(0.160, 0.190), rng),
        _item(second, x - dx, y - dy, rng.uniform(0.160, 0.190), rng),
    )


_PLACERS = {"object": _place_one, "place": _place_one, "count": _place_many, "relation": _place_two}


def compose(facts: Facts, seed: str) -> Scene:
    """Choose positions, sizes, angles and shades for these facts, from the seed alone."""
    rng = random.Random(seed)
    level = rng.randint(205, 245)
    background = _jitter((level, level, level), rng, 10)
    return Scene(facts, _PLACERS[facts.kind](facts, rng), background)


def _outline(item: Item, scale: float, side: int) -> list[tuple[float, float]]:
    sine, cosine = math.sin(item.angle), math.cos(item.angle)
    reach = item.radius * scale
    return [
        ((item.x + reach * (x * cosine - y * sine)) * side, (item.y + reach * (x * sine + y * cosine)) * side)
        for x, y in _SHAPES[item.thing[1]].points
    ]


def draw(scene: Scene, side: int = SIDE) -> Image.Image:
    """The scene as an RGB picture of `side` x `side` pixels."""
    large = side * OVERSAMPLING
    picture = Image.new("RGB", (large, large), scene.background)
    pen = ImageDraw.Draw(picture)
    for item in scene.items:
        pen.polygon(_outline(item, 1.0, large), fill=item.rgb)
        if _SHAPES[item.thing[1]].hole:
            pen.polygon(_outline(item, _SHAPES[item.thing[1]].hole, large), fill=scene.background)
    return picture.reduce(OVERSAMPLING)


# ---- the split ----------------------------------------------------------------------------------------------------


def _differing(thing: Thing, things: tuple[Thing, ...]) -> list[Thing]:
    """The things of another colour and another shape."""
    return [other for other in things if other[0] != thing[0] and other[1] != thing[1]]


def _training_facts(rng: random.Random) -> Facts:
    kind = rng.choices(("object", "place", "count", "relation"), weights=(20, 25, 20, 35))[0]
    thing = rng.choice(SEEN)
    if kind == "place":
        return Facts(kind, (thing,), size=rng.choice(tuple(SIZES)), place=rng.choice(tuple(PLACES)))
    if kind == "count":
        return Facts(kind, (thing,), count=rng.choice(tuple(COUNTS)))
    if kind == "relation":
        return Facts(kind, (thing, rng.choice(_differing(thing, SEEN))), relation=rng.choice(tuple(RELATIONS)))
    return Facts(kind, (thing,))


def _other_thing(facts: Facts) -> list[Facts]:
    """The facts with another first object, of the same colour or of the same shape."""
    (colour, shape), rest = facts.things[0], facts.things[1:]
    near = [thing for thing in SEEN if (thing[0] == colour) != (thing[1] == shape)]
    return [replace(facts, things=(thing, *rest)) for thing in near if not rest or thing in _differing(rest[0], SEEN)]


def _other_state(facts: Facts) -> list[Facts]:
    """The facts with the same objects elsewhere, of another size, more or fewer; none for a bare object."""
    if facts.kind == "relation":
        return [replace(facts, relation=relation) for relation in RELATIONS]
    if facts.kind == "count":
        return [replace(facts, count=count) for count in COUNTS]
    if facts.kind == "place":
        # a size is drawn as often as a place
        return [replace(facts, place=place) for place in PLACES] + [replace(facts, size=size) for size in SIZES] * 4
    return []


def _neighbour(facts: Facts, rng: random.Random) -> Facts:
    """Facts of the same kind that differ in one point, so that a batch always holds the close mistake."""
    states = [other for other in _other_state(facts) if other != facts]
    return rng.choice(states if states and rng.random() < 0.5 else _other_thing(facts))


def training_example(index: int) -> tuple[Scene, str]:
    """Training scene number `index` and one wording of its caption. Only `SEEN` things occur, in both.

    Scenes 2n and 2n + 1 differ in one stated fact.
    """
    facts = _training_facts(random.Random(f"training facts {index // 2}"))
    rng = random.Random(f"training {index}")
    if index % 2:
        facts = _neighbour(facts, rng)
    scene = compose(facts, f"training scene {index}")
    told = inverse(facts) if facts.kind == "relation" and rng.random() < 0.5 else facts
    wordings = WORDINGS[facts.kind]
    return scene, wordings[0 if rng.random() < 0.5 else rng.randrange(len(wordings))](told)


@dataclass(frozen=True)
class Task:
    """Zero-shot classification: `answers[i]` is the position in `captions` of what `scenes[i]` shows."""

    name: str
    captions: tuple[Facts, ...]
    scenes: tuple[Scene, ...]
    answers: tuple[int, ...]


def _task(name: str, split: str, captions: list[Facts], asked: list[Facts]) -> Task:
    scenes = tuple(compose(facts, f"held out {split} {name} {i}") for i, facts in enumerate(asked))
    return Task(name, tuple(captions), scenes, tuple(captions.index(facts) for facts in asked))


def _objects(split: str, things: tuple[Thing, ...]) -> Task:
    captions = [Facts("object", (thing,)) for thing in THINGS]
    repeats = 4 if split == "seen" else 24
    return _task("objects", split, captions, [Facts("object", (thing,)) for thing in things] * repeats)


def _places(split: str, things: tuple[Thing, ...]) -> Task:
    def every(chosen):
        return [Facts("place", (t,), size=size, place=place) for t in chosen for size in SIZES for place in PLACES]

    asked = every(things)
    return _task("places", split, every(THINGS), asked[::3] if split == "seen" else asked)


def _counts(split: str, things: tuple[Thing, ...]) -> Task:
    def every(chosen):
        return [Facts("count", (thing,), count=count) for thing in chosen for count in COUNTS]

    return _task("counts", split, every(THINGS), every(things) * (1 if split == "seen" else 4))


def _relations(split: str, things: tuple[Thing, ...]) -> Task:
    """24 pairs of objects x 4 relations, of which a picture shows one; an unseen pair holds one unseen object."""
    rng = random.Random(f"pairs {split}")
    firsts = things if split == "unseen" else rng.sample(things, 8)
    pairs = [(first, second) for first in firsts for second in rng.sample(_differing(first, SEEN), 3)]
    captions = [Facts("relation", pair, relation=relation) for pair in pairs for relation in RELATIONS]
    return _task("relations", split, captions, captions * 2)


SPLITS = {"seen": SEEN, "unseen": UNSEEN}


def held_out_tasks(split: str) -> tuple[Task, ...]:
    """Four zero-shot tasks on pictures that training never drew; for "unseen", of objects that it never named either.

    The candidates of the objects, places and counts tasks are the captions of seen and unseen things together.

    Raises:
        KeyError: `split` is neither "seen" nor "unseen".
    """
    things = SPLITS[split]
    return tuple(task(split, things) for task in (_objects, _places, _counts, _relations))


def held_out_gallery() -> tuple[tuple[Scene, str], ...]:
    """The pictures of the retrieval test with their split; no two of them share a caption."""
    gallery = []
    for split in SPLITS:
        for task in held_out_tasks(split)[1:]:
            first = {facts: scene for scene in reversed(task.scenes) for facts in (scene.facts,)}
            gallery += [(scene, split) for _, scene in sorted(first.items(), key=lambda pair: caption(pair[0]))]
    return tuple(gallery)


# ---- the new set ----


def _new_facts() -> tuple[Facts, ...]:
    """Every place and count of the new things."""
    places = [Facts("place", (t,), size=size, place=place) for t in NEW for size in SIZES for place in PLACES]
    return (*places, *(Facts("count", (thing,), count=count) for thing in NEW for count in COUNTS))


def new_example(index: int) -> tuple[Scene, str]:
    """Training scene number `index` of the new things, with its caption."""
    facts = random.Random(f"new facts {index}").choice(_new_facts())
    return compose(facts, f"new scene {index}"), caption(facts)


def new_gallery() -> tuple[Scene, ...]:
    """A picture of each place and count of the new things, which no training draws."""
    return tuple(compose(facts, f"held out new {i}") for i, facts in enumerate(_new_facts()))


# ---- the contact sheet --------------------------------------------------------------------------------------------

# The characters of the captions, and no others; make_font.py makes the file. NOTICE has its licence.
FONT = Path(__file__).parent / "scenes" / "NotoSansCJKsc-captions.otf"
INK, GREY, PALE, GREEN = (25, 25, 25), (110, 110, 110), (205, 205, 205), (20, 150, 70)
TEXT_WIDTH, TILE, GAP = 330, 128, 16  # pixels of the contact sheet
HEAD, CAPTION = 78, 26


@dataclass(frozen=True)
class Found:
    """A retrieved picture, its cosine, and whether the query was written for it."""

    scene: Scene
    score: float
    right: bool


@dataclass(frozen=True)
class SheetRow:
    """One query of the contact sheet, its split ("seen" or "unseen"), and its pictures, best first."""

    query: Facts
    split: str
    found: tuple[Found, ...]


@cache
def font_characters() -> frozenset[str]:
    """The characters of every caption of every wording: what `FONT` has."""
    told: list[Word | Shape] = [*COUNTS.values(), *SHAPES.values(), *NEW_SHAPES.values()]
    told += [word for word, _ in (*COLOURS.values(), *NEW_COLOURS.values())]
    told += [word for word, _ in SIZES.values()] + [word for word, _ in PLACES.values()]
    told += [word for word, _, _ in RELATIONS.values()]
    one = Facts("", (THINGS[0], THINGS[1]), size="small", place="middle", count=2, relation="above")
    sentences = [wording(one) for wordings in WORDINGS.values() for wording in wordings]
    return frozenset("".join((*sentences, *(word.chinese for word in told))))


def _write_query(pen: ImageDraw.ImageDraw, number: int, row: SheetRow, top: int) -> None:
    """The query in Chinese and in English; in English alone if the font lacks a character, which would be a box."""
    query = caption(row.query)
    chinese = [(query, ImageFont.truetype(FONT, 20), INK)] if font_characters().issuperset(query) else []
    english = (gloss(row.query), ImageFont.load_default(15), GREY if chinese else INK)
    pen.text((GAP, top + 4), f"{number}", GREY, ImageFont.load_default(20))
    for i, (text, face, ink) in enumerate(
        (*chinese, english, (f"object {row.split} in training", ImageFont.load_default(13), GREY))
    ):
        pen.text((GAP + 32, top + 4 + 30 * i), text, ink, face)


def _paste_found(sheet: Image.Image, pen: ImageDraw.ImageDraw, found: Found, left: int, top: int) -> None:
    frame = GREEN if found.right else PALE
    pen.rectangle((left - 4, top - 4, left + TILE + 3, top + TILE + 3), fill=frame)
    sheet.paste(draw(found.scene, TILE), (left, top))
    pen.text((left, top + TILE + 7), f"{found.score:.3f}", GREEN if found.right else GREY, ImageFont.load_default(14))


def contact_sheet(rows: Sequence[SheetRow], path: Path) -> None:
    """Write one picture: a row a query, its best pictures beside it, each with its cosine.

    The scenes are drawn again, larger than the model sees them.

    Raises:
        OSError: `path` cannot be written.
    """
    columns = max(len(row.found) for row in rows)
    step = TILE + CAPTION + GAP
    width = GAP + TEXT_WIDTH + columns * (TILE + GAP)
    sheet = Image.new("RGB", (width, HEAD + len(rows) * step), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, 14), "Pictures found by a Chinese query, best first", INK, ImageFont.load_default(22))
    pen.text(
        (GAP, 46),
        "The number under a picture is its cosine with the query; the green one is what the query was written for.",
        GREY,
        ImageFont.load_default(14),
    )
    for i, row in enumerate(rows):
        top = HEAD + i * step
        pen.line((GAP, top - 8, width - GAP, top - 8), PALE)
        _write_query(pen, i + 1, row, top)
        for j, found in enumerate(row.found):
            _paste_found(sheet, pen, found, GAP + TEXT_WIDTH + j * (TILE + GAP), top)
    sheet.save(path, format="PNG")
