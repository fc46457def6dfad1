"""Which source claims these keys; exactly one must."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import InputError, UnknownFormat
from ..mapping import Shape, fold, matches, plan
from ..reading.namesakes import refuse_older_checkpoint
from ..reading.read import Checkpoint
from ..reading.wrappers import OWN_SCRIPT
from ..source import Signature, Source
from ..sources import SOURCES


@dataclass(frozen=True)
class Relative:
    """A known neighbour of our formats that this version does not convert."""

    title: str
    required: tuple[str, ...]
    advice: str
    sizes: Mapping[str, tuple[Shape, ...]] = field(default_factory=dict)


NOTHING_TO_CONVERT = "There is nothing to convert: AutoModel of transformers loads its folder by itself."

STOCK_TYPES = {"altclip": "AltCLIP", "siglip": "SigLIP", "siglip2": "SigLIP 2", "metaclip_2": "MetaCLIP 2"}
"""Dual encoders that transformers has itself and that no source reads, by the model type of their config.json."""

TOKEN_WISE = (
    "It scores token by token, so that no single vector stands for a picture or a text: it can't be converted."
)

NOT_BACK = "They can't be turned back: convert the checkpoint from before the quantisation."

LEGACY_HEAD = (
    "If it is one of Multilingual-CLIP's first models (M-BERT-Base-ViT-B ...), put the pickle of its head into its "
    "folder: '... Linear Weights.pkl', which legacy_get-weights.sh of FreddeFrallan/Multilingual-CLIP fetches."
)

OPENAI_OR_OPEN_CLIP = (
    "A model that was trained with open_clip: --format open_clip --config FILE, with its open_clip_config.json, whose "
    "model_cfg is the JSON of its name in open_clip's model_configs. OpenAI's own weights, or a model that was "
    "fine-tuned from them: --format openai_clip."
)

CHOICES = {"embeddings.word_embeddings.weight": LEGACY_HEAD, "token_embedding.weight": OPENAI_OR_OPEN_CLIP}
"""What helps to choose among formats of the same keys, by a key that these have."""

SHARED_TYPES = ("clip",)
"""Model types that classes of other projects (BertCLIP, TaiyiCLIP) keep from the one that they are derived from."""

# What may have been done to a model of any format, or has the keys of one in other sizes: these are named even where a
# source claims the other keys.
ALTERED = (
    Relative(
        "a LoRA adapter, or a model with unmerged LoRA weights",
        ("*lora_A*",),
        "Merge it with PEFT's merge_and_unload() and save the result.",
    ),
    Relative("a model with quantised weights", ("*_packed_params*",), NOT_BACK),
    Relative("a model with quantised weights (bitsandbytes)", ("*.quant_state*",), NOT_BACK),
    Relative("a model with quantised weights (bitsandbytes, 8 bit)", ("*.SCB",), NOT_BACK),
    Relative("Wukong with token reduction", ("visual.token_reduction.*",), TOKEN_WISE),
    Relative("Wukong with token reduction", ("visual.token_learner.*",), TOKEN_WISE),
    Relative(
        "FILIP Wukong (token-wise, `_f`)",
        ("visual.conv1.weight", "transformer.token_embedding.weight", "transformer.resblocks.{}.*"),
        TOKEN_WISE,
        # 256 numbers; the global ones of the same towers, which have the same keys, end in 512 and 768.
        sizes={"transformer.text_projection": ((512, 256), (768, 256))},
    ),
)

# Order matters: the first whose keys are all there is named.
RELATIVES = (
    Relative(
        "Wukong with a Swin image tower",
        ("visual.layers.{}.blocks.*", "visual.patch_embed.*", "transformer.token_embedding.weight"),
        "Its image tower is no CLIP ViT, and it is not converted.",
    ),
    Relative(
        "EasyNLP's Wukong",
        ("model.visual_encoder.*", "model.text_encoder.*", "model.logit_scale"),
        "It computes with another epsilon than the published Wukong, and is not converted: convert the original.",
    ),
    Relative(
        "EasyNLP's CLIP (huggingface_clip)",
        ("vision_encoder.*", "vision_projection.*", "text_encoder.*"),
        "Its projections stand on the poolers of a RoBERTa and of a CLIP of its own, and it is not converted.",
    ),
    Relative(
        "EasyNLP's open_clip",
        ("open_clip.visual.*", "open_clip.*"),
        "An English CLIP under a prefix of EasyNLP's is not converted: convert the open_clip model that it came from.",
    ),
    Relative(
        "a ModelScope model from before August 2022",
        ("vision_encoder.*", "text_encoder.*", "logit_scale"),
        "It is another architecture under the same name, which is not converted: fetch today's version of the model.",
    ),
    Relative("AltCLIP", ("text_model.roberta.*", "text_model.transformation.*"), NOTHING_TO_CONVERT),
    Relative(
        "SigLIP or SigLIP 2 as Hugging Face has them",
        ("text_model.head.*", "vision_model.head.probe", "logit_bias"),
        NOTHING_TO_CONVERT,
    ),
    Relative(
        "SigLIP as open_clip has it",
        ("visual.*", "logit_bias"),
        "Its logits have a bias beside the scale, which the converted model has no place for: it is not converted.",
    ),
    Relative(
        "CoCa as open_clip has it",
        ("visual.attn_pool.*", "text_decoder.*"),
        "It pools its pictures through an attention, and writes texts beside them: it is not converted.",
    ),
    Relative(
        "open_clip with an image tower of timm",
        ("visual.trunk.*",),
        "That is no CLIP ViT, and it is not converted.",
    ),
    Relative(
        "open_clip with a text tower of Hugging Face that is none of XLM-R's kind (mT5, m2m_100)",
        ("visual.*", "text.transformer.*", "text.proj.*"),
        "It is not converted: of these text towers xlm-roberta-base and xlm-roberta-large are.",
    ),
    Relative(
        "the tower of a Multilingual-CLIP without its LinearTransformation",
        ("transformer.embeddings.word_embeddings.weight", "transformer.encoder.layer.{}.*"),
        "Its texts stand in no space with pictures: convert a file or folder that holds that, too.",
    ),
    Relative(
        "a DistilBERT alone, as the text tower of sentence-transformers' multilingual CLIP is one",
        ("embeddings.word_embeddings.weight", "transformer.layer.{}.*"),
        "Its projection lies beside it, in 2_Dense: name the folder that holds modules.json, not a file in it. "
        + LEGACY_HEAD,
    ),
    Relative(
        "a BERT without a pooler: a text tower that stands in no space with pictures",
        ("embeddings.word_embeddings.weight", "encoder.layer.{}.*"),
        "Nothing says what stands for a text in it, so it is not converted: AutoModel of transformers loads it as it "
        "is.",
    ),
)


@dataclass(frozen=True)
class Detection:
    """The source that claims a checkpoint, how sure that is, why, and whether files beside the weights say it, too."""

    source: Source
    certainty: str
    why: str
    beside: bool = False


def detect(checkpoint: Checkpoint, format: str | None = None) -> Detection:
    """Finds the one source whose signature fits, or holds the checkpoint against the one that the user named.

    Raises:
        UnknownFormat: naming a known relative, the candidates to choose from with `--format`, or the nearest format
            and the keys that differ.
    """
    _refuse_placeholders(checkpoint)
    _refuse_converted(checkpoint)
    refuse_older_checkpoint(checkpoint)
    _refuse_stock(checkpoint)
    if altered := _relative(checkpoint, ALTERED):
        raise UnknownFormat(altered)
    if format is not None:
        return _named(checkpoint, format)
    found = [detection for source in SOURCES.values() if (detection := _claim(source, checkpoint))]
    found = [detection for detection in found if detection.beside] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise _choose(checkpoint, [detection.source for detection in found])
    if open_ := [source for source in SOURCES.values() if _fitting(source, checkpoint)]:
        raise _choose(checkpoint, open_)
    raise UnknownFormat(_unknown(checkpoint))


def _named(checkpoint: Checkpoint, format: str) -> Detection:
    if format not in SOURCES:
        raise InputError(f"There is no format {format!r}; there are {', '.join(SOURCES)}.")
    source = SOURCES[format]
    signature = _fitting(source, checkpoint)
    if signature is None:
        raise UnknownFormat(
            f"{checkpoint.name} is not {source.title}.\n{_difference(source, checkpoint)}", "contradicted"
        )
    if (other := _told(checkpoint)) and _contradicts(checkpoint, source, other):
        raise UnknownFormat(
            f"config.json names {', '.join(_classes(checkpoint))}, which is {other.title} [{other.name}]; --format "
            f"says {format}, whose model computes something else. Correct one of them.",
            "contradicted",
        )
    kind = checkpoint.config.get("model_type") if source.reads_config_json else None
    if kind is not None and signature.types and kind not in signature.types:
        raise UnknownFormat(
            f"config.json is of model_type {kind!r}, whose model computes something else from the same keys; --format "
            f"says {format}, whose model_type is {' or '.join(signature.types)}. If config.json is not that of these "
            "weights, put their own in its place; if it is, they are not converted.",
            "contradicted",
        )
    _refuse_beside(checkpoint, source)
    return Detection(source, "stated", f"--format {format}, and the keys agree")


def _refuse_beside(checkpoint: Checkpoint, source: Source) -> None:
    """Refuses a stated format where files beside the weights are another's, and state facts that it does not read."""
    for other in SOURCES.values():
        signature = _fitting(other, checkpoint)
        if other is not source and signature is not None and signature.beside:
            raise UnknownFormat(
                f"{_names(signature.beside)} beside the weights of {checkpoint.name}. It is {other.title} "
                f"[{other.name}] by that, and --format {source.name} would not read what it states there. It is found "
                "by itself: leave --format out.",
                "contradicted",
            )


