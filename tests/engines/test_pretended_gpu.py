"""What a CUDA graph holds, on fake tensors that claim to be on a GPU: nothing in it waits for the device or leaves it.

And which number format each part has there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from fused_networks import TINY, random_network, relative
from pretended import GPU, Unguarded, Watched, pretend
from teacher_models import import_diffusers
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from moebius.engines import fused_autoencoder
from moebius.engines.fuse import FusedUNet, fuse
from moebius.engines.fused_autoencoder import ready, rows_at_once
from moebius.engines.fused_convolution import Convolution
from moebius.engines.fused_lambdas import FusedInteractive
from moebius.engines.networks import Autoencoder
from moebius.engines.torch import TorchEngine
from moebius.networks import AutoencoderConfig, MoebiusConfig, MoebiusUNet, NanoAutoencoder
from moebius.sampling import make_plan, scaled_linear
from moebius.testing import LIKE_PUBLISHED
from moebius.weights.convert import TINY_VAE_CONFIG, VAE_CONFIG

CUDA = torch.device("cuda")


@contextmanager
def on_the_gpu(*networks: Any) -> Iterator[None]:
    """The networks, changed in place, on a GPU that is not there."""
    mode = FakeTensorMode()
    for network in networks:
        pretend(network, mode)
    with mode, Unguarded(), torch.no_grad():  # no_grad, not inference_mode: operators arrive in their parts
        yield


def fused_network(config: MoebiusConfig, dtype: torch.dtype, timesteps: range | None = None) -> FusedUNet:
    """Without numbers."""
    with torch.device("meta"):
        return fuse(MoebiusUNet(config).eval(), timesteps=timesteps, dtype=dtype)


def maps(config: MoebiusConfig, rows: int) -> Tensor:
    side = config.latent_size
    return torch.empty(rows, 2 * config.latent_channels + 1, side, side, device=GPU)


@pytest.mark.parametrize(
    ("config", "dtype", "guided"),
    [
        (TINY, torch.float16, True),
        (MoebiusConfig(), torch.bfloat16, True),
    ],
    ids=["tiny", "published"],
)
def test_a_step_stays_on_the_gpu(config: MoebiusConfig, dtype: torch.dtype, guided: bool) -> None:
    net = fused_network(config, dtype, range(1000))
    with on_the_gpu(net):
        told = net.at(500)
        net.prepare(config.latent_size, config.latent_size)
        with Watched() as watched:
            out = net.step(maps(config, 2), told, guided=guided)
    assert out.shape[0] == (4 if guided else 2) and out.dtype is dtype and out.device == GPU
    assert watched.formats["_softmax"] == {torch.float32}
    assert watched.formats["convolution"] == {dtype}
    # Growth here is launches on a GPU: a row of a batch must not bring operators of its own.
    assert watched.counts.total() < 950


def test_told_of_a_timestep_without_waiting() -> None:
    for timesteps in (range(1000), None):
        net = fused_network(TINY, torch.bfloat16, timesteps)
        with on_the_gpu(net), Watched():
            assert net.at(500).dtype is torch.bfloat16


def test_the_published_step_at_64_photos() -> None:
    """As many operators as with two, but for the portions of the local lambda, and 12 GB at most."""
    config = MoebiusConfig()
    net = fused_network(config, torch.bfloat16, range(1000))
    with on_the_gpu(net):
        told = net.at(500)
        net.prepare(64, 64)
        with torch.inference_mode(), Watched() as watched:
            net.step(maps(config, 64), told, guided=True)
    assert watched.counts["bmm"] + watched.counts["matmul"] < 400
    assert watched.counts.total() < 1400
    assert watched.peak < 12e9


def test_a_step_without_rewrites_stays_on_the_gpu() -> None:
    with torch.device("meta"):
        net = fuse(MoebiusUNet(TINY).eval(), rewrites=(), dtype=BF16)
    with on_the_gpu(net):
        told = net.at(500)
        with Watched():
            assert net.step(maps(TINY, 2), told, guided=True).shape[0] == 4


WAYS_TO_LEAVE = {
    "item": (lambda x: x * x.sum().item(), "waits for the device"),
    "copied out": (lambda x: x * x.sum().cpu().to(GPU), "has tensors on cpu"),
    "made elsewhere": (lambda x: x * torch.tensor(2.0).to(GPU), "has tensors on cpu"),
    "mask": (lambda x: x + torch.ops.aten.nonzero(x).sum(), "waits for the device"),
}


@pytest.mark.parametrize("name", WAYS_TO_LEAVE)
def test_the_watch_sees_what_a_graph_could_not_hold(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    leave, words = WAYS_TO_LEAVE[name]
    plain = Convolution.shifted_bias
    monkeypatch.setattr(Convolution, "shifted_bias", lambda self, shift: leave(plain(self, shift)))
    net = fused_network(TINY, torch.bfloat16, range(1000))
    with on_the_gpu(net):
        told = net.at(500)
        with Watched(), pytest.raises(AssertionError, match=words):
            net.step(maps(TINY, 1), told, guided=True)


def test_tables_are_made_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `prepare` a step makes none, so none lies in a graph's own memory."""
    net = fused_network(TINY, torch.bfloat16, range(1000))
    with on_the_gpu(net):
        told = net.at(500)
        net.prepare(8, 12)
        monkeypatch.setattr(FusedInteractive, "_positions", None)
        net.step(torch.empty(1, 9, 8, 12, device=GPU), told, guided=True)
        with pytest.raises(TypeError):
            net.step(torch.empty(1, 9, 12, 12, device=GPU), told, guided=True)


