"""The page of `zhclip search --serve`: a sentence or a picture, and a grid of what it found.

The pictures of the corpus have their own address, `pictures/NUMBER`, which takes the number of a row and nothing else.
"""

import os
from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr
import torch

from ..errors import InputError
from ..telling import shown
from .searching import Found, Index, check_query

MOST = 100
"""The most results on the page."""

FONTS = ("system-ui", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "Source Han Sans SC", "sans-serif")
MONO = ("ui-monospace", "Consolas", "monospace")
"""Fonts of the user's own system: none is fetched."""

THEME = gr.themes.Default(
    primary_hue="teal",
    neutral_hue="slate",
    radius_size="md",
    font=list(map(gr.themes.Font, FONTS)),
    font_mono=list(map(gr.themes.Font, MONO)),
).set(
    button_primary_background_fill="*primary_700",  # light letters are read on it
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_600",
)

CSS = """
.gradio-container { width: 100% !important; max-width: 1120px !important; margin: 0 auto !important; }
.gradio-container main { padding: 28px 20px 48px !important; gap: 18px; }
.gradio-container .html-container { padding: 0 !important; }
#head h1 { font-size: 1.6rem; font-weight: 650; line-height: 1.3; margin: 0 0 4px; }
#head p { margin: 0; line-height: 1.6; color: var(--body-text-color-subdued); overflow-wrap: anywhere; }
#sentence input, #sentence textarea { font-size: 1.15rem; }
#line b { font-weight: 650; }
#line .trouble { color: #c2410c; }
.dark #line .trouble { color: #fb923c; }
#grid ol { list-style: none; margin: 0; padding: 0; display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fill, minmax(min(168px, calc(50% - 7px)), 1fr)); }
#grid li { margin: 0; border: 1px solid var(--border-color-primary); border-radius: 8px; overflow: hidden;
  background: var(--block-background-fill); }
#grid a { display: block; aspect-ratio: 1; background: var(--background-fill-secondary); position: relative; }
#grid img { width: 100%; height: 100%; object-fit: contain; display: block; margin: 0; }
#grid .gone { display: none; position: absolute; inset: 0; padding: 12px; align-items: center;
  justify-content: center; text-align: center; color: var(--body-text-color-subdued); font-size: .85rem; }
#grid li.lost img { display: none; }
#grid li.lost .gone { display: flex; }
#grid .told { display: flex; justify-content: space-between; padding: 8px 10px 0; line-height: 1.4; }
#grid .rank { color: var(--body-text-color-subdued); }
#grid .cosine { font-variant-numeric: tabular-nums; font-weight: 650; }
#grid .name { padding: 0 10px 9px; font-size: .8rem; line-height: 1.5; color: var(--body-text-color-subdued);
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
"""

READY = "输入一句话，或拖入一张图片。 Type a sentence, or drop a picture."
NOTE = "余弦相似度介于 -1 与 1 之间，不是概率。A cosine lies between -1 and 1 and is no probability."
AS_STORED = (
    "模型看到的是文件里存储的图片：EXIF 的旋转不起作用，尽管这里把图片转正显示。"
    "The model sees a picture as its file stores it: a rotation by EXIF has no effect, although the picture is shown "
    "upright here."
)


def take_files_alone(picture: gr.Image) -> None:
    """Gives the path of an uploaded file as it is: gradio would open the file, and fetch an address in its place.

    It is set on the component, because gradio writes a file beside the module of a class that is derived from its own.
    """
    take = picture.move_resource_to_block_cache

    def take_file(place: Any) -> str | None:
        if str(place).lower().startswith(("http:", "https:")):
            raise gr.Error("没有打开网址：请拖入文件。An address is not fetched: drop a file.", print_exception=False)
        return take(place)

    async def take_file_later(place: Any) -> str | None:
        return take_file(place)

    def path(payload: Any) -> str | None:
        return None if payload is None else payload.path

    picture.move_resource_to_block_cache = take_file
    picture.async_move_resource_to_block_cache = take_file_later
    picture.preprocess = path


