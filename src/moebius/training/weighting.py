"""Loss terms weighted by their gradients' norms, for the price of one backward pass and a bit.

Four terms (Moebius paper, section 3.3): `coarse` compares features with the teacher's, `output` predictions with the
teacher's, `task` predictions with the truth, `perceptual` clean latents. Which weight a term gets depends on the norm
of its gradient G(L, P) at a probe: P_f, the last layer before the coarse feature, or P_o, the last of the output.

    released   r_out  = G(task, P_o) / (G(output, P_o) + 1e-6), r_perc likewise, both clamped to [0, 1e6]
               r_task = G(coarse, P_f) / (G(task, P_f) + 1e-4), clamped to [0, 1e4]
               L = w_c coarse + r_task (w_t task + w_o r_out output + w_p r_perc perceptual)
    paper      equations 4 and 5: the same with squared norms, and r_task from the norm of the whole bracket; the
               constants that guard against division by zero are the squares of the release's
    fixed      all ratios are 1, and no norms are taken

The release takes these norms with seven backward passes through the loss graphs, the perceptual network included
(`published_step`). But a term reaches the student only through its prediction or its feature, so it is enough to have
the term's gradient there, a vector of the size of the prediction: each loss is evaluated on a detached leaf
(`vectors`), once. Gradients at a probe are then vector-Jacobian products from the prediction or the feature, of which
all but one pass through the last layers only; and the whole update is one backward pass of two vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from moebius.errors import SettingsError

Form = Literal["paper", "released", "fixed"]
PerceptualFeatures = Literal["teacher", "decoded", "elatentlpips"]
Evaluated = tuple[Tensor, Tensor]
"""A term's value (a scalar) and its gradient with respect to what it was evaluated on."""

AT_OUTPUT = ("task", "output", "perceptual")
"""Terms of the prediction. The first that is there is the anchor: the others are scaled to its norm."""


