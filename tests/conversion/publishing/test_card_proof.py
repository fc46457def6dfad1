"""The table of a card: the comparisons of a report in rows, in two languages."""

from dataclasses import replace

from hf_zhclip.conversion.publishing.card_proof import folded
from hf_zhclip.conversion.publishing.rendering import render
from hf_zhclip.conversion.repos.report import COSINE, DIFFERENCE, FILE, Comparison, Report, read_report
from hf_zhclip.conversion.repos.write import write_json
from hf_zhclip.conversion.words import Words

from tests.conversion.publishing.reading import (
    halves,
    text_of,
)


def test_the_table_folds_comparisons_of_one_kind_and_keeps_the_worst():
    def one(what, result, measure=DIFFERENCE, bound=1e-5):
        return Comparison("pixels", Words.same(what), Words.same("cn_clip"), measure, bound, result, result <= bound)

    report = Report([], {}, "peer", [one("RGB", 0.0), one("P", 2e-6), one("L", 1e-7), one("x", 1.0, COSINE, 9)], {})
    first, second = folded(report)
    assert first["what"] == Words("3: RGB, P, L", "3 项：RGB、P、L")
    assert first["result"] == "2e-06" and first["bound"] == "≤ 1e-05"
    assert second["what"] == Words.same("x") and second["bound"] == "≥ 9"


def test_the_table_of_the_chinese_half_is_in_chinese(repo):
    chinese, english = halves(text_of(repo("taiyi_head").path))
    assert "| 词元 id | 2 项：词表的 21126 行、22 条文本的词元 id |" in chinese
    assert "| ids | 2: 21126 rows of the vocabulary, token ids of 22 texts |" in english
    assert "| 像素 | 6 项：RGB 227x224、RGBA 160x240、" in chinese and "| pixels | 6: RGB 227x224, RGBA" in english
    chinese, english = halves(text_of(repo("cn_clip_resnet").path))
    assert "、22 条文本的词元 id | 参考实现 |" in chinese and ", token ids of 22 texts | reference |" in english


def test_a_sentence_whose_chinese_nobody_knows_stands_in_a_chinese_frame(copy):
    folder = copy()
    report = read_report(folder)
    comparisons = [replace(report.comparisons[0], step="a later step", measure="a later measure")]
    write_json(folder / FILE, replace(report, comparisons=comparisons).to_json())
    chinese, english = halves(render(folder, repo="x"))
    assert "| （英文原文）a later step |" in chinese and "| （英文原文）a later measure |" in chinese
    assert "| a later step |" in english and "| a later measure |" in english
