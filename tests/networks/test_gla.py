"""Gated linear attention: all ways to compute it are one, and equal to measurements of the published layer."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from teacher_models import DATA
from torch import Tensor

from moebius.networks import GatedLinearAttention
from moebius.networks.gla import ENVIRONMENT, _fla, _fla_is_here, _tell, choose_backend, gla

CASES = ("a", "b", "short")
fla_only = pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("fla") is None, reason="needs CUDA and fla-core"
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(DATA / "golden_tiny.io.safetensors")


def case(golden: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"gla.{name}."
    return {key.removeprefix(prefix): tensor for key, tensor in golden.items() if key.startswith(prefix)}


def layer(tensors: dict[str, Tensor], dtype: torch.dtype, backend: str = "torch") -> GatedLinearAttention:
    weights = {k.removeprefix("state_dict."): t for k, t in tensors.items() if k.startswith("state_dict.")}
    made = GatedLinearAttention(tensors["x"].shape[-1], tensors["kernel_fp32.q"].shape[2])
    made.load_state_dict(weights)
    made.backend = backend
    return made.to(dtype)


def inputs(
    tokens: int, *, dtype: torch.dtype = torch.float64, decay: float = 1.0, batch: int = 2
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q, k, v, log_decay with 3 heads, K = 5 and V = 7."""
    random = torch.Generator().manual_seed(tokens)
    q, k, gates = (torch.randn(batch, tokens, 3, 5, generator=random, dtype=dtype) for _ in range(3))
    v = torch.randn(batch, tokens, 3, 7, generator=random, dtype=dtype)
    return q, k, v, F.logsigmoid(3 * gates) * decay


@pytest.mark.parametrize("backend", ["torch", "recurrent"])
@pytest.mark.parametrize("name", CASES)
def test_the_published_layer(golden: dict[str, Tensor], name: str, backend: str) -> None:
    tensors = case(golden, name)
    double = layer(tensors, torch.float64, backend)(tensors["x"].double())
    assert (double - tensors["y_fp64"]).abs().max() < 1e-12
    single = layer(tensors, torch.float32, backend)(tensors["x"])
    assert (single - tensors["y_fp32"]).abs().max() < 5e-6


@pytest.mark.parametrize("backend", ["torch", "recurrent"])
@pytest.mark.parametrize("name", CASES)
def test_the_published_kernel(golden: dict[str, Tensor], name: str, backend: str) -> None:
    tensors = case(golden, name)
    out = gla(*(tensors[f"kernel_fp32.{part}"] for part in "qkvg"), backend=backend)
    assert (out - tensors["kernel_fp32.o"]).abs().max() < 3e-5  # of numbers up to 40


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_the_published_layer(golden: dict[str, Tensor], name: str) -> None:
    tensors = case(golden, name)
    net = layer(tensors, torch.float64)
    x = tensors["x"].double().requires_grad_()
    (net(x) * tensors["grad_out"]).sum().backward()
    assert x.grad is not None
    assert (x.grad - tensors["grad_x_fp64"]).abs().max() < 1e-10
    for parameter, value in net.named_parameters():
        assert value.grad is not None
        assert (value.grad - tensors[f"grad_fp64.{parameter}"]).abs().max() < 1e-10, parameter


@pytest.mark.parametrize("tokens", [1, 2, 3, 15, 16, 17, 64, 65, 100])
def test_blocks_are_the_recurrence(tokens: int) -> None:
    q, k, v, decay = (tensor.requires_grad_() for tensor in inputs(tokens))
    weight = torch.randn(2, tokens, 3, 7, dtype=torch.float64)
    results = []
    for backend in ("torch", "recurrent"):
        out = gla(q, k, v, decay, backend=backend)
        results.append(
            (out, *torch.autograd.grad((out * weight).sum(), (q, k, v, decay), materialize_grads=True))
        )
    for ours, expected in zip(*results, strict=True):
        assert ours.shape == expected.shape
        assert (ours - expected).abs().max() < 1e-11


def test_closed_gates_overflow_nothing() -> None:
    """Decays of thousands over 64 tokens, in float32, where the usual form of a chunk has infinities."""
    tensors = inputs(150, dtype=torch.float32, decay=20.0)
    sums = tensors[3].cumsum(dim=1)
    assert sums.min() < -3000
    assert (tensors[1] * (-sums).exp()).isinf().any(), "the case is hard"
    tensors = tuple(tensor.requires_grad_() for tensor in tensors)
    out = gla(*tensors, backend="torch")
    exact = gla(*(tensor.double() for tensor in tensors), backend="recurrent")
    assert (out - exact).abs().max() < 1e-5
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(out.sum(), tensors))


