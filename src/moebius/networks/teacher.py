"""PixelHackerUNet: the denoiser of PixelHacker, the network that Moebius was distilled from.

    latents (B, 2c+1, h, w) + timestep + category ids -> prediction (B, c, h, w)

A latent-diffusion U-net in the layout of Stable Diffusion 1.5, taken from diffusers, with one layer exchanged: the
self-attention of every transformer block is gated linear attention over the tokens in raster order, top left to
bottom right. It has no positions; what lies below reaches what lies above through convolutions only.
Source: PixelHacker, sections on latent categories guidance and on the denoiser.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, overload

import torch.nn.functional as F
from torch import Tensor, nn

from moebius.networks.blocks import check_channels, initialise_linears
from moebius.networks.gla import GatedLinearAttention


@dataclass(frozen=True, kw_only=True)
class PixelHackerConfig:
    """Sizes of a `PixelHackerUNet`; the defaults are the published network with 862,251,708 parameters.

    Raises:
        ValueError: sizes that do not fit together; the message has both values.
    """

    latent_channels: int = 4
    """c: channels of the latents; the network reads 2c+1 (noisy, mask, masked image) and predicts c."""
    latent_size: int = 64
    """Side of the latents that it was trained on, in cells. Others work: nothing in it depends on this."""
    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    """Width of each level, finest first; the coarsest has no attention but in the middle block."""
    layers: int = 2
    """Blocks a level on the way down; one more on the way up."""
    heads: int = 8
    categories: int = 20
    """Rows of the category table: the first half are the condition's tokens, the second half the opposite's."""
    category_channels: int = 3072
    context_channels: int = 768
    norm_groups: int = 32

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if len(self.channels) < 2:
            raise ValueError(f"channels must name two levels or more, got {self.channels}")
        for width in self.channels:
            if width % (2 * self.heads) or width % self.norm_groups:
                raise ValueError(
                    f"channels must divide by twice the heads (2 x {self.heads}) and by norm_groups "
                    f"({self.norm_groups}), got {width}"
                )
        if self.categories % 2:
            raise ValueError(
                f"categories must be even (one half each side of guidance), got {self.categories}"
            )

    @property
    def tokens(self) -> int:
        """m: context tokens a condition."""
        return self.categories // 2

    @property
    def multiple(self) -> int:
        """Latent sides must divide by this: 1, odd sides work."""
        return 1

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class PixelHackerUNet(nn.Module):
    """The denoiser. Needs diffusers, which is imported when one is built.

    Args:
        config: sizes; the published network by default.
    """

    unet: Any
    """A `diffusers.UNet2DConditionModel`; its blocks are called one by one, its own forward gives the same."""

    def __init__(self, config: PixelHackerConfig | None = None):
        from diffusers import UNet2DConditionModel

        super().__init__()
        self.config = config = config or PixelHackerConfig()
        attended = len(config.channels) - 1
        self.category_embedding = nn.Embedding(config.categories, config.category_channels)
        self.unet = UNet2DConditionModel(
            sample_size=config.latent_size,
            in_channels=2 * config.latent_channels + 1,
            out_channels=config.latent_channels,
            down_block_types=("CrossAttnDownBlock2D",) * attended + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * attended,
            block_out_channels=config.channels,
            layers_per_block=config.layers,
            norm_num_groups=config.norm_groups,
            attention_head_dim=config.heads,  # diffusers' historical name: it is the number of heads
            cross_attention_dim=config.context_channels,
            encoder_hid_dim=config.category_channels,
            encoder_hid_dim_type="text_proj",
        )
        for module in list(self.unet.modules()):
            if hasattr(module, "attn1"):
                module.attn1 = GatedLinearAttention(module.attn1.to_q.in_features, config.heads)
        initialise_linears(self)

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether blocks are recomputed in the backward pass: time traded for memory in training."""
        return bool(self.unet.is_gradient_checkpointing)

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, on: bool) -> None:
        if on:
            self.unet.enable_gradient_checkpointing()
        else:
            self.unet.disable_gradient_checkpointing()

    @overload
    def forward(
        self, x: Tensor, timesteps: Tensor, category_ids: Tensor, *, return_features: Literal[False] = False
    ) -> Tensor: ...
    @overload
    def forward(
        self, x: Tensor, timesteps: Tensor, category_ids: Tensor, *, return_features: Literal[True]
    ) -> tuple[Tensor, list[Tensor]]: ...
    def forward(
        self, x: Tensor, timesteps: Tensor, category_ids: Tensor, *, return_features: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Predict the noise (or what the weights were trained for) in the latents.

        Args:
            x: (B, 2c+1, h, w): noisy latents (c), mask (1, 1 = fill), latents of the masked image (c).
            timesteps: (B,) or (1,), 0 to 999.
            category_ids: (B, m) int64, rows of the category table.
            return_features: also return the output of each block, its resampler included: four down, the
                middle, four up. At 512 px, number 5 (1280, 16, 16) has the shape of Moebius's number 2.

        Returns:
            (B, c, h, w), and with `return_features` the list of block outputs.

        Raises:
            ValueError: wrong channel count.
        """
        time, context = self._conditions(x, timesteps, category_ids)
        features, skips = self._down(x, time, context)
        x = self.unet.mid_block(features[-1], time, encoder_hidden_states=context)
        features.append(x)
        for block in self.unet.up_blocks:
            count = len(block.resnets)
            kept, skips = tuple(skips[-count:]), skips[:-count]
            # Sides that were odd on the way down have to come out odd again.
            x = block(
                x, kept, time, upsample_size=skips[-1].shape[2:] if skips else None, **_seen(block, context)
            )
            features.append(x)
        out: Tensor = self.unet.conv_out(F.silu(self.unet.conv_norm_out(x)))  # (B, c, h, w)
        return (out, features) if return_features else out

    def down_features(
        self, x: Tensor, timesteps: Tensor, category_ids: Tensor, count: int | None = None
    ) -> list[Tensor]:
        """Outputs of the first `count` down blocks (all of them by default), finest first, and nothing else computed.

        They are the first features of `forward`.

        Arguments and errors are those of `forward`; gradients reach `x`.
        """
        time, context = self._conditions(x, timesteps, category_ids)
        return self._down(x, time, context, count)[0]

    def _conditions(self, x: Tensor, timesteps: Tensor, category_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Time (B, 4 C0) and context (B, m, context channels)."""
        check_channels(x, self.config.latent_channels)
        waves = self.unet.time_proj(timesteps.reshape(-1).expand(x.shape[0]))  # (B, C0), in float32
        time: Tensor = self.unet.time_embedding(waves.to(self.unet.time_embedding.linear_1.weight.dtype))
        context: Tensor = self.unet.encoder_hid_proj(self.category_embedding(category_ids))
        return time, context

    def _down(
        self, x: Tensor, time: Tensor, context: Tensor, count: int | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Outputs of the down blocks, and all maps that the way up takes in again."""
        x = self.unet.conv_in(x)  # (B, C0, h, w)
        features, skips = [], [x]
        for block in self.unet.down_blocks[:count]:
            x, made = block(x, time, **_seen(block, context))
            features.append(x)
            skips += made
        return features, skips


def _seen(block: Any, context: Tensor) -> dict[str, Tensor]:
    """The context as an argument, for blocks that look at it."""
    return {"encoder_hidden_states": context} if getattr(block, "has_cross_attention", False) else {}
