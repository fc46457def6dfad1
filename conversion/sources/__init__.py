"""The registry of sources, one line each."""

from ..source import Source
from ..sources import (
    bert_clip,
    bert_from_clip,
    chinese_clip,
    cn_clip,
    easynlp,
    hf_clip,
    modelscope,
    multilingual_clip,
    open_clip,
    open_clip_xlm_roberta,
    openai_clip,
    prd2,
    sentence_transformers,
    taiyi,
    taiyi_clip,
    taiyi_finetune,
    wukong,
    zh_clip,
)

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        cn_clip.SOURCE,
        bert_clip.SOURCE,
        bert_from_clip.SOURCE,
        chinese_clip.SOURCE,
        taiyi_clip.SOURCE,
        taiyi.SOURCE,
        taiyi_finetune.SOURCE,
        multilingual_clip.SOURCE,
        hf_clip.SOURCE,
        prd2.SOURCE,
        wukong.SOURCE,
        modelscope.SOURCE,
        easynlp.SOURCE,
        sentence_transformers.SOURCE,
        openai_clip.SOURCE,
        open_clip.SOURCE,
        open_clip_xlm_roberta.SOURCE,
        zh_clip.SOURCE,
    )
}
