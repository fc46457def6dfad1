"""Each different input of a tower is computed once."""

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from hf_zhclip.conversion import convert
from hf_zhclip.conversion.proof.once import each_row_once


class Tower(nn.Module):
    """Computes from ids and a mask, and notes the rows that it was given."""

    def __init__(self):
        super().__init__()
        self.given = []

    def forward(self, input_ids, attention_mask=None, return_dict=True, output_hidden_states=False):
        self.given += input_ids.tolist()
        states = input_ids * (1.0 if attention_mask is None else attention_mask)
        layers = (states, states) if output_hidden_states else None
        return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=states.sum(1), hidden_states=layers)


IDS = torch.tensor([[1, 2], [3, 4], [1, 2]])


@pytest.fixture
def tower():
    return Tower()


def test_rows_that_come_again_are_remembered_in_their_order(tower):
    with each_row_once(tower):
        first = tower(input_ids=IDS)
        second = tower(input_ids=torch.tensor([[3, 4], [5, 6], [1, 2]]))

    assert tower.given == [[1, 2], [3, 4], [5, 6]]
    assert first.last_hidden_state.tolist() == [[1, 2], [3, 4], [1, 2]]
    assert second.pooler_output.tolist() == [7, 11, 3]
    assert tower(input_ids=IDS).pooler_output.tolist() == [3, 7, 3]
    assert len(tower.given) == 6, "it is remembered until the end of the block"


@pytest.mark.parametrize(
    "other",
    [
        {"input_ids": IDS, "attention_mask": torch.ones(3, 2)},
        {"input_ids": IDS, "attention_mask": torch.zeros(3, 2).long()},
        {"input_ids": IDS, "return_dict": None},
        {"input_ids": IDS.int()},
        {"input_ids": torch.tensor([[1, 2, 0]])},
    ],
    ids=["ones", "zeros", "return_dict", "dtype", "padding"],
)
def test_a_call_with_other_arguments_is_computed_again(other, tower):
    with each_row_once(tower):
        tower(input_ids=IDS, attention_mask=torch.ones(3, 2).long())
        before = len(tower.given)
        tower(**other)

    assert len(tower.given) > before


def test_what_a_caller_does_with_an_output_changes_no_other(tower):
    with each_row_once(tower):
        tower(input_ids=IDS)["pooler_output"].zero_()
        tower(input_ids=IDS).pooler_output = None

        assert tower(input_ids=IDS).pooler_output.tolist() == [3, 7, 3]


def test_the_states_of_all_layers_are_given_as_they_are(tower):
    with each_row_once(tower):
        found = [tower(input_ids=IDS, output_hidden_states=True) for _ in range(2)]

    assert [len(each.hidden_states) for each in found] == [2, 2]
    assert found[0].pooler_output.tolist() == [3, 7, 3]


@pytest.mark.parametrize("family", ["cn_clip_vit", "taiyi_finetune"])
def test_a_proof_computes_no_text_and_no_picture_twice_in_float64(family, original, tmp_path, monkeypatch):
    rows = {"input_ids": [], "pixel_values": []}

    def note(module, args, given):
        for name, noted in rows.items():
            if name in given and next(module.parameters()).dtype is torch.float64:
                others = tuple(str(value) for key, value in sorted(given.items()) if key != name)
                noted += [(others, tuple(row.flatten().tolist())) for row in given[name]]

    from transformers import AutoModel

    load = AutoModel.from_pretrained

    def watched(*args, **options):
        model = load(*args, **options)
        for tower in (model.text_model, model.vision_model):
            forward = tower.forward
            tower.forward = lambda *a, forward=forward, tower=tower, **k: note(tower, a, k) or forward(*a, **k)
        return model

    monkeypatch.setattr(AutoModel, "from_pretrained", watched)
    found = original(family)
    convert(found.source, tmp_path / "OUT", **found.arguments)

    for name, noted in rows.items():
        assert noted, name
        assert len(noted) == len(set(noted)), name
