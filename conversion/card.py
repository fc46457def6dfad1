"""Description and Report -> README.md: a minimal card, whose metadata the hub can read."""

from pathlib import Path

from huggingface_hub import ModelCardData

from .report import Report
from .source import Description

TEXT = """---
{metadata}
---

# {name}

A Chinese CLIP model ({architecture}), converted with hf_zhclip {version}. / 中文 CLIP 模型，由 hf_zhclip 转换。

```python
import hf_zhclip
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("PATH", device_map="auto")
processor = AutoProcessor.from_pretrained("PATH")
```

- Converted from {source}; {level}
- Texts are cut at {context_length} tokens, [CLS] and [SEP] included; the model has {positions} positions, and the
  original's own limit is {trained}.
{limits}
- A cosine between a picture and a text of 0.3 to 0.6 is usual; `logits_per_image` is the cosine times
  exp(logit_scale); a softmax over a single candidate is always 1.
- `conversion_report.json` holds what was compared with what, the hashes of the source and of every file.
"""

LEVELS = {
    "peer": "verified against the original's own package.",
    "reference": "verified against an independent reference implementation of the original.",
    "tensors": "NOT verified: only its tensors were compared.",
}


def write_card(folder: Path, description: Description, report: Report) -> None:
    """Writes README.md into a converted folder."""
    metadata = ModelCardData(
        language="zh",
        library_name="transformers",
        pipeline_tag="zero-shot-image-classification",
        tags=["clip", "zhclip"],
    )
    text = TEXT.format(
        metadata=metadata.to_yaml(),
        name=description.architecture,
        architecture=description.architecture,
        version=report.versions["hf-zhclip"],
        source=" and ".join(f"{each['name']} ({each['format']})" for each in report.sources),
        level=LEVELS[report.level],
        context_length=report.conversion["context_length"],
        positions=description.text.config["max_position_embeddings"],
        trained=description.context_length,
        limits="\n".join(f"- {limit}" for limit in description.limits),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
