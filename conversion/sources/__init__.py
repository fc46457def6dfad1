"""The registry: one line a source."""

from ..source import Source
from . import bert_clip, cn_clip, hf_clip, taiyi

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        cn_clip.SOURCE,
        bert_clip.SOURCE,
        taiyi.SOURCE,
        hf_clip.SOURCE,
    )
}
