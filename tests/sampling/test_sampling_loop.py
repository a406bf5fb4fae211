"""The loop as a generator, the start latents, and that neither needs torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from moebius.errors import SettingsError
from moebius.sampling import make_plan, normal, sample, scaled_linear, start_latents, trailing_timesteps

SCHEDULE = scaled_linear()


def plan_of(steps: int, solver: Any = "ddim") -> Any:
    return make_plan(SCHEDULE, trailing_timesteps(steps, 900), solver)


def test_states_tell_where_the_loop_stands() -> None:
    states = list(sample(lambda x, t: x * 0.5, normal((4,), seed=0), plan_of(6)))
    assert [s.index for s in states] == list(range(6))
    assert {s.total for s in states} == {6}
    assert tuple(s.timestep for s in states) == trailing_timesteps(6, 900)
    assert (states[-1].x == states[-1].x0).all()


@pytest.mark.parametrize("steps", range(1, 51))
def test_network_is_called_exactly_as_often_as_asked(steps: int) -> None:
    calls: list[int] = []

    def predict(x: Any, timestep: int) -> Any:
        calls.append(timestep)
        return x

    assert len(list(sample(predict, np.ones(2, np.float32), plan_of(steps, "dpm++")))) == steps
    assert len(calls) == steps


def test_closing_early_stops_the_network() -> None:
    calls: list[int] = []

    def predict(x: Any, timestep: int) -> Any:
        calls.append(timestep)
        return x

    loop = sample(predict, np.ones(2, np.float32), plan_of(10))
    assert calls == []  # nothing runs before it is asked for
    next(loop)
    next(loop)
    loop.close()
    assert len(calls) == 2
    assert next(loop, None) is None


def test_start_is_not_written_to() -> None:
    x = normal((1, 4, 4, 4), seed=1)
    x.setflags(write=False)
    before = x.copy()
    list(sample(lambda x, t: x * 0.1, x, plan_of(4, "dpm++")))
    assert (x == before).all()


def test_rows_of_a_batch_do_not_touch_each_other() -> None:
    plan = plan_of(8, "dpm++")

    def predict(x: Any, t: int) -> Any:
        return np.tanh(x) * (t / 1000)

    rows = [normal((4, 8, 8), seed=0, key=str(i)) for i in range(3)]
    *_, together = sample(predict, np.stack(rows), plan)
    for i in (2, 0, 1):
        *_, alone = sample(predict, rows[i][None], plan)
        assert (alone.x[0] == together.x[i]).all()


def test_wrong_output_shape_is_named() -> None:
    with pytest.raises(SettingsError, match=r"expected shape \(1, 4, 8, 8\), got \(1, 8, 8, 8\)"):
        next(sample(lambda x, t: np.zeros((1, 8, 8, 8)), np.zeros((1, 4, 8, 8)), plan_of(2)))


@pytest.mark.parametrize("kind", ["masked", "prefill", "official"])
def test_start_latents_noise_the_latents(kind: Any) -> None:
    plan = plan_of(20)
    noise, latents = normal((1, 4, 8, 8), seed=0), normal((1, 4, 8, 8), seed=1)
    start = start_latents(kind, noise, latents, plan)
    np.testing.assert_allclose(start, 0.118959 * latents + 0.992899 * noise, atol=5e-6)
    assert start.dtype == np.float32


def test_start_from_noise_alone() -> None:
    noise = normal((1, 4, 8, 8), seed=0)
    assert start_latents("noise", noise, None, plan_of(20)) is noise
    assert start_latents("noise", noise, np.full_like(noise, np.nan), plan_of(20)) is noise


def test_start_latents_of_torch_tensors() -> None:
    torch = pytest.importorskip("torch")
    noise, latents = normal((4, 8, 8), seed=0), normal((4, 8, 8), seed=1)
    ours = start_latents("masked", noise, latents, plan_of(5))
    theirs = start_latents("masked", torch.from_numpy(noise), torch.from_numpy(latents), plan_of(5))
    np.testing.assert_array_equal(ours, theirs.numpy())


def test_bad_starts_are_refused() -> None:
    noise = np.zeros((1, 4, 8, 8), np.float32)
    bad: Any = "original"
    with pytest.raises(SettingsError, match="'original'"):
        start_latents(bad, noise, noise, plan_of(2))
    with pytest.raises(SettingsError, match="masked"):
        start_latents("masked", noise, None, plan_of(2))
    with pytest.raises(SettingsError, match=r"expected shape \(1, 4, 8, 8\)"):
        start_latents("prefill", noise, noise[:, :, :4], plan_of(2))


def test_importing_sampling_does_not_import_torch() -> None:
    code = "import sys, moebius.sampling; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
