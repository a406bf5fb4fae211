"""Batches: whatever makes them, and however many ranks share them, they are the same."""

from __future__ import annotations

import threading
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from sample_photos import make_folder, make_shard, photo_members, small_recipe

from moebius.errors import InputError
from moebius.training.data.loader import Batch, batches
from moebius.training.data.sources import Source, open_sources


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("mixed")
    make_shard(folder / "s.tar", photo_members(range(20, 30)))
    return open_sources([make_folder(folder / "f", 13), folder / "s.tar"])


TENSORS = ("positions", "image", "condition", "mask", "category", "rows")


def same(one: Batch, other: Batch) -> bool:
    return (
        one.keys == other.keys
        and one.digests == other.digests
        and one.broken == other.broken
        and all(torch.equal(getattr(one, name), getattr(other, name)) for name in TENSORS)
    )


def run(source: Source, **changes: Any) -> list[Batch]:
    options: dict[str, Any] = {"seed": 0, "batch": 4, "first_step": 0, "steps": 5}
    recipe = changes.pop("recipe", small_recipe())
    return list(batches(source, recipe, **options | changes))


def joined(parts: list[Batch], name: str) -> Any:
    values = [getattr(part, name) for part in parts]
    return (
        torch.cat(values)
        if isinstance(values[0], torch.Tensor)
        else [each for value in values for each in value]
    )


def test_a_batch(source: Source) -> None:
    batch = run(source, recipe=small_recipe(views=2))[2]
    assert batch.image.shape == batch.condition.shape == (4, 3, 32, 32) and batch.mask.shape == (4, 1, 32, 32)
    assert (
        batch.positions.tolist() == [8, 9, 10, 11] and batch.category.dtype == batch.rows.dtype == torch.int64
    )
    assert len(batch.keys) == len(batch.digests) == 4 and batch.rows.min() >= 0 and batch.broken == []
    moved = batch.to("meta")
    assert {getattr(moved, name).device.type for name in TENSORS} == {"meta"} and moved.keys == batch.keys


def test_ranks_share_what_one_would_see(source: Source) -> None:
    for accumulate in (1, 2):
        one = run(source, batch=4, accumulate=accumulate)
        two = [run(source, batch=2, rank=rank, ranks=2, accumulate=accumulate) for rank in range(2)]
        assert len(one) == len(two[0]) == 5 * accumulate
        for whole, *halves in zip(one, *two, strict=True):
            for name in (*TENSORS, "keys", "digests"):
                value = getattr(whole, name)
                other = joined(halves, name)
                assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other


def test_passes_of_a_step_make_one_larger_batch(source: Source) -> None:
    one, parts = run(source, batch=4), run(source, batch=2, accumulate=2)
    assert torch.equal(joined(one, "image"), joined(parts, "image"))


def test_every_photo_once_an_epoch(source: Source) -> None:
    keys = joined(run(source, batch=4, steps=23), "keys")  # four epochs
    assert len(source) == 23
    for epoch in range(4):
        assert len(set(keys[23 * epoch : 23 * (epoch + 1)])) == 23


def test_going_on_sees_the_rest(source: Source) -> None:
    recipe = small_recipe(sizes=(32, 64, 16))
    whole = run(source, recipe=recipe, steps=7, accumulate=2)
    rest = run(source, recipe=recipe, steps=7, accumulate=2, first_step=3)
    assert len(rest) == 8 and all(map(same, whole[6:], rest))
    assert run(source, first_step=5) == []


def test_sizes_take_turns_without_gaps(source: Source) -> None:
    recipe = small_recipe(sizes=(32, 64, 16))
    parts = [run(source, recipe=recipe, batch=4, steps=7, rank=rank, ranks=2) for rank in range(2)]
    assert [batch.image.shape[-1] for batch in parts[0]] == [32, 64, 16, 32, 64, 16, 32]
    assert [len(batch.keys) for batch in parts[0]] == [4, 1, 16, 4, 1, 16, 4]
    positions = sorted(joined(parts[0] + parts[1], "positions").tolist())
    assert positions == list(range(2 * (21 + 21 + 4)))


def test_processes_make_the_same_batches(source: Source, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "f", 9)
    (folder / "photo001.png").write_bytes(b"broken")
    broken = open_sources([folder])
    before = torch.random.get_rng_state()
    expected = run(broken)
    assert any(batch.broken for batch in expected)
    for workers in (1, 3):
        assert all(map(same, expected, run(broken, workers=workers)))
    assert torch.equal(torch.random.get_rng_state(), before), "the process's own generator is left alone"
    for path in folder.rglob("*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(InputError) as caught:  # one line, from another process
        run(broken, workers=1, steps=1)
    assert str(caught.value).startswith("expected a photo that can be used, got none in 100 tries; the last")
    assert "\n" not in str(caught.value)


def test_stopping_early_leaves_no_thread(source: Source) -> None:
    stream = batches(source, small_recipe(), seed=0, batch=2, first_step=0, steps=1_000_000)
    assert len(list(islice(stream, 3))) == 3
    stream.close()  # type: ignore[attr-defined]
    assert not [each for each in threading.enumerate() if each.name.startswith("batches")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch: expected 1 or more, got 0"),
        ({"first_step": -1}, "first_step: expected 0 or more, got -1"),
        ({"rank": 2, "ranks": 2}, "rank: expected 0 to 1, got 2"),
        ({"workers": -1}, "workers: expected 0 or more, got -1"),
        ({"accumulate": 0}, "accumulate: expected 1 or more, got 0"),
    ],
)
def test_impossible_streams(source: Source, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(source, **change)
