"""Perceptual distances of latents: teacher features, decoded crops, and the non-commercial plug-in kept outside."""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import moebius
from moebius.errors import SettingsError, WeightsError
from moebius.networks import AutoencoderConfig, MoebiusConfig, MoebiusUNet, NanoAutoencoder
from moebius.networks.perceptual import LPIPSSqueeze
from moebius.training.noising import Diffusion, NoiseRecipe, draw
from moebius.training.perceptual import DecodedFeatures, Perceptual, TeacherFeatures, elatentlpips_plugin
from moebius.training.weighting import vectors

TINY = MoebiusConfig(
    latent_size=8, channels=(16, 32, 48), category_channels=12, context_channels=20, heads=4, norm_groups=4
)
CODER = AutoencoderConfig(
    latent_channels=4, widths=(8, 12, 16), encoder_blocks=(0, 0, 0), decoder_blocks=(0, 0, 0)
)


class Context(SimpleNamespace):
    """What the distances read of a batch: the names of `training.inputs.Inputs`."""

    def with_noisy(self, noisy: Tensor) -> Tensor:
        return torch.cat([noisy, self.mask, self.condition], dim=1)

    def latents(self, clean: Tensor) -> Tensor:
        return clean


def context(rows: int = 2, side: int = 8) -> Any:
    drawn = draw(NoiseRecipe(), range(rows), (4, side, side), seed=0)
    mask = torch.zeros(rows, 1, side, side)
    mask[:, :, 1:3, side - 3 :] = 1
    return Context(
        keys=[f"photo{row}" for row in range(rows)],
        mask=mask,
        condition=drawn.posterior[:, 1],
        clean=drawn.posterior[:, 0],
        noise=drawn.noise,
        timesteps=drawn.timesteps,
        ids=torch.arange(10).expand(rows, -1),
        diffusion=Diffusion(),
    )


class OnlyDown(nn.Module):
    """A teacher that offers the way down alone."""

    def __init__(self, net: MoebiusUNet):
        super().__init__()
        self.net = net
        self.asked = 0

    def down_features(self, x: Tensor, timesteps: Tensor, ids: Tensor, count: int) -> list[Tensor]:
        self.asked += 1
        return self.net(x, timesteps, ids, return_features=True)[1][:3][:count]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def teacher() -> MoebiusUNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MoebiusUNet(TINY)


@pytest.fixture(scope="module")
def decoded() -> DecodedFeatures:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lpips = LPIPSSqueeze()
        for head in lpips.heads:
            nn.init.uniform_(head, 0, 1)
        coder = NanoAutoencoder(CODER)
    return DecodedFeatures(coder.eval().requires_grad_(False), lpips.eval().requires_grad_(False), side=5)


@pytest.fixture(params=["teacher", "decoded"])
def distance(request: pytest.FixtureRequest, teacher: MoebiusUNet, decoded: DecodedFeatures) -> Perceptual:
    return TeacherFeatures(teacher) if request.param == "teacher" else decoded


def test_equal_latents_are_alike_and_others_are_not(distance: Perceptual) -> None:
    batch = context()
    near, far = batch.clean + 0.05 * batch.noise, batch.clean + 0.5 * batch.noise
    with torch.no_grad():
        values = [distance(clean, batch.clean, batch) for clean in (batch.clean, near, far)]
    assert all(value.shape == () and value.dtype == torch.float32 for value in values)
    assert values[0] == 0
    assert 0 < values[1] < values[2]


def test_gradients_reach_the_first_latents_alone(distance: Perceptual) -> None:
    batch = context()
    other = batch.clean.clone().requires_grad_()
    term = vectors({"perceptual": lambda c: distance(c, other, batch)}, batch.clean + 0.3 * batch.noise)
    value, gradient = term["perceptual"]
    assert value > 0 and gradient.isfinite().all() and gradient.any()
    assert other.grad is None
    nets = (
        (distance.teacher,) if isinstance(distance, TeacherFeatures) else (distance.decoder, distance.lpips)
    )  # type: ignore[attr-defined]
    assert all(p.grad is None and not p.requires_grad for net in nets for p in net.parameters())


