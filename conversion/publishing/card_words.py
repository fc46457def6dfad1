"""A card's sentences by kind of model: image order, padding, languages, proof and licence, in both languages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..words import Words

IMAGE_ORDERS = {
    "squash_then_rgb": Words(
        "resized to a square in the file's own colour mode (the aspect ratio is not kept and nothing is cropped), "
        "then made RGB",
        "先在文件自身的颜色模式下缩放成正方形（不保持宽高比，也不裁剪），再转成 RGB",
    ),
    "rgb_then_squash": Words(
        "made RGB, then resized to a square (the aspect ratio is not kept and nothing is cropped)",
        "先转成 RGB，再缩放成正方形（不保持宽高比，也不裁剪）",
    ),
    "crop_then_rgb": Words(
        "the short side is resized and the centre cropped, in the file's own colour mode, then made RGB",
        "先在文件自身的颜色模式下按短边缩放、居中裁剪，再转成 RGB",
    ),
    "rgb_then_crop": Words(
        "made RGB, then the short side is resized and the centre cropped",
        "先转成 RGB，再按短边缩放、居中裁剪",
    ),
    "crop_up_then_rgb": Words(
        "the short side is resized and the centre cropped (half a pixel is rounded up), in the file's own colour "
        "mode, then made RGB",
        "先在文件自身的颜色模式下按短边缩放、居中裁剪（半个像素向上取整），再转成 RGB",
    ),
}

PADDING = {
    "masked": Words(
        "the text tower masks the padding, so an embedding does not depend on the other texts of its batch.",
        "文本塔会屏蔽填充的词元，向量与同一批里的其他文本无关。",
    ),
    "causal": Words(
        "the text tower is causal. The state of the end token is taken, and the end token does not see the padding "
        "after it, so an embedding does not depend on the other texts of its batch.",
        "文本塔是因果的，取的是结束词元的状态，它看不到后面的填充，向量与同一批里的其他文本无关。",
    ),
    "attended": Words(
        "the text tower attends to the padding (`text_attends_to_padding`), so an embedding depends on the length to "
        "which its text was padded.",
        "文本塔会注意到填充的词元（`text_attends_to_padding`），向量取决于文本被填充到多长。",
    ),
    "padded": Words(
        "the model itself pads every text to the same length (`text_padded_length`) and attends to the padding, so an "
        "embedding does not depend on the other texts of its batch.",
        "模型自己把每条文本填充到同一长度（`text_padded_length`），文本塔会注意到填充的词元，向量与同一批里的其他文本"
        "无关。",
    ),
}


@dataclass(frozen=True)
class Language:
    """A card's sentences about a model for these languages; the texts appear in its code blocks and its widget.

    `names` are colours, of which the first is the picture's and the last is searched for. `labels` are for the
    picture of the hub's own examples, a cat and a dog that make music.
    """

    purpose: Words
    of_model: Words
    trained_on: Words
    names: Sequence[str]
    texts: Sequence[str]
    labels: Sequence[str]


CHINESE_TEXTS = ("红色", "绿色", "蓝色"), ("一只猫", "一只小狗在摇尾巴"), ("演奏音乐", "体育运动")
LANGUAGES: Mapping[tuple[str, ...], Language] = {
    ("zh",): Language(
        Words(
            "to search pictures with Chinese texts, to find texts for a picture, and to sort pictures into classes "
            "that you name, without more training",
            "用中文搜图、以图找文、按你给出的类别给图片分类，都不需要再训练",
        ),
        Words("a dual encoder for Chinese texts and pictures", "中文图文双塔模型"),
        Words(
            "It was trained on Chinese. English and traditional characters work only as far as the training data had "
            "them. The converted model does not convert the characters of a text.",
            "训练语言是中文；英文和繁体字只在训练数据涉及的范围内有效，这里不做任何转换。",
        ),
        *CHINESE_TEXTS,
    ),
    ("en",): Language(
        Words(
            "to search pictures with English texts, to find texts for a picture, and to sort pictures into classes "
            "that you name, without more training",
            "用英文搜图、以图找文、按你给出的类别给图片分类，都不需要再训练",
        ),
        Words("a dual encoder for English texts and pictures", "英文图文双塔模型"),
        Words(
            "It was trained on English. Other languages, also Chinese, work only as far as the training data happened "
            "to have them. The converted model does not translate texts.",
            "训练语言是英文；其他语言（包括中文）只在训练数据偶然涉及的范围内有效，这里不做任何翻译。",
        ),
        ("red", "green", "blue"),
        ("a cat", "a puppy wagging its tail"),
        ("playing music", "playing sports"),
    ),
}
MULTILINGUAL = Language(
    Words(
        "to search pictures with texts of many languages, to find texts for a picture, and to sort pictures into "
        "classes that you name, without more training",
        "用多种语言搜图、以图找文、按你给出的类别给图片分类，都不需要再训练",
    ),
    Words("a dual encoder for texts of several languages and pictures", "多语言图文双塔模型"),
    Words(
        "It was trained on several languages. The quality of a language depends on its share of the training data. "
        "The converted model does not convert the characters of a text.",
        "训练语言有多种，一种语言的效果取决于它在训练数据中的比重，这里不做任何转换。",
    ),
    *CHINESE_TEXTS,
)
"""For every combination of languages without its own sentences."""

TEXT_ALONE = Words(
    "to compute the states of Chinese texts, as a BERT does; its vectors cannot be compared with pictures",
    "像 BERT 一样给出中文文本的状态，它的向量不能与图片比较",
)
"""The purpose of a text tower alone."""

PAIR = Words("{model} (image tower {image}, text tower {text})", "{model}（图像塔 {image}，文本塔 {text}）")
ALONE = Words(
    "a text tower by itself ({text}), without an image tower and without a projection",
    "单独的文本塔（{text}），没有图像塔，也没有投影层",
)
PAIR_SIZE = Words("{parameters} parameters, vectors of {width}", "{parameters} 个参数，向量维度 {width}")
ALONE_SIZE = Words("{parameters} parameters, states of {width}", "{parameters} 个参数，状态维度 {width}")
"""What a model is, and its size."""

PUBLISHED = Words("Result", "效果")
COMPARED = Words("Check", "核对")
"""What the figure at the top is: published, or measured by the verification."""

LEVELS = {
    "peer": Words(
        "Verified: loaded in a fresh process and compared with the original's own code (level `peer`)",
        "已验证：在新进程中加载本仓库，把它与原项目自己的代码逐项比较（级别 `peer`）",
    ),
    "reference": Words(
        "Verified: loaded in a fresh process and compared with an independent second implementation of the original "
        "(level `reference`)",
        "已验证：在新进程中加载本仓库，把它与另写的一份原模型实现逐项比较（级别 `reference`）",
    ),
    "tensors": Words(
        "Not verified: only tensors were compared (level `tensors`), no embeddings",
        "未经验证：只比较了张量（级别 `tensors`），没有比较向量",
    ),
    "failed": Words("The verification failed; see the rows with ✗", "验证没有通过，见下表中标为 ✗ 的行"),
    "edited": Words(
        "Not verified: files were changed after the report was written (by fine-tuning, for example). The report "
        "proves the files before the change",
        "未经验证：报告写成之后文件有改动（例如经过微调），它证明的是改动之前的文件",
    ),
    "doubted": Words("Not verified, for the reason given at the top", "未经验证，原因见页首"),
}
"""What a report proves: its level, or why it proves nothing."""

TRAINED_LEVELS = {
    "peer": Words(
        "Verified: it computes the same as {format} with these weights. It was loaded in a fresh process and compared "
        "with the original project's own code (level `peer`), which used these weights",
        "已验证：用这些权重，它的计算结果与 {format} 一致。在新进程中加载本仓库，把它与原项目自己的代码"
        "（用的是这些权重）逐项比较（级别 `peer`）",
    ),
    "reference": Words(
        "Verified: it computes the same as {format} with these weights. It was loaded in a fresh process and compared "
        "with an independent second implementation of {format} (level `reference`), which used these weights",
        "已验证：用这些权重，它的计算结果与 {format} 一致。在新进程中加载本仓库，把它与另写的一份 {format} 实现"
        "（用的是这些权重）逐项比较（级别 `reference`）",
    ),
}
"""What a report proves of weights that were trained after a conversion; no original has these weights."""

LINEAGE = Words(
    "The weights were trained from {base}, whose report has the SHA-256 `{report}`. Tensors that changed: {changed}. "
    "The files below belong to the original of {base}, whose weights differ from the weights here.",
    "权重是从 {base} 继续训练得到的，该仓库的转换报告的 SHA-256 是 `{report}`。有改动的张量：{changed}。"
    "下表是 {base} 的原文件，其权重与本仓库不同。",
)
CHANGED_TENSORS = {
    "text": Words("text tower {changed} of {tensors}", "文本塔 {tensors} 个中的 {changed} 个"),
    "image": Words("image tower {changed} of {tensors}", "图像塔 {tensors} 个中的 {changed} 个"),
    "logit_scale": Words("logit_scale {changed} of {tensors}", "logit_scale {tensors} 个中的 {changed} 个"),
}
UNCHANGED = {
    "text": Words("text tower unchanged", "文本塔未变"),
    "image": Words("image tower unchanged", "图像塔未变"),
    "logit_scale": Words("logit_scale unchanged", "logit_scale 未变"),
}
NOT_COUNTED = Words("not counted, because the training overwrote them", "未统计，因为训练覆盖了原来的权重")
"""What a card says about the training, by the towers of `repos.lineage`."""

LICENCE_BY = {
    "published": Words(".", "。"),
    "inherited": Words(" (the licence of the base model).", "（沿用其来源模型的许可证）。"),
    "stated": Words(" (stated by whoever made this repository).", "（由制作本仓库的人声明）。"),
}
"""Who stated a licence."""
