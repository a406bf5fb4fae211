"""Images and masks as the release treats them: sizes, morphology, tensors, pasting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from official_standins import synthetic
from PIL import Image

from moebius.errors import MaskError, MoebiusError, PhotoError, SettingsError
from moebius.pipeline import official_images
from moebius.pipeline.official_images import (
    Prepared,
    dilate,
    paste,
    paste_compensated,
    prepare,
    preprocess_image_and_mask,
    resized_size,
    ring_around,
    to_bytes,
)

DATA = Path(__file__).parents[1] / "data" / "official"
SIZES = json.loads((DATA / "resize_table.json").read_text())


@pytest.mark.parametrize("row", SIZES, ids=lambda row: f"{row['w']}x{row['h']}-{row['image_size']}")
def test_resized_size_as_released(row: dict[str, int]) -> None:
    assert resized_size(row["w"], row["h"], row["image_size"]) == (row["out_w"], row["out_h"])


def test_resized_size_of_a_pair_and_too_small() -> None:
    assert resized_size(600, 900, (512, 512)) == (512, 512)
    assert resized_size(600, 900, (500, 260)) == (448, 256)
    for size in (63, 0, -64, (512, 63)):
        with pytest.raises(SettingsError, match="at least 64"):
            resized_size(600, 900, size)


@pytest.mark.parametrize("kernel", [*range(1, 13), 64, 71])
@pytest.mark.parametrize("morphology", ["dilate", "close"])
def test_morphology_agrees_with_opencv(kernel: int, morphology: Any) -> None:
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(kernel)
    grey = np.where(rng.random((64, 128)) < 0.01, 255, 0).astype(np.uint8)
    square = np.ones((kernel, kernel), np.uint8)
    way = {"dilate": cv2.MORPH_DILATE, "close": cv2.MORPH_CLOSE}[morphology]
    expected = cv2.morphologyEx(grey, way, square)
    photo = np.zeros((64, 128, 3), np.uint8)
    got = prepare(photo, grey, image_size=64, kernel=kernel, morphology=morphology).grey_mask
    assert (got == expected).all()


def test_morphology_keeps_grey_levels_and_its_input() -> None:
    cv2 = pytest.importorskip("cv2")
    grey = np.random.default_rng(0).integers(0, 256, (40, 33), dtype=np.uint8)
    before = grey.copy()
    for kernel in (1, 4, 9):
        assert (dilate(grey, kernel) == cv2.dilate(grey, np.ones((kernel, kernel), np.uint8))).all()
    assert (grey == before).all()


def test_tensors() -> None:
    photo, mask = synthetic(0)
    prepared = prepare(photo, mask)
    assert prepared.image.dtype == prepared.mask.dtype == prepared.masked_image.dtype == np.float32
    assert (prepared.photo == photo).all()  # same size: nothing is resampled
    assert (prepared.grey_mask == mask).all()
    np.testing.assert_allclose(prepared.image, photo.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    assert set(np.unique(prepared.mask)) == {0, 1}
    hole = np.broadcast_to(prepared.mask, prepared.image.shape) == 1
    assert (prepared.masked_image[hole] == 0).all()
    assert (prepared.masked_image[~hole] == prepared.image[~hole]).all()


def test_mask_is_cut_at_half_before_and_after_resizing() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    prepared = prepare(np.zeros((64, 256, 3), np.uint8), ramp, image_size=64)
    assert (prepared.grey_mask == np.where(ramp < 128, 0, 255)).all()
    larger = prepare(np.zeros((64, 256, 3), np.uint8), ramp, image_size=128)
    assert len(np.unique(larger.grey_mask)) > 2  # Lanczos leaves grey edges, for the paste
    assert (larger.mask == (larger.grey_mask >= 128)).all()


def test_public_name_gives_a_batch_of_one() -> None:
    photo, mask = synthetic(1)
    image, hole = preprocess_image_and_mask(Image.fromarray(photo), Image.fromarray(mask), 512)
    assert image.shape == (1, 3, 768, 512)
    assert hole.shape == (1, 1, 768, 512)
    assert image.min() >= -1
    assert image.max() <= 1
    assert set(np.unique(hole)) == {0, 1}
    squashed, _ = preprocess_image_and_mask(photo, mask, target_size=(512, 512))
    assert squashed.shape == (1, 3, 512, 512)


def test_masks_of_other_modes_mean_the_same() -> None:
    photo, mask = synthetic(0)
    grey = Image.fromarray(mask)
    palette = Image.fromarray((mask == 0).astype(np.uint8))  # index 0 is white, index 1 black
    palette.putpalette([255, 255, 255, 0, 0, 0])
    for other in (grey.convert("1"), grey.convert("RGB"), grey.convert("LA"), palette):
        assert (prepare(photo, other).grey_mask == mask).all()


def test_sixteen_bits_are_refused() -> None:
    photo, mask = synthetic(0)
    with pytest.raises(MaskError, match=r"mask: expected 8 bits.*uint16"):
        prepare(photo, mask.astype(np.uint16))
    with pytest.raises(MaskError, match=r"mask: expected 8 bits.*I;16"):
        prepare(photo, Image.fromarray(mask.astype(np.uint16)))
    with pytest.raises(PhotoError, match=r"photo: expected 8 bits.*float64"):
        prepare(photo / 255, mask)
    with pytest.raises(PhotoError, match=r"photo: expected 8 bits.*mode F"):
        prepare(Image.fromarray(np.zeros((64, 64), np.float32)), mask)


@pytest.mark.parametrize("shape", [(64,), (0, 64, 3), (64, 64, 5), (1, 64, 64, 3)])
def test_arrays_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(PhotoError, match="got shape"):
        prepare(np.zeros(shape, np.uint8), np.zeros((64, 64), np.uint8))


def test_arrays_with_one_or_four_channels() -> None:
    photo, mask = synthetic(0)
    opaque = np.concatenate([photo, np.full_like(mask, 7)[..., None]], axis=2)
    prepared = prepare(opaque, mask[..., None])
    assert (prepared.photo == photo).all()
    assert (prepared.grey_mask == mask).all()


def test_bad_morphology_is_refused() -> None:
    photo, mask = synthetic(0)
    bad: Any = "open"
    with pytest.raises(SettingsError, match="'open'"):
        prepare(photo, mask, kernel=3, morphology=bad)
    with pytest.raises(SettingsError, match="got -1"):
        prepare(photo, mask, kernel=-1)


def load(name: str) -> dict[str, NDArray[Any]]:
    with np.load(DATA / name) as arrays:
        return dict(arrays)


def largest(got: NDArray[Any], expected: NDArray[Any]) -> int:
    return int(np.abs(got.astype(int) - expected.astype(int)).max())


def test_paste_as_released(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load("paste.npz")
    filled = to_bytes(data["decoded"][0] * 2 - 1)  # recorded in [0, 1]
    prepared = Prepared(data["image"], data["mask"])
    assert largest(paste(filled, prepared), data["out"]) <= 1
    monkeypatch.setattr(official_images, "BLUR_RADIUS", 2)
    assert largest(paste(filled, prepared), data["out"]) > 1


def test_compensation_as_released() -> None:
    data = load("compensation.npz")
    ring = ring_around(data["mask"] > 128)
    assert (ring == data["ring"]).all()
    shift = data["image"][ring].mean(axis=0) - data["result"][ring].mean(axis=0)
    np.testing.assert_allclose(shift, data["delta_mean"])
    prepared = Prepared(data["image"], data["mask"])
    assert largest(paste_compensated(data["result"], prepared), data["out"]) <= 1
    assert largest(paste_compensated(data["result"], prepared, factor=1.0), data["out"]) > 1


def test_paste_leaves_pixels_beyond_the_blur_alone() -> None:
    photo = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(64, 64, 3).astype(np.uint8)  # all 256 levels
    mask = np.zeros((64, 64), np.uint8)
    mask[:20, :20] = 255
    for way in (paste, paste_compensated):
        got = way(np.full_like(photo, 99), Prepared(photo, mask))
        assert (got[29:] == photo[29:]).all()
        assert (got[:, 29:] == photo[:, 29:]).all()
        assert (got[5:10, 5:10] != photo[5:10, 5:10]).any()


@pytest.mark.parametrize("level", [0, 255])
def test_compensation_without_a_ring_leaves_colours_alone(level: int) -> None:
    """The release gives an all black picture here."""
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    filled = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    prepared = Prepared(photo, np.full((64, 64), level, np.uint8))
    got = paste_compensated(filled, prepared)
    assert (got == (filled if level else photo)).all()


def test_to_bytes_clips_and_cuts_off() -> None:
    values = np.array([-3, -1, 0, 0.999, 1, 3], np.float32)
    with pytest.raises(MoebiusError, match="NaN"):
        to_bytes(np.full((3, 2, 2), np.nan, np.float32))
    assert to_bytes(np.broadcast_to(values, (3, 1, 6)))[0, :, 0].tolist() == [0, 0, 127, 254, 255, 255]
