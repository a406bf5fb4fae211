"""Threads of this process; for programs, not for libraries."""

from __future__ import annotations

import torch


def use_threads(count: int | None) -> None:
    """Let torch use that many; None leaves it as it is.

    Small networks have many small operations, which do not spread over threads: two processes of one thread each
    (`torchrun --nproc-per-node 2`) train them about twice as fast as one process of two.
    """
    if count is not None:
        torch.set_num_threads(count)
