"""A step of ContrastiveTrainer on tiny models: exact gradients, whichever way they are computed."""

import math
import re

import pytest
import torch

from hf_zhclip.errors import InputError
from hf_zhclip.training import ContrastiveArguments, ContrastiveTrainer
from hf_zhclip.training.arguments import CHECKPOINTING
from hf_zhclip.training.loss import loss_of_pairs
from hf_zhclip.training.training import parse_arguments

from tests.small_models import build, images


def rows(count=6):
    generator = torch.Generator().manual_seed(5)
    texts = torch.randint(5, 49, (count, 6), generator=generator)
    texts[:, 0], texts[:, -1] = 2, 49
    return [
        {"input_ids": text, "attention_mask": torch.ones_like(text), "pixel_values": picture, "captions": number}
        for number, (text, picture) in enumerate(zip(texts, images(count).double(), strict=True))
    ]


def collate(given):
    return {name: torch.stack([torch.as_tensor(row[name]) for row in given]) for name in given[0]}


def model(variant="cn_clip", dropout=True):
    """With BERT's dropout of 0.1, or without it."""
    found = build(variant).double()
    assert found.config.text_config.hidden_dropout_prob == 0.1
    for module in found.modules():
        if isinstance(module, torch.nn.Dropout) and not dropout:
            module.p = 0.0
    return found


def trainer(folder, found=None, data=None, **given):
    values = {"learning_rate": 1e-3, "max_steps": 1, "per_device_train_batch_size": 6, "max_grad_norm": 0.0}
    values |= {"use_cpu": True, "save_strategy": "no", "disable_tqdm": True, "logging_strategy": "no"} | given
    args = ContrastiveArguments(output_dir=str(folder), **values)
    return ContrastiveTrainer(found or model(), args, train_dataset=data or rows(), data_collator=collate)


