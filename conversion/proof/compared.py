"""The names of comparisons in reports and cards: one row for each kind, in both languages."""

from dataclasses import dataclass

from ..words import Words
from . import samples

FILES = Words("SHA-256 of {count} files", "{count} 个文件的 SHA-256")
CODE = Words("{count} files of code, byte for byte", "{count} 个代码文件（逐字节）")
FOREIGN_CODE = Words("code from no known version ({names})", "不属于任何已知版本的代码（{names}）")
FILE_TENSORS = Words("file tensors", "文件中的张量")
LOADED = Words("loaded parameters and buffers", "加载后的参数和缓冲区")
TRAINING = Words("{count} fields of {side} for training", "{side} 中只在训练时起作用的 {count} 个字段")
TRAINING_DIFFERS = Words(
    "{count} fields of {side} for training ({fields})", "{side} 中只在训练时起作用的 {count} 个字段（{fields}）"
)
DTYPE = Words.same("dtype")
ROWS = Words("{count} rows of the vocabulary", "词表的 {count} 行")
RULES = Words("{count} merges or scores", "{count} 条合并规则或分数")
STEPS = Words("{count} steps of the tokenizer", "分词器的 {count} 个步骤")
CALL = Words("{call} in float64, inputs: {count}", "{call}（float64，{count} 个输入）")
TOKEN_IDS = Words("token ids of {count} texts", "{count} 条文本的词元 id")
LOGITS = Words("logits_per_image / exp(logit_scale) in float64", "logits_per_image / exp(logit_scale)（float64）")
LOGIT_SCALE = Words.same("logit_scale")

OVERFLOWING = Words("{dtype}, where the witness overflows, too", "{dtype}，对照方同样溢出")
"""A dtype in which these weights overflow for the witness too."""

# The other side of a comparison without computation.
SOURCE_TENSORS = Words("the source's tensors", "来源文件的张量")
TRAINED = Words("the trained tensors", "训练得到的张量")
WRITTEN_TENSORS = Words("the file's tensors", "文件中的张量")
FAMILY_TOKENIZER = Words("the tokenizer of its format", "该格式的分词器")
OLDER_REPO = Words("the older repo", "旧仓库")
REPO = Words("the repo", "仓库")
OWN_CODE = Words("hf_zhclip {version}", "hf_zhclip {version}")


@dataclass(frozen=True)
class Vectors:
    """The names of a model's output: for many inputs in float64, and in a narrower dtype."""

    exact: Words
    narrow: Words


EMBEDDINGS = Vectors(
    Words("embeddings of {count} inputs in float64", "{count} 个输入的向量（float64）"),
    Words("embeddings in {dtype}", "向量（{dtype}）"),
)
STATES = Vectors(
    Words("states of {count} inputs in float64", "{count} 个词元的状态（float64）"),
    Words("states in {dtype}", "词元的状态（{dtype}）"),
)
POOLED = Vectors(
    Words("pooled states of {count} inputs in float64", "{count} 个输入池化后的状态（float64）"),
    Words("pooled states in {dtype}", "池化后的状态（{dtype}）"),
)


def picture(name: str) -> Words:
    """The name of a picture in `samples`."""
    return Words(name, samples.CHINESE_NAMES.get(name, name))
