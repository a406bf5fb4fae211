"""How a fill runs: seeds, steps, guidance, events, cancelling, what it reports."""

from __future__ import annotations

import json
import logging
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_photos import disc, photo, picture

from moebius import Moebius, Result, Settings, SettingsError
from moebius.engines.fuse import FusedUNet
from moebius.testing import LIKE_NANO, LIKE_PUBLISHED, FakeEngine

PHOTO = picture(100, 80)
MASK = disc(100, 80, (40, 30), 12)
TWO_HOLES = np.zeros((80, 300), bool)
TWO_HOLES[30:40, 20:30] = TWO_HOLES[30:40, 250:260] = True


def fake(spec: Any = LIKE_NANO) -> tuple[Moebius, FakeEngine]:
    engine = FakeEngine()
    return Moebius(spec, engine, model_hash="0" * 64), engine


def pixels(result: Result) -> Any:
    return result.photo.pixels


def test_same_seed_same_picture(model: Moebius) -> None:
    alone = model(PHOTO, MASK, seed=5)
    others = [
        model(PHOTO, MASK, seed=6),
        model(picture(64, 64), disc(64, 64, (9, 9), 5)),
        model(PHOTO, ~MASK),
    ]
    again = model(PHOTO, MASK, seed=5)
    assert np.array_equal(pixels(alone), pixels(again))
    assert not any(np.array_equal(pixels(alone), pixels(other)) for other in others[:1])


def test_same_picture_after_a_restart(tiny_masked: Path, published_like: Moebius) -> None:
    reopened = Moebius.from_pretrained(tiny_masked, engine="torch", device="cpu")
    assert np.array_equal(pixels(reopened(PHOTO, MASK)), pixels(published_like(PHOTO, MASK)))


def test_interleaved_streams_do_not_meet(model: Moebius) -> None:
    alone = [model(PHOTO, MASK, seed=seed, steps=2) for seed in (1, 2)]
    streams = [model.stream(PHOTO, MASK, seed=seed, steps=2) for seed in (1, 2)]
    together = [events[-1].result for events in zip(*zip(*streams, strict=True), strict=True)]
    for expected, got in zip(alone, together, strict=True):
        assert got is not None and np.array_equal(pixels(expected), pixels(got))


def test_other_seeds_and_keys_give_other_pictures(model: Moebius) -> None:
    chosen: list[dict[str, Any]] = [
        {},
        {"seed": 1},
        {"seed": 2**64 - 1},
        {"key": "a"},
        {"key": "b", "seed": 1},
    ]
    pictures = [pixels(model(PHOTO, MASK, **options)) for options in chosen]
    for i, first in enumerate(pictures):
        assert not any(np.array_equal(first, second) for second in pictures[:i])


def test_a_hole_is_filled_alike_whatever_else_is_to_be_filled(model: Moebius) -> None:
    both = picture(300, 80)
    first_hole = TWO_HOLES.copy()
    first_hole[:, 150:] = False
    one, two = model(both, first_hole), model(both, TWO_HOLES)
    assert len(one.regions) == 1 and len(two.regions) == 2
    assert np.array_equal(pixels(one)[:, :150], pixels(two)[:, :150])


def test_global_state_stays(tiny_masked: Path) -> None:
    def state() -> tuple[Any, ...]:
        numpy_state = np.random.get_state()  # noqa: NPY002
        return (
            random.getstate(), [str(part) for part in numpy_state], torch.get_rng_state().tolist(),
            torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(),
            torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled(),
            logging.getLogger().level, np.geterr(),
        )  # fmt: skip

    before = state()
    Moebius.from_pretrained(tiny_masked, engine="torch", device="cpu")(PHOTO, MASK)
    assert state() == before


@pytest.mark.parametrize("spec", [LIKE_NANO, LIKE_PUBLISHED], ids=["nano", "published"])
@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
def test_steps_asked_for_are_steps_run(spec: Any, solver: str) -> None:
    for steps in range(1, 51):
        model, engine = fake(spec)
        result = model(PHOTO, MASK, steps=steps, solver=solver)
        assert result.steps == result.settings.steps == len(engine.timesteps) == steps
        assert engine.timesteps[0] == spec.first_timestep
        assert all(a > b for a, b in pairwise(engine.timesteps))


def test_leading_spacing_runs_all_steps_too() -> None:
    model, engine = fake(replace(LIKE_NANO, spacing="leading"))
    model(PHOTO, MASK, steps=4)
    assert engine.timesteps == [750, 500, 250, 0]


def test_the_published_start_runs_the_published_steps() -> None:
    model, engine = fake(LIKE_PUBLISHED)
    result = model(PHOTO, MASK, start="official", steps=20)
    assert result.steps == 19 and engine.timesteps == list(range(900, -1, -50))


def test_more_steps_than_timesteps_are_refused_at_once() -> None:
    model, _ = fake(LIKE_PUBLISHED)  # begins at timestep 900
    with pytest.raises(SettingsError, match="steps: expected 1 to 901"):
        model.stream("no such photo", "no such mask", steps=902)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"steps": 0}, "steps: expected a whole number from 1 to 1000, got 0"),
        ({"guidance": float("nan")}, "guidance: expected a number from 0 to 20, got nan"),
        ({"guidance": 2.0}, "trained without a guidance branch, expected 1, got 2"),
        ({"seed": -1}, "seed: expected a whole number"),
        ({"solver": "euler"}, "solver: expected one of ddim, dpm"),
        ({"start": "photo"}, "start: expected one of noise"),
        ({"grow": 513}, "grow: expected"),
        ({"feather": -1}, "feather: expected"),
        ({"context": 1.0}, "context: expected"),
        ({"step": 3}, "settings: expected some of steps, .*, got 'step'"),
    ],
)
def test_wrong_settings_are_refused_at_once(options: dict[str, Any], told: str) -> None:
    model, engine = fake()
    with pytest.raises(SettingsError, match=told):
        model.stream("no such photo", "no such mask", **options)
    assert not engine.timesteps


