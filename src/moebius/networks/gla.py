"""Gated linear attention: the causal, linear-time self-attention of PixelHacker, the teacher network.

A state S (K x V) of each head runs over the tokens. It forgets by a gate of its own for every key channel, takes
in a token's key and value, and is read by the token's query:

    S_t = diag(exp a_t) S_{t-1} + k_t^T v_t        o_t = K^(-1/2) q_t S_t        a_t <= 0, S_0 = 0

Notation: B batch, T tokens, H heads, K and V key and value channels of one head, C = H V channels of the layer.
Source: PixelHacker, section on its denoiser; Yang et al., Gated Linear Attention, section 4.
"""

from __future__ import annotations

import logging
import math
import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BACKENDS = ("auto", "torch", "recurrent", "fla")
ENVIRONMENT = "MOEBIUS_GLA"
"""Environment variable that says what "auto" means: one of `BACKENDS`."""
GATE_DIVISOR = 16.0
"""The gates' log-sigmoid is divided by this: an undecided gate keeps 0.5 ** (1 / 16) = 96 % a token."""
GATE_RANK = 16
"""Width between the two linear maps that make the gates."""

log = logging.getLogger(__name__)


def gla(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, *, backend: str = "auto") -> Tensor:
    """Causal gated linear attention: every token reads itself and those before it.

    Args:
        q, k: (B, T, H, K) queries and keys.
        v: (B, T, H, V) values.
        log_decay: (B, T, H, K), at most 0: logarithm of the share that a token leaves of the state.
        backend: "torch" works on blocks of tokens side by side, on any device and with gradients; "recurrent"
            is the definition, token by token, to compare with; "fla" calls the kernels of
            flash-linear-attention; "auto" takes those for CUDA tensors where they are installed and "torch"
            elsewhere, unless the environment variable MOEBIUS_GLA names another.

    Returns:
        (B, T, H, V) in the number format of `v`. State and decay are kept in float32, under autocast too, and
        in float64 for float64 values.

    Raises:
        ValueError: shapes that do not fit, an unknown backend, or "fla" for tensors it cannot take.
        ImportError: "fla" is asked for and not installed; says how to get it.
    """
    if q.ndim != 4 or q.shape != k.shape or q.shape != log_decay.shape or q.shape[:3] != v.shape[:3]:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (q, k, v, log_decay))
        raise ValueError(
            f"expected q, k, v, log_decay as (B, T, H, K), (B, T, H, K), (B, T, H, V), (B, T, H, K), got {shapes}"
        )
    chosen = choose_backend(backend, q.device.type, v.dtype is torch.float64)
    if chosen == "fla":
        out: Tensor = _fla()(q=q, k=k, v=v, g=log_decay)[0]
        return out.to(v.dtype)
    exact = torch.float64 if v.dtype is torch.float64 else torch.float32
    compute = _recurrence if chosen == "recurrent" else _halves
    with _no_autocast(q.device.type):  # it would make half-precision products of float32 states
        out = compute(*(tensor.to(exact).transpose(1, 2) for tensor in (q, k, v, log_decay)))
    return out.transpose(1, 2).to(v.dtype)


