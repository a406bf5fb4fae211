"""The two lambda layers as the fused network runs them.

Notation as in `moebius.networks.lambdas`: B batch, h heads, n = H*W tokens, m context tokens, k = v depths.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator
from itertools import groupby
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moebius.engines.fused_convolution import (
    Convolution,
    batch_norm_affine,
    convolution,
    merged,
    with_input_affine,
    with_output_affine,
)
from moebius.networks.blocks import ChannelLayerNorm
from moebius.networks.lambdas import WINDOW, InteractiveLambda, LocalLambda

TILE = 8
"""Columns of queries that share a window of values."""
SPAN = TILE + WINDOW - 1
"""Columns of that window."""
CPU_CHUNK = 700_000
"""Elements of the largest intermediate that the tiled form makes at a time on a CPU: a few MB, which caches hold."""
GPU_CHUNK = 1 << 26
ROW_BY_ROW = ("cpu",)
"""Devices where each row of a batch has an interactive product of its own. Elsewhere rows of one side share theirs:
with 64 photos, as many products as with one."""

Sides = Tensor | tuple[int, ...]
"""0 = condition, 1 = opposite for each row: numbers, or a tensor (B,) while the network is being traced."""


def without_affine(norm: ChannelLayerNorm) -> ChannelLayerNorm:
    return ChannelLayerNorm(norm.normalized_shape, norm.eps, elementwise_affine=False)


def plain_norm(norm: ChannelLayerNorm, rewrites: Collection[str]) -> ChannelLayerNorm:
    """The norm as it is, or without what is folded into the convolutions behind it."""
    if "affines" in rewrites:
        return without_affine(norm)
    return copy.deepcopy(norm)


def projection(
    conv: nn.Conv2d, norm: ChannelLayerNorm, batch_norm: nn.Module | None, rewrites: Collection[str]
) -> tuple[Convolution, nn.Module]:
    """A 1x1 convolution behind a layer norm, and the batch norm that is left behind it (or an identity)."""
    out = convolution(conv)
    if "affines" in rewrites:
        out = with_input_affine(out, norm.weight, norm.bias)
    if batch_norm is None:
        return out, nn.Identity()
    if "batch_norm" in rewrites:
        return with_output_affine(out, *batch_norm_affine(batch_norm)), nn.Identity()
    return out, copy.deepcopy(batch_norm).eval()


def local_form(depth: int, heads: int) -> Literal["conv", "tiles"]:
    """The cheaper form of the local lambda's positions, by multiplications a token.

    "conv": 225 taps make a k x v matrix a token. "tiles": each head's query against the taps of its tile's window,
    and the window's values. So it is "conv" below a depth of 24 with 8 heads, "tiles" above. Measured on a CPU,
    the sign of the difference agrees with this count from a depth of 8 to one of 160.
    """
    conv = WINDOW * WINDOW * depth * depth
    tiles = heads * WINDOW * SPAN * 2 * depth
    return "tiles" if tiles < conv else "conv"


class FusedLocal(nn.Module):
    """`LocalLambda` and the layer norm before it. z (B, C, H, W) -> what is added to it."""

    shifted: Tensor

    def __init__(self, local: LocalLambda, norm: ChannelLayerNorm, rewrites: Collection[str]):
        super().__init__()
        self.heads, self.depth = local.heads, local.depth
        self.norm = plain_norm(norm, rewrites)
        parts, norms = [], []
        for conv, batch_norm in (
            (local.to_q, local.norm_q),
            (local.to_k, None),
            (local.to_v, local.norm_v),
        ):
            part, left = projection(conv, norm, batch_norm, rewrites)
            parts.append(part)
            norms.append(left)
        self.parts = nn.ModuleList([merged(parts)] if "qkv" in rewrites else parts)
        self.norms = nn.ModuleList(norms)
        self.form = local_form(self.depth, self.heads) if "local" in rewrites else "conv"
        weight = local.position.weight.detach()  # (k, 1, 15, 15)
        self.position_bias = nn.Parameter(local.position.bias.detach().clone(), requires_grad=False)  # type: ignore[union-attr]
        stored = shifted_taps(weight) if self.form == "tiles" else weight.clone()
        self.taps = nn.Parameter(stored, requires_grad=False)

    def forward(self, z: Tensor) -> Tensor:
        batch, channels, height, width = z.shape
        q, key, value = self._projections(self.norm(z))
        kind = torch.promote_types(key.dtype, torch.float32)
        weights = key.flatten(2).softmax(dim=-1, dtype=kind).to(key.dtype)  # (B, k, n)
        tokens = value.permute(0, 2, 3, 1).reshape(batch, height * width, self.depth)  # (B, n, v)
        # The positions' bias is the same for all v and n, as if it stood in the content matrix.
        content = weights @ tokens + self.position_bias[:, None]  # (B, k, v)
        if self.form == "conv":
            return self._by_convolution(q, value, content)
        queries = q.permute(0, 2, 3, 1)  # (B, H, W, h k)
        flat = queries.reshape(batch, height * width * self.heads, self.depth)
        out = (flat @ content).reshape(batch, height, width, channels)
        out = out + self._by_tiles(queries, value)
        return out.permute(0, 3, 1, 2)

    def _projections(self, u: Tensor) -> list[Tensor]:
        if len(self.parts) == 1:
            depth, channels = self.depth, self.heads * self.depth
            parts = list(self.parts[0](u).split([channels, depth, depth], dim=1))
        else:
            parts = [part(u) for part in self.parts]
        return [norm(part) for norm, part in zip(self.norms, parts, strict=True)]

    def _by_convolution(self, q: Tensor, value: Tensor, content: Tensor) -> Tensor:
        batch, channels, height, width = q.shape
        k, n = self.depth, height * width
        maps = value.reshape(batch * k, 1, height, width)
        position = F.conv2d(maps, self.taps, padding=WINDOW // 2).reshape(batch, k, k, n)  # (B, v, k, n)
        lambdas = position + content.transpose(1, 2).unsqueeze(-1)
        queries = q.reshape(batch, self.heads, k, n).permute(0, 3, 1, 2)  # (B, n, h, k)
        out = queries @ lambdas.permute(0, 3, 2, 1)  # (B, n, h, v)
        return out.permute(0, 2, 3, 1).reshape(batch, channels, height, width)

    def _by_tiles(self, q: Tensor, value: Tensor) -> Tensor:
        """q (B, H, W, h k), value (B, v, H, W) -> (B, H, W, h v).

        Taps first: what a query has to say to each place of the window of its tile, (8 h, 15 * 22) a tile; then
        that times the window's values. The k x v matrix of a token is never made.
        """
        batch, height, width, channels = q.shape
        tiles = (width + TILE - 1) // TILE
        q = F.pad(q, (0, 0, 0, tiles * TILE - width)).reshape(batch, height, tiles, TILE, channels)
        columns = self._columns(value, tiles)
        step = height
        if not torch.compiler.is_compiling():
            most = CPU_CHUNK if q.device.type == "cpu" else GPU_CHUNK
            step = max(1, min(height, most // (batch * tiles * TILE * self.heads * WINDOW * SPAN)))
        parts = []
        for start in range(0, height, step) if step < height else (0,):
            rows = q if step >= height else q[:, start : start + step]
            near = columns if step >= height else columns[:, start : start + rows.shape[1] + WINDOW - 1]
            parts.append(self._tile_rows(rows, near))
        out = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return out[:, :, :width]

    def _columns(self, value: Tensor, tiles: int) -> Tensor:
        """The columns that each tile sees, of all rows: (B, H + 14, tiles, 22 v)."""
        batch, depth, height, width = value.shape
        half = WINDOW // 2
        right = (tiles + 2) * TILE - width - half
        padded = F.pad(value.permute(0, 2, 3, 1), (0, 0, half, right, half, half))
        cut = padded.reshape(batch, height + 2 * half, tiles + 2, TILE, depth)
        seen = torch.cat([cut[:, :, :-2], cut[:, :, 1:-1], cut[:, :, 2:, : SPAN - 2 * TILE]], dim=3)
        return seen.reshape(batch, height + 2 * half, tiles, SPAN * depth)

    def _tile_rows(self, q: Tensor, columns: Tensor) -> Tensor:
        """Some rows of queries (B, r, tiles, 8, h k) and (B, r + 14, tiles, 22 v) -> (B, r, 8 tiles, h v)."""
        batch, rows, tiles, _, channels = q.shape
        heads, depth, many = self.heads, self.depth, -1
        near = torch.cat([columns[:, dy : dy + rows] for dy in range(WINDOW)], dim=3)
        window = near.reshape(many, WINDOW * SPAN, depth)  # (B r tiles, 330, v)
        queries = q.permute(3, 0, 1, 2, 4).reshape(TILE, many, depth)  # (8, B r tiles h, k)
        says = torch.bmm(queries, self.taps).reshape(TILE, many, heads, WINDOW * SPAN)
        says = says.permute(1, 0, 2, 3).reshape(many, TILE * heads, WINDOW * SPAN)
        return torch.bmm(says, window).reshape(batch, rows, tiles * TILE, channels)


def shifted_taps(weight: Tensor) -> Tensor:
    """Position weights (k, 1, 15, 15) as (8, k, 15 * 22): column x of a tile sees its window from x on."""
    depth = weight.shape[0]
    taps = weight.new_zeros(TILE, depth, WINDOW, SPAN)
    for x in range(TILE):
        taps[x, :, :, x : x + WINDOW] = weight[:, 0]
    return taps.reshape(TILE, depth, WINDOW * SPAN)


class FusedInteractive(nn.Module):
    """`InteractiveLambda` and the layer norm before it.

    With "interactive" among the rewrites, keys and values of the network's fixed categories are constants of each
    side; keys and positions are one table a side, (n, m, k), made once for each size of map that comes.

    Args:
        interactive: the plain layer.
        norm: the layer norm before it.
        context: (sides, m, context channels), the projected categories of each side, for the constants; None without.
        rewrites: names of `moebius.engines.fuse.REWRITES`.
    """

    def __init__(
        self,
        interactive: InteractiveLambda,
        norm: ChannelLayerNorm,
        context: Tensor | None,
        rewrites: Collection[str],
    ):
        super().__init__()
        self.heads, self.depth = interactive.heads, interactive.depth
        self.size, self.tokens = interactive.size, interactive.tokens
        self.norm = plain_norm(norm, rewrites)
        self.query, self.norm_q = projection(interactive.to_q, norm, interactive.norm_q, rewrites)
        self.positions = nn.Parameter(interactive.positions.detach().clone(), requires_grad=False)
        self._tables: dict[tuple[int, int, int], Tensor] = {}
        self.collapsed = context is not None
        scale, shift = batch_norm_affine(interactive.norm_v)
        to_key, to_value = interactive.to_k.weight.detach(), interactive.to_v.weight.detach()
        kind = to_key.dtype
        if context is None:
            bias = shift.to(kind)
            self.to_key = nn.Parameter(to_key.clone(), requires_grad=False)
            self.to_value = nn.Parameter((to_value.double() * scale[:, None]).to(kind), requires_grad=False)
            self.value_bias = nn.Parameter(bias, requires_grad=False)
            return
        key = (context.double() @ to_key.double().T).softmax(dim=1)
        value = context.double() @ to_value.double().T * scale + shift
        self.keys = nn.Parameter(key.to(kind), requires_grad=False)  # (sides, m, k)
        self.values = nn.Parameter(value.to(kind), requires_grad=False)  # (sides, m, v)

    def query_of(self, z: Tensor) -> Tensor:
        """The part that does not depend on the side: z (B, C, H, W) -> queries (B, C, H, W)."""
        out: Tensor = self.norm_q(self.query(self.norm(z)))
        return out

    def answer(self, q: Tensor, sides: Sides, context: Tensor | None) -> Tensor:
        """queries (B, C, H, W), context (B, m, context channels) unless collapsed -> (B, C, H, W)."""
        batch, channels, height, width = q.shape
        n = height * width
        queries = q.permute(0, 2, 3, 1).reshape(batch, n, self.heads, self.depth)
        if self.collapsed and not isinstance(sides, Tensor):
            apart = q.device.type in ROW_BY_ROW
            rows, first = [], 0
            for side, many in _runs(sides, 1 if apart else batch):
                rows.append(self._of_side(queries[first : first + many], side, height, width))
                first += many
            out = torch.cat(rows) if len(rows) > 1 else rows[0]
        else:
            key, value = self._of_rows(sides, context)
            table = self._positions(height, width) + key.unsqueeze(1)  # (B, n, m, k)
            says = queries @ table.transpose(2, 3)  # (B, n, h, m)
            out = says.reshape(batch, n * self.heads, self.tokens) @ value
        return out.reshape(batch, height, width, channels).permute(0, 3, 1, 2)

    def _of_side(self, queries: Tensor, side: int, height: int, width: int) -> Tensor:
        """queries (r, n, h, k) of one side -> (r, n h, v)."""
        # A product broadcast over the rows would copy the table for each; so the rows stand beside the heads.
        rows, n, heads, depth = queries.shape
        beside = queries.transpose(0, 1).reshape(n, rows * heads, depth)
        says = torch.bmm(beside, self.table(side, height, width).transpose(1, 2))  # (n, r h, m)
        if rows > 1:
            says = says.reshape(n, rows, heads, self.tokens).transpose(0, 1)
        return says.reshape(rows, n * heads, self.tokens) @ self.values[side]

    def table(self, side: int, height: int, width: int) -> Tensor:
        """Positions and keys of one side for a map of height x width: (n, m, k). Made once, until weights move."""
        key = (side, height, width)
        if key in self._tables:
            return self._tables[key]
        made = self._positions(height, width) + self.keys[side]
        if not torch.compiler.is_compiling():
            self._tables = {**self._tables, key: made}
        return made

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FusedInteractive:
        def place() -> tuple[object, ...]:
            p = self.positions
            return p.data_ptr(), p.dtype, p.device

        before = place()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if place() != before:  # else they stay where they are: a graph may read them there
            self._tables = {}
        return self

    def _of_rows(self, sides: Sides, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Keys (B, m, k) and values (B, m, v)."""
        if context is None:
            return self.keys[sides], self.values[sides]
        kind = torch.promote_types(context.dtype, torch.float32)
        key = F.linear(context, self.to_key).softmax(dim=1, dtype=kind).to(context.dtype)
        return key, F.linear(context, self.to_value, self.value_bias)

    def _positions(self, height: int, width: int) -> Tensor:
        """The position table for a map of height x width, resized as the plain layer does: (n, m, k)."""
        known = isinstance(height, int) and isinstance(width, int)  # else symbols, which fit any size
        if known and (height, width) == (self.size, self.size):
            return self.positions
        size, rows = self.size, self.tokens * self.depth
        grid = self.positions.reshape(size, size, rows).permute(2, 0, 1).unsqueeze(0)
        grid = F.interpolate(grid, size=(height, width), mode="bilinear", align_corners=False)
        return grid.reshape(rows, height * width).transpose(0, 1).reshape(-1, self.tokens, self.depth)


def _runs(sides: tuple[int, ...], most: int) -> Iterator[tuple[int, int]]:
    """Each side with how many rows of it follow each other, at most so many at a time."""
    for side, same in groupby(sides):
        left = len(list(same))
        while left > 0:
            yield side, min(left, most)
            left -= most
