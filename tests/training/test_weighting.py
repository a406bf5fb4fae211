"""Gradient-norm weights: the release's numbers, two vectors for seven passes, and batch norms that count once."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from moebius.errors import SettingsError
from moebius.networks import MoebiusConfig, MoebiusUNet
from moebius.training.losses import coarse_loss, output_loss, task_loss
from moebius.training.published_step import PublishedStep, published_step
from moebius.training.weighting import (
    Balanced,
    GradientNormWeights,
    LossRecipe,
    gradient_norm,
    vectors,
)

GOLDEN = load_file(Path(__file__).parents[1] / "data" / "training" / "adaptive_weights.safetensors")
TINY = MoebiusConfig(
    latent_size=8, channels=(16, 32, 48), category_channels=12, context_channels=20, heads=4, norm_groups=4
)
TERMS = ("coarse", "output", "task", "perceptual")
Loss = Callable[[Tensor], Tensor]


class Toy(nn.Module):
    """Two layers: the golden's network. The feature is h, the prediction y."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 6, bias=False), nn.Linear(6, 4, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(GOLDEN["W1"])
            self.last.weight.copy_(GOLDEN["W2"])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.first(x)
        return self.last(torch.tanh(h)), h


def toy_losses() -> tuple[dict[str, Loss], Loss]:
    """Of the prediction, and of the feature."""
    noise, taught = GOLDEN["noise"], GOLDEN["out_teacher"]
    return {
        "task": lambda y: task_loss(y, noise),
        "output": lambda y: output_loss(y, taught),
        "perceptual": lambda y: (y - noise).abs().mean(),
    }, lambda h: coarse_loss(h, GOLDEN["feat_teacher"])


def our_step(
    net: Toy, weights: GradientNormWeights, names: tuple[str, ...] = TERMS, **options: Any
) -> Balanced:
    """A step with the named terms; gradients are added."""
    losses, coarse = toy_losses()
    predicted, feature = net(GOLDEN["x"])
    balanced = weights(
        predicted,
        feature if "coarse" in names else None,
        vectors({name: loss for name, loss in losses.items() if name in names}, predicted),
        vectors({"coarse": coarse}, feature)["coarse"] if "coarse" in names else None,
        net.last.weight,
        net.first.weight,
        **options,
    )
    balanced.backward_through(predicted, feature).backward()
    return balanced


def close(a: Tensor, name: str) -> bool:
    return bool((a - GOLDEN[name].reshape(a.shape)).abs().max() < 1e-5)


# The release's numbers


def test_the_weights_are_the_releases() -> None:
    net = Toy()
    balanced = our_step(net, GradientNormWeights(LossRecipe()))
    assert close(balanced.total, "total")
    names = {"task": "task", "output": "outkd", "perceptual": "elatentlpips"}
    for ours, theirs in names.items():
        assert close(balanced.norms[f"norm_{ours}_at_output"], f"out_gnorm_{theirs}")
    assert close(balanced.norms["norm_coarse_at_feature"], "feat_gnorm_featkd")
    assert close(balanced.norms["norm_task_at_feature"], "feat_gnorm_task")
    assert len(balanced.norms) == 5  # the two that are only logged are not taken
    for ours, theirs in {"output": "outkd", "perceptual": "elatentlpips"}.items():
        assert close(balanced.ratios[f"ratio_{ours}"], f"out_weight_{theirs}")
    assert close(balanced.ratios["ratio_task"], "feat_weight_task")
    assert close(net.first.weight.grad, "grad_W1")  # type: ignore[arg-type]
    assert close(net.last.weight.grad, "grad_W2")  # type: ignore[arg-type]


