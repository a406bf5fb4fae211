"""Many threads on one engine: nobody's picture changes, and calls that wait together go in together."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from child_processes import PATIENCE
from made_photos import disc, picture

from moebius import Moebius
from moebius.engines import Lane
from moebius.engines.base import FloatArray as Floats
from moebius.errors import MoebiusError
from moebius.testing import LIKE_NANO, FakeEngine


class Gated(FakeEngine):
    """Waits in its first call until told to go on, and remembers how many rows each call had."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.entered = threading.Event(), threading.Event()
        self.rows_seen: list[int] = []

    def encode(self, image: Floats) -> Floats:
        self.entered.set()
        assert self.go.wait(PATIENCE)
        self.rows_seen.append(len(image))
        if (image > 2).any():
            raise ValueError("a picture that the engine cannot stand")
        return super().encode(image)


def ask_together(lane: Lane, engine: Gated, pictures: Sequence[Floats]) -> list[Any]:
    """Encode all pictures, in threads of their own, while the engine is held up by a first call."""
    with ThreadPoolExecutor(len(pictures) + 1) as pool:
        first = pool.submit(lane.encode, np.zeros((1, 3, 8, 8), np.float32))
        assert engine.entered.wait(PATIENCE)
        waiting = []
        for count, each in enumerate(pictures, 1):
            waiting.append(pool.submit(lane.encode, each))
            while len(lane._work.waiting) < count:
                pass
        engine.go.set()
        first.result()
        return [each.exception() or each.result() for each in waiting]


def pictures_of(*rows: int, side: int = 16) -> list[Floats]:
    random = np.random.default_rng(0)
    return [random.random((each, 3, side, side), dtype=np.float32) for each in rows]


def test_what_waits_together_goes_in_together() -> None:
    engine = Gated()
    pictures = pictures_of(1, 2, 3, 4, 1)
    with Lane(engine) as lane:
        answers = ask_together(lane, engine, pictures)
    assert engine.rows_seen == [1, 7, 4]  # 1 + 2 + 3 leave no room for 4 in 8 rows, but for another 1
    assert (lane.calls_made, lane.rows_made) == (3, 12) and lane.busy > 0
    for each, answer in zip(pictures, answers, strict=True):
        assert np.array_equal(answer, FakeEngine().encode(each))


def test_other_shapes_wait_for_their_turn() -> None:
    engine = Gated()
    pictures = [*pictures_of(1, side=16), *pictures_of(1, side=24), *pictures_of(1, side=16)]
    with Lane(engine) as lane:
        answers = ask_together(lane, engine, pictures)
    assert engine.rows_seen == [1, 2, 1]
    assert [answer.shape[-1] for answer in answers] == [2, 3, 2]


def test_nobody_fails_because_of_a_neighbour() -> None:
    engine = Gated()
    pictures = pictures_of(1, 1, 1)
    pictures[1] = pictures[1] + 9
    with Lane(engine) as lane:
        answers = ask_together(lane, engine, pictures)
    assert isinstance(answers[1], ValueError)
    assert np.array_equal(answers[0], FakeEngine().encode(pictures[0]))
    assert np.array_equal(answers[2], FakeEngine().encode(pictures[2]))


def test_more_rows_than_the_engine_is_sure_of_are_filled_up() -> None:
    engine = Gated()
    engine.rows = 1
    with Lane(engine, rows=4) as lane:
        answers = ask_together(lane, engine, pictures_of(1, 5, 2))
    assert engine.rows_seen == [4, 4, 4, 4], "every call has as many rows as every other"
    assert [len(answer) for answer in answers] == [1, 5, 2]


def test_steps_of_another_time_are_not_mixed() -> None:
    engine = FakeEngine()
    x = np.ones((1, 4, 8, 8), np.float32)
    with Lane(engine) as lane, ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(lane.predict, x * t, t, x[:, :1], x, 1.0) for t in range(1, 40)]
        for t, call in enumerate(calls, 1):
            assert np.array_equal(call.result(), np.float32(0.1) * x * t)
    assert set(engine.timesteps) == set(range(1, 40))