def _names(beside: Sequence[str]) -> str:
    return f"{' and '.join(beside)} {'lies' if len(beside) == 1 else 'lie'}"


def _claim(source: Source, checkpoint: Checkpoint) -> Detection | None:
    """The source's claim, if its keys fit and what must decide beyond keys says yes."""
    signature = _fitting(source, checkpoint)
    if signature is None:
        return None
    said = set(_classes(checkpoint)) & set(signature.architectures)
    if signature.decides == "architectures" and said:
        return Detection(source, "certain", f"keys, and config.json names {', '.join(sorted(said))}")
    if signature.architectures and _classes(checkpoint) and not said:
        return None
    sizes = all(checkpoint.shapes.get(key) in allowed for key, allowed in signature.sizes.items())
    if signature.decides == "keys" and sizes:
        shapes = ", ".join(f"{key} {list(checkpoint.shapes[key])}" for key in signature.sizes)
        why = f"{len(signature.required)} keys that no other known format has together"
        if signature.beside:
            why = f"{len(signature.required)} keys, and {' and '.join(signature.beside)} beside them"
        certainty = "likely" if shapes else "certain"
        return Detection(source, certainty, f"{why}{', and ' + shapes if shapes else ''}", bool(signature.beside))
    return None


def _classes(checkpoint: Checkpoint) -> list[str]:
    """What config.json names: its classes, else its model type, which several of them may share."""
    found, kind = checkpoint.config.get("architectures"), checkpoint.config.get("model_type")
    named = [str(name) for name in found] if isinstance(found, list) else []
    return named or ([kind] if isinstance(kind, str) and kind not in SHARED_TYPES else [])


