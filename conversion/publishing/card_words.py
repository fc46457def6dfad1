"""The Chinese of what a card takes over from elsewhere in English: limits, losses, comparisons, reasons, tasks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

IMAGE_ORDERS = {
    "squash_then_rgb": (
        "resized to a square in the file's own colour mode (the aspect ratio is not kept and nothing is "
        "cropped), then made RGB"
    ),
    "rgb_then_squash": "made RGB, then resized to a square (the aspect ratio is not kept and nothing is cropped)",
    "crop_then_rgb": "the short side is resized and the centre cropped, in the file's own colour mode, then made RGB",
    "rgb_then_crop": "made RGB, then the short side is resized and the centre cropped",
    "crop_up_then_rgb": (
        "the short side is resized and the centre cropped (half a pixel is rounded up), in the file's own colour "
        "mode, then made RGB"
    ),
}

PADDING = {
    "masked": {
        "zh": "文本塔会屏蔽填充的词元，向量与同一批里的其他文本无关。",
        "en": "the text tower masks it, so that an embedding does not depend on the other texts of its batch.",
    },
    "causal": {
        "zh": "文本塔是因果的，取的是结束词元的状态，它看不到后面的填充，向量与同一批里的其他文本无关。",
        "en": (
            "the text tower is causal, and the end token whose state is taken never sees what follows it, so that an "
            "embedding does not depend on the other texts of its batch."
        ),
    },
    "attended": {
        "zh": "文本塔会注意到填充的词元（`text_attends_to_padding`），向量取决于文本被填充到多长。",
        "en": (
            "the text tower attends to it (`text_attends_to_padding`), so that an embedding depends on how "
            "far its text was padded."
        ),
    },
    "padded": {
        "zh": (
            "模型自己把每条文本填充到同一长度（`text_padded_length`），文本塔会注意到填充的词元，向量与同一批里的其他文本"
            "无关。"
        ),
        "en": (
            "the model pads every text to one length by itself (`text_padded_length`) and attends to the padding, so "
            "that an embedding does not depend on the other texts of its batch."
        ),
    },
}


@dataclass(frozen=True)
class Language:
    """What a card says of a model of these languages; `names` and `texts` stand in its blocks."""

    of_model: Mapping[str, str]
    trained_on: Mapping[str, str]
    names: Sequence[str]
    texts: Sequence[str]


CHINESE_TEXTS = ("杰尼龟", "妙蛙种子", "小火龙", "皮卡丘"), ("一只猫", "一只小狗在摇尾巴")
LANGUAGES: Mapping[tuple[str, ...], Language] = {
    ("zh",): Language(
        {"zh": "中文图文双塔模型", "en": "a dual encoder for Chinese texts and pictures"},
        {
            "zh": "训练语言是中文；英文和繁体字只在训练数据涉及的范围内有效，这里不做任何转换。",
            "en": (
                "It was trained on Chinese; English and traditional characters work as far as the training data had "
                "them, and nothing is converted here."
            ),
        },
        *CHINESE_TEXTS,
    ),
    ("en",): Language(
        {"zh": "英文图文双塔模型", "en": "a dual encoder for English texts and pictures"},
        {
            "zh": "训练语言是英文；其他语言（包括中文）只在训练数据偶然涉及的范围内有效，这里不做任何翻译。",
            "en": (
                "It was trained on English; other languages, Chinese among them, work only as far as the training "
                "data happened to have them, and nothing is translated here."
            ),
        },
        ("Squirtle", "Bulbasaur", "Charmander", "Pikachu"),
        ("a cat", "a puppy wagging its tail"),
    ),
}
MULTILINGUAL = Language(
    {"zh": "多语言图文双塔模型", "en": "a dual encoder for texts of several languages and pictures"},
    {
        "zh": "训练语言有多种，一种语言的效果取决于它在训练数据中的比重，这里不做任何转换。",
        "en": (
            "It was trained on several languages; how well one works depends on its part of the training data, and "
            "nothing is converted here."
        ),
    },
    *CHINESE_TEXTS,
)
"""For every combination that has no words of its own."""

LEVELS = {
    "peer": {
        "zh": "已验证：在新进程中加载本仓库，把它与原项目自己的代码逐项比较（级别 `peer`）",
        "en": "Verified: loaded in a fresh process and compared with the original's own code (level `peer`)",
    },
    "reference": {
        "zh": "已验证：在新进程中加载本仓库，把它与另写的一份原模型实现逐项比较（级别 `reference`）",
        "en": (
            "Verified: loaded in a fresh process and compared with an independent second implementation of "
            "the original (level `reference`)"
        ),
    },
    "tensors": {
        "zh": "未经验证：只比较了张量（级别 `tensors`），没有比较向量",
        "en": "Not verified: only tensors were compared (level `tensors`), no embeddings",
    },
    "failed": {
        "zh": "验证没有通过，见下表中标为 ✗ 的行",
        "en": "The verification failed; see the rows with ✗",
    },
    "edited": {
        "zh": "未经验证：报告写成之后文件有改动（例如经过微调），它证明的是改动之前的文件",
        "en": "Not verified: files were changed since the report was written (by fine-tuning, for example); it is a "
        "proof of what they were before",
    },
    "doubted": {
        "zh": "未经验证，原因见页首",
        "en": "Not verified, for the reason given at the top",
    },
}
"""What a report is worth: its level, or why it is worth nothing."""

LICENCE_BY = {
    "published": {"zh": "。", "en": "."},
    "inherited": {"zh": "（沿用其来源模型的许可证）。", "en": " (the licence of the model that it was made from)."},
    "stated": {"zh": "（由制作本仓库的人声明）。", "en": " (stated by whoever made this repository)."},
}
"""Whose word a licence is."""

CHINESE = {
    IMAGE_ORDERS["squash_then_rgb"]: "先在文件自身的颜色模式下缩放成正方形（不保持宽高比，也不裁剪），再转成 RGB",
    IMAGE_ORDERS["rgb_then_squash"]: "先转成 RGB，再缩放成正方形（不保持宽高比，也不裁剪）",
    IMAGE_ORDERS["crop_then_rgb"]: "先在文件自身的颜色模式下按短边缩放、居中裁剪，再转成 RGB",
    IMAGE_ORDERS["rgb_then_crop"]: "先转成 RGB，再按短边缩放、居中裁剪",
    IMAGE_ORDERS["crop_up_then_rgb"]: "先在文件自身的颜色模式下按短边缩放、居中裁剪（半个像素向上取整），再转成 RGB",
    # of a report
    "tensors": "张量",
    "config": "配置",
    "ids": "词元 id",
    "pixels": "像素",
    "text": "文本向量",
    "image": "图像向量",
    "logits": "logit",
    "states": "词元的状态",
    "pooled": "池化后的状态",
    "number that differ": "不同的个数",
    "max abs difference": "最大绝对差",
    "smallest cosine": "最小余弦",
    "file tensors": "文件中的张量",
    "loaded parameters and buffers": "加载后的参数和缓冲区",
    "logits_per_image / exp(logit_scale) in float64": "logits_per_image / exp(logit_scale)（float64）",
    "logit_scale": "logit_scale",
    "the source's tensors": "来源文件的张量",
    "the file's tensors": "文件中的张量",
    "reference": "参考实现",
    # why a repo is not verified
    "only tensors were compared": "只比较了张量",
    "only its tensors were compared, no embeddings": "只比较了张量，没有比较向量",
    "its verification failed": "它没有通过验证",
    # of published tables
    "text-to-image retrieval": "以文搜图",
    "image-to-text retrieval": "以图搜文",
    "zero-shot image classification": "零样本图片分类",
    "zero-shot": "零样本",
    "fine-tuned": "微调",
    "validation": "验证集",
    "test": "测试集",
    # limits, as the sources say them
    "Texts are lower-cased and stripped of accents, and curly quotes are unknown, as in cn_clip's public "
    "tokenize; its training and evaluation replace them first "
    "(hf_zhclip.processing_zhclip.normalize_evaluation_text).": (
        "文本会转成小写并去掉重音符号，弯引号不在词表里，与 cn_clip 公开的 tokenize 相同；它的训练和评测会先"
        "替换弯引号（hf_zhclip.processing_zhclip.normalize_evaluation_text）。"
    ),
    "Characters that Unicode added or reclassified lately: cn_clip's own ids for them change with the Python "
    "that runs it. Against Python 3.11 (Unicode 14) the only assigned character that differs is U+1171E.": (
        "Unicode 近期新增或重新归类的字符：cn_clip 自己给出的 id 也随所用的 Python 版本而变。与 Python 3.11（"
        "Unicode 14）相比，已分配的字符中只有 U+1171E 不同。"
    ),
    "Lone surrogates, halves of characters in badly cut text: cn_clip gives [UNK], the converted tokenizer "
    "refuses the text.": (
        "孤立的代理项（文本被错误截断后留下的半个字符）：cn_clip 给出 [UNK]，转换后的分词器会拒绝这样的文本。"
    ),
    "sentence-transformers' encode() gives the texts of this model as they leave the projection, at any length; "
    "encode_text gives them L2-normalised.": (
        "sentence-transformers 的 encode() 给出投影之后未归一化的文本向量；encode_text 给出经 L2 归一化的向量。"
    ),
    "It was trained with texts of at most 32 tokens; longer ones are taken up to the limit, and how well it "
    "understands them is not known.": (
        "它训练时的文本最长 32 个词元；更长的文本在上限之内照样接受，但效果如何没有资料。"
    ),
    "This repo was made from one that an older version of hf_zhclip had converted. What its original states beside "
    "the weights is taken from that repo's report; the original's files were not read again.": (
        "本仓库由 hf_zhclip 旧版本转换得到的仓库改写而来。原文件中权重以外的说明取自旧仓库的报告，没有重新读取原文件。"
    ),
    "the older repo": "旧仓库",
    "Nothing beside the weights states the heads, activation and pooling of this model: they are those that the "
    "catalogue of hf_zhclip has for it, and no second statement of them was found to hold against these.": (
        "权重旁边没有任何文件写明这个模型的注意力头数、激活函数和池化方式：这里取 hf_zhclip 目录中的值，没有找到第二处"
        "说明可以核对。"
    ),
    "No file of this checkpoint states the head counts, activations and eps of its towers: they are those of the "
    "published model of the same size. Weights of this size that were trained with others need theirs in --config.": (
        "这个检查点的任何文件都没有写明两个塔的注意力头数、激活函数和 eps：这里取同样大小的已发布模型的值。"
        "同样大小而用其他值训练的权重，需要用 --config 写明。"
    ),
    "Padding is masked. The published usage gives no mask, so that there an embedding depends on the longest "
    "text of its batch; for those numbers set text_attends_to_padding in config.json.": (
        "填充会被屏蔽。太乙公开的用法不提供 attention mask，向量因此取决于同一批中最长的文本；要得到那样的数"
        "值，请在 config.json 中设置 text_attends_to_padding。"
    ),
    "Every text is padded to 77 tokens and the text tower attends to the padding, as in its training. The model pads "
    "by itself (text_padded_length in config.json), takes no text of more tokens, and heeds no mask.": (
        "每条文本都填充到 77 个词元，文本塔会注意到填充，与训练时相同。填充由模型自己完成（config.json 中的 "
        "text_padded_length），超过这个长度的文本不被接受，attention mask 不起作用。"
    ),
    "A checkpoint of this training does not hold the heads, activation and eps of its towers. Here they are those of "
    "OpenAI's CLIP and of chinese-roberta-wwm-ext, with which the example starts; where a training started with other "
    "models of the same sizes, state theirs with --config.": (
        "这种训练的检查点里没有两个塔的注意力头数、激活函数和 eps。这里取 OpenAI 的 CLIP 和 chinese-roberta-wwm-ext "
        "的值，示例就是从它们开始训练的；如果训练是从同样大小的其他模型开始的，请用 --config 写明。"
    ),
    "Texts are cut at 52 tokens, with which these models were trained, unless the tokenizer of the source states "
    "another limit; the published repos state none. `zhclip convert --context-length` raises it.": (
        "文本在 52 个词元处截断，这是这些模型训练时的长度；源仓库的分词器写明其他上限时以它为准，已发布的仓库都没有写"
        "明。`zhclip convert --context-length` 可以放宽。"
    ),
    "Transparency is dropped, as transformers 4 did for these models; transformers 5.23 lays transparent pictures "
    "on white.": (
        "透明通道会被丢弃，与 transformers 4 对这些模型的处理相同；transformers 5.23 会把透明图片铺在白底上。"
    ),
    "The text embedding is the projected state of [CLS], as in TaiyiCLIPModel.get_text_features and its training; "
    "the class's own forward takes the tanh pooler instead, so that its logits differ.": (
        "文本向量是 [CLS] 的状态经过投影，与 TaiyiCLIPModel.get_text_features 及其训练相同；该类自己的 forward 却取 "
        "tanh pooler，因此它给出的 logit 不同。"
    ),
    "Texts are cut at 77 tokens, the default of its training, unless the tokenizer of the source states another "
    "limit. `zhclip convert --context-length` raises it.": (
        "文本在 77 个词元处截断，这是其训练的默认长度；源仓库的分词器写明其他上限时以它为准。`zhclip convert "
        "--context-length` 可以放宽。"
    ),
    "Texts are lower-cased and otherwise taken as they are: OpenAI's own code mends badly decoded characters and "
    "HTML entities first (ftfy, html.unescape), and the tokenizer of the Hugging Face repositories does not.": (
        "文本会转成小写，此外保持原样：OpenAI 自己的代码会先修复乱码和 HTML 实体（ftfy、html.unescape），Hugging Face "
        "仓库的分词器不做这一步。"
    ),
    "Badly decoded characters and HTML entities stay as they are: OpenAI's own code mends them first (ftfy, "
    "html.unescape). What ftfy does to single characters is done here, too: wide forms, curled quotes, ligatures.": (
        "乱码和 HTML 实体保持原样：OpenAI 自己的代码会先修复它们（ftfy、html.unescape）。ftfy 对单个字符的处理"
        "这里同样会做：全角字符、弯引号、连字。"
    ),
    "A text that is too long is cut, and ends in <|endoftext|> all the same: OpenAI's tokenize does so where it is "
    "told truncate=True, and refuses the text where it is not.": (
        "过长的文本会被截断，末尾仍是 <|endoftext|>：OpenAI 的 tokenize 在 truncate=True 时同样截断，否则会报错。"
    ),
    "EasyNLP cuts texts at the sequence_length that its user passes, which no file keeps; here they are cut at 52 "
    "tokens, with which Chinese-CLIP was trained. `zhclip convert --context-length` changes it.": (
        "EasyNLP 在使用者传入的 sequence_length 处截断文本，任何文件都不保存这个值；这里在 52 个词元处截断，"
        "这是 Chinese-CLIP 训练时的长度。可以用 `zhclip convert --context-length` 修改。"
    ),
    "EasyNLP gives every image tower heads of width 64, and so does this; Chinese-CLIP's own ViT-H has heads of 80.": (
        "EasyNLP 的图像塔一律采用宽度为 64 的注意力头，这里也是如此；Chinese-CLIP 自己的 ViT-H 训练时用的是 80。"
    ),
    "EasyNLP resizes every picture to 224 pixels, whatever its model was made for; here to the model's own size.": (
        "EasyNLP 把所有图片都缩放到 224 像素，不管模型是为什么尺寸做的；这里缩放到模型自己的尺寸。"
    ),
    "Characters that Unicode added or reclassified lately: the ids that R2D2's own tokenizer gives them change "
    "with the Python that runs it. Against Python 3.11 (Unicode 14) the only assigned character that differs is "
    "U+1171E.": (
        "Unicode 近期新增或重新归类的字符：R2D2 自己的分词器给出的 id 也随所用的 Python 版本而变。与 Python 3.11（"
        "Unicode 14）相比，已分配的字符中只有 U+1171E 不同。"
    ),
    "Lone surrogates, halves of characters in badly cut text: R2D2's own tokenizer drops them, the converted one "
    "refuses the text.": (
        "孤立的代理项（文本被错误截断后留下的半个字符）：R2D2 自己的分词器会丢掉它们，转换后的分词器会拒绝这样的文本。"
    ),
    "ZH-CLIP has no logit_scale. None is made up here: the one that was written is 0, a factor of 1, so that "
    "logits_per_image are the cosines themselves, and a softmax over them is nearly flat.": (
        "ZH-CLIP 没有 logit_scale，这里也不编造：写入的值是 0，即系数为 1，因此 logits_per_image 就是余弦本身，"
        "对它们做 softmax 得到的概率几乎是均匀的。"
    ),
    "ZH-CLIP's own inference takes the softmax of products of vectors that are not normalised. get_text_features and "
    "get_image_features give these vectors here, too; its probabilities are the softmax of their products, and not "
    "what logits_per_image or a zero-shot pipeline gives. What its published figures rank by was not found in its "
    "repository.": (
        "ZH-CLIP 自己的推理代码对未归一化向量的内积做 softmax。这里的 get_text_features 和 get_image_features 给出的"
        "正是这些向量：它的概率是这些向量内积的 softmax，不是 logits_per_image 或 zero-shot pipeline 给出的结果。它公"
        "布的指标按什么排序，在其代码仓库中没有找到说明。"
    ),
    "Characters that Unicode added or reclassified lately: the ids that ZH-CLIP's own tokenizer gives them change "
    "with the Python that runs it. Against Python 3.11 (Unicode 14) the only assigned character that differs is "
    "U+1171E.": (
        "Unicode 近期新增或重新归类的字符：ZH-CLIP 自己的分词器给出的 id 也随所用的 Python 版本而变。与 Python 3.11（"
        "Unicode 14）相比，已分配的字符中只有 U+1171E 不同。"
    ),
    "Lone surrogates, halves of characters in badly cut text: ZH-CLIP's own tokenizer drops them, the converted one "
    "refuses the text.": (
        "孤立的代理项（文本被错误截断后留下的半个字符）：ZH-CLIP 自己的分词器会丢掉它们，转换后的分词器会拒绝这样的"
        "文本。"
    ),
    "R2D2's cross-encoder, which scores a picture and a text together, is left out: a dual encoder has no place for "
    "it. R2D2's published figures rank with its score, or with the sum of its score and the cosine; embeddings alone "
    "do not reach them.": (
        "R2D2 的交叉编码器（对一张图片和一段文本联合打分的部分）没有转换：双塔模型里没有它的位置。R2D2 公布的指标"
        "使用交叉编码器的分数，或该分数与余弦相似度之和来排序，只用向量达不到那些数值。"
    ),
    "It holds no text projection and no image tower: its vectors stand in no space with pictures, and comparing them "
    "with image vectors means nothing, those of the CLIP that it was taken from included. It serves as a BERT: to be "
    "fine-tuned, or as the start of a text tower.": (
        "它没有文本投影层，也没有图像塔：它的向量与图片不在同一个空间里，拿来与图像向量（包括它所出自的 CLIP 的图像"
        "向量）比较没有意义。它可以当作 BERT 使用：用来微调，或作为文本塔的初始权重。"
    ),
    "What it pools (the tanh of a layer over the state of [CLS]) was trained to be projected, and not as an embedding "
    "of sentences.": ("它池化的结果（[CLS] 的状态经过一层线性变换再取 tanh）在训练中是要再经过投影的，不是句向量。"),
    "The words [CLS], [SEP] and [UNK] where they stand alone in a text: Wukong's own tokenizer takes them for its "
    "special tokens, the converted one for ordinary characters, because here the first [SEP] ends a text.": (
        "文本中单独出现的 [CLS]、[SEP] 和 [UNK]：Wukong 自己的分词器把它们当作特殊词元，转换后的分词器把它们当作普通"
        "字符，因为在这里第一个 [SEP] 就是文本的结尾。"
    ),
    "Characters that Unicode added or reclassified lately, or has not assigned: the ids that Wukong's own tokenizer "
    "gives them change with the Python that runs it, and it drops those that this Python's Unicode does not have.": (
        "Unicode 近期新增、重新归类或尚未分配的字符：Wukong 自己的分词器给出的 id 随所用的 Python 版本而变，该版本的 "
        "Unicode 中没有的字符会被它丢掉。"
    ),
    "Lone surrogates, halves of characters in badly cut text: Wukong's own tokenizer drops them, the converted one "
    "refuses the text.": (
        "孤立的代理项（文本被错误截断后留下的半个字符）：Wukong 自己的分词器会丢掉它们，转换后的分词器会拒绝这样的"
        "文本。"
    ),
    "Pictures that are neither RGB nor grey: they are resized in their own mode and then made RGB, as Wukong's image "
    "transform does; the loader of its ImageNet script makes them RGB before that.": (
        "既非 RGB 也非灰度的图片：先按原有模式缩放，再转成 RGB，与 Wukong 的图像变换一致；它的 ImageNet 评测脚本在读取"
        "图片时就已转成 RGB。"
    ),
    "The MindSpore code for which this file was released computes in half precision and with an epsilon of 1e-7; the "
    "weights are those of the PyTorch release, trained with 1e-5, which is what counts here.": (
        "这个文件所配套的 MindSpore 代码以半精度计算，epsilon 为 1e-7；权重与 PyTorch 版相同，训练时的 epsilon 是 "
        "1e-5，这里以它为准。"
    ),
    # losses, as natives.py says them
    "the causal mask of the text tower: there every token sees all others": (
        "文本塔的因果掩码（那里每个词元都能看到其他词元）"
    ),
    "the image tower: it is CLIP's modified ResNet, and no class of transformers has one": (
        "图像塔：它是 CLIP 的改版 ResNet，transformers 没有这样的类"
    ),
    "the raw class token: there a layer norm would be applied to it": (
        "未经归一化的 class token（那里会再做一次 layer norm）"
    ),
    "that the text tower attends to padding whatever mask it is given": "文本塔不论有无掩码都会注意到填充",
    "the pooling of texts: the state of [CLS] is taken here, and there it goes through a tanh pooler": (
        "文本的池化：这里直接取 [CLS] 的状态，那里还要经过 tanh pooler"
    ),
    "the tanh pooler of texts: there the state of [CLS] is taken as it is": (
        "文本的 tanh pooler（那里直接取 [CLS] 的状态）"
    ),
    "the pooling of texts: here the mean over all tokens, there one token": (
        "文本的池化：这里对所有词元取平均，那里只取一个词元"
    ),
    "the bias of the text projection": "文本投影的偏置",
    "the bias of the image projection": "图像投影的偏置",
    "the second layer of the text projection and the GELU between the two": "文本投影的第二层以及两层之间的 GELU",
    "the second layer of the image projection and the GELU between the two": "图像投影的第二层以及两层之间的 GELU",
    "Badly decoded characters and HTML entities stay as they are: open_clip mends them first (ftfy, html.unescape). "
    "What ftfy does to single characters is done here, too: wide forms, curled quotes, ligatures.": (
        "乱码和 HTML 实体保持原样：open_clip 会先修复它们（ftfy、html.unescape）。ftfy 对单个字符所做的事"
        "这里同样会做：全角字符、弯引号、连字。"
    ),
    "A text that itself holds <|startoftext|> or <|endoftext|> is cut at them, as OpenAI's own code cuts it; in "
    "open_clip these two are called <start_of_text> and <end_of_text>.": (
        "如果文本自身含有 <|startoftext|> 或 <|endoftext|>，会像 OpenAI 自己的代码那样把它们当作特殊标记；"
        "在 open_clip 中，这两个标记叫作 <start_of_text> 和 <end_of_text>。"
    ),
}
"""English -> Chinese."""

PATTERNS = tuple(
    (re.compile(pattern), chinese)
    for pattern, chinese in (
        # of a report: what was compared, pictures by mode and size, packages by name and version
        (r"SHA-256 of (\d+) files", r"\1 个文件的 SHA-256"),
        (r"token ids of (\d+) texts", r"\1 条文本的词元 id"),
        (r"embeddings of (\d+) inputs in float64", r"\1 个输入的向量（float64）"),
        (r"embeddings in (\w+)", r"向量（\1）"),
        (r"embeddings in (\w+), where the witness overflows, too", r"向量（\1，对照方同样溢出）"),
        (r"pooled states of (\d+) inputs in float64", r"\1 个输入池化后的状态（float64）"),
        (r"pooled states in (\w+)", r"池化后的状态（\1）"),
        (r"states of (\d+) inputs in float64", r"\1 个词元的状态（float64）"),
        (r"states in (\w+)", r"词元的状态（\1）"),
        (r"(\d+) fields of (\w+) for training", r"\2 中只在训练时起作用的 \1 个字段"),
        (r"(\d+) fields of (\w+) for training \((.+)\)", r"\2 中只在训练时起作用的 \1 个字段（\3）"),
        (r"(\S+) with transparency (\d+x\d+)", r"\1（带透明色）\2"),
        (r"EXIF-rotated (\d+x\d+)", r"带 EXIF 旋转标记 \1"),
        (r"[\w;]+ \d+x\d+", r"\g<0>"),
        (r"[\w.-]+ \d[\w.+]*", r"\g<0>"),
        # of rows without a word, as prepared.py says it
        (
            r"The text tower has (\d+) rows for words and its vocabulary (\d+) words\. The rows beyond are taken for "
            r"padding up to a multiple of (\d+), which no text reaches\.",
            r"文本塔的词嵌入有 \1 行，词表有 \2 个词。多出的行视为补齐到 \3 的倍数的填充，任何文本都用不到。",
        ),
        # of an unusual scale, as scale.py says it
        (
            r"The logit_scale of the source is (\S+), a factor of (\S+) on the cosines: above 100, at which CLIP's "
            r"trainings clamp it\. It is kept as it is\.",
            r"来源的 logit_scale 是 \1，即余弦乘以 \2：超过了 100，而 CLIP 的训练把它限制在 100 以内。这里原样保留。",
        ),
        (
            r"The logit_scale of the source is (\S+), a factor of (\S+) on the cosines, so that a softmax over them "
            r"is nearly flat\. It is kept as it is\.",
            r"来源的 logit_scale 是 \1，即余弦乘以 \2，因此对它们做 softmax 得到的概率几乎是均匀的。这里原样保留。",
        ),
        (
            r"The logit_scale of the source is (\S+), a factor of (\S+) on the cosines, so that a softmax over them "
            r"is nearly flat\. It is kept as it is\. If the number is a temperature, (\S+) was meant: the logarithm "
            r"of its inverse\.",
            r"来源的 logit_scale 是 \1，即余弦乘以 \2，因此对它们做 softmax 得到的概率几乎是均匀的。这里原样保留。"
            r"如果这个数其实是温度，应当写的是它的倒数的对数 \3。",
        ),
        # of a loss that has no sentence of its own
        (r"(\S+) (.+): there it can only be (.+)", r"\1 为 \2（那里只能是 \3）"),
        # why a repo is not verified
        (r"there is no (\S+)", r"没有 \1"),
        (r"its (\S+) can't be read, or is of another version", r"其 \1 无法读取，或版本不符"),
        (r"its (\S+) names (.+), which no converted repo holds", r"其 \1 列出了 \2，这不是转换得到的仓库里的文件"),
        (r"changed or missing since the report was written: (.+)", r"报告写成之后有改动或缺失：\1"),
        (
            r"these files are not those that were verified \(changed since then: (.+); "
            r"missing, or links to elsewhere: (.+)\)",
            r"文件与验证时的不同（有改动：\1；缺失或链接到别处：\2）",
        ),
        (
            r"these files are not those that were verified \(changed since then: (.+)\)",
            r"文件与验证时的不同（有改动：\1）",
        ),
        (
            r"these files are not those that were verified \(missing, or links to elsewhere: (.+)\)",
            r"文件与验证时的不同（缺失或链接到别处：\1）",
        ),
    )
)
"""English with a number or a name in it -> Chinese, the first that fits."""


def translate(english: str, language: str) -> str:
    """A sentence or a word in the language of a card's half."""
    if language != "zh":
        return english
    if english in CHINESE:
        return CHINESE[english]
    found = ((pattern.fullmatch(english), chinese) for pattern, chinese in PATTERNS)
    return next((match.expand(chinese) for match, chinese in found if match), None) or untranslated(english)


def untranslated(english: str) -> str:
    """What the Chinese half says where the Chinese is not known, as of a report of a later version."""
    return f"（英文原文）{english}"
