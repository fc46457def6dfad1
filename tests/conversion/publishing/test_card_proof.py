"""The table of a card: the comparisons of a report in rows, in two languages."""

import re
from dataclasses import replace

from hf_zhclip.conversion.publishing.card_proof import folded, measured, proof_words
from hf_zhclip.conversion.publishing.rendering import render
from hf_zhclip.conversion.repos.report import COSINE, DIFFERENCE, FILE, Comparison, Report, read_report
from hf_zhclip.conversion.repos.write import write_json
from hf_zhclip.conversion.words import Words

from tests.conversion.publishing.reading import (
    folds,
    text_of,
)


def test_the_table_folds_comparisons_of_one_kind_and_keeps_the_worst():
    def one(what, result, measure=DIFFERENCE, bound=1e-5):
        passed = result >= bound if measure == COSINE else result <= bound
        return Comparison("pixels", Words.same(what), Words.same("cn_clip"), measure, bound, result, passed)

    report = Report([], {}, "peer", [one("RGB", 0.0), one("P", 2e-6), one("x", 1.0, COSINE, 0.9), one("L", 1.0)], {})
    passed, failed = folded(report)
    assert passed["what"] == Words("3: RGB, P, x", "3 项：RGB、P、x") and passed["witness"] == Words.same("cn_clip")
    assert passed["results"] == Words(
        "max abs difference 2e-06 (≤ 1e-05); smallest cosine 1 (≥ 0.9)",
        "最大绝对差 2e-06（≤ 1e-05）；最小余弦 1（≥ 0.9）",
    )
    assert passed["passed"] and not failed["passed"] and failed["what"] == Words.same("L")


def test_the_figure_at_the_top_is_the_worst_difference_of_a_vector_in_float64():
    def one(step, result, bound, measure=DIFFERENCE):
        return Comparison(step, Words.same("x"), Words.same("reference"), measure, bound, result, True)

    narrow, pixels, cosine = one("text", 1e-6, 1e-5), one("pixels", 0.0, 0.0), one("text", 1.0, 0.9, COSINE)
    report = Report(
        [], {}, "reference", [narrow, pixels, cosine, one("text", 2e-12, 1e-9), one("image", 3e-13, 1e-9)], {}
    )
    assert "by at most 2e-12" in measured(report).en and "最多相差 2e-12" in measured(report).zh
    assert measured(replace(report, comparisons=[narrow, pixels, cosine])) is None


def test_the_table_is_in_both_languages(repo):
    table = folds(text_of(repo("taiyi_head").path))["验证 · Verification"]
    assert re.search(r"[|] 词元 id<br>ids [|] \d 项：分词器的 5 个步骤、词表的 21126 行、.*条文本的词元 id<br>", table)
    assert re.search(
        r"<br>\d: 5 steps of the tokenizer, 21126 rows of the vocabulary, .*token ids of \d+ texts [|]", table
    )
    assert "| 像素<br>pixels | 6 项：RGB 227x224、RGBA 160x240、" in table and "<br>6: RGB 227x224, RGBA" in table
    table = folds(text_of(repo("cn_clip_resnet").path))["验证 · Verification"]
    assert "、参考实现<br>" in table and ", reference |" in table


def test_a_source_of_many_files_shows_the_first_hashes_and_counts_the_others(repo):
    report = read_report(repo("cn_clip_vit").path)
    source = {**report.sources[0], "files": {f"{number}.distcp": f"{number:064}" for number in range(300)}}
    (found,) = proof_words(replace(report, sources=[source]), "reference")["source_files"]
    assert [each["name"] for each in found["files"]] == ["0.distcp", "1.distcp", "2.distcp", "3.distcp"]
    assert found["more"] == 296


def test_a_sentence_whose_chinese_nobody_knows_stands_in_a_chinese_frame(copy):
    folder = copy()
    report = read_report(folder)
    comparisons = [*report.comparisons, replace(report.comparisons[0], step="a later step", measure="a later measure")]
    write_json(folder / FILE, replace(report, comparisons=comparisons).to_json())
    table = folds(render(folder, repo="x"))["验证 · Verification"]
    assert "| （英文原文）a later step<br>a later step |" in table
    assert "| （英文原文）a later measure 0（≤ 0）<br>a later measure 0 (≤ 0) |" in table
