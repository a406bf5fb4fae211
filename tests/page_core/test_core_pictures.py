"""Smooth fills, other sizes, tone, feather and blending: Python's to 1e-5, and to the level of 8 bits."""

from __future__ import annotations

import numpy as np
import pytest
from core_client import Call, Core, as_array, as_box, as_image, as_mask
from made_photos import disc, noise, picture

from moebius.imaging import Box, Photo, feather_weight, match_tone, push_pull, resample, resize, resize_part
from moebius.imaging.arrays import FloatImage, Mask
from moebius.pipeline.frame import prepare, reduce_known

CLOSE = 1e-5


def floats(width: int, height: int, seed: int = 0) -> FloatImage:
    return (picture(width, height, seed=seed) / 255).astype(np.float32)


def holes(width: int, height: int) -> list[Mask]:
    random = np.random.default_rng(width * 1000 + height)
    return [
        np.zeros((height, width), bool),
        np.ones((height, width), bool),
        disc(width, height, (width / 2, height / 3), min(width, height) / 3),
        random.random((height, width)) < 0.5,
        random.random((height, width)) < 0.97,
    ]


def test_push_pull(core: Core) -> None:
    cases = [
        (floats(w, h), mask)
        for w, h in ((1, 1), (2, 3), (16, 16), (37, 53), (130, 61))
        for mask in holes(w, h)
    ]
    calls: list[Call] = [
        ("core/prefill.js", "pushPull", [as_image(image), as_mask(mask)]) for image, mask in cases
    ]
    for (image, mask), filled in zip(cases, core.all(calls), strict=True):
        found = as_array(filled)
        assert np.abs(found - push_pull(image, mask)).max() <= CLOSE
        assert np.array_equal(found[~mask], image[~mask])


def test_push_pull_reads_nothing_under_the_mask(core: Core) -> None:
    image, mask = floats(40, 30), disc(40, 30, (20, 15), 9)
    spoiled = image.copy()
    spoiled[mask] = np.nan
    first, second = core.all(
        [("core/prefill.js", "pushPull", [as_image(each), as_mask(mask)]) for each in (image, spoiled)]
    )
    assert np.array_equal(first["data"], second["data"])


def test_resize(core: Core) -> None:
    sizes = [(50, 40), (64, 64), (17, 90), (1, 1), (200, 30)]
    shapes = [(40, 50), (64, 64), (16, 16), (128, 96), (7, 300), (1, 1)]
    cases = [(floats(*size), shape) for size in sizes for shape in shapes]
    calls: list[Call] = [
        ("core/resample.js", "resize", [as_image(image), list(shape)]) for image, shape in cases
    ]
    for (image, shape), resized in zip(cases, core.all(calls), strict=True):
        assert np.abs(as_array(resized) - resize(image, shape)).max() <= CLOSE


def test_resample_fractions_of_pixels(core: Core) -> None:
    image = floats(71, 47)
    sources = [
        (0.0, 0.0, 71.0, 47.0),
        (3.3, 4.7, 30.1, 20.9),
        (-5.0, 10.2, 99.0, 12.9),
        (70.2, 46.4, 71.0, 47.0),
    ]
    cases = [(source, shape) for source in sources for shape in ((16, 24), (100, 90))]
    calls: list[Call] = [
        ("core/resample.js", "resample", [as_image(image), list(s), list(shape)]) for s, shape in cases
    ]
    for (source, shape), resized in zip(cases, core.all(calls), strict=True):
        assert np.abs(as_array(resized) - resample(image, source, shape)).max() <= CLOSE
    part = Box(13, 20, 88, 61)
    found = core("core/resample.js", "resizePart", as_image(image), [100, 120], as_box(part))
    assert np.abs(as_array(found) - resize_part(image, (100, 120), part)).max() <= CLOSE