def _told(checkpoint: Checkpoint) -> Source | None:
    """The source that knows a class that config.json names; of two, the one that has these keys, too."""
    named = set(_classes(checkpoint))
    known = [
        source
        for source in SOURCES.values()
        if any(named & set(signature.architectures) for signature in source.signatures)
    ]
    return next((source for source in known if _fitting(source, checkpoint)), known[0] if known else None)


def _contradicts(checkpoint: Checkpoint, source: Source, other: Source) -> bool:
    """Whether another source, whose class is named, is meant: it has these keys, or classes tell the stated one."""
    signature = _fitting(source, checkpoint)
    told = signature is not None and (signature.architectures or signature.types)
    return other is not source and bool(_fitting(other, checkpoint) or told)


def _fitting(source: Source, checkpoint: Checkpoint) -> Signature | None:
    keys, beside = checkpoint.tensors, {file.name for file in checkpoint.files}
    for signature in source.signatures:
        if (
            all(_any(pattern, keys) for pattern in signature.required)
            and not any(_any(pattern, keys) for pattern in signature.absent)
            and beside.issuperset(signature.beside)
        ):
            return signature
    return None


def _any(pattern: str, keys: Iterable[str]) -> bool:
    return any(matches(pattern, key) for key in keys)


def _refuse_placeholders(checkpoint: Checkpoint) -> None:
    empty = [key for key, tensor in checkpoint.tensors.items() if tensor.numel() == 0]
    if empty:
        raise UnknownFormat(
            f"{checkpoint.name} holds empty placeholders in place of weights ({', '.join(fold(empty)[:3])} …): it is "
            f"a part of a DeepSpeed ZeRO-3 checkpoint. {OWN_SCRIPT}"
        )