def test_a_distance_is_repeatable_and_leaves_the_generators_alone(distance: Perceptual) -> None:
    batch, state = context(), torch.get_rng_state()
    with torch.no_grad():
        first, second = (distance(batch.clean + batch.noise, batch.clean, batch) for _ in range(2))
    assert torch.equal(first, second) and torch.equal(state, torch.get_rng_state())


def test_it_is_a_mean_over_the_batch(distance: Perceptual) -> None:
    two = context(2)
    alone = []
    for row in range(2):
        one = Context(
            **{
                name: value[row : row + 1] if not isinstance(value, Diffusion) else value
                for name, value in vars(two).items()
            }
        )
        with torch.no_grad():
            alone.append(distance(one.clean + one.noise, one.clean, one))  # type: ignore[arg-type]
    with torch.no_grad():
        both = distance(two.clean + two.noise, two.clean, two)
    assert torch.allclose(both, torch.stack(alone).mean(), rtol=1e-4)


# Teacher features


def test_teacher_features_are_lpips_without_heads(teacher: MoebiusUNet) -> None:
    """By hand, for one tap: unit vectors, squared difference summed over channels, mean over places."""
    batch = context()
    other = batch.clean + 0.3 * batch.noise
    at = torch.full((2,), 40)
    maps = []
    with torch.no_grad():
        for clean in (other, batch.clean):
            noisy = batch.diffusion.noisy(clean, batch.noise, at)
            _, features = teacher.eval()(batch.with_noisy(noisy), at, batch.ids, return_features=True)
            maps.append(nn.functional.normalize(features[1], dim=1))
        value = TeacherFeatures(teacher, taps=(1,), timestep=40)(other, batch.clean, batch)
    assert torch.allclose(value, (maps[0] - maps[1]).square().sum(1).mean(), rtol=1e-4)


def test_a_teacher_is_run_no_further_than_it_offers(teacher: MoebiusUNet) -> None:
    batch, short = context(), OnlyDown(teacher)
    other = batch.clean + 0.3 * batch.noise
    with torch.no_grad():
        value = TeacherFeatures(short)(other, batch.clean, batch)
        assert torch.equal(value, TeacherFeatures(teacher)(other, batch.clean, batch))
    assert short.asked == 2


def test_the_teacher_is_frozen_and_keeps_its_statistics() -> None:
    net = MoebiusUNet(TINY).train()
    features, batch = TeacherFeatures(net), context()
    before = [buffer.clone() for buffer in net.buffers()]
    features(batch.clean, batch.clean, batch)
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, net.buffers(), strict=True))


def test_half_precision_teachers_are_compared_in_float32(teacher: MoebiusUNet) -> None:
    batch = context()
    other = batch.clean + 0.3 * batch.noise
    with torch.no_grad():
        half = TeacherFeatures(teacher, autocast=torch.bfloat16)(other, batch.clean, batch)
        full = TeacherFeatures(teacher)(other, batch.clean, batch)
    assert half.dtype == torch.float32 and float(half) == pytest.approx(float(full), rel=0.05)


def test_taps_that_are_not_there(teacher: MoebiusUNet) -> None:
    batch = context()
    with pytest.raises(SettingsError, match=r"expected taps below 6, got \(9,\)"):
        TeacherFeatures(teacher, taps=(9,))(batch.clean, batch.clean, batch)
    for taps, timestep in (((), 0), ((-1,), 0), ((0,), 1000)):
        with pytest.raises(SettingsError, match="perceptual: expected taps"):
            TeacherFeatures(teacher, taps=taps, timestep=timestep)


# Decoded crops


def test_crops_hold_a_part_of_the_hole_and_change_with_the_row(decoded: DecodedFeatures) -> None:
    batch = context(rows=32, side=16)
    batch.mask[:, :, 4:9, 3:12] = 1
    places = decoded.places(batch)
    for (top, left), mask in zip(places, batch.mask, strict=True):
        assert 0 <= top <= 16 - 5 and 0 <= left <= 16 - 5
        assert mask[0, top : top + 5, left : left + 5].any()
    assert len(set(places)) > 1  # rows differ
    assert decoded.places(batch) == places
    batch.timesteps = batch.timesteps + 1
    assert decoded.places(batch) != places  # and so do steps
    batch.mask = torch.zeros_like(batch.mask)
    assert len(set(decoded.places(batch))) > 4  # nothing to look at: anywhere


