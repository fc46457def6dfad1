"""Published figures on a card: what stands at its top, and the tables."""

from dataclasses import replace

from hf_zhclip.conversion.publishing.card_figures import CLASSIFICATION, Line, headline, table_of
from hf_zhclip.conversion.reading import catalogue
from hf_zhclip.conversion.reading.catalogue import Row
from hf_zhclip.conversion.words import Words

BASE = "chinese-clip-vit-base-patch16"


def figures_of(name):
    return catalogue.find(name).figures


def test_the_figure_at_the_top_names_its_page_its_date_and_who_measured():
    (figures,) = figures_of("BertCLIP")
    page = f"[README of ZH-CLIP](<{figures.url}>)"
    assert headline(figures) == Words(
        f"MUGE text-to-image retrieval, zero-shot, R@1 15.06 ({page}, 2023-06-28, measured by others)",
        f"MUGE 以文搜图（零样本）R@1 15.06（{page}，2023-06-28，由第三方测得）",
    )


def test_a_value_that_is_named_after_a_language_is_told_with_its_metric():
    (figures,) = figures_of("LABSE-Vit-L-14")
    assert "R@10 Zh 88.9 (" in headline(figures).en
    (line,) = table_of(figures).rows
    assert line.name.startswith("MS-COCO test: R@10 En / De / Es") and line.cells[0].startswith("91.6 / 89.6 / ")


def test_a_dataset_is_a_row_and_a_task_with_its_setup_a_column():
    (figures,) = figures_of(BASE)
    table = table_of(figures)
    assert [column.zh for column in table.columns] == [
        "以文搜图，零样本",
        "以文搜图，微调",
        "以图搜文，零样本",
        "以图搜文，微调",
    ]
    first, *others = table.rows
    cells = ("52.1 / 76.7 / 84.4 / 71.1", "58.4 / 83.6 / 90.0 / 77.4", "-", "-")
    assert first == Line("MUGE validation: R@1 / R@5 / R@10 / MR", cells)
    assert [line.name for line in others] == ["Flickr30K-CN test: R@1 / R@5 / R@10", "COCO-CN test: R@1 / R@5 / R@10"]
    assert (
        "（Top1）：CIFAR10 92.0 · CIFAR100 64.4 · " in table.classified.zh and "ImageNet 48.3" in table.classified.en
    )


def test_figures_without_retrieval_have_no_table():
    (figures,) = figures_of(BASE)
    only = replace(figures, rows=(Row(CLASSIFICATION, "ImageNet", None, "zero-shot", {"Top1": "1"}),))
    table = table_of(only)
    assert table.columns == table.rows == () and table.classified.en.endswith("(Top1): ImageNet 1")


def test_the_classifications_of_a_page_share_their_metrics_which_the_sentence_names_once():
    for entry in catalogue.entries():
        for figures in entry.figures:
            assert len({tuple(row.values) for row in figures.rows if row.task == CLASSIFICATION}) <= 1, entry.name