def _recurrence(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """The definition, in tensors (B, H, T, .)."""
    state = q.new_zeros(*q.shape[:2], q.shape[-1], v.shape[-1])  # (B, H, K, V)
    rows = []
    for t in range(q.shape[2]):
        state = log_decay[:, :, t, :, None].exp() * state + k[:, :, t, :, None] * v[:, :, t, None]
        rows.append(q[:, :, t, None] @ state)
    return torch.cat(rows, dim=2) / math.sqrt(q.shape[-1])


def _halves(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """The same in log2(T) rounds, in tensors (B, H, T, .).

    Each round joins neighbouring blocks of s tokens: the later block reads, as one state, what the earlier one
    wrote. What token j wrote reaches token i with

        exp(decay after j, to the earlier block's end) * exp(decay from the later block's start, to i)

    so every exponent is a sum of decays, at most 0, and nothing overflows however far gates are closed; the
    usual form of a chunk, (q exp b)(k exp -b)^T, does in float32 from a decay of 88 on. Sums are built up from
    short to long, not taken as differences of long ones, which would lose a near token's few digits.
    """
    tokens, key, value = q.shape[2], q.shape[3], v.shape[3]
    # Blocks of one token to begin with: (B, H, N, s, .), s = 1.
    q, k, v, since = (tensor.unsqueeze(3) for tensor in (q / math.sqrt(key), k, v, log_decay))
    after = torch.zeros_like(since)
    out = (q * k).sum(dim=-1, keepdim=True) * v
    while q.shape[2] > 1:
        if q.shape[2] % 2:  # a block of zeros at the end changes nothing before it
            q, k, v, since, after, out = (F.pad(x, (0, 0, 0, 0, 0, 1)) for x in (q, k, v, since, after, out))
        earlier, later = slice(0, None, 2), slice(1, None, 2)
        read = q[:, :, later] * since[:, :, later].exp()  # (B, H, N/2, s, K)
        written = (k[:, :, earlier] * after[:, :, earlier].exp()).transpose(-1, -2)  # (B, H, N/2, K, s)
        if q.shape[3] * (key + value) < 2 * key * value:  # pairs of few tokens cost less than a state
            added = (read @ written) @ v[:, :, earlier]
        else:
            added = read @ (written @ v[:, :, earlier])
        through_earlier, through_later = since[:, :, earlier, -1:], since[:, :, later, -1:]
        out = torch.cat([out[:, :, earlier], out[:, :, later] + added], dim=3)
        after = torch.cat([after[:, :, earlier] + through_later, after[:, :, later]], dim=3)
        since = torch.cat([since[:, :, earlier], since[:, :, later] + through_earlier], dim=3)
        q, k, v = (tensor.reshape(*out.shape[:4], -1) for tensor in (q, k, v))
    return out.squeeze(2)[:, :, :tokens]


class GatedRMSNorm(nn.Module):
    """Root-mean-square norm over the last dimension, times SiLU of a gate; in float32 (or float64)."""

    def __init__(self, channels: int):
        super().__init__()
        self.eps = 1e-6
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """x, gate (..., channels) -> (..., channels) in float32 (or float64)."""
        exact = torch.float64 if x.dtype is torch.float64 else torch.float32
        x, gate = x.to(exact), gate.to(exact)
        size = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + self.eps)
        return x * size * self.weight.to(exact) * F.silu(gate)


class GatedLinearAttention(nn.Module):
    """The self-attention layer of PixelHacker around `gla`: keys half as wide as values, an output gate.

    Stands where diffusers has its self-attention, hence the arguments of `forward`.

    Args:
        channels: C.
        heads: H; all heads share the weights of the output norm.

    Raises:
        ValueError: half of the channels do not divide by the heads.
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        if channels % (2 * heads):
            raise ValueError(f"channels must divide by twice the heads (2 x {heads}), got {channels}")
        self.heads = heads
        self.backend = "auto"
        keys = channels // 2
        self.q_proj = nn.Linear(channels, keys, bias=False)
        self.k_proj = nn.Linear(channels, keys, bias=False)
        self.v_proj = nn.Linear(channels, channels, bias=False)
        self.g_proj = nn.Linear(channels, channels, bias=False)
        self.gk_proj = nn.Sequential(nn.Linear(channels, GATE_RANK, bias=False), nn.Linear(GATE_RANK, keys))
        self.o_proj = nn.Linear(channels, channels, bias=False)
        self.g_norm_swish_gate = GatedRMSNorm(channels // heads)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **ignored: Any,
    ) -> Tensor:
        """hidden_states (B, T, C), tokens in raster order -> (B, T, C).

        Raises:
            ValueError: a mask is given, which this layer does not know.
        """
        if attention_mask is not None:
            raise ValueError("attention_mask: gated linear attention takes none")
        x, split = hidden_states, partial(torch.unflatten, dim=-1, sizes=(self.heads, -1))
        q, k, v = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))  # (B, T, H, K or V)
        logits = self.gk_proj(x)
        exact = torch.float64 if logits.dtype is torch.float64 else torch.float32
        log_decay = split(F.logsigmoid(logits.to(exact)) / GATE_DIVISOR)  # (B, T, H, K)
        read = gla(q, k, v, log_decay, backend=self.backend)
        gated = self.g_norm_swish_gate(read, split(self.g_proj(x)))
        out: Tensor = self.o_proj(gated.flatten(-2).to(x.dtype))
        return out


def choose_backend(backend: str, device: str, float64: bool) -> str:
    """Which of "torch", "recurrent" and "fla" serves tensors on a device of that type; see `gla`."""
    asked = backend
    if backend == "auto":
        backend = os.environ.get(ENVIRONMENT) or "auto"
        asked = f"{ENVIRONMENT}={backend}"
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {asked}")
    able = device == "cuda" and not float64
    if backend == "auto":
        backend = "fla" if able and _fla_is_here() else "torch"
        _tell(backend, device)
    elif backend == "fla" and not able:
        got = "float64" if float64 else device
        raise ValueError(f"backend fla: expected tensors on cuda, of 32 bits or fewer, got {got}")
    return backend


# What torch.compiler.assume_constant_result does, without a second and a half of importing the compiler.
choose_backend._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _fla() -> Any:
    try:
        from fla.ops.gla import chunk_gla
    except ImportError as error:
        raise ImportError(f"backend fla: {error}; pip install 'moebius-inpaint[gla]'") from error
    return chunk_gla


@cache
def _fla_is_here() -> bool:
    try:
        _fla()
    except ImportError:
        return False
    return True


@cache
def _tell(backend: str, device: str) -> None:
    log.info("gated linear attention on %s: backend %s", device, backend)


def _no_autocast(device: str) -> AbstractContextManager[Any]:
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()
