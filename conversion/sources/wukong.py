"""Wukong with global similarity (`_g`), of Huawei Noah's Ark Lab: the PyTorch release and MindSpore's numpy pickle."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..layouts import openai as openai_towers
from ..layouts import towers
from ..layouts.unstated import PUBLISHED as PUBLISHED_FACTS
from ..mapping import Rule, Shape, rename
from ..reading.read import Checkpoint
from ..source import Files, Relative, Signature, Source, Tower, Whole
from ..tokenizers import limits
from ..words import Words

TEXT, BLOCKS = "transformer.", "transformer.resblocks."
SCALE = "loss.logit_scale"

# model/language/transformer.py and model/vision/vision_transformer.py.
ACTIVATION = "quick_gelu"
EPS = 1e-5
"""torch's default eps, which training used.

The MindSpore release's pickle holds the same weights under torch's names (src/tools/model_utils.py). Its port's layer
norms use MindSpore's 1e-7, but no model was trained with 1e-7.
"""

VISION_HEAD_WIDTH = 64
"""model/vision/vision_transformer.py: `heads = width // 64`."""

PAD, CLS, SEP = 0, 101, 102
"""data/tokenizer: texts are padded with zeros; model/wukong.py pools at the last non-zero id, which is [SEP]."""

# (text width, embedding, image width, patch) -> name and heads of the text tower: configs/wukong_vit_{b,l}/*_g.py.
PUBLISHED: Mapping[tuple[int, ...], tuple[str, int]] = {
    (512, 512, 768, 32): ("ViT-B-32", 8),
    (768, 768, 1024, 14): ("ViT-L-14", 12),
}

LAYERS = {"ViT-B-32": (12, 12), "ViT-L-14": (12, 24)}
"""The layers of the text and the image tower, by the same names."""

LIMITS = (
    Words(
        "The words [CLS], [SEP] and [UNK] as separate words in a text: Wukong's own tokenizer reads them as special "
        "tokens. The converted tokenizer reads them as ordinary characters, because here the first [SEP] ends a text.",
        "文本中单独出现的 [CLS]、[SEP] 和 [UNK]：Wukong 自己的分词器把它们当作特殊词元，转换后的分词器把它们当作普通"
        "字符，因为在这里第一个 [SEP] 就是文本的结尾。",
    ),
    Words(
        "Characters that Unicode added or reclassified recently, or has not assigned: the ids from Wukong's own "
        "tokenizer depend on the version of Python. Wukong's tokenizer drops the characters that Python's version of "
        "Unicode does not have.",
        "Unicode 近期新增、重新归类或尚未分配的字符：Wukong 自己的分词器给出的 id 随所用的 Python 版本而变，该版本的 "
        "Unicode 中没有的字符会被它丢掉。",
    ),
    limits.LONE_SURROGATES.filled(owner="Wukong"),
    Words(
        "Pictures that are neither RGB nor grey are resized in their own mode and then made RGB, as in Wukong's image "
        "transform. The loader of Wukong's ImageNet script makes them RGB before resizing.",
        "既非 RGB 也非灰度的图片：先按原有模式缩放，再转成 RGB，与 Wukong 的图像变换一致；它的 ImageNet 评测脚本在读"
        "取图片时就已转成 RGB。",
    ),
)
"""The card's sentences about texts and pictures: when they can differ from Wukong's own."""

MINDSPORE_LIMIT = Words(
    "This file was released for MindSpore code that computes in half precision with an epsilon of 1e-7. The weights "
    "are the same as in the PyTorch release and were trained with an epsilon of 1e-5. The converted model uses 1e-5.",
    "这个文件所配套的 MindSpore 代码以半精度计算，epsilon 为 1e-7；权重与 PyTorch 版相同，训练时的 epsilon 是 1e-5，"
    "这里以它为准。",
)
"""The card's sentences if the weights come from a pickle of numpy arrays."""

REMOVED = r"(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\uFFFD]"
"""Control, format and private-use characters (data/tokenizer/simple_tokenizer.py: `is_control`)."""

WORD_LIMIT = 100
"""A word with more characters is [UNK] (the same file: `max_input_chars_per_word`)."""


def rules(keys: Collection[str]) -> tuple[Rule, ...]:
    """Both towers and, if it exists, the scale of the loss."""
    scale = (rename(SCALE, "logit_scale"),) if SCALE in keys else ()
    return (*towers.openai_text(TEXT, BLOCKS), *towers.openai_vit(fused="in_proj_"), *scale)