def gradients(folder, dropout=True, variant="cn_clip", **given):
    """The gradients of one batch, and its loss."""
    found = model(variant, dropout=dropout)
    made = trainer(folder, found, **given)
    made.create_optimizer_and_scheduler(1)
    made.current_gradient_accumulation_steps = 1
    torch.manual_seed(3)
    loss = made.training_step(found, collate(rows()))
    return loss.item(), {name: weight.grad for name, weight in found.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("chunk", [1, 2, 3, 6])
@pytest.mark.parametrize("options", [{}, {"mask_equal_captions": True}, {CHECKPOINTING: True}])
def test_cached_gradients_are_those_of_the_whole_batch(chunk, options, tmp_path):
    """Without dropout, which draws other numbers in chunks than at once."""
    wanted, whole = gradients(tmp_path, dropout=False, **options)
    found, cached = gradients(tmp_path, dropout=False, cache_chunk=chunk, **options)

    assert found == pytest.approx(wanted, abs=1e-12)
    assert cached.keys() == whole.keys() and "logit_scale" in cached
    assert max((cached[name] - whole[name]).abs().max().item() for name in whole) < 1e-9


def test_a_resnet_that_trains_is_refused_in_chunks_and_goes_on_as_the_message_says(tmp_path):
    """Its BatchNorm takes the mean of the pictures that it sees at once."""
    with pytest.raises(InputError, match="would see 2 pictures at a time") as caught:
        trainer(tmp_path, model("cn_clip_rn50"), cache_chunk=2)

    ways = re.findall(r"--[a-z_]+(?: (?:0|vision)\b)?", str(caught.value))
    assert ways == ["--cache_chunk 0", "--freeze vision", "--as_cn_clip"]
    for way in ways:
        given = {"cache_chunk": 2} | parse_arguments(way.split())
        trainer(tmp_path, model("cn_clip_rn50"), **given).train()


@pytest.mark.parametrize("options", [{"cache_chunk": 6}, {"cache_chunk": 2, "freeze": "vision"}])
def test_a_resnet_s_cached_gradients_are_those_of_the_whole_batch(options, tmp_path):
    wanted, whole = gradients(tmp_path, dropout=False, variant="cn_clip_rn50", **options | {"cache_chunk": 0})
    found, cached = gradients(tmp_path, dropout=False, variant="cn_clip_rn50", **options)

    assert found == pytest.approx(wanted, abs=1e-12)
    assert cached.keys() == whole.keys()
    assert max((cached[name] - whole[name]).abs().max().item() for name in whole) < 1e-9


@pytest.mark.parametrize("dropped", [0.0, 0.5])
def test_with_dropout_and_patch_dropping_the_second_pass_draws_the_numbers_of_the_first(dropped, tmp_path):
    """A single chunk draws what the whole batch draws."""
    wanted, whole = gradients(tmp_path, patch_dropping=dropped)
    found, cached = gradients(tmp_path, patch_dropping=dropped, cache_chunk=6)

    assert found == pytest.approx(wanted, abs=1e-12)
    assert max((cached[name] - whole[name]).abs().max().item() for name in whole) < 1e-9


def test_two_chunks_with_dropout_have_the_gradients_of_their_joint_loss(tmp_path):
    """The joint loss of two forward passes, each with the numbers that it draws in turn."""
    found, cached = gradients(tmp_path, cache_chunk=3, patch_dropping=0.5)
    whole = model()
    made = trainer(tmp_path, whole, patch_dropping=0.5)
    whole.train()
    torch.manual_seed(3)
    chunks = [
        made._encode(whole, {name: value[start : start + 3] for name, value in collate(rows()).items()
                             if name != "captions"})
        for start in (0, 3)
    ]  # fmt: skip
    loss = loss_of_pairs(*(torch.cat(each) for each in zip(*chunks, strict=True)), whole.logit_scale)
    loss.backward()

    assert found == pytest.approx(loss.item(), abs=1e-12)
    for name, weight in whole.named_parameters():
        if weight.grad is not None:
            assert (cached[name] - weight.grad).abs().max() < 1e-9, name


def test_equal_captions_are_no_negatives():
    """By hand: three pairs with cosines 1 and 0, of which the first two have one caption."""
    vectors = torch.eye(3, dtype=torch.float64)
    scale = torch.tensor(1.0, dtype=torch.float64)
    e = math.e**math.e

    found = loss_of_pairs(vectors, vectors, scale, captions=torch.tensor([7, 7, 8]))

    pair, single = math.log((e + 1) / e), math.log((e + 2) / e)  # one negative, two negatives
    assert found.item() == pytest.approx((2 * pair + single) / 3, abs=1e-12)


@pytest.mark.parametrize("start", [4.6, 0.01])
def test_a_step_leaves_the_scale_in_its_range(start, tmp_path):
    found = model()
    found.logit_scale.data.fill_(start)
    trainer(tmp_path, found, learning_rate=10.0).train()
    assert found.logit_scale.item() in (0.0, 4.6052)


def test_a_frozen_scale_stays_as_it_is(tmp_path):
    found = model()
    found.logit_scale.data.fill_(5.0)
    found.logit_scale.requires_grad_(False)
    trainer(tmp_path, found).train()
    assert found.logit_scale.item() == 5.0


@pytest.mark.parametrize("variant", ["cn_clip", "cn_clip_rn50"])
@pytest.mark.parametrize("what, prefixes", [("vision", ("vision_model.", "visual_projection.")),
                                            ("vision_tower", ("vision_model.",))])  # fmt: skip
def test_what_is_frozen_keeps_weights_and_statistics(variant, what, prefixes, tmp_path):
    found = model(variant)
    before = {name: value.clone() for name, value in found.state_dict().items()}
    trainer(tmp_path, found, freeze=what).train()

    changed = {name for name, value in found.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and not any(name.startswith(prefixes) for name in changed)
    assert any(name.startswith("text_model.") for name in changed) and "logit_scale" in changed
    if what == "vision_tower" and variant == "cn_clip":
        assert "visual_projection.weight" in changed


def test_a_training_that_goes_on_from_a_checkpoint_ends_with_the_same_bits(tmp_path):
    options = {"max_steps": 5, "per_device_train_batch_size": 4, "patch_dropping": 0.5, "save_strategy": "steps"}
    options |= {"save_steps": 2, "save_total_limit": None, "cache_chunk": 3}
    once, again = model(), model()
    data = rows(14)
    trainer(tmp_path / "once", once, data, **options).train()
    trainer(tmp_path / "again", again, data, **options).train(
        resume_from_checkpoint=str(tmp_path / "once" / "checkpoint-2")
    )

    assert all(torch.equal(value, again.state_dict()[name]) for name, value in once.state_dict().items())


def losses(folder, found=None, **given):
    """The losses of two steps in float32, without dropout."""
    found = found or model(dropout=False).float()
    data = [{**row, "pixel_values": row["pixel_values"].float()} for row in rows()]
    made = trainer(folder, found, data, max_steps=2, logging_strategy="steps", logging_steps=1, **given)
    made.train()
    return [each["loss"] for each in made.state.log_history if "loss" in each]


@pytest.mark.parametrize("options", [{}, {CHECKPOINTING: True}])
def test_bf16_on_the_processor_gives_the_loss_to_its_rounding(options, tmp_path):
    """Of 8 bits; the weights themselves stay float32."""
    found = model(dropout=False).float()
    assert losses(tmp_path, found, bf16=True, **options)[0] == pytest.approx(losses(tmp_path)[0], rel=0.02)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("variant", ["cn_clip", "cn_clip_rn50"])
def test_checkpointing_changes_neither_loss_nor_gradients(variant, tmp_path):
    wanted, whole = gradients(tmp_path, variant=variant)
    found, twice = gradients(tmp_path, variant=variant, **{CHECKPOINTING: True})
    assert found == wanted
    assert max((twice[name] - whole[name]).abs().max().item() for name in whole) < 1e-12


@pytest.mark.thorough
def test_compiled_code_gives_the_losses_and_each_training_has_code_of_its_own(tmp_path):
    """Patches are dropped in the second training alone."""
    compiled = {"torch_compile": True, "torch_compile_backend": "eager"}
    assert losses(tmp_path, **compiled) == pytest.approx(losses(tmp_path), rel=1e-4)
    torch.manual_seed(0)
    dropped = losses(tmp_path, patch_dropping=0.5, **compiled)
    torch.manual_seed(0)
    assert dropped == pytest.approx(losses(tmp_path, patch_dropping=0.5), rel=1e-4)


@pytest.mark.thorough
def test_inductor_s_code_gives_the_losses(tmp_path):
    assert losses(tmp_path, torch_compile=True) == pytest.approx(losses(tmp_path), rel=1e-4)


def test_a_process_alone_has_the_same_negatives_in_each_way(tmp_path):
    wanted = losses(tmp_path)
    for way in ("cn_clip", "local"):
        assert losses(tmp_path, negatives=way) == wanted


def test_accumulated_batches_are_said_to_add_no_negatives(tmp_path):
    told = []
    values = {"output_dir": str(tmp_path), "use_cpu": True, "gradient_accumulation_steps": 2}
    ContrastiveTrainer(model(), ContrastiveArguments(**values), train_dataset=rows(), tell=told.append)
    assert len(told) == 1 and "gradient_accumulation_steps is 2: it adds no negatives" in told[0]


def test_a_last_batch_of_one_pair_changes_no_weight(tmp_path):
    """Its loss is 0: there is no wrong answer. The weights are those of the batch before."""
    found = []
    for count in (4, 5):
        found.append(model(dropout=False))
        given = {"per_device_train_batch_size": 4, "max_steps": count - 3, "optim": "sgd"}
        given |= {"train_sampling_strategy": "sequential", "lr_scheduler_type": "constant"}
        trainer(tmp_path, found[-1], rows(count), **given).train()
    assert all(torch.equal(value, found[1].state_dict()[name]) for name, value in found[0].state_dict().items())


def test_batches_of_accumulation_are_averaged_in_chunks_as_at_once(tmp_path):
    trained = []
    for chunk in (0, 2):
        trained.append(model(dropout=False))
        given = {"gradient_accumulation_steps": 2, "cache_chunk": chunk, "optim": "sgd"}
        trainer(tmp_path, trained[-1], rows(12), **given).train()
    for name, value in trained[0].state_dict().items():
        assert (trained[1].state_dict()[name] - value).abs().max() < 1e-9, name


@pytest.mark.parametrize(
    "given, told",
    [
        ({"negatives": "exakt"}, "Did you mean exact"),
        ({"freeze": "all"}, "vision_tower"),
        ({"patch_dropping": 1.0}, "below 1"),
        ({"patch_dropping": 0.99}, "keeps none of 16 patches"),
        ({"as_cn_clip": True}, "cache_chunk"),
        ({"cache_chunk": -1}, "0 or more"),
        ({"restart_every": -1}, "0 or more"),
        ({"restart_every": 5, "lr_scheduler_type": "linear"}, "another lr_scheduler_type than cosine"),
    ],
)
def test_wrong_arguments_are_refused(given, told, tmp_path):
    with pytest.raises(InputError, match=told):
        trainer(tmp_path, **given)


def test_a_resnet_has_no_patches_to_drop(tmp_path):
    with pytest.raises(InputError, match="ResNet"):
        trainer(tmp_path, model("cn_clip_rn50"), patch_dropping=0.5)
