"""The latent cache: what it gives back is what was put there, for the same photo, crop, side and autoencoder."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from sample_photos import encoded, make_folder, pixels, small_recipe
from torch import Tensor

from moebius.errors import OutputError
from moebius.training.data.latents import LatentCache
from moebius.training.data.loader import batches
from moebius.training.data.sources import open_sources


def cache(folder: Path, **changes: Any) -> LatentCache:
    options: dict[str, Any] = {"rows": 10, "channels": 4, "side": 8, "autoencoder": "a1"}
    return LatentCache(folder, **options | changes)


def encode(image: Tensor) -> Tensor:
    """A stand-in autoencoder: (B, 3, S, S) -> mean and standard deviation (B, 2, 4, S / 8, S / 8)."""
    small = torch.nn.functional.avg_pool2d(image, 8)
    four = torch.cat([small, small.mean(1, keepdim=True)], dim=1)
    return torch.stack([four, four.abs() + 0.01], dim=1)


ROWS, DIGESTS = torch.tensor([3, 0, 9]), ["x", "y", "z"]


def test_what_is_put_is_there(tmp_path: Path) -> None:
    moments = torch.randn(3, 2, 4, 8, 8)
    with cache(tmp_path / "new" / "c") as made:
        empty, hit = made.get(ROWS, DIGESTS)
        assert not hit.any() and not empty.any() and empty.shape == moments.shape and hit.dtype == torch.bool
        made.put(ROWS, DIGESTS, moments)
        with cache(tmp_path / "new" / "c") as other:  # another process
            for reader in (made, other):
                values, hit = reader.get(ROWS, DIGESTS)
                assert hit.all() and values.dtype == torch.float32
                assert torch.equal(values, moments.half().float())
            other.put(torch.tensor([1]), ["w"], moments[:1])
        assert made.get(torch.tensor([1, 3]), ["w", "x"])[1].all()
        values, hit = made.get(torch.tensor([3, 5, -1, 10]), ["y", "x", "x", "x"])
        assert not hit.any(), "another digest, an empty row, no row, a row that is not there"


@pytest.mark.parametrize("change", [{"autoencoder": "a2"}, {"side": 16}, {"channels": 8}])
def test_another_autoencoder_or_side_is_noticed(tmp_path: Path, change: dict[str, Any]) -> None:
    with cache(tmp_path) as made:
        made.put(ROWS, DIGESTS, torch.ones(3, 2, 4, 8, 8))
    with cache(tmp_path, **change) as other:
        assert not other.get(ROWS, DIGESTS)[1].any()
    with cache(tmp_path, rows=20) as more:
        assert more.get(ROWS, DIGESTS)[1].all(), "more photos: the old ones stay"


def test_torn_rows_are_noticed(tmp_path: Path) -> None:
    with cache(tmp_path) as made:
        made.put(ROWS, DIGESTS, torch.ones(3, 2, 4, 8, 8))
        row = 2 * 2 * 4 * 8 * 8
        with (tmp_path / "latents.f16").open("r+b") as file:
            file.seek(3 * row + row // 2)
            file.write(bytes(row // 2))  # the second half was never written
        with (tmp_path / "latents.key").open("r+b") as file:
            file.seek(9 * 20 + 16)
            file.write(bytes(2))
        assert made.get(ROWS, DIGESTS)[1].tolist() == [False, True, False]
        made.put(ROWS, DIGESTS, torch.ones(3, 2, 4, 8, 8))
        assert made.get(ROWS, DIGESTS)[1].all()


def test_a_full_disk_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with cache(tmp_path) as made:
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(
            OutputError, match=r"latents cannot be kept \(No space left on device\); all of them"
        ):
            made.put(ROWS, DIGESTS, torch.ones(3, 2, 4, 8, 8))
    monkeypatch.setattr(os, "ftruncate", full)
    with pytest.raises(OutputError, match=r"latents cannot be kept there \(No space left on device\)"):
        cache(tmp_path / "other")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="latents cannot be kept there"):
        cache(tmp_path / "file")


def test_a_write_that_was_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: whole(file, data[:100], at))
    moments = torch.randn(3, 2, 4, 8, 8)
    with cache(tmp_path) as made:
        made.put(ROWS, DIGESTS, moments)
        assert torch.equal(made.get(ROWS, DIGESTS)[0], moments.half().float())


def test_wrong_shapes_and_rows(tmp_path: Path) -> None:
    with cache(tmp_path) as made:
        with pytest.raises(ValueError, match=r"expected \(3, 2, 4, 8, 8\), got \(3, 2, 4, 8, 9\)"):
            made.put(ROWS, DIGESTS, torch.ones(3, 2, 4, 8, 9))
        with pytest.raises(ValueError, match="expected a row below 10, got 10"):
            made.put(torch.tensor([10]), ["x"], torch.ones(1, 2, 4, 8, 8))
        made.put(torch.tensor([-1]), ["x"], torch.ones(1, 2, 4, 8, 8))


def test_cached_latents_are_the_live_ones(tmp_path: Path) -> None:
    """Within float16, over two epochs; a photo that changes is encoded anew, and only that one."""
    folder = make_folder(tmp_path / "photos", 6)
    recipe = small_recipe(sizes=(64,), views=1)

    def misses(made: LatentCache, seed: int = 0) -> list[str]:
        missed: list[str] = []
        for batch in batches(open_sources([folder]), recipe, seed=seed, batch=3, first_step=0, steps=2):
            live = encode(batch.image)
            known, hit = made.get(batch.rows, batch.digests)
            assert (known[hit] - live[hit]).abs().max() < 1e-3 if hit.any() else True
            missed += [key for key, found in zip(batch.keys, hit.tolist(), strict=True) if not found]
            made.put(
                batch.rows[~hit],
                [d for d, found in zip(batch.digests, hit, strict=True) if not found],
                live[~hit],
            )
        return missed

    with cache(tmp_path / "cache", rows=6) as made:
        assert len(misses(made)) == 6
        assert misses(made) == []
        (folder / "photo001.png").write_bytes(encoded(pixels(77, 64, 96)))
        assert misses(made) == ["photo001.png"]
        assert len(misses(made, seed=1)) == 6, "other views"