def home(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The only layout."""
    return rules((SCALE,))


def describe(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Whole:
    """Reads the sizes from shapes; the text tower's heads are published, or stated in `config`.

    `config` is upstream's dict in configs/*/*.py as JSON: `is_token_wise`, and `heads` under `text`.
    """
    shapes = checkpoint.shapes
    name, heads = _variant(shapes, config)
    if SCALE not in shapes:
        raise InputError(
            f"{checkpoint.name} holds no {SCALE}, the factor on Wukong's cosines, and no value is made up for it. If "
            f"you know the factor, write its logarithm into the state dict and save the state dict again: "
            f"state_dict['{SCALE}'] = torch.tensor(FACTOR).log(). Embeddings do not depend on the factor; the factor "
            "1 leaves the cosines unchanged."
        )
    text = openai_towers.text_tower(
        shapes, TEXT, BLOCKS, heads=heads, activation=ACTIVATION, eps=EPS, ends=(CLS, SEP), pad=PAD
    )
    heads_in_vision = shapes["visual.conv1.weight"][0] // VISION_HEAD_WIDTH
    vision = openai_towers.vit_tower(shapes, heads_in_vision, ACTIVATION, EPS)
    from_numpy = checkpoint.container.startswith("pickle of numpy arrays")
    return Whole(
        architecture=f"Wukong {_named(name, text, vision)} (global)",
        text=text,
        vision=vision,
        image_order="crop_then_rgb",
        context_length=text.config["max_position_embeddings"],
        image_size=vision.config["image_size"],
        limits=(
            *LIMITS,
            *((MINDSPORE_LIMIT,) if from_numpy else ()),
            *(() if "text" in config else (PUBLISHED_FACTS,)),
        ),
    )


def _named(name: str, text: Tower, vision: Tower) -> str:
    """The published name if both towers have the published depth, else the towers' sizes."""
    found = text.config["num_hidden_layers"], vision.config["num_hidden_layers"]
    if LAYERS.get(name) == found:
        return name
    width, patch = vision.config["hidden_size"], vision.config["patch_size"]
    return f"ViT {width}x{found[1]}/{patch} with text {text.config['hidden_size']}x{found[0]}"


def _variant(shapes: Mapping[str, Shape], config: Mapping[str, Any]) -> tuple[str, int]:
    """A size's name and its text tower's heads, published or stated.

    Raises:
        InputError: the model scores token by token, or its size is neither published nor stated.
    """
    text, vision = shapes[TEXT + "text_projection"], shapes["visual.conv1.weight"]
    sizes = (*text, vision[0], vision[-1])
    name, published = PUBLISHED.get(sizes, (f"ViT {vision[0]}/{vision[-1]}", None))
    token_wise = config.get("is_token_wise", False if published else None)
    stated = config.get("text", {})
    if not isinstance(stated, Mapping):
        raise InputError(f"--config states text {stated!r}; an object with the field heads was wanted.")
    heads = stated.get("heads", published)
    if token_wise is True:
        raise InputError(
            "--config states is_token_wise true. This kind of Wukong scores token by token, so it has no single "
            "vector for a picture or a text, and cannot be converted."
        )
    if token_wise is None or heads is None:
        raise InputError(
            f"A text tower of width {text[0]} with vectors of {text[-1]} numbers and a {name} is not a published size "
            "of Wukong. The weights do not show the number of text heads, and do not show whether the model scores "
            "token by token. A wrong number of heads would load, too, and give wrong embeddings. Write both facts "
            'into a JSON file, as in Wukong\'s configs: {"is_token_wise": false, "text": {"heads": NUMBER}}, and pass '
            "--config FILE."
        )
    if vision[0] < VISION_HEAD_WIDTH or vision[0] % VISION_HEAD_WIDTH:
        raise InputError(
            f"The image tower is {vision[0]} wide; wanted a multiple of {VISION_HEAD_WIDTH}, the width of its heads."
        )
    if token_wise is not False:
        raise InputError(f"--config states is_token_wise {token_wise!r}; true or false was wanted.")
    if type(heads) is not int:
        raise InputError(f"--config states text.heads {heads!r}; a whole number was wanted. Correct this field.")
    if heads < 1 or text[0] % heads:
        raise InputError(
            f"--config states text.heads {heads!r}; wanted a divisor of the width {text[0]}. Correct this field."
        )
    return name, heads


def tokenizer(vocabulary: Path | None, context_length: int) -> Any:
    """Wukong's SimpleTokenizer as a fast tokenizer.

    Differs from cn_clip's tokenizer in the word length limit, and removes private-use characters. The releases'
    vocabulary ships with this package.

    Raises:
        InputError: the vocabulary's ids of [PAD] and [SEP] differ from the ids that the model's pooling uses.
    """
    from tokenizers import Regex, normalizers

    from ..tokenizers.builders import ACCENT, FINAL_SIGMA, cn_clip_tokenizer
    from ..tokenizers.vocabularies import default_vocab, read_vocab

    vocab = default_vocab() if vocabulary is None else read_vocab(vocabulary)
    if len(vocab) <= SEP or (vocab[PAD], vocab[SEP]) != ("[PAD]", "[SEP]"):
        raise InputError(
            f"Wukong pads with id {PAD} and ends a text with id {SEP}, but the vocabulary has {vocab[PAD]!r} and "
            f"{vocab[SEP] if len(vocab) > SEP else 'nothing'!r} under these ids. Pass the vocabulary that the model "
            "was trained with: --tokenizer PATH."
        )
    fast = cn_clip_tokenizer(vocab, context_length)
    fast.backend_tokenizer.model.max_input_chars_per_word = WORD_LIMIT
    fast.backend_tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(REMOVED), ""),
            normalizers.Replace(Regex(FINAL_SIGMA), "ς"),
            normalizers.Lowercase(),
            normalizers.NFD(),
            normalizers.Replace(Regex(ACCENT), ""),
        ]
    )
    return fast