def test_the_baseline_is_the_releases() -> None:
    net = Toy()
    losses, coarse = toy_losses()
    predicted, feature = net(GOLDEN["x"])
    values = {name: loss(predicted) for name, loss in losses.items()} | {"coarse": coarse(feature)}
    golden = {"coarse": "featkd", "task": "task", "output": "outkd", "perceptual": "percept"}
    for name, theirs in golden.items():
        assert close(values[name], f"loss_{theirs}")
    step = published_step(values, net.last.weight, net.first.weight)
    assert len(step.norms) == 7
    for name, theirs in {"output": "outkd", "perceptual": "elatentlpips", "task": "task"}.items():
        assert close(step.norms[f"norm_{name}_at_output"], f"out_gnorm_{theirs}")
        assert close(step.norms[f"norm_{name}_at_feature"], f"feat_gnorm_{theirs}")
    assert close(step.total, "total")
    assert close(net.first.weight.grad, "grad_W1")  # type: ignore[arg-type]
    assert close(net.last.weight.grad, "grad_W2")  # type: ignore[arg-type]


# Two vectors are seven passes


class Counted(torch.autograd.Function):
    """The identity; counts how often it is passed backward."""

    passes = 0

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        Counted.passes += 1
        return gradient


class Scene:
    """A tiny student in float64 with random targets and a random perceptual network."""

    def __init__(self, *, checkpointing: bool):
        torch.manual_seed(0)
        self.net = MoebiusUNet(TINY).double().train()
        self.net.gradient_checkpointing = checkpointing
        self.x, self.t = torch.randn(2, 9, 8, 8).double(), torch.tensor([30, 700])
        self.ids = torch.arange(10).expand(2, -1)
        taught, noise, self.coarse = (
            torch.randn(s).double() for s in ((2, 4, 8, 8), (2, 4, 8, 8), (2, 48, 2, 2))
        )
        trunk = nn.Conv2d(4, 8, 3, padding=1).double().requires_grad_(False)
        self.losses: dict[str, Loss] = {
            "task": lambda y: task_loss(y, noise),
            "output": lambda y: output_loss(y, taught),
            "perceptual": lambda y: (
                (torch.tanh(trunk(Counted.apply(y))) - torch.tanh(trunk(noise))).square().mean()  # type: ignore[no-untyped-call]
            ),
        }
        self.probes = (self.net.conv_out.conv_pw.weight, self.net.down[2].mixers[1].proj_out.weight)

    def forward(self) -> tuple[Tensor, Tensor]:
        predicted, features = self.net(self.x, self.t, self.ids, return_features=True)
        return predicted, features[2]

    def ours(self, recipe: LossRecipe) -> Balanced:
        predicted, feature = self.forward()
        at_feature = vectors({"coarse": lambda f: coarse_loss(f, self.coarse)}, feature)["coarse"]
        at_output = vectors(self.losses, predicted)
        balanced = GradientNormWeights(recipe)(predicted, feature, at_output, at_feature, *self.probes)
        balanced.backward_through(predicted, feature).backward()
        return balanced

    def published(self, recipe: LossRecipe) -> PublishedStep:
        predicted, feature = self.forward()
        values = {name: loss(predicted) for name, loss in self.losses.items()}
        values["coarse"] = coarse_loss(feature, self.coarse)
        return published_step(values, *self.probes, recipe)

    def gradients(self) -> dict[str, Tensor]:
        found = {name: p.grad.clone() for name, p in self.net.named_parameters() if p.grad is not None}
        self.net.zero_grad()
        return found

    def counts(self, part: str = "") -> set[int]:
        """How often the batch norms were updated, those whose names begin with `part`."""
        norms = ((n, m) for n, m in self.net.named_modules() if hasattr(m, "num_batches_tracked"))
        return {int(norm.num_batches_tracked) for name, norm in norms if name.startswith(part)}


