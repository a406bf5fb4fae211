"""Nearest x2 and a 3x3 convolution as nine products: equal in float64, whole and in strips, in both networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from teacher_models import import_diffusers
from torch import nn

from moebius.engines import fused_upsample
from moebius.engines.fused_upsample import FusedUpsample, FusedUpsampler, fuse_upsamplers

EXACT = 1e-12


def pair(rows: int = 2) -> tuple[nn.Conv2d, torch.Tensor, torch.Tensor]:
    """A convolution, maps of odd sides, and the plain outputs."""
    generator = torch.Generator().manual_seed(0)
    conv = nn.Conv2d(6, 10, 3, padding=1).double().requires_grad_(False)
    x = torch.randn(rows, 6, 7, 5, generator=generator, dtype=torch.float64)
    return conv, x, conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


@pytest.mark.parametrize("chunk", [1 << 22, 1])
def test_nine_products_are_the_convolution(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_upsample, "CHUNK", chunk)
    conv, x, expected = pair()
    fused = FusedUpsample(conv, ("phases",))
    assert float((fused(x) - expected).abs().max()) < EXACT
    assert sum(p.numel() for n, p in fused.named_parameters() if "weight" in n) == conv.weight.numel()
    fused.across.weight[3] *= 1.001
    assert float((fused(x) - expected).abs().max()) > 1e-6


@torch.no_grad()
def test_a_published_decoder() -> None:
    import_diffusers()
    from diffusers import AutoencoderKL

    kind: Any = AutoencoderKL
    torch.manual_seed(0)
    coder = kind(
        block_out_channels=[4, 8, 8], norm_num_groups=2, latent_channels=4, layers_per_block=1,
        down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3,
    ).double().eval()  # fmt: skip
    latents = torch.randn(1, 4, 6, 8, dtype=torch.float64)
    expected = coder.decode(latents).sample
    fuse_upsamplers(coder.decoder)
    assert sum(isinstance(module, FusedUpsampler) for module in coder.decoder.modules()) == 2
    found = coder.decode(latents).sample
    assert float((found - expected).norm() / expected.norm()) < EXACT
