"""Train the small cn_clip model that ships in scenes/: the peer's own class, DistributedDataParallel, checkpoint.

Two processes over gloo, each on its half of every batch; the contrastive loss is taken over the whole batch.
Run from the repository root, in an environment that holds cn_clip (`make parity` builds one):

    python examples/train_scenes.py --steps 2000
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed
import torch.distributed.nn
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel

try:
    import torchvision  # noqa: F401  cn_clip's transforms; before hf_zhclip, which hides one that is broken
except RuntimeError:  # built for a torch with CUDA: its operators, which nothing here uses, are missing
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from cn_clip import clip as cn_clip
from cn_clip.clip.model import CLIP

from hf_zhclip.examples import evaluate, scenes

FOLDER = Path(__file__).parent / "scenes"
SEED = 20
PROCESSES = 2
BATCH = 128  # pictures a step, of all processes together
CONTEXT = 20  # tokens a caption in training, the longest has 18; cn_clip masks the padding, so that 52 gives the same
WARMUP = 100  # steps
LARGEST_LOGIT_SCALE = math.log(100)  # cn_clip/training/train.py clamps there


class Peer:
    """cn_clip's model, tokenizer and transform as the evaluation's encoder."""

    def __init__(self, model: torch.nn.Module):
        self.model = model.eval()
        self.transform = cn_clip.image_transform(scenes.SIDE)

    @torch.no_grad()
    def encode_text(self, texts):
        return F.normalize(self.model.encode_text(cn_clip.tokenize(list(texts))), dim=-1)

    @torch.no_grad()
    def encode_image(self, images):
        return F.normalize(self.model.encode_image(torch.stack([self.transform(i) for i in images])), dim=-1)


def build(config: Path) -> torch.nn.Module:
    """cn_clip's own class with the sizes of a JSON file, in float32.

    cn_clip draws the positions at width ** -0.5, here a tenth of what a blank patch gives, so that places came
    slowly. They start eight times as large.
    """
    model = CLIP(**json.loads(config.read_text("utf-8"))).float()
    with torch.no_grad():
        model.visual.positional_embedding.mul_(8)
    return model


def batch(transform, step: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (b, 3, r, r) and ids (b, CONTEXT) of this process; every scene is drawn for one step and never again."""
    share = BATCH // PROCESSES
    first = step * BATCH + rank * share
    examples = [scenes.training_example(first + i) for i in range(share)]
    pixels = torch.stack([transform(scenes.draw(scene)) for scene, _ in examples])
    return pixels, cn_clip.tokenize([caption for _, caption in examples], context_length=CONTEXT)


def contrastive_loss(images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Symmetric cross-entropy over the gathered batch, as cn_clip/training/train.py with --gather-with-grad."""
    images = torch.cat(torch.distributed.nn.all_gather(images))
    texts = torch.cat(torch.distributed.nn.all_gather(texts))
    logits = scale * images @ texts.T
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def optimizer_of(model: torch.nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Adafactor: its second moments are factored, so the file stays small with the whole optimizer in it.

    The second eps is the floor of a parameter's scale: a step moves a weight by about learning_rate * eps at least.
    """
    return torch.optim.Adafactor(model.parameters(), lr=learning_rate, eps=(None, 0.1))


def rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < WARMUP:
        return peak * (step + 1) / WARMUP
    return peak * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (steps - WARMUP)))


def report(peer: Peer) -> None:
    for split in scenes.SPLITS:
        for result in evaluate.zero_shot(peer, split):
            print(f"  {split:7} {result.task:10} {result.top1:.3f} of {result.captions}", flush=True)
    for recall in evaluate.retrieval(evaluate.search(peer)):
        print(f"  {recall.split:7} recall {recall.at} of {recall.pictures}", flush=True)


def save(model: DistributedDataParallel, optimizer: torch.optim.Optimizer, step: int, out: Path) -> None:
    """The five entries of cn_clip/training/main.py, under its DDP keys ("module.")."""
    torch.save(
        {
            "epoch": 1,
            "step": step,
            "name": "scenes",
            "state_dict": model.state_dict(),
            "optimizer": optimizer.state_dict(),
        },
        out,
    )


def train(rank: int, rendezvous: str, arguments: argparse.Namespace) -> None:
    """One process of PROCESSES; process 0 reports and saves."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=PROCESSES)
    torch.manual_seed(SEED)
    model = DistributedDataParallel(build(arguments.config))
    optimizer = optimizer_of(model, arguments.learning_rate)
    transform = cn_clip.image_transform(scenes.SIDE)
    started = time.monotonic()
    for step in range(arguments.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, arguments.steps, arguments.learning_rate)
        loss = contrastive_loss(*model.train()(*batch(transform, step, rank)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.module.logit_scale.clamp_(0, LARGEST_LOGIT_SCALE)
        if rank == 0 and (step + 1) % 50 == 0:
            seconds = time.monotonic() - started
            print(f"step {step + 1} loss {loss.item():.4f} {seconds:.0f} s", flush=True)
        if rank == 0 and ((step + 1) % arguments.report_every == 0 or step + 1 == arguments.steps):
            report(Peer(model.module))
            save(model, optimizer, step + 1, arguments.out)
    if rank == 0 and not arguments.steps:
        save(model, optimizer, 0, arguments.out)
    if rank == 0:
        print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")
    torch.distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000, help="0: save the seeded start")
    parser.add_argument("--learning-rate", type=float, default=0.015)
    parser.add_argument("--report-every", type=int, default=250)
    parser.add_argument("--config", type=Path, default=FOLDER / "model_config.json")
    parser.add_argument("--out", type=Path, default=FOLDER / "epoch_latest.pt")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(train, (f"{folder}/rendezvous", arguments), nprocs=PROCESSES)


if __name__ == "__main__":
    main()