@dataclass(frozen=True, kw_only=True)
class LossRecipe:
    """Which loss terms there are and how they are weighted; the defaults are the release's.

    Raises:
        SettingsError: a value is out of its range, or all terms are off.
    """

    coarse: float = 0.01
    """Weight of the features; 0 switches this term, like each other one, off."""
    output: float = 0.01
    task: float = 0.5
    perceptual: float = 0.5
    form: Form = "released"
    smoothing: float = 0.0
    """Share of the last steps' ratios in this step's, 0 to below 1; 0 = this batch's alone, as released."""
    perceptual_features: PerceptualFeatures = "teacher"
    """teacher: its first features. decoded: LPIPS of decoded crops. elatentlpips: a non-commercial add-on."""
    student_tap: int = 2
    """Which of the student's stages `coarse` compares: 2 is the last on the way down."""
    teacher_tap: int = 5
    """Which of the teacher's stages it is compared with: 5 is the first on the way up."""
    outside: float = 1.0
    """Weight of cells outside the hole in `task` and `output`, 0 to 1."""

    def __post_init__(self) -> None:
        for name in ("coarse", "output", "task", "perceptual"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise SettingsError(f"{name}: expected a number, 0 or more, got {value!r}")
        if not (self.coarse or self.output or self.task or self.perceptual):
            raise SettingsError("loss: expected a weight above 0 for one term at least, got 0 for all")
        for name, kinds in (("form", get_args(Form)), ("perceptual_features", get_args(PerceptualFeatures))):
            if getattr(self, name) not in kinds:
                raise SettingsError(
                    f"{name}: expected one of {', '.join(kinds)}, got {getattr(self, name)!r}"
                )
        if not 0 <= self.smoothing < 1:
            raise SettingsError(f"smoothing: expected a number from 0 to below 1, got {self.smoothing!r}")
        if not 0 <= self.outside <= 1:
            raise SettingsError(f"outside: expected a number from 0 to 1, got {self.outside!r}")
        for name in ("student_tap", "teacher_tap"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name}: expected 0 or more, got {getattr(self, name)!r}")

    def weight(self, term: str) -> float:
        """The static weight of a term; 1 for one that is none of the four."""
        return float(getattr(self, term)) if term in ("coarse", *AT_OUTPUT) else 1.0


@dataclass(frozen=True)
class Balanced:
    """A weighted loss and its gradient; everything detached, on the device."""

    total: Tensor
    """L, a scalar."""
    output_vector: Tensor
    """dL / d prediction, of its shape."""
    feature_vector: Tensor | None
    """dL / d feature, of its shape; None without a coarse term."""
    ratios: dict[str, Tensor]
    """r_out, r_perc and r_task as used, named `ratio_output`, `ratio_perceptual`, `ratio_task`; those that apply."""
    norms: dict[str, Tensor]
    """G of this batch, named like `norm_task_at_output`, `norm_coarse_at_feature`; those that were needed."""

    def backward_through(self, predicted: Tensor, feature: Tensor | None) -> Tensor:
        """A scalar whose gradient with respect to the student is L's; its value means nothing."""
        along = (self.output_vector * predicted).sum()
        if self.feature_vector is not None and feature is not None:
            along = along + (self.feature_vector * feature).sum()
        return along


def vectors(terms: Mapping[str, Callable[[Tensor], Tensor]], leaf: Tensor) -> dict[str, Evaluated]:
    """Each term's value on `leaf` and its gradient there, by name; nothing reaches what `leaf` came from.

    Args:
        terms: functions of a tensor of the shape of `leaf`, to scalars.
        leaf: the prediction (B, c, h, w) or the feature (B, C, h, w).
    """
    found = {}
    with torch.enable_grad():
        for name, term in terms.items():
            at = leaf.detach().requires_grad_()
            value = term(at)
            (gradient,) = torch.autograd.grad(value, at)
            found[name] = (value.detach(), gradient)
    return found


class GradientNormWeights:
    """Weighs the terms of a step; keeps the ratios where they are smoothed, and nothing else.

    Args:
        recipe: weights and form. Terms with a weight of 0 are left out, whether they are handed over or not.
    """

    def __init__(self, recipe: LossRecipe):
        self.recipe = recipe
        self._smoothed: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Tensor]:
        """Smoothed ratios, as scalars; empty without smoothing."""
        return {name: value.detach().clone() for name, value in self._smoothed.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._smoothed = {name: value.detach().clone() for name, value in state.items()}

    def __call__(
        self,
        predicted: Tensor,
        feature: Tensor | None,
        at_output: Mapping[str, Evaluated],
        at_feature: Evaluated | None,
        output_probe: nn.Parameter | None,
        feature_probe: nn.Parameter | None,
        reduce: Callable[[Tensor], Tensor] | None = None,
    ) -> Balanced:
        """Weigh a step's terms. No gradient is accumulated; the graph of `predicted` and `feature` stays.

        The anchor is `task`; without it, `output`, and without that, `perceptual`: it takes the place of task in the
        formulas. Without a coarse term r_task is 1; without a term of the prediction, coarse remains alone. A term
        of another name joins L with weight 1 and takes no part in the balance.

        Args:
            predicted: (B, c, h, w), with its graph.
            feature: (B, C, h, w), with its graph; None without a coarse term.
            at_output: value and gradient with respect to `predicted` of the terms of the prediction.
            at_feature: the same of the coarse term with respect to `feature`.
            output_probe: P_o. Not needed by the form "fixed".
            feature_probe: P_f. Not needed by the form "fixed", nor without a coarse term.
            reduce: the mean over processes of a vector; norms pass it before ratios are formed, so that all
                processes use the same ones.

        Raises:
            SettingsError: a probe is missing that the form needs.
        """
        recipe = self.recipe
        terms = {name: at_output[name] for name in AT_OUTPUT if name in at_output and recipe.weight(name)}
        others = [at_output[name] for name in at_output if name not in AT_OUTPUT]
        coarse = at_feature if recipe.coarse and feature is not None else None
        ratios: dict[str, Tensor] = {}
        norms: dict[str, Tensor] = {}
        anchor = next(iter(terms), None)
        if recipe.form != "fixed" and anchor is not None:
            ratios = self._output_ratios(predicted, terms, anchor, output_probe, reduce, norms)
        total, vector = self._sum(terms, ratios, predicted)  # the bracket
        if recipe.form != "fixed" and anchor is not None and coarse is not None:
            assert feature is not None
            through = terms[anchor][1] if recipe.form == "released" else vector
            label = anchor if recipe.form == "released" else "bracket"
            found = self._norms(
                {
                    "norm_coarse_at_feature": (feature, coarse[1]),
                    f"norm_{label}_at_feature": (predicted, through),
                },
                _needed(feature_probe, "feature_probe", recipe.form),
                reduce,
            )
            norms |= found
            ratio = self._smooth("ratio_task", self._ratio(*found.values(), guard=1e-4))
            ratios["ratio_task"] = ratio
            total, vector = ratio * total, ratio.to(vector.dtype) * vector
        feature_vector = None
        if coarse is not None:
            total = total + recipe.coarse * coarse[0]
            feature_vector = recipe.coarse * coarse[1]
        for value, gradient in others:
            total, vector = total + value, vector + gradient
        return Balanced(total.detach(), vector.detach(), feature_vector, ratios, norms)

    def _output_ratios(
        self,
        predicted: Tensor,
        terms: Mapping[str, Evaluated],
        anchor: str,
        probe: nn.Parameter | None,
        reduce: Callable[[Tensor], Tensor] | None,
        norms: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """What the terms after the anchor are multiplied by; adds to `norms` what it measured."""
        if len(terms) == 1:
            return {}
        outputs = {f"norm_{name}_at_output": (predicted, gradient) for name, (_, gradient) in terms.items()}
        found = self._norms(outputs, _needed(probe, "output_probe", self.recipe.form), reduce)
        norms |= found
        first = found[f"norm_{anchor}_at_output"]
        ratios = {}
        for name in terms:
            if name != anchor:
                ratio = self._ratio(first, found[f"norm_{name}_at_output"], guard=1e-6)
                ratios[f"ratio_{name}"] = self._smooth(f"ratio_{name}", ratio)
        return ratios

    def _sum(
        self, terms: Mapping[str, Evaluated], ratios: Mapping[str, Tensor], predicted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Value and gradient of the bracket; zeros if it is empty."""
        total, vector = predicted.new_zeros(()), torch.zeros_like(predicted)
        for name, (value, gradient) in terms.items():
            factor = self.recipe.weight(name) * ratios.get(f"ratio_{name}", 1.0)
            total, vector = total + factor * value, vector + factor * gradient
        return total.detach(), vector.detach()

    def _norms(
        self,
        products: Mapping[str, tuple[Tensor, Tensor]],
        probe: nn.Parameter,
        reduce: Callable[[Tensor], Tensor] | None,
    ) -> dict[str, Tensor]:
        """Norms at `probe` of vector-Jacobian products, by name: a tensor of the graph and a vector of its shape."""
        found = []
        for tensor, vector in products.values():
            (gradient,) = torch.autograd.grad(tensor, probe, vector.to(tensor.dtype), retain_graph=True)
            found.append(gradient_norm(gradient))
        stacked = torch.stack(found)
        if reduce is not None:
            stacked = reduce(stacked)
        return dict(zip(products, stacked.unbind(), strict=True))

    def _ratio(self, above: Tensor, below: Tensor, *, guard: float) -> Tensor:
        return gradient_ratio(above, below, guard=guard, squared=self.recipe.form == "paper")

    def _smooth(self, name: str, ratio: Tensor) -> Tensor:
        share = self.recipe.smoothing
        if not share:
            return ratio
        before = self._smoothed.get(name)
        if before is not None:
            ratio = torch.lerp(ratio, before.to(ratio), share)
        self._smoothed[name] = ratio
        return ratio


def gradient_norm(gradient: Tensor) -> Tensor:
    """L2 norm, a scalar in float32 or better."""
    norm: Tensor = torch.linalg.vector_norm(gradient if gradient.dtype == torch.float64 else gradient.float())
    return norm


def gradient_ratio(above: Tensor, below: Tensor, *, guard: float, squared: bool) -> Tensor:
    """above / (below + guard), at most 1 / guard; squared takes squares of all three."""
    if squared:
        above, below, guard = above.square(), below.square(), guard**2
    return (above / (below + guard)).clamp(0, 1 / guard)


def _needed(probe: nn.Parameter | None, name: str, form: str) -> nn.Parameter:
    if probe is None:
        raise SettingsError(f"{name}: expected a weight to take norms at for form {form}, got none")
    return probe