def _refuse_converted(checkpoint: Checkpoint) -> None:
    if checkpoint.config.get("model_type") == "hf_zhclip":
        raise UnknownFormat(
            f"{checkpoint.name} is converted already: after `import hf_zhclip`, AutoModel.from_pretrained loads it. "
            "`zhclip export` writes it in another format; for another dtype or other files convert the original "
            "again.",
            "converted",
        )


def _refuse_stock(checkpoint: Checkpoint) -> None:
    kind = checkpoint.config.get("model_type")
    if isinstance(kind, str) and kind in STOCK_TYPES:
        raise UnknownFormat(f"{checkpoint.name} is {STOCK_TYPES[kind]}. {NOTHING_TO_CONVERT}")


def _choose(checkpoint: Checkpoint, candidates: Sequence[Source]) -> UnknownFormat:
    """What to say of keys that several sources have; none is offered where config.json names another class."""
    names = ", ".join(f"--format {source.name} ({source.title})" for source in candidates)
    said = _classes(checkpoint)
    if said and all(_fitting(source, checkpoint).architectures for source in candidates):
        return UnknownFormat(_named_otherwise(checkpoint, f"config.json names {', '.join(said)}"))
    word = f"config.json names {', '.join(said)}" if said else "no config.json says which model it is"
    helps = [help for key, help in CHOICES.items() if _any(key, checkpoint.tensors)]
    return UnknownFormat(
        f"The keys of {checkpoint.name} do not decide what it is, and {word}. Other models of the same keys pool "
        f"differently, so this is not guessed. If you know which one it is, say so: {' '.join([f'{names}.', *helps])}",
        "undecided",
    )


def _named_otherwise(checkpoint: Checkpoint, word: str) -> str:
    """Of a class that none of those with the same keys has: none of them is meant."""
    if told := _told(checkpoint):
        return f"{word}, but {checkpoint.name} is not {told.title}.\n{_difference(told, checkpoint)}"
    return f"{word}, which is not converted."


def _unknown(checkpoint: Checkpoint) -> str:
    if known := _relative(checkpoint, RELATIVES):
        return known
    nearest = max(SOURCES.values(), key=lambda source: _likeness(source, checkpoint.tensors))
    if not _likeness(nearest, checkpoint.tensors):
        some = "\n".join(f"  {key}" for key in fold(checkpoint.tensors)[:12])
        return (
            f"{checkpoint.name} is no format that is known here. It holds {len(checkpoint.tensors)} tensors:\n{some}"
        )
    return f"{checkpoint.name} is no format that is known here.\n{_difference(nearest, checkpoint)}"


def _relative(checkpoint: Checkpoint, relatives: Iterable[Relative]) -> str | None:
    """What to say of a checkpoint that is one of these."""
    for relative in relatives:
        sizes = all(checkpoint.shapes.get(key) in allowed for key, allowed in relative.sizes.items())
        if sizes and all(_any(pattern, checkpoint.tensors) for pattern in relative.required):
            return f"{checkpoint.name} is {relative.title}. {relative.advice}"
    return None


def _likeness(source: Source, keys: Collection[str]) -> float:
    return max(
        sum(_any(pattern, keys) for pattern in signature.required) / len(signature.required)
        for signature in source.signatures
    )


def _difference(source: Source, checkpoint: Checkpoint) -> str:
    """The keys by which a checkpoint differs from a source, folded."""
    keys = checkpoint.tensors
    best = max(source.signatures, key=lambda each: sum(_any(pattern, keys) for pattern in each.required))
    lines = [f"The nearest format is {source.name}, {source.title}."]
    if absent := [pattern for pattern in best.required if not _any(pattern, keys)]:
        lines.append("It would hold, but this does not:\n" + "\n".join(f"  {key}" for key in absent))
    if foreign := [pattern for pattern in best.absent if _any(pattern, keys)]:
        lines.append("It would not hold, but this does:\n" + "\n".join(f"  {key}" for key in foreign))
    there = {file.name for file in checkpoint.files}
    if missing := [name for name in best.beside if name not in there]:
        lines.append(
            "Beside its weights there would be, but here is not:\n" + "\n".join(f"  {name}" for name in missing)
        )
    problems = plan(source.rules(keys), checkpoint.shapes).problems.get("unknown keys (no rule claims them)", ())
    if problems:
        lines.append("Keys that it does not have:\n" + "\n".join(f"  {line}" for line in fold(problems)[:20]))
    return "\n".join(lines)
