"""Trainings of the model that ships, by the ecosystem's engines: saved, finished, pushed, loaded by a stranger."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoProcessor, Trainer, TrainingArguments

from examples import scenes
from hf_zhclip.conversion import convert, push
from hf_zhclip.conversion.errors import InputError
from hf_zhclip.conversion.repos.report import read_report

from tests.conversion.helpers import contents, save_time
from tests.loopback_hub import connect, environment, serve
from tests.newcomer import ROOT

EXAMPLES = [scenes.training_example(number) for number in range(8)]


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """The model that ships, converted."""
    out = tmp_path_factory.mktemp("shipped") / "scenes"
    with pytest.MonkeyPatch.context() as patch:
        save_time(patch)
        facts = ROOT / "examples" / "scenes" / "model_config.json"
        convert(facts.with_name("epoch_latest.pt"), out, config=facts)
    return out


class Scenes(torch.utils.data.Dataset):
    """Pictures and captions, as a Trainer takes them."""

    def __len__(self):
        return len(EXAMPLES)

    def __getitem__(self, number):
        scene, caption = EXAMPLES[number]
        return {"picture": scenes.draw(scene), "caption": caption}


def batch(processor, rows):
    texts, pictures = [row["caption"] for row in rows], [row["picture"] for row in rows]
    return {**processor(text=texts, images=pictures, padding=True, return_tensors="pt"), "return_loss": True}


def by_trainer(repo, folder):
    """Two steps of transformers' Trainer; its checkpoint of the second step."""
    processor = AutoProcessor.from_pretrained(repo)
    arguments = TrainingArguments(
        folder,
        max_steps=2,
        save_steps=2,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        remove_unused_columns=False,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    Trainer(
        AutoModel.from_pretrained(repo),
        arguments,
        data_collator=lambda rows: batch(processor, rows),
        train_dataset=Scenes(),
        processing_class=processor,
    ).train()
    return folder / "checkpoint-2"


def step(model, optimiser, inputs, backward):
    backward(model(**inputs).loss)
    optimiser.step()
    optimiser.zero_grad()


def by_accelerate(repo, folder):
    """A step with accelerate, which saves the weights alone."""
    accelerator = Accelerator(cpu=True)
    model = AutoModel.from_pretrained(repo).train()
    model, optimiser = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-3))
    step(model, optimiser, batch(AutoProcessor.from_pretrained(repo), list(Scenes())), accelerator.backward)
    accelerator.save_model(model, folder)
    return folder


def by_lora(repo, folder):
    """PEFT's cycle: two steps of a LoRA on the text tower, saved, and merged by the code that the refusal names."""
    model = get_peft_model(AutoModel.from_pretrained(repo), LoraConfig(r=2, target_modules=["query", "value"]))
    optimiser = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    inputs = batch(AutoProcessor.from_pretrained(repo), list(Scenes()))
    for _ in range(2):
        step(model, optimiser, inputs, lambda loss: loss.backward())
    model.save_pretrained(folder / "adapter")
    with pytest.raises(InputError) as refused:
        convert(folder / "adapter", folder / "OUT", base=repo)
    code = "\n".join(line[4:] for line in str(refused.value).splitlines() if line.startswith("    "))
    names = {"BASE": repo, "ADAPTER": folder / "adapter", "TRAINED": folder / "merged"}
    for name, path in names.items():
        code = code.replace(f'"{name}"', repr(str(path)))
    exec(code, {})
    return folder / "merged"


STRANGER = """
    import sys

    import numpy as np
    import torch
    from PIL import Image

    sys.modules["hf_zhclip"] = None  # as where it is not installed
    from transformers import AutoModel, AutoProcessor

    torch.set_num_threads(1)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    found = {}
    for repo in sys.argv[2:]:
        model = AutoModel.from_pretrained(repo, trust_remote_code=True).eval()
        processor = AutoProcessor.from_pretrained(repo, trust_remote_code=True)
        inputs = processor(text=["红色圆形", "两个绿色方块"], images=picture, return_tensors="pt", padding=True)
        with torch.no_grad():
            found[repo] = model(**inputs).logits_per_image
    torch.save(found, sys.argv[1])
"""


def logits(folder):
    """What the plugin gives for the stranger's inputs."""
    import numpy as np
    from PIL import Image

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    processor = AutoProcessor.from_pretrained(folder)
    inputs = processor(text=["红色圆形", "两个绿色方块"], images=picture, return_tensors="pt", padding=True)
    with torch.no_grad():
        return AutoModel.from_pretrained(folder).eval()(**inputs).logits_per_image


TRAININGS = {"trainer": by_trainer, "lora": by_lora, "accelerate": by_accelerate}
TRAINED = {
    "trainer": {"text", "image", "logit_scale"},
    "lora": {"text"},
    "accelerate": {"text", "image", "logit_scale"},
}


@pytest.mark.thorough  # test_finetuned.py finishes what training saved; test_doors.py has a stranger
def test_what_each_engine_saves_is_finished_pushed_and_loaded_by_a_stranger(repo, tmp_path, monkeypatch):
    with serve(tmp_path / "server", {"hf_writer": ("user",)}) as hub:
        connect(monkeypatch, hub, "hf_writer", tmp_path / "here")
        push(repo, "user/scenes")
        wanted = {}
        for name, train in TRAININGS.items():
            out = tmp_path / f"{name}-OUT"
            report = convert(train(repo, tmp_path / name), out, base="user/scenes")
            pushed = push(out, f"user/{name}")

            assert report.passed and report.level == read_report(repo).level and pushed.unverified is None
            counts = report.lineage["towers"].items()
            assert {tower for tower, each in counts if each["changed"]} == TRAINED[name]
            assert contents(out).keys() == contents(repo).keys()
            wanted[f"user/{name}"] = logits(out)
            assert not torch.allclose(wanted[f"user/{name}"], logits(repo))
        ran = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(STRANGER), str(tmp_path / "found.pt"), *wanted],
            cwd=tmp_path,
            env={**os.environ, **environment(hub, "hf_writer", tmp_path / "home")},
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
    assert ran.returncode == 0, ran.stderr
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    assert found.keys() == wanted.keys()
    for name, expected in wanted.items():
        torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-4)