LOAD = """\
from data.tokenizer import SimpleTokenizer  # of Pretrained-Language-Model/Noah_WuKong
from main import img_transform
from model.builder import build_model

model = build_model({{**{config!r}, "pretrained": f"{{folder}}/wukong.ckpt"}}).eval()
tokenizer, preprocess = SimpleTokenizer(), img_transform({size})"""


def load(config: Mapping[str, Any], stated: Mapping[str, Any]) -> str:
    """Upstream's builder with a dict as in its configs/*/*.py."""
    text, vision = config["text_config"], config["vision_config"]
    size = vision["image_size"]
    image = {
        "type": "VisionTransformer",
        "input_resolution": size,
        "layers": vision["num_hidden_layers"],
        "width": vision["hidden_size"],
        "patch_size": vision["patch_size"],
    }
    texts = {
        "type": "TextTransformer",
        "context_length": text["max_position_embeddings"],
        "vocab_size": text["vocab_size"],
        "width": text["hidden_size"],
        "heads": text["num_attention_heads"],
        "layers": text["num_hidden_layers"],
    }
    whole = {"type": "Wukong", "embed_dim": config["projection_dim"], "visual": image, "text": texts}
    return LOAD.format(config={**whole, "is_token_wise": False}, size=size)


FILES = Files(weights=("wukong.ckpt",), under="state_dict", load=load)


TOKEN_WISE = "It scores token by token, so it has no single vector for a picture or a text, and cannot be converted."

RELATIVES = (
    Relative("Wukong with token reduction", ("visual.token_reduction.*",), TOKEN_WISE, altered=True),
    Relative("Wukong with token reduction", ("visual.token_learner.*",), TOKEN_WISE, altered=True),
    Relative(
        "FILIP Wukong (token-wise, `_f`)",
        ("visual.conv1.weight", "transformer.token_embedding.weight", "transformer.resblocks.{}.*"),
        TOKEN_WISE,
        # This model has width 256. Models with global similarity have the same towers and keys, and widths 512 and
        # 768.
        sizes={"transformer.text_projection": ((512, 256), (768, 256))},
        altered=True,
    ),
    Relative(
        "Wukong with a Swin image tower",
        ("visual.layers.{}.blocks.*", "visual.patch_embed.*", "transformer.token_embedding.weight"),
        "It is not converted, because its image tower is no CLIP ViT.",
    ),
)


SOURCE = Source(
    name="wukong",
    title="Wukong with global similarity (Huawei Noah, `_g`)",
    part="dual",
    signatures=(
        Signature(
            required=(
                "visual.conv1.weight",
                "visual.transformer.resblocks.{}.mlp.c_fc.weight",
                "visual.proj",
                "transformer.token_embedding.weight",
                "transformer.resblocks.{}.mlp.c_fc.weight",
                "transformer.text_projection",
            ),
            absent=("visual.token_reduction.*", "visual.token_learner.*"),
        ),
    ),
    describe=describe,
    describe_image=describe,
    rules=rules,
    home=home,
    tokenizer=tokenizer,
    files=FILES,
    limits=(*LIMITS, PUBLISHED_FACTS),
    limits_of_some=(MINDSPORE_LIMIT,),
    reads_config_json=False,
    relatives=RELATIVES,
)
