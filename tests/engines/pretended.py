"""Networks on a GPU that is not there: PyTorch's fake tensors, and a watch for what a CUDA graph could not hold."""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = torch.device("cuda", 0)
WAITS = {
    "_local_scalar_dense",
    "nonzero",
    "item",
    "is_nonzero",
    "equal",
    "masked_select",
    "unique",
    "_unique2",
}
"""Operators whose result the processor has to know before it goes on."""


def pretend(net: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """The network, changed in place: its weights claim to be on a GPU, and hold no numbers."""
    for module in net.modules():
        for name, tensor in module._parameters.items():
            if tensor is not None:
                fake = FakeTensor(mode, tensor.detach().to("meta"), GPU)
                module._parameters[name] = nn.Parameter(fake, requires_grad=False)
        for name, tensor in module._buffers.items():
            if tensor is not None:
                module._buffers[name] = FakeTensor(mode, tensor.detach().to("meta"), GPU)
    return net


class Unguarded(TorchFunctionMode):
    """Methods that would look for CUDA's driver before they reach the operator, as their operators alone.

    So that a build of PyTorch without CUDA will do.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.contiguous:
            order = (kwargs or {}).get("memory_format", torch.contiguous_format)
            x = args[0]
            return x if x.is_contiguous(memory_format=order) else x.clone(memory_format=order)
        return _at(*args) if func is Tensor.__getitem__ else func(*args, **(kwargs or {}))


def _at(x: Tensor, index: Any) -> Tensor:
    """x[index], without tensors in the index."""
    index = index if isinstance(index, tuple) else (index,)
    if Ellipsis in index:
        at = index.index(Ellipsis)
        missing = x.ndim - sum(part is not None for part in index) + 1
        index = (*index[:at], *[slice(None)] * missing, *index[at + 1 :])
    dim = 0
    for part in index:
        if part is None:
            x = x.unsqueeze(dim)
        elif isinstance(part, slice):
            x = torch.ops.aten.slice(x, dim, part.start, part.stop, part.step or 1)
        elif isinstance(part, int):
            x, dim = x.select(dim, part), dim - 1
        else:
            raise NotImplementedError(f"index {part!r}")
        dim += 1
    return x


class Watched(TorchDispatchMode):
    """Counts operators; fails where one waits for the device, or has a tensor elsewhere.

    Attributes:
        counts: by name, of those that launch something: views and questions are left out.
        formats: of what they put out, by name.
        peak: bytes of the tensors made meanwhile that were alive at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.formats: dict[str, set[torch.dtype]] = {}
        self.peak = self._now = 0
        self._living: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.partition("::")[2]
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name in WAITS:
            raise AssertionError(f"{name} waits for the device")
        made = func(*args, **(kwargs or {}))
        out = [leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
        places = {str(tensor.device) for tensor in (*given, *out)}
        if places - {str(GPU)}:
            raise AssertionError(f"{name} has tensors on {', '.join(sorted(places))}")
        if out and not func.is_view and name != "_unsafe_view":
            self.counts[name] += 1
            self.formats.setdefault(name, set()).update(tensor.dtype for tensor in out)
        for tensor in out:
            self._count(tensor)
        return made

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._living:
            self._living.add(key)
            self._now += size
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._living.discard(key)
        self._now -= size