def test_only_the_crop_is_decoded(decoded: DecodedFeatures) -> None:
    batch = context(side=16)
    sizes: list[tuple[int, ...]] = []

    class Spy:
        def decode(self, latents: Tensor) -> Tensor:
            sizes.append(tuple(latents.shape))
            return decoded.decoder.decode(latents)

    DecodedFeatures(Spy(), decoded.lpips, side=6)(batch.clean, batch.clean, batch)
    assert sizes == [(2, 4, 6, 6)] * 2
    sizes.clear()
    DecodedFeatures(Spy(), decoded.lpips, side=64)(batch.clean, batch.clean, batch)
    assert sizes == [(2, 4, 16, 16)] * 2
    with pytest.raises(SettingsError, match="4 cells or more, got 3"):
        DecodedFeatures(Spy(), decoded.lpips, side=3)


# The plug-in


class Fake(nn.Module):
    """Stands in for the package's metric: multiplies by SDXL's scale if told that latents are not scaled."""

    made: list[dict[str, Any]]

    def __init__(self, **options: Any):
        super().__init__()
        Fake.made.append(options)
        self.head = nn.Parameter(torch.ones(()))

    def forward(self, a: Tensor, b: Tensor, normalize: bool = False) -> Tensor:
        scale = 0.13025 if normalize else 1.0
        jitter = 1 + 0.01 * torch.rand(())
        return self.head * jitter * (scale * (a - b)).abs().mean((1, 2, 3), keepdim=True)


@pytest.fixture()
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Fake.made = []
    module = types.ModuleType("elatentlpips")
    module.ELatentLPIPS = Fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "elatentlpips", module)
    yield


@pytest.mark.usefixtures("package")
def test_latents_are_scaled_once_unless_parity_is_wanted() -> None:
    batch = context()
    other = batch.clean + batch.noise
    once = elatentlpips_plugin()(other, batch.clean, batch)
    twice = elatentlpips_plugin(parity=True)(other, batch.clean, batch)
    assert Fake.made[0]["encoder"] == "sdxl" and Fake.made[0]["augment"] == "bg"
    assert once.shape == () and float(twice / once) == pytest.approx(0.13025, rel=1e-5)


@pytest.mark.usefixtures("package")
def test_the_plugin_leaves_the_generators_alone_and_is_repeatable() -> None:
    batch, metric, state = context(), elatentlpips_plugin(), torch.get_rng_state()
    first, second = (metric(batch.clean + 1, batch.clean, batch) for _ in range(2))
    assert torch.equal(first, second) and torch.equal(state, torch.get_rng_state())
    batch.timesteps = batch.timesteps + 1
    assert not torch.equal(metric(batch.clean + 1, batch.clean, batch), first)


@pytest.mark.usefixtures("package")
def test_the_plugins_heads_are_frozen() -> None:
    """In the release they are not, and are reduced over processes in vain."""
    batch = context()
    other = batch.clean.clone().requires_grad_()
    value = elatentlpips_plugin()(other + 1, other, batch)
    assert value.requires_grad
    (gradient,) = torch.autograd.grad(value, other)
    assert gradient.abs().sum() > 0  # through the first argument; the second is a constant


def test_without_the_package_it_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "elatentlpips", None)
    with pytest.raises(WeightsError, match=r"pip install elatentlpips.*CC BY-NC 4\.0") as caught:
        elatentlpips_plugin()
    assert "\n" not in str(caught.value)


def test_nothing_depends_on_the_non_commercial_package() -> None:
    """It is imported inside one function, and named by no installation extra."""
    package = Path(moebius.__file__).parent
    found = []
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        inside = {id(node) for function in functions for node in ast.walk(function)}
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.split(".")[0] == "elatentlpips" for name in names):
                found.append((path.relative_to(package).as_posix(), id(node) in inside))
    assert found == [("training/perceptual.py", True)]
    assert "elatentlpips" not in sys.modules
    project = package.parents[1] / "pyproject.toml"
    if project.is_file():
        assert "elatentlpips" not in project.read_text("utf-8")