PAPER = LossRecipe(form="paper", coarse=1.0, output=1.0, task=1.0, perceptual=1.0)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("recipe", [LossRecipe(), PAPER, LossRecipe(form="fixed")], ids=lambda r: r.form)
def test_two_vectors_are_seven_passes(recipe: LossRecipe, checkpointing: bool) -> None:
    scene = Scene(checkpointing=checkpointing)
    theirs, wanted = scene.published(recipe), scene.gradients()
    ours, found = scene.ours(recipe), scene.gradients()
    assert float(ours.total) == pytest.approx(float(theirs.total), rel=1e-10)
    assert set(ours.norms) <= set(theirs.norms)
    for name, value in ours.norms.items():
        assert float(value) == pytest.approx(float(theirs.norms[name]), rel=1e-10), name
    for name, value in ours.ratios.items():
        assert float(value) == pytest.approx(float(theirs.ratios[name]), rel=1e-10), name
    assert len(ours.ratios) == (0 if recipe.form == "fixed" else 3)
    assert set(found) == set(wanted) == {name for name, _ in scene.net.named_parameters()}
    largest = max(gradient.norm() for gradient in wanted.values())
    for name, gradient in wanted.items():  # some biases before a batch norm have none but rounding errors
        assert (found[name] - gradient).norm() <= 1e-10 * gradient.norm() + 1e-14 * largest, name


def test_the_perceptual_network_is_passed_backward_once() -> None:
    scene = Scene(checkpointing=False)
    Counted.passes = 0
    scene.ours(LossRecipe())
    assert Counted.passes == 1
    Counted.passes = 0
    scene.published(LossRecipe())
    assert Counted.passes == 3


# Batch norms count once a step


