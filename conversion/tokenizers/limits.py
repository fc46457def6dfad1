"""The card's sentences about texts for which a rebuilt tokenizer cannot follow the original's slow tokenizer."""

from ..words import Words

RECENT_CHARACTERS = Words(
    "Characters that Unicode added or reclassified recently: the ids from {owner}'s own tokenizer depend on the "
    "version of Python. Compared with Python 3.11 (Unicode 14), U+1171E is the only assigned character that differs.",
    "Unicode 近期新增或重新归类的字符：{owner} 自己的分词器给出的 id 也随所用的 Python 版本而变。与 Python 3.11（"
    "Unicode 14）相比，已分配的字符中只有 U+1171E 不同。",
)
LONE_SURROGATES = Words(
    "Lone surrogates (halves of characters in badly cut text): {owner}'s own tokenizer drops them, and the converted "
    "tokenizer refuses the text.",
    "孤立的代理项（文本被错误截断后留下的半个字符）：{owner} 自己的分词器会丢掉它们，转换后的分词器会拒绝这样的文本。",
)
"""For transformers' slow BertTokenizer and tokenizers modelled on it: `owner` is the project that uses it."""
