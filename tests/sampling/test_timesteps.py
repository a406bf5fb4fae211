"""The schedule and the timesteps, against values measured on the published code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moebius.errors import SettingsError
from moebius.sampling import NoiseSchedule, leading_timesteps, scaled_linear, trailing_timesteps

PUBLISHED = json.loads((Path(__file__).parents[1] / "data" / "sampling" / "schedule.json").read_text())
STEPS = {int(name.removeprefix("timesteps_")): v for name, v in PUBLISHED["ddim_strength_0.99"].items()}


@pytest.mark.parametrize("steps", STEPS)
def test_leading_timesteps_as_published(steps: int) -> None:
    assert list(leading_timesteps(steps, 0.99)) == STEPS[steps]


def test_leading_timesteps_at_full_strength() -> None:
    assert leading_timesteps(20) == tuple(range(950, -1, -50))
    assert leading_timesteps(20, 3.0) == leading_timesteps(20)
    assert leading_timesteps(1) == (0,)


def test_alpha_bar_as_published() -> None:
    schedule = scaled_linear()
    for timestep, abar in PUBLISHED["alpha_bar_at_20step_timesteps"].items():
        assert schedule.alphas_cumprod[int(timestep)] == pytest.approx(abar, rel=2e-6)  # theirs is float32
        assert schedule.signal(int(timestep)) ** 2 + schedule.noise(int(timestep)) ** 2 == pytest.approx(1)
    assert schedule.signal(900) == pytest.approx(0.118959, abs=1e-6)
    assert schedule.noise(900) == pytest.approx(0.992899, abs=1e-6)
    assert schedule.alphas_cumprod.dtype == np.float64
    assert len(schedule) == 1000


@given(steps=st.integers(1, 50), first=st.integers(60, 999))
def test_trailing_timesteps_are_as_many_as_asked_for(steps: int, first: int) -> None:
    timesteps = trailing_timesteps(steps, first)
    assert len(timesteps) == steps
    assert timesteps[0] == first
    gaps = -np.diff(timesteps)
    assert (gaps > 0).all()
    assert timesteps[-1] >= 0
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1
    assert abs((timesteps[-1] + 1) - (first + 1) / steps) <= 0.5


@pytest.mark.parametrize("steps", range(1, 51))
@pytest.mark.parametrize("first", [999, 900])
def test_trailing_timesteps_one_to_fifty(steps: int, first: int) -> None:
    timesteps = trailing_timesteps(steps, first)
    assert len(set(timesteps)) == steps
    assert list(timesteps) == sorted(timesteps, reverse=True)
    assert timesteps[0] == first


def test_trailing_timesteps_to_the_last() -> None:
    assert trailing_timesteps(1000) == tuple(range(999, -1, -1))
    assert trailing_timesteps(4) == (999, 749, 499, 249)
    assert all(len(set(trailing_timesteps(n, 40))) == n for n in range(1, 42))


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_steps_out_of_range(steps: int) -> None:
    with pytest.raises(SettingsError, match=f"got {steps}"):
        trailing_timesteps(steps)
    with pytest.raises(SettingsError, match=f"got {steps}"):
        leading_timesteps(steps)


def test_other_values_out_of_range() -> None:
    with pytest.raises(SettingsError, match="1 to 901"):
        trailing_timesteps(902, 900)
    with pytest.raises(SettingsError, match="first timestep"):
        trailing_timesteps(1, -1)
    for strength in (0.0, -1.0, float("nan")):
        with pytest.raises(SettingsError, match="strength"):
            leading_timesteps(20, strength)


@pytest.mark.parametrize("abar", [[], [[0.5]], [0.5, 0.5], [0.5, 0.6], [1.0, 0.5], [0.5, 0.0], [0.5, np.nan]])
def test_bad_schedules_are_refused(abar: list[float]) -> None:
    with pytest.raises(SettingsError, match="noise schedule"):
        NoiseSchedule(np.array(abar, np.float64))
