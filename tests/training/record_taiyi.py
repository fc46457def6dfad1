"""Run the training steps of Taiyi's fine-tune once and keep what they give in recorded/taiyi.json.

Its code exists only as a repository. In an environment of its own, from this repository's root:

    python3.11 -m venv ENV
    ENV/bin/pip install "transformers==4.27.4" "torch==2.13.0" "torchvision==0.28.0" "numpy<2" pillow \
        "pytorch-lightning==1.9.5" "setuptools<80"
    git clone https://github.com/IDEA-CCNL/Fengshenbang-LM CHECKOUT
    ENV/bin/python -m tests.training.record_taiyi CHECKOUT

The LightningModule, with its steps, optimiser and schedule, is that of fengshen/examples/clip_finetune, run by
Lightning's own Trainer in float64 on the CPU. The two models that it downloads are replaced by small models without
dropout, whose weights are those of tests/weights.py.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils.data import DataLoader

from tests.training.recording import (
    COUNT,
    EMBED,
    SIZE,
    TEXT,
    VISION,
    Batch,
    batches,
    changes,
    kept,
    started_from,
    versions,
    write,
)
from tests.training.recording import upstream as origin
from tests.weights import seeded_state_dict

FILE = "fengshen/examples/clip_finetune/clip_finetune_flickr.py"
LENGTH = 77
"""`context_length` of its data set, to which every text is padded."""


def main() -> None:
    checkout = Path(sys.argv[1])
    package = checkout / "fengshen"
    sys.path[:0] = [str(package / "examples" / "clip_finetune"), str(package)]
    import clip_finetune_flickr as upstream

    stand_in(upstream)
    data = batches(LENGTH)
    swapped = [tuple(each.roll(SIZE // 2, 0) for each in data[0])]
    losses, rates, module, before = trained(upstream, data)
    write(
        "taiyi",
        {
            **origin(checkout, "https://github.com/IDEA-CCNL/Fengshenbang-LM", FILE),
            "versions": versions("transformers", "pytorch-lightning"),
            "recipe": "tests/weights.py seeded_state_dict of the shapes; recording.py batches(77)",
            **started_from(before),
            "losses": losses,
            "rates": rates,
            "changes": kept(trainable(module, changes(before, module.state_dict()))),
            "gradients": gradients(upstream, data[:1]),
            "gradients_of_swapped_halves": gradients(upstream, swapped),
        },
    )


def stand_in(upstream: Any) -> None:
    """Small models in the place of those that its constructor downloads."""
    from transformers import BertConfig, BertForSequenceClassification, CLIPConfig, CLIPModel

    config = CLIPConfig(
        text_config={"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4},
        vision_config=VISION,
        projection_dim=EMBED,
    )
    upstream.CLIPModel = SimpleNamespace(from_pretrained=lambda name: CLIPModel(config))
    upstream.BertForSequenceClassification = SimpleNamespace(
        from_pretrained=lambda name: BertForSequenceClassification(
            BertConfig(**TEXT, num_labels=EMBED, classifier_dropout=0.0)
        )
    )


def trained(upstream: Any, data: list[Batch]) -> tuple[list[float], list[float], Any, dict[str, torch.Tensor]]:
    """A step for each batch: the losses, the rates of the steps, the module, and its weights before."""
    import pytorch_lightning as lightning

    losses: list[float] = []
    rates: list[float] = []

    class Noting(upstream.CLIPLightning):
        def log_dict(self, values: dict[str, Any], **kwargs: Any) -> None:
            losses.append(values["loss"].item())
            rates.append(self.optimizers().param_groups[0]["lr"])

    # As its `main` calls it: two minibatches.
    module = Noting(model_name="ViT-B/32", minibatch_size=SIZE // 2)
    module.load_state_dict(seeded_state_dict({key: each.shape for key, each in module.state_dict().items()}))
    module.double()
    before = {key: each.clone() for key, each in module.state_dict().items()}
    pictures, texts = (torch.cat(each) for each in zip(*data, strict=True))
    rows = [(picture, text, str(number)) for number, (picture, text) in enumerate(zip(pictures, texts, strict=True))]
    trainer = lightning.Trainer(
        **{"accelerator": "cpu", "devices": 1, "max_epochs": 1, "logger": False, "enable_checkpointing": False},
        **{"enable_progress_bar": False, "enable_model_summary": False, "limit_val_batches": 0},
    )
    trainer.fit(module, DataLoader(rows, batch_size=SIZE))
    assert len(losses) == len(data) <= COUNT
    return losses, rates, module, before


def trainable(module: Any, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the CLIP's text tower, through which no gradient passes."""
    return {name: tensors[name] for name, weight in module.named_parameters() if weight.grad is not None}


def gradients(upstream: Any, data: list[Batch]) -> dict[str, list[float]]:
    module = trained(upstream, data)[2]
    return kept({name: weight.grad for name, weight in module.named_parameters() if weight.grad is not None})


if __name__ == "__main__":
    main()