def test_engines_that_take_several_calls_get_them() -> None:
    class Meeting(FakeEngine):
        """Each call waits until another is there."""

        calls = 2

        def __init__(self) -> None:
            super().__init__()
            self.both = threading.Barrier(2)

        def encode(self, image: Floats) -> Floats:
            self.both.wait(PATIENCE)
            return super().encode(image)

    pictures = [*pictures_of(1, side=16), *pictures_of(1, side=24)]
    with Lane(Meeting()) as lane, ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lane.encode, pictures))
        for each, answer in zip(pictures, answers, strict=True):
            assert np.array_equal(answer, FakeEngine().encode(each))
    assert lane.calls_made == 2 and lane.busy > 0


def test_a_closed_lane_says_so() -> None:
    with Lane(FakeEngine()) as lane:
        pass
    with pytest.raises(MoebiusError, match="closed"):
        lane.decode(np.zeros((1, 4, 2, 2), np.float32))
    with pytest.raises(ValueError, match="rows >= 1"):
        Lane(FakeEngine(), rows=0)


@pytest.fixture(scope="module")
def nano() -> Moebius:
    return Moebius.from_pretrained("nano", engine="onnx")


def test_rows_do_not_know_of_their_neighbours(nano: Moebius) -> None:
    """To the bit, among a fixed number of rows: what lets a lane mix photos."""
    spec, random = nano.spec, np.random.default_rng(1)
    for height, width in ((64, 64), (64, 96)):
        images = random.random((5, 3, height, width), dtype=np.float32) * 2 - 1
        latents = random.standard_normal((5, spec.latent_channels, height // 8, width // 8)).astype(
            np.float32
        )
        mask = (random.random((5, 1, height // 8, width // 8)) < 0.3).astype(np.float32)

        def answers(rows: list[int], i: Floats = images, z: Floats = latents, m: Floats = mask) -> list[Any]:
            predicted = nano.engine.predict(z[rows], 999, m[rows], z[rows] * np.float32(0.5), 1.0)
            return [nano.engine.encode(i[rows]), predicted, nano.engine.decode(z[rows])]

        first, second = answers([0, 1, 2]), answers([3, 0, 4])
        for a, b in zip(first, second, strict=True):
            assert np.array_equal(a[0], b[1]) and not np.array_equal(a[1], b[2])


@pytest.mark.parametrize("rows", [None, 3])
def test_pictures_of_threads_are_those_made_alone(nano: Moebius, rows: int | None) -> None:
    """Whoever else uses the lane; with more rows than one, among those made with as many."""
    work = [(picture(90 + 20 * n, 80, seed=n), disc(90 + 20 * n, 80, (40, 40), 12), n) for n in range(4)]
    small = Moebius(LIKE_NANO, FakeEngine(), model_hash="0")
    quick = replace(nano.spec, size=128, cascade=(64,), detail="network")
    for model in (small, Moebius(quick, nano.engine, model_hash="0")):
        alone = []
        for photo, mask, seed in work:
            with Lane(model.engine, rows) as lane:
                only = Moebius(model.spec, lane, model_hash=model.model_hash)
                alone.append(only(photo, mask, seed=seed).photo.pixels)
        with Lane(model.engine, rows) as lane, ThreadPoolExecutor(4) as pool:
            shared = Moebius(model.spec, lane, model_hash=model.model_hash)
            calls = [pool.submit(shared, photo, mask, seed=seed) for photo, mask, seed in work]
            for call, expected in zip(calls, alone, strict=True):
                assert np.array_equal(call.result().photo.pixels, expected)


def test_a_lane_that_is_given_up_gives_its_engine_back() -> None:
    """And its threads."""
    before = threading.active_count()
    engines = []
    for closed in (True, False):
        engine = FakeEngine()
        engines.append(weakref.ref(engine))
        model = Moebius(LIKE_NANO, Lane(engine, 4), model_hash="0")
        model(picture(80, 80), disc(80, 80, (40, 40), 12))
        threads = model.engine._threads
        del engine
        if closed:
            with model:
                pass
            with pytest.raises(MoebiusError, match="closed"):
                model(picture(80, 80), disc(80, 80, (40, 40), 12))
        del model
        gc.collect()
        for thread in threads:
            thread.join(PATIENCE)
        del threads
    assert threading.active_count() == before
    assert [engine() for engine in engines] == [None, None]


def test_models_without_a_lane_can_be_closed_too() -> None:
    with Moebius(LIKE_NANO, FakeEngine(), model_hash="0") as model:
        pass
    model(picture(80, 80), disc(80, 80, (40, 40), 12))