@pytest.mark.parametrize("step", ["ours", "published"])
def test_batch_norms_are_updated_once_a_step(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recomputed blocks update their batch norms again and again; the guard is what prevents it."""
    scene = Scene(checkpointing=True)
    getattr(scene, step)(LossRecipe())
    assert scene.counts() == {1}
    getattr(scene, step)(LossRecipe())
    assert scene.counts() == {2}

    monkeypatch.setattr("moebius.networks.denoiser.frozen_statistics", lambda module: nullcontext())
    unguarded = Scene(checkpointing=True)
    getattr(unguarded, step)(LossRecipe())
    assert unguarded.counts("up.") == {5 if step == "published" else 3}


# Any of the terms may be missing


@pytest.mark.parametrize("form", ["released", "paper"])
@pytest.mark.parametrize("names", [c for n in (1, 2, 3, 4) for c in itertools.combinations(TERMS, n)])
def test_every_subset_of_terms_trains(names: tuple[str, ...], form: Any) -> None:
    recipe = LossRecipe(form=form, **{name: 0.5 if name in names else 0.0 for name in TERMS})
    weights, net = GradientNormWeights(recipe), Toy()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    losses, coarse = toy_losses()

    @torch.no_grad()
    def value() -> float:
        predicted, feature = net(GOLDEN["x"])
        found = [loss(predicted) for name, loss in losses.items() if name in names]
        return float(sum(found) + (coarse(feature) if "coarse" in names else 0.0))

    before = value()
    for _ in range(3):
        optimizer.zero_grad()
        balanced = our_step(net, weights, names)
        assert balanced.total.isfinite() and (balanced.feature_vector is None) == ("coarse" not in names)
        optimizer.step()
    assert value() < before


def test_a_weight_of_zero_leaves_a_term_out() -> None:
    """Handed over or not: the same step."""
    recipe = LossRecipe(perceptual=0.0)
    with_it, without = Toy(), Toy()
    ours = our_step(with_it, GradientNormWeights(recipe))
    theirs = our_step(without, GradientNormWeights(recipe), ("coarse", "output", "task"))
    assert ours.total == theirs.total and set(ours.norms) == set(theirs.norms)
    assert torch.equal(with_it.first.weight.grad, without.first.weight.grad)  # type: ignore[arg-type]


def test_the_release_cannot_do_without_a_term() -> None:
    """What this corrects: there a term that is off is the number 0, which has no gradient."""
    net = Toy()
    predicted, _ = net(GOLDEN["x"])
    losses, _ = toy_losses()
    with pytest.raises(KeyError):
        published_step({"task": losses["task"](predicted)}, net.last.weight, net.first.weight)


def test_without_a_feature_nothing_is_scaled() -> None:
    net = Toy()
    balanced = our_step(net, GradientNormWeights(LossRecipe()), ("task",))
    task = toy_losses()[0]["task"](Toy()(GOLDEN["x"])[0].detach())
    assert balanced.ratios == {} and balanced.norms == {}
    assert float(balanced.total) == pytest.approx(0.5 * float(task))


def test_without_a_task_the_first_term_is_the_anchor() -> None:
    balanced = our_step(Toy(), GradientNormWeights(LossRecipe(task=0.0)), ("coarse", "output", "perceptual"))
    assert set(balanced.ratios) == {"ratio_perceptual", "ratio_task"}
    norms = balanced.norms
    expected = norms["norm_output_at_output"] / norms["norm_perceptual_at_output"]
    assert float(balanced.ratios["ratio_perceptual"]) == pytest.approx(float(expected), rel=1e-5)
    expected = norms["norm_coarse_at_feature"] / norms["norm_output_at_feature"]
    assert float(balanced.ratios["ratio_task"]) == pytest.approx(float(expected), rel=1e-3)


def test_fixed_weights_are_exact_and_need_no_probes() -> None:
    recipe = LossRecipe(form="fixed", coarse=0.3, output=0.2, task=0.7, perceptual=0.1)
    net, plain = Toy(), Toy()
    losses, coarse = toy_losses()
    predicted, feature = net(GOLDEN["x"])
    at_feature = vectors({"coarse": coarse}, feature)["coarse"]
    balanced = GradientNormWeights(recipe)(
        predicted, feature, vectors(losses, predicted), at_feature, None, None
    )
    balanced.backward_through(predicted, feature).backward()
    y, h = plain(GOLDEN["x"])
    total = 0.3 * coarse(h) + sum(recipe.weight(name) * loss(y) for name, loss in losses.items())
    total.backward()
    assert float(balanced.total) == pytest.approx(float(total.detach()), rel=1e-6)
    for a, b in zip(net.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-7)  # type: ignore[arg-type]
    assert balanced.norms == {} and balanced.ratios == {}
    with pytest.raises(SettingsError, match=r"output_probe: expected a weight .* form released, got none"):
        GradientNormWeights(LossRecipe())(
            predicted, None, vectors(losses, predicted), None, None, net.first.weight
        )


def test_other_terms_join_unbalanced() -> None:
    net = Toy()
    predicted, _ = net(GOLDEN["x"])
    at = vectors({"task": lambda y: y.square().mean(), "picture": lambda y: y.abs().mean()}, predicted)
    balanced = GradientNormWeights(LossRecipe())(predicted, None, at, None, net.last.weight, None)
    assert torch.allclose(balanced.output_vector, 0.5 * at["task"][1] + at["picture"][1])


def test_a_vanishing_gradient_is_clamped() -> None:
    net = Toy()
    predicted, feature = net(GOLDEN["x"])
    at = vectors({"task": lambda y: y.square().mean(), "output": lambda y: 0 * y.sum()}, predicted)
    coarse = vectors({"coarse": lambda h: 1e9 * h.square().mean()}, feature)["coarse"]
    weights = GradientNormWeights(LossRecipe())
    balanced = weights(predicted, feature, at, coarse, net.last.weight, net.first.weight)
    assert float(balanced.ratios["ratio_output"]) <= 1e6 and float(balanced.ratios["ratio_task"]) == 1e4


# Smoothing, processes


def test_ratios_are_smoothed_and_restored() -> None:
    weights = GradientNormWeights(LossRecipe(smoothing=0.9))
    first = our_step(Toy(), weights).ratios["ratio_task"]
    other = Toy()
    other.first.weight.data *= 2
    raw = our_step(copy.deepcopy(other), GradientNormWeights(LossRecipe())).ratios["ratio_task"]
    state = weights.state_dict()
    second = our_step(copy.deepcopy(other), weights).ratios["ratio_task"]
    assert float(second) == pytest.approx(0.9 * float(first) + 0.1 * float(raw), rel=1e-6)
    assert set(state) == {"ratio_output", "ratio_perceptual", "ratio_task"}
    assert all(isinstance(value, Tensor) for value in state.values())
    resumed = GradientNormWeights(LossRecipe(smoothing=0.9))
    resumed.load_state_dict(state)
    assert torch.equal(our_step(other, resumed).ratios["ratio_task"], second)
    assert GradientNormWeights(LossRecipe()).state_dict() == {}


def test_processes_share_their_ratios() -> None:
    """Means of the norms are taken before ratios are; the release's processes each have ratios of their own."""
    nets = [Toy(), Toy()]
    nets[1].first.weight.data *= 3
    seen: list[list[Tensor]] = [[], []]
    for net, norms in zip(nets, seen, strict=True):
        our_step(
            copy.deepcopy(net), GradientNormWeights(LossRecipe()), reduce=lambda v, n=norms: n.append(v) or v
        )
    means = [(a + b) / 2 for a, b in zip(*seen, strict=True)]
    ratios = []
    for net in nets:
        given = iter(means)
        ratios.append(
            our_step(net, GradientNormWeights(LossRecipe()), reduce=lambda v, g=given: next(g)).ratios
        )
    assert ratios[0] == ratios[1]
    alone = [our_step(copy.deepcopy(net), GradientNormWeights(LossRecipe())).ratios for net in nets]
    assert alone[0]["ratio_task"] != alone[1]["ratio_task"]


def test_vectors_leave_the_graph_alone() -> None:
    leaf = torch.ones(2, 3, requires_grad=True)
    value, gradient = vectors({"square": lambda y: y.square().sum()}, leaf * 2)["square"]
    assert leaf.grad is None and not value.requires_grad and not gradient.requires_grad
    assert torch.equal(gradient, torch.full((2, 3), 4.0))
    with torch.no_grad():
        assert torch.equal(vectors({"square": lambda y: y.square().sum()}, leaf * 2)["square"][1], gradient)


def test_norms_are_taken_in_float32() -> None:
    assert gradient_norm(torch.full((10_000,), 300.0, dtype=torch.float16)).item() == pytest.approx(
        30_000, rel=1e-3
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"coarse": -1.0}, "coarse"),
        ({"task": float("nan")}, "task"),
        ({"form": "mine"}, "form"),
        ({"smoothing": 1.0}, "smoothing"),
        ({"perceptual_features": "vgg"}, "perceptual_features"),
        ({"student_tap": -1}, "student_tap"),
        ({"outside": 2.0}, "outside"),
        (dict.fromkeys(TERMS, 0.0), "loss"),
    ],
)
def test_impossible_recipes(change: dict[str, Any], field: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{field}: expected .*, got "):
        LossRecipe(**(asdict(LossRecipe()) | change))


def test_half_precision_networks() -> None:
    """A prediction that autocast left in bfloat16 takes float32 vectors."""
    net = Toy()
    with torch.autocast("cpu", torch.bfloat16):
        predicted, feature = net(GOLDEN["x"])
    losses, _ = toy_losses()
    at_output = vectors({name: lambda y, f=f: f(y.float()) for name, f in losses.items()}, predicted)
    at_feature = vectors({"coarse": lambda h: F.mse_loss(h.float(), GOLDEN["feat_teacher"])}, feature)[
        "coarse"
    ]
    weights = GradientNormWeights(LossRecipe())
    balanced = weights(predicted, feature, at_output, at_feature, net.last.weight, net.first.weight)
    assert float(balanced.total) == pytest.approx(float(GOLDEN["total"]), rel=0.03)