def test_many_tokens_lose_no_digits() -> None:
    """Where some channels have decayed by thousands in between, near tokens still count to the last digits."""
    tensors = inputs(4096, dtype=torch.float32, decay=0.5, batch=1)
    exact = gla(*(tensor.double() for tensor in tensors), backend="recurrent")
    assert (gla(*tensors, backend="torch") - exact).abs().max() < 2e-6 * exact.abs().max()


def test_no_token_sees_a_later_one() -> None:
    tensors = inputs(37)
    changed = tuple(tensor.clone() for tensor in tensors)
    for tensor in changed:
        tensor[:, 20:] = tensor[:, 20:] * 2
    before, after = gla(*tensors), gla(*changed)
    assert torch.equal(before[:, :20], after[:, :20])
    assert (before[:, 20:] != after[:, 20:]).all()


def test_half_precision_keeps_its_state_in_float32() -> None:
    tensors = tuple(tensor.bfloat16() for tensor in inputs(40))
    wide = gla(*(tensor.float() for tensor in tensors))
    assert torch.equal(gla(*tensors), wide.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gla(*(tensor.float() for tensor in tensors)), wide)
        mixed = GatedLinearAttention(24, 3)(torch.randn(1, 9, 24))
    assert mixed.dtype is torch.bfloat16


def test_it_compiles_without_breaks() -> None:
    net = GatedLinearAttention(24, 3)
    x = torch.randn(1, 21, 24)
    compiled: Callable[[Tensor], Tensor] = torch.compile(net, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert torch.equal(compiled(x), net(x))


def test_backends_by_name(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    _tell.cache_clear()
    with caplog.at_level(logging.INFO, logger="moebius"):
        assert {choose_backend("auto", "cpu", False) for _ in range(3)} == {"torch"}
    assert caplog.messages == ["gated linear attention on cpu: backend torch"]
    monkeypatch.setattr("moebius.networks.gla._fla_is_here", lambda: True)
    assert choose_backend("auto", "cuda", False) == "fla"
    assert choose_backend("auto", "cuda", True) == "torch", "its kernels know no float64"
    assert choose_backend("auto", "cpu", False) == "torch"
    monkeypatch.setenv(ENVIRONMENT, "recurrent")
    assert choose_backend("auto", "cuda", False) == "recurrent"
    assert choose_backend("torch", "cuda", False) == "torch", "what is asked for outranks the environment"
    monkeypatch.setenv(ENVIRONMENT, "")
    assert choose_backend("auto", "cpu", False) == "torch"


def test_errors_say_what_came(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v, decay = inputs(4)
    with pytest.raises(ValueError, match="expected one of auto, torch, recurrent, fla, got triton"):
        gla(q, k, v, decay, backend="triton")
    with pytest.raises(ValueError, match=r"backend fla: expected tensors on cuda, .* got cpu"):
        gla(q.float(), k.float(), v.float(), decay.float(), backend="fla")
    with pytest.raises(ValueError, match=r"got \(2, 4, 3, 5\), \(2, 4, 3, 5\), \(2, 3, 3, 7\)"):
        gla(q, k, v[:, 1:], decay)
    with pytest.raises(ValueError, match=r"twice the heads \(2 x 3\), got 15"):
        GatedLinearAttention(15, 3)
    with pytest.raises(ValueError, match="attention_mask"):
        GatedLinearAttention(12, 3)(torch.zeros(1, 2, 12), attention_mask=torch.zeros(1, 2))
    monkeypatch.setenv(ENVIRONMENT, "fast")
    with pytest.raises(ValueError, match="got MOEBIUS_GLA=fast"):
        gla(q, k, v, decay)
    monkeypatch.setitem(sys.modules, "fla", None)
    with pytest.raises(ImportError, match=r"pip install 'moebius-inpaint\[gla\]'"):
        _fla()


@fla_only
@pytest.mark.parametrize("tokens", [1, 64, 65, 1024])
def test_kernels_of_fla_agree(tokens: int) -> None:
    """To what tensor cores leave of float32."""
    assert _fla_is_here()
    random = torch.Generator().manual_seed(tokens)
    q, k, gates = (torch.randn(2, tokens, 8, 40, generator=random).cuda() for _ in range(3))
    v = torch.randn(2, tokens, 8, 80, generator=random).cuda()
    decay = F.logsigmoid(3 * gates) / 16
    exact = gla(*(tensor.double() for tensor in (q, k, v, decay)), backend="torch")
    out = gla(q, k, v, decay, backend="fla")
    assert out.dtype is torch.float32
    assert (out - exact).abs().max() < 5e-3 * exact.abs().max()
