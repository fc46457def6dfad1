"""CLIP's modified ResNet: a stem of three convolutions, anti-aliased strides, and attention pooling.

The architecture and the key names are those of openai/CLIP `clip/model.py` (ModifiedResNet).
"""

from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import can_return_tuple

from .compat_zhclip import ALL_ATTENTION_FUNCTIONS, init
from .configuration_zhclip import ZhCLIPResNetConfig

if TYPE_CHECKING:  # not to check types: these lines bring all files, see saving_zhclip.py
    from .image_processing_zhclip import ZhCLIPImageProcessor  # noqa: F401
    from .modeling_zhclip import ZhCLIPModel  # noqa: F401
    from .pictures_zhclip import FORMS  # noqa: F401
    from .processing_zhclip import ZhCLIPProcessor  # noqa: F401
    from .saving_zhclip import CODE_FILES  # noqa: F401
    from .typed_inputs_zhclip import Place  # noqa: F401

EXPANSION = 4


class ZhCLIPBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that counts a batch once, although gradient checkpointing runs the forward twice."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or torch.compiler.is_compiling() or torch._C._current_graph_task_id() == -1:
            return super().forward(x)
        # Clones, because checkpointing compares the tensors that the first and the second forward save.
        mean, variance = (None if stat is None else stat.clone() for stat in (self.running_mean, self.running_var))
        return nn.functional.batch_norm(
            x, mean, variance, self.weight, self.bias, True, self.momentum or 0.0, self.eps
        )


class ZhCLIPBottleneck(GradientCheckpointingLayer):
    """A residual block whose stride is an average pool, followed by a convolution of stride 1."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        out_channels = channels * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = ZhCLIPBatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = ZhCLIPBatchNorm2d(channels)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = ZhCLIPBatchNorm2d(out_channels)
        self.downsample = None
        if stride > 1 or in_channels != out_channels:
            self.downsample = nn.Sequential()
            # "-1", "0" and "1" are upstream's names: the keys of the convolution and of the norm then equal
            # upstream's keys.
            self.downsample.add_module("-1", nn.AvgPool2d(stride))
            self.downsample.add_module("0", nn.Conv2d(in_channels, out_channels, 1, bias=False))
            self.downsample.add_module("1", ZhCLIPBatchNorm2d(out_channels))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        residual = hidden_states if self.downsample is None else self.downsample(hidden_states)
        hidden_states = self.bn1(self.conv1(hidden_states)).relu()
        hidden_states = self.bn2(self.conv2(hidden_states)).relu()
        hidden_states = self.bn3(self.conv3(self.avgpool(hidden_states)))
        return (hidden_states + residual).relu()


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The dtype of steps for which half precision is too narrow: float32, or float64 if `dtype` is float64."""
    return torch.promote_types(dtype, torch.float32)


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Softmax attention in plain operations, with the signature of transformers' attention interface."""
    weights = torch.matmul(query, key.transpose(-1, -2)) * scaling
    weights = nn.functional.softmax(weights, dim=-1, dtype=at_least_float32(weights.dtype)).to(query.dtype)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


