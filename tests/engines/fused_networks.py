"""Small denoisers whose norms do something, and inputs for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moebius.networks import MoebiusConfig, MoebiusUNet

TINY = MoebiusConfig(
    latent_size=8, channels=(16, 32, 48), category_channels=12, context_channels=20, heads=4, norm_groups=4
)
"""Its deepest level has the tiled local lambda, the others the convolution."""
SHAPES = ((8, 8), (12, 12), (8, 20))
"""Native, another square, a rectangle."""


@torch.no_grad()
def random_network(config: MoebiusConfig = TINY, seed: int = 0) -> MoebiusUNet:
    """In float64, in evaluation; its norms have random statistics and affines."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = MoebiusUNet(config).double()
        for module in net.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
                module.running_var.uniform_(0.3, 1.2)  # type: ignore[union-attr]
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)):
                module.weight.normal_(1, 0.3)
                module.bias.normal_(0, 0.3)
            elif isinstance(module, (nn.Linear, nn.Conv2d)) and module.bias is not None:
                module.bias.normal_(0, 0.3)
    return net.eval().requires_grad_(False)


def inputs(height: int, width: int, rows: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, timesteps, ids; sides alternate, beginning with the condition."""
    generator = torch.Generator().manual_seed(height * 100 + width)
    x = torch.randn(rows, 9, height, width, generator=generator, dtype=torch.float64)
    times = torch.tensor([3, 500, 999, 40, 7])[:rows]
    ids = torch.arange(10) + 10 * (torch.arange(rows) % 2)[:, None]
    return x, times, ids


def relative(out: Tensor, expected: Tensor) -> float:
    return float((out.double() - expected.double()).norm() / expected.double().norm())
