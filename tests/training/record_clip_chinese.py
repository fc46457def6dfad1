"""Run CLIP-Chinese's own training once and keep what it gives in recorded/clip_chinese.json.

Its code exists only as a repository. In an environment of its own, from this repository's root:

    python3.11 -m venv ENV
    ENV/bin/pip install "transformers==4.27.4" "torch==2.13.0" "numpy<2" "pandas<3" pillow loguru requests tqdm
    git clone https://github.com/yangjianxin1/CLIP-Chinese CHECKOUT
    ENV/bin/python -m tests.training.record_clip_chinese CHECKOUT

`main` of train_clip.py runs with the arguments of train_args/train_clip.json, but for `ARGUMENTS`: its model, what it
freezes, its loss, and transformers' Trainer of its time, in float64 on the CPU. The weights are those of
tests/weights.py; the batches take the place of its data set.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from tests.training.recording import (
    COUNT,
    EMBED,
    SIZE,
    TEXT,
    VISION,
    batches,
    changes,
    kept,
    started_from,
    upstream,
    versions,
    write,
)
from tests.weights import seeded_state_dict

LENGTH = 12
ARGUMENTS = {
    # A step for each batch; half of the steps warm up.
    **{"max_steps": COUNT, "warmup_steps": 2, "per_device_train_batch_size": SIZE},
    # What the small run and the CPU ask for.
    **{"fp16": False, "no_cuda": True, "dataloader_num_workers": 0, "load_from_bert_clip": True, "report_to": "none"},
    **{"disable_tqdm": True, "logging_steps": 1},
}


def main() -> None:
    checkout = Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(checkout))
    import train_clip

    losses: list[float] = []
    rates: list[float] = []
    models: list[Any] = []
    data = batches(LENGTH)
    rows = [row for batch in data for row in zip(*batch, strict=True)]
    train_clip.CLIPDataset = lambda *given: rows
    train_clip.CLIPCollator = lambda **given: collate
    load = train_clip.load_model_and_processor_from_bert_clip

    def loaded(path: str) -> tuple[Any, Any]:
        model, processor = load(path)
        models.append(model.double())
        models.append({key: each.clone() for key, each in model.state_dict().items()})
        return model, processor

    class Noting(train_clip.Trainer):
        def _get_train_sampler(self) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

        def compute_loss(self, *given: Any, **more: Any) -> Any:
            found = super().compute_loss(*given, **more)
            losses.append(found.item())
            rates.append(self.optimizer.param_groups[0]["lr"])
            return found

    train_clip.load_model_and_processor_from_bert_clip = loaded
    train_clip.Trainer = Noting
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["train_clip.py", "--train_args_file", arguments(checkout, Path(folder))]
        train_clip.main()
    model, before = models
    assert len(losses) == COUNT
    changed = changes(before, model.state_dict())
    write(
        "clip_chinese",
        {
            **upstream(checkout, "https://github.com/yangjianxin1/CLIP-Chinese", "train_clip.py"),
            "versions": versions("transformers"),
            "recipe": f"tests/weights.py seeded_state_dict of the shapes; recording.py batches({LENGTH})",
            "config": {"text_config": TEXT, "vision_config": VISION, "projection_dim": EMBED},
            **started_from(before),
            "losses": losses,
            "rates": rates,
            "changes": kept({name: changed[name] for name, each in model.named_parameters() if each.requires_grad}),
        },
    )


def collate(rows: list[Any]) -> dict[str, Any]:
    """As `CLIPCollator`, which asks for the loss and leaves out the token types."""
    pictures, texts = (torch.stack(each) for each in zip(*rows, strict=True))
    return {
        **{"pixel_values": pictures, "input_ids": texts, "attention_mask": (texts != 0).long()},
        "return_loss": True,
    }


def arguments(checkout: Path, folder: Path) -> str:
    """A folder with the model, and the file of arguments."""
    from component.model import BertCLIPModel
    from transformers import BertTokenizerFast, CLIPFeatureExtractor, CLIPProcessor

    config = {"text_config": TEXT, "vision_config": VISION, "projection_dim": EMBED}
    model = BertCLIPModel(BertCLIPModel.config_class(**config))
    model.load_state_dict(seeded_state_dict({key: each.shape for key, each in model.state_dict().items()}))
    place = folder / "model"
    model.save_pretrained(place)
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", encoding="utf-8")
    CLIPProcessor.tokenizer_class = "BertTokenizerFast"
    CLIPProcessor(CLIPFeatureExtractor(), BertTokenizerFast(str(folder / "vocab.txt"))).save_pretrained(place)
    values = json.loads((checkout / "train_args" / "train_clip.json").read_text(encoding="utf-8"))
    values |= {**ARGUMENTS, "clip_pretrain_path": str(place), "output_dir": str(folder / "out")}
    file = folder / "train_args.json"
    file.write_text(json.dumps(values), encoding="utf-8")
    return str(file)


if __name__ == "__main__":
    main()
