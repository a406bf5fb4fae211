"""The two lambda layers of Moebius: linear maps from context to output in place of attention.

Both turn their context into a small matrix ("lambda", k x v) and apply it to every query, so the cost grows
linearly with the number of tokens. Notation of the paper and of this file:

    B batch, h heads, n = H*W tokens, m context tokens, C channels, k = v = C/h key and value depth

Source: the Moebius paper, section 3 (local and interactive lambda); Bello, LambdaNetworks, equations 1-3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOW = 15
"""Side of the local position window, in latent cells."""


class LocalLambda(nn.Module):
    """L-lambda: every token against the whole map (content) and its 15 x 15 neighbourhood (position).

    The content softmax runs over the tokens of each key channel; neither it nor the output is scaled, and
    there is no output projection.
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        depth = channels // heads
        self.heads, self.depth = heads, depth
        self.to_q = nn.Conv2d(channels, channels, 1, bias=False)
        self.to_k = nn.Conv2d(channels, depth, 1, bias=False)
        self.to_v = nn.Conv2d(channels, depth, 1, bias=False)
        self.norm_q = nn.BatchNorm2d(channels)
        self.norm_v = nn.BatchNorm2d(depth)
        self.position = nn.Conv2d(1, depth, WINDOW, padding=WINDOW // 2)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        heads, k, v = self.heads, self.depth, self.depth
        n = height * width
        q = self.norm_q(self.to_q(x)).reshape(batch, heads, k, n)
        key = self.to_k(x).reshape(batch, k, n).softmax(dim=-1)
        value = self.norm_v(self.to_v(x))  # (B, v, H, W)

        content = key @ value.reshape(batch, v, n).transpose(1, 2)  # (B, k, v)
        # The same 15 x 15 window with k outputs slides over each of the v value maps.
        position = self.position(value.reshape(batch * v, 1, height, width)).reshape(batch, v, k, n)
        lambdas = position + content.transpose(1, 2).unsqueeze(-1)  # (B, v, k, n)

        # (B, n, h, k) @ (B, n, k, v): each token's own matrix applied to its queries.
        out: Tensor = q.permute(0, 3, 1, 2) @ lambdas.permute(0, 3, 2, 1)
        return out.permute(0, 2, 3, 1).reshape(batch, channels, height, width)


class InteractiveLambda(nn.Module):
    """I-lambda: every token against the m category tokens, with one learnt key offset a place and token.

    `positions` is an absolute table over the native size x size map, one row a latent cell. Maps of another
    size get the table resized bilinearly; at the native size it is used untouched.
    Applied as an un-normalised linear attention, which equals building the k x v matrix of each token:
    out = ((Q . (R + K)) V.
    """

    def __init__(self, channels: int, heads: int, context_channels: int, size: int, tokens: int):
        super().__init__()
        depth = channels // heads
        self.heads, self.depth, self.size, self.tokens = heads, depth, size, tokens
        self.positions = nn.Parameter(torch.randn(size * size, tokens, depth))
        self.to_q = nn.Conv2d(channels, channels, 1, bias=False)
        self.to_k = nn.Linear(context_channels, depth, bias=False)
        self.to_v = nn.Linear(context_channels, depth, bias=False)
        self.norm_q = nn.BatchNorm2d(channels)
        self.norm_v = nn.BatchNorm1d(depth)
        self._resized: dict[tuple[object, ...], Tensor] = {}

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x (B, C, H, W), context (B, m, context channels) -> (B, C, H, W)."""
        batch, channels, height, width = x.shape
        heads, k, n = self.heads, self.depth, height * width
        q = self.norm_q(self.to_q(x)).reshape(batch, heads, k, n)
        key = self.to_k(context).softmax(dim=1)  # (B, m, k), over the tokens
        value = self.norm_v(self.to_v(context).transpose(1, 2))  # (B, v, m)

        table = self.table(height, width) + key.unsqueeze(1)  # (B, n, m, k)
        # (B, n, h, k) @ (B, n, k, m) @ (B, 1, m, v)
        out: Tensor = (q.permute(0, 3, 1, 2) @ table.transpose(2, 3)) @ value.transpose(1, 2).unsqueeze(1)
        return out.permute(0, 2, 3, 1).reshape(batch, channels, height, width)

    def table(self, height: int, width: int) -> Tensor:
        """The position table for a map of height x width: (height*width, m, k).

        Cached where no gradient flows and nothing is compiled; a compiled graph cannot look into the cache.
        """
        if (height, width) == (self.size, self.size):
            return self.positions
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._resize(height, width)
        p = self.positions
        key = (height, width, p._version, p.data_ptr(), p.dtype, p.device)
        if key not in self._resized:
            self._resized = {k: v for k, v in self._resized.items() if k[2:] == key[2:]}  # drop stale weights
            self._resized[key] = self._resize(height, width)
        return self._resized[key]

    def _resize(self, height: int, width: int) -> Tensor:
        size, rows = self.size, self.tokens * self.depth
        grid = self.positions.reshape(size, size, rows).permute(2, 0, 1).unsqueeze(0)  # (1, m k, size, size)
        grid = F.interpolate(grid, size=(height, width), mode="bilinear", align_corners=False)
        return grid.reshape(rows, height * width).transpose(0, 1).reshape(-1, self.tokens, self.depth)
