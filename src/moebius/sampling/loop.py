"""The denoising loop: a generator, so that progress, previews and stopping early belong to the caller."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from moebius.errors import SettingsError
from moebius.sampling.solvers import SamplingPlan

Array = TypeVar("Array")
"""A numpy array or a torch tensor: anything with `array * float` and `array + array`."""


@dataclass(frozen=True, eq=False)
class StepState(Generic[Array]):
    """Where the loop stands after one step."""

    index: int
    """Number of the step, from 0; index + 1 steps are done."""
    total: int
    timestep: int
    """What the network was told in this step."""
    x: Array
    """Latents after the step; after the last one, the result."""
    x0: Array
    """The clean latents as this step guesses them: what a preview decodes."""


def sample(
    predict: Callable[[Array, int], Array], x: Array, plan: SamplingPlan
) -> Generator[StepState[Array], None, None]:
    """Run a plan, one network call for each `next()`.

    The arithmetic is the array's own, in its dtype and on its device, so numpy arrays and torch tensors take
    the same path. `x` is never written to. To cancel, close the generator or stop iterating: the network
    is not called again.

        for state in sample(predict, x, plan):
            show(state.index + 1, state.total)
        latents = state.x

    Args:
        predict: (x, timestep) -> the network's output, the shape of x. Guidance, the mask and the photo are
            its own business.
        x: start latents, for example (B, 4, h, w); see `start_latents`.
        plan: from `make_plan`.

    Raises:
        SettingsError: `predict` gave another shape than it got.
    """
    solver = solve(x, plan)
    state = next(solver)
    for step in plan.steps:
        state = solver.send(predict(state.x, step.timestep))
        yield state


def solve(x: Array, plan: SamplingPlan) -> Generator[StepState[Array], Array, None]:
    """The loop turned inside out, for callers that make the network's answer piece by piece.

        solver = solve(x, plan)
        state = next(solver)
        for step in plan.steps:
            state = solver.send(answer(state.x, step.timestep))

    Yields:
        First, where the loop begins (index -1, and x0 = x); then the state after each step whose answer was sent.
    """
    before: Array | None = None
    out = yield StepState(-1, len(plan), plan.steps[0].timestep, x, x)
    for index, step in enumerate(plan.steps):
        if _shape(out) != _shape(x):
            raise SettingsError(f"network output: expected shape {_shape(x)}, got {_shape(out)}")
        x0 = _weighted((step.x0_x, x), (step.x0_out, out))
        terms = [(step.next_x, x), (step.next_x0, x0)]
        if before is not None:
            terms.append((step.next_prev, before))
        x = _weighted(*terms)
        before = x0
        out = yield StepState(index, len(plan), step.timestep, x, x0)


def _weighted(*terms: tuple[float, Any]) -> Any:
    """Sum of weight * array, from left to right; terms of weight 0 are left out."""
    total: Any = None
    for weight, array in terms:
        if weight != 0.0:
            total = array * weight if total is None else total + array * weight
    return total


def _shape(array: Any) -> tuple[int, ...]:
    return tuple(array.shape)