def test_match_tone(core: Core) -> None:
    for mask in holes(64, 48):
        fill, known = floats(64, 48, seed=1) * np.float32(0.8) + np.float32(0.1), floats(64, 48)
        found = core("core/tone.js", "matchTone", as_image(fill), as_image(known), as_mask(mask))
        assert np.abs(as_array(found) - match_tone(fill, known, mask)).max() <= CLOSE


@pytest.mark.parametrize("feather", [0, 1, 6, 40])
def test_feather(core: Core, feather: int) -> None:
    masks = holes(70, 50)
    for mask, weight in zip(
        masks,
        core.all([("core/blend.js", "featherWeight", [as_mask(m), feather]) for m in masks]),
        strict=True,
    ):
        expected = feather_weight(mask, feather)
        assert np.abs(weight.reshape(mask.shape) - expected).max() <= 1e-6
        assert np.array_equal(weight == 0, expected.ravel() == 0) and np.array_equal(
            weight == 1, expected.ravel() == 1
        )


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_blend(core: Core, mode: str) -> None:
    pixels = noise((60, 80, 3 if mode == "RGB" else 1))
    photo, place = Photo(pixels.copy(), mode), Box(5, 7, 71, 52)  # type: ignore[arg-type]
    rgb = np.random.default_rng(1).random((place.height, place.width, 3), np.float32)
    weight = feather_weight(disc(place.width, place.height, (30, 20), 11), 8)
    rgba = np.dstack([np.broadcast_to(pixels, (60, 80, 3)), noise((60, 80), seed=4)])
    given = {"width": 80, "height": 60, "data": rgba, "grey": mode == "L"}
    found = core("core/blend.js", "blended", given, as_box(place), as_image(rgb), weight)
    photo.blend_rgb(place, rgb, weight)
    found = found.reshape(place.height, place.width, 4)
    expected = np.broadcast_to(photo.pixels[place.slices], found[..., :3].shape).astype(int)
    assert np.abs(found[..., :3] - expected).max() <= 1 and (found[..., :3] != expected).mean() < 1e-3
    assert np.array_equal(found[..., 3], rgba[place.slices][..., 3])
    assert np.array_equal(found[weight == 0], rgba[place.slices][weight == 0])


@pytest.mark.parametrize(
    ("size", "box", "shape"),
    [
        ((120, 90), Box(10, 5, 106, 69), (64, 96)),  # scaled down a little
        ((120, 90), Box(0, 0, 120, 90), (64, 64)),  # cut by the photo: mirrored outwards
        ((300, 20), Box(0, 0, 300, 20), (64, 64)),  # long and thin: mirrored many times
        ((20, 10), Box(0, 0, 20, 10), (64, 64)),  # enlarged
        ((700, 500), Box(3, 2, 699, 498), (64, 64)),  # averaged down first
    ],
)
def test_frames(core: Core, size: tuple[int, int], box: Box, shape: tuple[int, int]) -> None:
    pixels, mask = picture(*size), disc(*size, (size[0] / 2, size[1] / 2), min(size) / 4)
    photo = Photo(pixels, "RGB")
    rgba = np.dstack([pixels, np.full(mask.shape, 255, np.uint8)])
    given = {"width": size[0], "height": size[1], "data": rgba, "grey": False}
    frame = core("core/frame.js", "prepare", given, as_box(box), as_mask(mask), list(shape))
    expected = prepare(photo, box, mask[box.slices], shape)
    assert np.abs(as_array(frame["filled"]) - expected.filled).max() <= CLOSE
    assert np.array_equal(as_array(frame["mask"]), expected.mask)
    assert (frame["inner"], frame["outer"]) == (list(expected.inner), list(expected.outer))
    reduced = core("core/frame.js", "reduceKnown", given, as_box(box), as_mask(mask[box.slices]), 3)
    colours, unknown = reduce_known(photo, box, mask[box.slices], 3)
    assert np.abs(as_array(reduced["colours"]) - colours).max() <= CLOSE
    assert np.array_equal(as_array(reduced["unknown"]), unknown)
