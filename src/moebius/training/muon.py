"""Muon: steps of equal size in every direction of a weight matrix, and AdamW for what is no such matrix.

For the gradient G of a weight of shape (d0, ...), flattened to a matrix (d0, n), n = prod(...):

    B <- momentum B + G;   U = G + momentum B (Nesterov);   O = orthogonalise(U), singular values near 1
    W <- (1 - lr decay) W - lr 0.2 sqrt(size) O

With size = max(d0, n) every entry of W moves by about 0.2 lr a step, whatever the shape ("flattened", the default).
The release takes the larger of the first two axes of the unflattened weight instead ("published"), so its dense
3 x 3 and 15 x 15 kernels learn about three times more slowly than its 1 x 1 kernels.

AdamW as the release has it: epsilon joins before the bias correction,
p <- (1 - lr decay) p - lr sqrt(1 - b2^k) / (1 - b1^k) m / (sqrt(v) + eps).

Sources: Jordan et al., Muon (2024), with its quintic coefficients; Liu et al., Muon is Scalable for LLM Training
(2025), section 2.2, for the factor 0.2 sqrt(max); the released training code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from moebius.errors import SettingsError

Scale = Literal["flattened", "published"]
Rule = Literal["ours", "published"]

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_MAPS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BORDERS = ("category_embedding", "conv_in", "conv_out")
"""Parts of names that the published rule keeps from Muon (its own name of the first is embedding_layer)."""


def orthogonalise(matrices: Tensor, *, steps: int = 5, dtype: torch.dtype | None = None) -> Tensor:
    """Replace the singular values of each matrix by ones, roughly (0.7 to 1.2), with Newton-Schulz iterations.

    Args:
        matrices: (..., rows, columns); a batch takes one matrix product a step for all of them.
        steps: iterations; 5 as published.
        dtype: of the arithmetic; None takes bfloat16 on a GPU and float32 elsewhere, where bfloat16 is slow.

    Returns:
        The same shape, in `dtype`. A matrix of zeros stays one.
    """
    if dtype is None:
        dtype = torch.bfloat16 if matrices.is_cuda else torch.float32
    a, b, c = _COEFFICIENTS
    x = matrices.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    out: Tensor = x.mT if tall else x
    return out


class Muon(torch.optim.Optimizer):
    """Muon and AdamW in one optimiser; each parameter group says which (`muon=True` or `False`).

    State: `momentum` (Muon), or `moment1`, `moment2` and `step` (AdamW), tensors only; the former have their
    parameter's shape and memory layout, so a flat file of tensors restores a run bit by bit.

    Args:
        params: parameters or groups, such as those of `split_parameters`.
        lr: learning rate of both.
        weight_decay: decoupled; a step multiplies weights by 1 - lr * weight_decay.
        momentum: Muon.
        betas: AdamW.
        eps: AdamW.
        muon: whether groups that do not say so use Muon; their parameters need two axes or more.
        scale: of groups that do not say so; "flattened" or "published".
        ns_steps: iterations of `orthogonalise`.
        ns_dtype: its arithmetic.
        batched: orthogonalise weights of equal shape together; False takes them one by one.

    Raises:
        SettingsError: a value is out of its range, or a Muon group holds a parameter with fewer than two axes.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 1e-4,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        muon: bool = True,
        scale: Scale = "flattened",
        ns_steps: int = 5,
        ns_dtype: torch.dtype | None = None,
        batched: bool = True,
    ):
        self.ns_steps, self.ns_dtype, self.batched = ns_steps, ns_dtype, batched
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "betas": betas,
            "eps": eps,
            "muon": muon,
            "scale": scale,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for name in ("lr", "weight_decay", "eps"):
            if not group[name] >= 0:
                raise SettingsError(f"{name}: expected 0 or more, got {group[name]!r}")
        for name, value in (("momentum", group["momentum"]), *(("betas", beta) for beta in group["betas"])):
            if not 0 <= value < 1:
                raise SettingsError(f"{name}: expected 0 to below 1, got {value!r}")
        if group["scale"] not in get_args(Scale):
            raise SettingsError(
                f"scale: expected one of {', '.join(get_args(Scale))}, got {group['scale']!r}"
            )
        flat = [tuple(p.shape) for p in group["params"] if p.ndim < 2]
        if group["muon"] and flat:
            raise SettingsError(f"muon: expected parameters with two axes or more, got shape {flat[0]}")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient; returns what `closure` does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            if group["weight_decay"]:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            if group["muon"]:
                self._muon(parameters, group)
            else:
                self._adamw(parameters, group)
        return loss

    def _muon(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [_gradient(p) for p in parameters]
        momenta = self._state(parameters, "momentum")
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, gradients)
        steps = torch._foreach_add(gradients, momenta, alpha=group["momentum"])
        for indices in self._alike(steps):
            matrices = torch.stack([_matrix(steps[i]) for i in indices])
            rotations = orthogonalise(matrices, steps=self.ns_steps, dtype=self.ns_dtype)
            for i, rotation in zip(indices, rotations, strict=True):
                p = parameters[i]
                p.add_(rotation.reshape(p.shape), alpha=-group["lr"] * update_scale(p.shape, group["scale"]))

    def _alike(self, tensors: Sequence[Tensor]) -> list[list[int]]:
        """Which tensors are orthogonalised together: those that make matrices of one shape on one device."""
        if not self.batched:
            return [[i] for i in range(len(tensors))]
        found: dict[object, list[int]] = {}
        for i, tensor in enumerate(tensors):
            rows = tensor.shape[0]
            found.setdefault((rows, tensor.numel() // rows, tensor.dtype, tensor.device), []).append(i)
        return list(found.values())

    def _adamw(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [_gradient(p) for p in parameters]
        first, second = self._state(parameters, "moment1"), self._state(parameters, "moment2")
        counts = [self.state[p].setdefault("step", torch.zeros(())) for p in parameters]
        torch._foreach_add_(counts, 1.0)
        beta1, beta2 = group["betas"]
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_lerp_(second, torch._foreach_mul(gradients, gradients), 1 - beta2)
        roots = torch._foreach_sqrt(second)
        torch._foreach_add_(roots, group["eps"])
        sizes = []
        for count in counts:
            k = float(count)
            sizes.append(-group["lr"] * math.sqrt(1 - beta2**k) / (1 - beta1**k))
        torch._foreach_addcdiv_(parameters, first, roots, sizes)

    def _state(self, parameters: list[Tensor], name: str) -> list[Tensor]:
        return [self.state[p].setdefault(name, torch.zeros_like(p)) for p in parameters]


def update_scale(shape: Sequence[int], scale: Scale) -> float:
    """What the learning rate is multiplied by for a weight of that shape: 0.2 sqrt(size)."""
    flat = math.prod(shape[1:])
    return 0.2 * math.sqrt(max(shape[0], shape[1] if scale == "published" else flat))


def split_parameters(
    net: nn.Module, *, rule: Rule = "ours", learning_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Parameter groups for `Muon`, of the parameters of `net` that take gradients; each has a `name`.

    "ours": Muon for weights that map activations to activations, which are those of linear layers and of
    convolutions that are not grouped. AdamW for depthwise kernels, and for the convolutions at the network's borders
    (conv_in, conv_out); AdamW without weight decay for embeddings, position tables, norms and biases.

    "published": Muon for whatever has two axes or more outside category_embedding, conv_in and conv_out, depthwise
    kernels and position tables included; AdamW for the rest; weight decay for all.

    Raises:
        SettingsError: no such rule.
    """
    if rule not in get_args(Rule):
        raise SettingsError(f"rule: expected one of {', '.join(get_args(Rule))}, got {rule!r}")
    maps: set[int] = set()
    kernels: set[int] = set()
    for module in net.modules():
        if isinstance(module, _MAPS):
            grouped = getattr(module, "groups", 1) > 1
            (kernels if grouped else maps).add(id(module.weight))
    parts: dict[str, list[nn.Parameter]] = {"muon": [], "adamw": [], "adamw, no decay": []}
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        border = any(part in name for part in _BORDERS)
        if rule == "published":
            part = "muon" if parameter.ndim >= 2 and not border else "adamw"
        elif id(parameter) in maps and not border:
            part = "muon"
        elif id(parameter) in maps or id(parameter) in kernels:
            part = "adamw"
        else:
            part = "adamw, no decay"
        parts[part].append(parameter)
    return [
        {
            "params": parameters,
            "name": part,
            "muon": part == "muon",
            "scale": "published" if rule == "published" else "flattened",
            "lr": learning_rate,
            "weight_decay": 0.0 if part == "adamw, no decay" else weight_decay,
        }
        for part, parameters in parts.items()
        if parameters
    ]


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    if parameter.grad.is_sparse:
        raise SettingsError(
            f"muon: expected dense gradients, got a sparse one of shape {tuple(parameter.shape)}"
        )
    return parameter.grad


def _matrix(tensor: Tensor) -> Tensor:
    """(d0, ...) as (d0, n) in the order of the axes, whatever the order in memory."""
    return tensor.reshape(tensor.shape[0], -1)