@pytest.mark.parametrize(("guidance", "rows"), [(1.0, 1), (2.0, 2), (0.0, 2)])
def test_without_guidance_half_the_rows_are_computed(
    published_like: Moebius, monkeypatch: pytest.MonkeyPatch, guidance: float, rows: int
) -> None:
    seen = []
    run = FusedUNet._run

    def counting(self: Any, *arguments: Any, **named: Any) -> Any:
        out = run(self, *arguments, **named)
        seen.append(len(out))
        return out

    monkeypatch.setattr(FusedUNet, "_run", counting)
    published_like(PHOTO, MASK, guidance=guidance, steps=3)
    assert seen == [rows] * 3


def test_guidance_one_is_the_wanted_half_of_any_guidance(published_like: Moebius) -> None:
    engine, generator = published_like.engine, torch.Generator().manual_seed(0)
    x, condition = (torch.randn(1, 4, 8, 8, generator=generator) for _ in range(2))
    mask = torch.ones(1, 1, 8, 8)
    at = {w: engine.predict(x, 500, mask, condition, w) for w in (0.0, 1.0, 2.0)}
    assert not torch.allclose(at[0.0], at[1.0])
    torch.testing.assert_close(at[2.0], 2 * at[1.0] - at[0.0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rows", [1, 8])
def test_events_count_up_to_the_result(rows: int) -> None:
    model, engine = fake()
    engine.rows = rows
    events = list(model.stream(picture(300, 80), TWO_HOLES, steps=3))
    counts = [(0, 1), (0, 2), (0, 3)] if rows > 1 else [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    assert [(e.region, e.step) for e in events] == [*counts, (1, 3)]
    assert {(e.regions, e.steps) for e in events} == {(2, 3)}
    fractions = [e.fraction for e in events]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and 0 < fractions[0] < 0.4
    assert [e.result is not None for e in events] == [False] * len(counts) + [True]
    assert len(engine.timesteps) == len(counts)


def test_previews_change_nothing(model: Moebius) -> None:
    plain, shown, previews = model(PHOTO, MASK, steps=2), None, []
    for event in model.stream(PHOTO, MASK, steps=2):
        previews.append(event.preview())
        shown = event.result
    assert shown is not None and np.array_equal(pixels(plain), pixels(shown))
    assert {preview.size for preview in previews} == {(64, 64)} and previews[0] != previews[1]


def test_previews_cost_nothing_until_asked_for() -> None:
    model, engine = fake()
    model(PHOTO, MASK, steps=9)
    assert engine.decoded == 1


def test_closing_the_stream_stops_the_network() -> None:
    model, engine = fake()
    events = model.stream(PHOTO, MASK, steps=10)
    next(events), next(events)
    events.close()
    assert len(engine.timesteps) == 2
    assert list(events) == [] and len(engine.timesteps) == 2


def test_nothing_runs_before_the_first_event_is_asked_for() -> None:
    model, engine = fake()
    model.stream(PHOTO, MASK)
    assert not engine.timesteps and not engine.encoded


def test_report_makes_the_picture_again(model: Moebius) -> None:
    first = model(photo("RGB"), disc(96, 80, (40, 30), 12), seed=3, key="shelf/7", steps=2, grow=5)
    report = json.loads(first.to_json())
    assert report == json.loads(json.dumps(first.to_dict()))
    again = model(photo("RGB"), disc(96, 80, (40, 30), 12), key=report["key"], **report["settings"])
    assert np.array_equal(pixels(first), pixels(again))
    assert Settings(**report["settings"]) == first.settings
    assert report["seed"] == 3 and report["steps"] == 2 and report["size"] == [96, 80]
    assert report["engine"] == "torch" and report["device"] == "cpu" and report["dtype"] == "float32"
    assert len(report["model_hash"]) == 64 and report["model"].startswith("tiny-")
    assert set(report["timings"]) == {"read", "prepare", "encode", "denoise", "decode", "blend", "total"}
    assert report["warnings"] == [] and len(report["regions"]) == 1


def test_models_own_defaults(model: Moebius) -> None:
    result, defaults = model(PHOTO, MASK), model.spec.defaults
    assert (result.steps, result.guidance) == (defaults.steps, defaults.guidance)
    assert (result.solver, result.start) == (defaults.solver, defaults.start)


def test_result_is_a_pillow_image_too(model: Moebius) -> None:
    result = model(PHOTO, MASK)
    assert result.image.size == (100, 80) and np.array_equal(np.asarray(result.image), pixels(result))


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("mixed", [True, False])
def test_fractions_never_go_back(rows: int, mixed: bool) -> None:
    """Also where several regions at once are filled coarsely first, and then refined one after the other."""
    hole = np.zeros((200, 1400), bool)
    for left in (20, 520, 1020):
        hole[60:140, left : left + 100] = True
    if mixed:  # the second one is filled at the photo's own resolution at once
        hole[:, 530:620] = hole[70:, 520:530] = False
    model, engine = fake()
    engine.rows = rows
    events = list(model.stream(picture(1400, 200), hole, strategy="tiles", grow=0, context=1.25))
    fractions = [event.fraction for event in events]
    assert events[0].regions == 3 and len(events) > 12
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and 0 < fractions[0] < 0.3