def build(index: Index, title: str, top_k: int, threshold: float | None) -> gr.Blocks:
    """The page of a corpus.

    Args:
        index: the corpus and its model.
        title: names the corpus.
        top_k: the results at first.
        threshold: the least cosine at first.
    """
    with gr.Blocks(title="图片搜索 Picture search", analytics_enabled=False, fill_width=True) as page:
        vector = gr.State()
        _html(_head(index, title), "head")
        sentence, go, many, least, picture = _asked(top_k, threshold)
        take_files_alone(picture)
        line, grid = _html(READY, "line"), _html("", "grid")

        shown_now, chosen = [vector, line, grid], [many, least]

        def show(row: torch.Tensor | None, k: float, cosine: float) -> tuple[str, str]:
            if row is None:
                return READY, ""
            found = index.found(row, int(k), cosine)
            best = "" if found.rows else _best(index.found(row, 1).cosines[0])
            return _count(found, cosine) + best, _grid(found)

        def by_sentence(text: str, k: float, cosine: float) -> tuple[Any, ...]:
            row, trouble = _row(lambda: index.row(**check_query(text, None)))
            return (None, row, *((trouble, "") if trouble else show(row, k, cosine)))

        def by_picture(path: str | None, k: float, cosine: float) -> tuple[Any, ...]:
            if path is None:  # it was taken away again
                return (gr.skip(),) * 4
            row, trouble = _row(lambda: index.row(picture=path), f"{os.path.dirname(path)}{os.sep}")
            return ("", row, *((trouble, "") if trouble else show(row, k, cosine)))

        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        for event in (sentence.submit, go.click):
            event(by_sentence, [sentence, *chosen], [picture, *shown_now], **quiet)
        picture.upload(by_picture, [picture, *chosen], [sentence, *shown_now], **quiet)
        for slider in chosen:
            slider.change(show, [vector, *chosen], [line, grid], trigger_mode="always_last", **quiet)
    return page


def _asked(top_k: int, threshold: float | None) -> tuple[gr.Textbox, gr.Button, gr.Slider, gr.Slider, gr.Image]:
    """What the user gives: a sentence with its button, the number of results, the least cosine, and a picture."""
    with gr.Row():
        with gr.Column(scale=5, min_width=300):
            sentence = gr.Textbox(
                label="一句话 Sentence",
                placeholder="一只戴帽子的狗 / a dog with a hat",
                elem_id="sentence",
                max_lines=1,
            )
            go = gr.Button("搜索 Search", variant="primary", elem_id="go")
            with gr.Row():
                many = _slider(1, MOST, min(top_k, MOST), 1, "结果数 Results (k)", "many")
                least = _slider(-1, 1, -1 if threshold is None else threshold, 0.01, "余弦 Cosine ≥", "least")
        with gr.Column(scale=3, min_width=260):
            picture = gr.Image(
                label="或一张图片 Or a picture",
                placeholder="拖入图片，或点击选择\nDrop a picture, or click",
                type="filepath",
                sources=["upload", "clipboard"],
                elem_id="picture",
                height=258,
                buttons=[],
            )
    return sentence, go, many, least, picture


def _row(make: Callable[[], torch.Tensor], folder: str = "") -> tuple[torch.Tensor | None, str]:
    """The vector, or why there is none; the folder of uploads says nothing to the user."""
    try:
        return make(), ""
    except InputError as error:
        told = _text(str(error).replace(folder, "") if folder else str(error))
        return None, f'<span class="trouble">这个查询不能用。This query cannot be used: {told}</span>'


def _html(html: str, name: str) -> gr.HTML:
    return gr.HTML(html, elem_id=name, apply_default_css=False, js_on_load=None)


def _slider(least: float, most: float, value: float, step: float, label: str, name: str) -> gr.Slider:
    return gr.Slider(least, most, value=value, step=step, label=label, elem_id=name, min_width=200, buttons=[])


def _head(index: Index, title: str) -> str:
    count = f"{len(index.corpus):,}"
    repo = index.corpus.manifest.model["repo"]
    return (
        "<h1>图片搜索 Picture search</h1>"
        f"<p>{_text(title)} · {count} 张图片 pictures · {_text(str(repo))}</p><p>{NOTE}</p><p>{AS_STORED}</p>"
    )


def _count(found: Found, cosine: float) -> str:
    return (
        f"<b>{found.above:,}</b> / {found.size:,} 张图片的余弦 ≥ {cosine:.2f} "
        f"· <b>{found.above:,}</b> of {found.size:,} pictures have a cosine of at least {cosine:.2f}"
    )


def _best(cosine: float) -> str:
    return f" · 最高的余弦 The highest cosine: <b>{cosine:.4f}</b>"


def _grid(found: Found) -> str:
    cards = [
        _card(rank, row, cosine, path or str(id_))
        for rank, (row, cosine, path, id_) in enumerate(
            zip(found.rows, found.cosines, found.paths, found.ids, strict=True), start=1
        )
    ]
    return f"<ol>{''.join(cards)}</ol>"


def _card(rank: int, row: int, cosine: float, name: str) -> str:
    name = _text(name)
    return (
        f'<li><a href="pictures/{row}?large=1" target="_blank" rel="noopener" title="{name}">'
        f'<img src="pictures/{row}" alt="{name}" loading="lazy" '
        "onerror=\"this.closest('li').classList.add('lost')\">"
        '<span class="gone">图片已不在，或无法读取<br>The picture is gone or cannot be read</span></a>'
        f'<div class="told"><span class="rank">{rank}</span><span class="cosine">{cosine:.4f}</span></div>'
        f'<div class="name" title="{name}">{name}</div></li>'
    )


def _text(text: str) -> str:
    """A foreign text as HTML; gr.HTML would take braces, backticks and dollars as its own template."""
    found = escape(shown(text))
    for each in "{}$`\\":
        found = found.replace(each, f"&#{ord(each)};")
    return found
