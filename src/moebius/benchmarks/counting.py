"""Operations and bytes of a call, counted as it runs: what a roofline needs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

_NAMED = {
    "convolution": "convolution",
    "_convolution_pointwise": "convolution",
    "bmm": "bmm",
    "mm": "mm",
    "addmm": "mm",
    "native_batch_norm": "batch norm",
    "_native_batch_norm_legit_no_training": "batch norm",
    "cudnn_batch_norm": "batch norm",
    "native_group_norm": "group norm",
    "native_layer_norm": "layer norm",
    "_softmax": "softmax",
    "silu": "silu",
    "relu": "relu",
    "index": "gather",
    "add": "add",
    "clone": "copy",
    "copy_": "copy",
}
"""Operator of torch -> what it is counted as."""


def _attention(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: Any, **__: Any
) -> int:
    """Two products of batches, by shapes (B, heads, tokens, depth)."""
    return 2 * query[0] * query[1] * query[2] * key[2] * (query[3] + value[3])


def _joined_convolution(
    x: tuple[int, ...], second: tuple[int, ...], third: Any, *_: Any, out_shape: tuple[int, ...], **__: Any
) -> int:
    """oneDNN's convolution with what follows it: (map, weight, bias, ...) or (map, other map, weight, ...)."""
    weight = third if isinstance(third, tuple) and len(third) == 4 else second
    return 2 * math.prod(weight) * out_shape[0] * math.prod(out_shape[2:])


_UNKNOWN: dict[Any, Any] = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
"""Operators that torch's own counter passes over."""
if hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
    _UNKNOWN[torch.ops.mkldnn._convolution_pointwise] = _joined_convolution


@dataclass(frozen=True)
class Count:
    """One call, counted."""

    flops: int
    """2 a multiply-add of convolutions and matrix products; nothing else counts."""
    bytes: int
    """Inputs and outputs of every operation that is no mere view, as if nothing were kept in a cache or fused."""
    operations: int
    """Operations that are no mere views."""
    kinds: dict[str, int]
    """Operations by kind ("convolution", "bmm", "copy", ...)."""


def count(work: Callable[[], object]) -> Count:
    """Run `work` once, in torch and without gradients, and count what it does.

    Shapes alone decide, so tensors may be on any device, the meta device included. What is hidden in an operator of
    somebody's own (a compiled graph, another runtime) is not seen.
    """
    seen = _Traffic()
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_UNKNOWN) as flops, seen:
        work()
    return Count(int(flops.get_total_flops()), seen.bytes, sum(seen.all.values()), dict(seen.kinds))


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the tensors of every operation that is not a view."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0
        self.all: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not _is_view(func) and not name.startswith(("empty", "detach")):
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            self.all[name] += 1
            self.kinds[_NAMED.get(name, name)] += 1
        return out


def _is_view(func: Any) -> bool:
    """Whether an operator hands out its input's memory and touches none of it."""
    if func.is_view:
        return True
    return bool(func.overloadpacket.__name__ in ("_unsafe_view", "_reshape_alias", "alias", "lift_fresh"))
