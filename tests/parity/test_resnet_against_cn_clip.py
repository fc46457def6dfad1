"""ZhCLIPResNetModel against the ModifiedResNet that cn_clip 1.6.0 installs, on the same seeded weights."""

import pytest
import torch

from hf_zhclip import ZhCLIPResNetConfig, ZhCLIPResNetModel

from tests.parity.peers import cn_clip
from tests.weights import seeded_state_dict

pytestmark = pytest.mark.parity

SHAPES = [
    {"layers": [3, 4, 6, 3], "width": 64, "image_size": 224, "num_attention_heads": 32, "output_dim": 1024},
    {"layers": [1, 2, 1, 1], "width": 16, "image_size": 96, "num_attention_heads": 4, "output_dim": 24},
]


@pytest.mark.parametrize("facts", SHAPES)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_against_cn_clip(facts, attention):
    model = ZhCLIPResNetModel(ZhCLIPResNetConfig(**facts, attn_implementation=attention)).eval()
    weights = seeded_state_dict({key: value.shape for key, value in model.state_dict().items()})
    model.load_state_dict(weights)
    original = (
        cn_clip("clip.model")
        .ModifiedResNet(
            facts["layers"], facts["output_dim"], facts["num_attention_heads"], facts["image_size"], facts["width"]
        )
        .eval()
    )
    original.load_state_dict(weights)
    images = torch.randn(2, 3, facts["image_size"], facts["image_size"])

    with torch.no_grad():
        found = torch.nn.functional.normalize(model(images).pooler_output, dim=-1)
        wanted = torch.nn.functional.normalize(original(images), dim=-1)

    assert (wanted[0] - wanted[1]).abs().max() > 1e-2, "weights under which all images look alike prove nothing"
    assert (found - wanted).abs().max() <= 1e-5