def coder_of(kind: str) -> Autoencoder:
    """Without numbers."""
    with torch.device("meta"):
        if kind == "nano":
            return Autoencoder(NanoAutoencoder(AutoencoderConfig(latent_channels=4)).eval(), LIKE_PUBLISHED)
        import_diffusers()
        import diffusers

        name, config = {"kl": ("AutoencoderKL", VAE_CONFIG), "tiny": ("AutoencoderTiny", TINY_VAE_CONFIG)}[
            kind
        ]
        network = getattr(diffusers, name).from_config(config)
    return Autoencoder(network.eval(), LIKE_PUBLISHED)


@pytest.fixture
def in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autoencoders change their format and stay where they are: there is no GPU to move them to."""
    plain = Autoencoder.to
    monkeypatch.setattr(Autoencoder, "to", lambda self, device=None, dtype=None: plain(self, None, dtype))


F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16
POLICY = {
    # kind, denoiser: encoder, decoder
    ("kl", F32): (F32, F32),
    ("kl", BF16): (BF16, BF16),
    ("kl", F16): (F32, BF16),
    ("tiny", BF16): (BF16, BF16),
    ("tiny", F16): (F32, F32),
    ("nano", BF16): (BF16, BF16),
    ("nano", F16): (F32, F32),
}


@pytest.mark.parametrize(("kind", "dtype"), POLICY)
def test_autoencoders_on_a_gpu(kind: str, dtype: torch.dtype, in_place: None) -> None:
    """Formats as stated, no waiting, and in slices of whatever size the activations stay within the bound."""
    coder = ready(coder_of(kind), CUDA, dtype)
    encoder, decoder = POLICY[kind, dtype]
    assert {p.dtype for p in coder.network.encoder.parameters()} == {encoder}
    assert {p.dtype for p in coder.network.decoder.parameters()} == {decoder}
    most = rows_at_once(coder, 512 * 512)
    assert all(rows & (rows - 1) == 0 for rows in most)
    with on_the_gpu(coder.network):
        picture = torch.empty(min(64, most[0]), 3, 512, 512, device=GPU)
        with Watched() as encoding:
            latents = coder.encode_moments(picture)[0]
        assert latents.dtype is F32 and encoding.formats["convolution"] == {encoder}
        latents = torch.empty(min(64, most[1]), coder.channels, 64, 64, device=GPU)
        with Watched() as decoding:
            assert coder.decode(latents).dtype is decoder
        assert decoding.formats["convolution"] == {decoder}
    assert max(encoding.peak, decoding.peak) <= fused_autoencoder.ACTIVATIONS
    if kind == "kl":
        assert decoding.peak > fused_autoencoder.ACTIVATIONS / 3  # and the bound is made use of


def test_what_the_engine_captures(in_place: None) -> None:
    """Encode, predict, a whole plan and decode of an engine on that GPU, without what carries pictures there."""
    net = fused_network(TINY, BF16, range(1000))
    coder = ready(coder_of("nano"), CUDA, BF16)
    with on_the_gpu(net, coder.network):
        engine = TorchEngine.__new__(TorchEngine)
        engine._hold(LIKE_PUBLISHED, net, coder, GPU, BF16)
        told = [engine._told(timestep) for timestep in (900, 500)]
        noisy, mask = torch.empty(2, 4, 8, 8, device=GPU), torch.empty(2, 1, 8, 8, device=GPU)
        net.prepare(8, 8)
        plan = make_plan(scaled_linear(), [900, 500])
        with Watched():
            scale = engine._number(2.0)
            one = engine._predicted(noisy, mask, noisy, told[0], scale, True)
            all_steps = engine._denoised(noisy, mask, noisy, torch.cat(told), scale, False, plan)
            assert one.dtype is all_steps.dtype is F32 and one.shape == all_steps.shape == noisy.shape
            engine._encoded(torch.empty(1, 3, 64, 64, device=GPU))
            engine._autoencoder.decode(torch.empty(1, 4, 8, 8, device=GPU))


@pytest.mark.parametrize("dtype", [BF16, F16])
def test_norms_are_folded_before_weights_are_rounded(dtype: torch.dtype) -> None:
    """Folded in float64, then rounded once; folded in the narrow format, they are further off."""
    net = random_network()
    exact = fuse(net)
    late, early = fuse(net.float(), dtype=dtype), fuse(random_network().to(dtype))
    name = "down.0.resnets.1.conv1.pointwise.weight"
    wanted = exact.get_parameter(name)
    bound = 2 ** (-8 if dtype is BF16 else -11)  # half a unit in the last place
    off = [
        float(((each.get_parameter(name).double() - wanted) / wanted).abs().max()) for each in (late, early)
    ]
    assert late.get_parameter(name).dtype is dtype
    assert off[0] <= 1.01 * bound < off[1]
    assert late.time.weights[0].dtype is F32
    assert relative(late.at(999), exact.at(999)) < 2 * bound
