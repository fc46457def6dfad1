"""The registry: one line a source."""

from ..source import Source
from . import bert_clip, chinese_clip, cn_clip, easynlp, hf_clip, modelscope, prd2, taiyi, taiyi_clip

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        cn_clip.SOURCE,
        bert_clip.SOURCE,
        chinese_clip.SOURCE,
        taiyi_clip.SOURCE,
        taiyi.SOURCE,
        hf_clip.SOURCE,
        prd2.SOURCE,
        modelscope.SOURCE,
        easynlp.SOURCE,
    )
}
