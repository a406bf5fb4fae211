"""Data-parallel workers, as few lines as they take: averaged gradients and averaged batch-norm statistics.

Started with `torchrun --nproc-per-node N -m moebius.training ...`; without torchrun there is one worker and
every function here does nothing. On a CPU two workers of one thread each train a small network about twice as
fast as one worker of two threads, because its many small operations do not spread over threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Workers:
    rank: int
    count: int

    @classmethod
    def join(cls, device: str) -> Workers:
        """This process's place among its siblings; the first call opens the process group."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        return cls(rank=int(os.environ.get("RANK", "0")), count=count)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def average_gradients(self, net: nn.Module) -> None:
        """Replace every gradient by its mean over the workers (one reduction of one flat vector)."""
        self._average(p.grad for p in net.parameters() if p.grad is not None)

    def average_buffers(self, net: nn.Module) -> None:
        """Replace every floating-point buffer (batch-norm statistics) by its mean over the workers."""
        self._average(b for b in net.buffers() if b.is_floating_point())

    def _average(self, tensors: Iterable[Tensor]) -> None:
        if self.count == 1:
            return
        parts = list(tensors)
        flat = torch.cat([part.reshape(-1) for part in parts])
        dist.all_reduce(flat)
        flat /= self.count
        for part, mean in zip(parts, torch.split(flat, [part.numel() for part in parts]), strict=True):
            part.copy_(mean.view_as(part))

    def leave(self) -> None:
        if self.count > 1:
            dist.destroy_process_group()