class ZhCLIPAttentionPool2d(nn.Module):
    """Pools a feature map by attention: the mean of all places is the query; the mean and all places are the keys."""

    is_causal = False

    def __init__(self, config: ZhCLIPResNetConfig):
        super().__init__()
        width = config.hidden_size
        self.config = config
        self.grid_size = config.image_size // 32
        self.head_dim = width // config.num_attention_heads
        self.positional_embedding = nn.Parameter(torch.empty(self.grid_size**2 + 1, width))
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.c_proj = nn.Linear(width, config.output_dim)

    def interpolate_pos_encoding(self, height: int, width: int) -> torch.Tensor:
        """The position embeddings for a feature map of `height` x `width`, bicubic: (1 + height * width, channels).

        Follows transformers' `CLIPVisionEmbeddings.interpolate_pos_encoding`: resizes the grid's embeddings and keeps
        the mean's embedding.
        """
        if height == width == self.grid_size:
            return self.positional_embedding
        mean, grid = self.positional_embedding[:1], self.positional_embedding[1:]
        grid = grid.reshape(1, self.grid_size, self.grid_size, -1).permute(0, 3, 1, 2)
        grid = nn.functional.interpolate(grid, size=(height, width), mode="bicubic", align_corners=False)
        return torch.cat([mean, grid.flatten(2).squeeze(0).t()])

    def forward(self, feature_map: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(n, channels, h, w) -> pooled (n, output_dim), and weights (n, heads, 1, 1 + h * w) or None."""
        tokens = feature_map.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
        tokens = tokens + self.interpolate_pos_encoding(*feature_map.shape[-2:]).to(tokens.dtype)
        query, key, value = (
            projection(inputs).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for projection, inputs in ((self.q_proj, tokens[:, :1]), (self.k_proj, tokens), (self.v_proj, tokens))
        )
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        pooled, weights = attend(self, query, key, value, None, scaling=self.head_dim**-0.5, dropout=0.0)
        return self.c_proj(pooled.flatten(1)), weights


class ZhCLIPResNetModel(PreTrainedModel):
    """CLIP's modified ResNet as a vision tower."""

    config: ZhCLIPResNetConfig
    base_model_prefix = "hf_zhclip_resnet"
    main_input_name = "pixel_values"
    input_modalities = ["image"]
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["ZhCLIPBottleneck", "ZhCLIPAttentionPool2d"]

    def __init__(self, config: ZhCLIPResNetConfig):
        super().__init__(config)
        width = config.width
        self.conv1 = nn.Conv2d(config.num_channels, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = ZhCLIPBatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = ZhCLIPBatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = ZhCLIPBatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(2)
        first, second, third, fourth = config.layers
        self.layer1 = _stage(width, width, first, stride=1)
        self.layer2 = _stage(width * 4, width * 2, second, stride=2)
        self.layer3 = _stage(width * 8, width * 4, third, stride=2)
        self.layer4 = _stage(width * 16, width * 8, fourth, stride=2)
        self.attnpool = ZhCLIPAttentionPool2d(config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, ZhCLIPAttentionPool2d):
            std = self.config.hidden_size**-0.5
            init.normal_(module.positional_embedding, std=std)
            for projection in (module.q_proj, module.k_proj, module.v_proj, module.c_proj):
                init.normal_(projection.weight, std=std)

    def get_input_embeddings(self) -> nn.Module:
        return self.conv1

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.add_module("conv1", value)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        interpolate_pos_encoding: bool = False,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **kwargs,
    ) -> tuple | BaseModelOutputWithPooling:
        """Encodes images.

        Args:
            pixel_values: (n, channels, image_size, image_size).
            interpolate_pos_encoding: take images of another size, and resize the position embeddings to it.
            output_hidden_states: also return the output of the stem and of each stage.
            output_attentions: also return the weights of the attention pool, which only "eager" attention computes.

        Returns:
            `last_hidden_state` (n, 32 * width, h / 32, w / 32), `pooler_output` (n, output_dim), and the states and
            weights that were asked for.

        Raises:
            ValueError: the images have another size, and `interpolate_pos_encoding` is not set.
        """
        self._check_size(pixel_values, interpolate_pos_encoding)
        stages = (self._stem, self.layer1, self.layer2, self.layer3, self.layer4)
        hidden_state = pixel_values.to(self.conv1.weight.dtype)
        hidden_states = []
        for stage in stages:
            hidden_state = stage(hidden_state)
            hidden_states.append(hidden_state)
        pooled, weights = self.attnpool(hidden_state)
        wants_states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        wants_weights = self.config.output_attentions if output_attentions is None else output_attentions
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden_state,
            pooler_output=pooled,
            hidden_states=tuple(hidden_states) if wants_states else None,
            attentions=(weights,) if wants_weights and weights is not None else None,
        )

    def _stem(self, pixel_values: torch.Tensor) -> torch.Tensor:
        hidden_state = self.bn1(self.conv1(pixel_values)).relu()
        hidden_state = self.bn2(self.conv2(hidden_state)).relu()
        return self.avgpool(self.bn3(self.conv3(hidden_state)).relu())

    def _check_size(self, pixel_values: torch.Tensor, interpolate_pos_encoding: bool) -> None:
        height, width = pixel_values.shape[-2:]
        size = self.config.image_size
        if not interpolate_pos_encoding and (height != size or width != size):
            raise ValueError(
                f"the images have {height}x{width} pixels, but the model takes {size}x{size}: resize them with the "
                "image processor, or pass interpolate_pos_encoding=True"
            )
        if height < 32 or width < 32:
            raise ValueError(f"the images have {height}x{width} pixels; this network takes at least 32x32")


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    following = [ZhCLIPBottleneck(channels * EXPANSION, channels, stride=1) for _ in range(1, blocks)]
    return nn.Sequential(ZhCLIPBottleneck(in_channels, channels, stride), *following)
