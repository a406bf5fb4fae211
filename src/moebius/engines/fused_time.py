"""What a timestep adds inside the residual blocks: all their time projections as one, computed in float32 at least."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moebius.networks.denoiser import TimeEmbedding

HALF = (torch.float16, torch.bfloat16)


class FusedTime(nn.Module):
    """timesteps -> one shift for each residual block.

    Moving the network to half precision leaves this part in float32: a timestep times a rounded frequency is off by
    a radian in the middle of the schedule.

    Args:
        embedding: the network's time embedding.
        projections: of its residual blocks, in the order in which they run.
        merge: one product for all of them, in place of one each.
        timesteps: those that will come; their shifts are then a table, and no other can be asked for.

    Raises:
        ValueError: a timestep below 0, or none in the list.
    """

    known: Tensor | None
    """Timesteps of the table's rows, rising."""
    table: Tensor | None
    """(timesteps, all channels)."""

    def __init__(
        self,
        embedding: TimeEmbedding,
        projections: Sequence[nn.Linear],
        *,
        merge: bool,
        timesteps: Sequence[int] | None,
    ):
        super().__init__()
        kind = torch.promote_types(embedding.linear_1.weight.dtype, torch.float32)
        self.sizes = [projection.out_features for projection in projections]
        self.embedding: TimeEmbedding | None = copy.deepcopy(embedding).to(kind)
        weights = [p.weight.detach().to(kind, copy=True) for p in projections]
        biases = [p.bias.detach().to(kind, copy=True) for p in projections]
        if merge:
            weights, biases = [torch.cat(weights)], [torch.cat(biases)]
        self.weights, self.biases = _frozen(weights), _frozen(biases)
        self.steps: frozenset[int] | None = None
        self._places: dict[int, int] = {}
        self._rows: dict[int, Tensor] = {}
        self.register_buffer("known", None)
        self.register_buffer("table", None)
        self.requires_grad_(False)
        if timesteps is not None:
            self._tabulate(list(timesteps))

    def forward(self, timesteps: Tensor, dtype: torch.dtype) -> Tensor:
        """timesteps (B,) -> all blocks' shifts beside each other (B, all channels)."""
        if self.table is None or self.known is None:
            return self._computed(timesteps).to(dtype)
        return self.table[torch.searchsorted(self.known, timesteps.to(self.known))].to(dtype)

    def row(self, timestep: int, dtype: torch.dtype) -> Tensor:
        """What `forward` gives for one timestep (1, all channels), without waiting for the device.

        Out of the table, or computed when the timestep first comes, and kept.

        Raises:
            ValueError: a timestep that is not in the table.
        """
        if self.table is not None:
            if timestep not in self._places:
                raise ValueError(self._unknown(timestep))
            at = self._places[timestep]
            return self.table[at : at + 1].to(dtype)
        if timestep not in self._rows:
            asked = torch.full((1,), timestep, device=self.weights[0].device)
            self._rows = {**self._rows, timestep: self._computed(asked)}
        return self._rows[timestep].to(dtype)

    def split(self, shifts: Tensor) -> list[Tensor]:
        """(B, all channels) -> for each block (B, C')."""
        return list(torch.split(shifts, self.sizes, dim=1))

    def check(self, timesteps: Tensor) -> None:
        """Raises ValueError for one that is not in the table."""
        if self.steps is None:
            return
        missing = [step for step in timesteps.tolist() if step not in self.steps]
        if missing:
            raise ValueError(self._unknown(missing[0]))

    def _unknown(self, timestep: int) -> str:
        some = f"some of the {len(self._places)} that the network was fused for"
        return f"timesteps: expected {some}, got {timestep}"

    def _computed(self, timesteps: Tensor) -> Tensor:
        """(B, all channels)."""
        assert self.embedding is not None
        time = F.silu(self.embedding(timesteps.to(self.weights[0].device)))
        pairs = zip(self.weights, self.biases, strict=True)
        return torch.cat([F.linear(time, weight, bias) for weight, bias in pairs], dim=1)

    def _tabulate(self, timesteps: list[int]) -> None:
        if not timesteps or min(timesteps) < 0:
            raise ValueError(f"timesteps: expected at least one, none below 0, got {timesteps[:8]}")
        self.steps = frozenset(timesteps)
        self._places = {step: place for place, step in enumerate(sorted(self.steps))}
        self.known = torch.tensor(sorted(self.steps), device=self.weights[0].device)
        self.table = self._computed(self.known)
        self.embedding = None  # the table is all that is needed
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FusedTime:
        def careful(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            narrowed = moved.dtype in HALF and tensor.dtype not in HALF
            return tensor.to(moved.device) if narrowed else moved

        self._rows = {}
        super()._apply(careful, recurse)  # type: ignore[no-untyped-call]
        return self


def _frozen(tensors: Iterable[Tensor]) -> nn.ParameterList:
    return nn.ParameterList(nn.Parameter(tensor, requires_grad=False) for tensor in tensors)
