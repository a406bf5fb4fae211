"""Whole fills: the page's pipeline against Python's, with networks that only count, and with nano's."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core_client import Core, as_box, as_mask
from counting_engine import CountingEngine
from made_photos import disc, picture
from npm_runtime import runtime_folder

from moebius import Moebius
from moebius.export.web_model import check_numbers, web_settings
from moebius.imaging import grow_objects, read_mask, read_photo
from moebius.imaging.arrays import Mask
from moebius.weights import ModelSpec, open_model
from moebius.weights.registry import find

LIKE_NANO = replace(find("nano"), latent_channels=4, size=64, cascade=(32,))
LIKE_PUBLISHED = replace(
    LIKE_NANO, cascade=(), aspects=(), feed="masked", target="image", prediction="epsilon", mask_mode="nearest",
    guidance_trained=True, first_timestep=900,
)  # fmt: skip
EXAMPLES = Path(__file__).parents[2] / "examples"


def as_photo(pixels: Any, *, grey: bool = False) -> dict[str, Any]:
    height, width = pixels.shape[:2]
    rgb = np.broadcast_to(pixels, (height, width, 3))
    return {
        "width": width,
        "height": height,
        "data": np.dstack([rgb, np.full((height, width), 255, np.uint8)]),
        "grey": grey,
    }


def filled(
    core: Core, photo: dict[str, Any], mask: Mask, spec: ModelSpec, runtime: Any = None, **settings: Any
) -> Any:
    asked = {"values": settings, "schema": web_settings()}
    return core("", "fillPhoto", photo, as_mask(mask), asked, asdict(spec), runtime, "")


CASES: list[tuple[ModelSpec, tuple[int, int], dict[str, Any]]] = [
    (LIKE_NANO, (150, 110), {}),
    (LIKE_NANO, (150, 110), {"seed": 2**64 - 1, "feather": 0, "grow": 0}),
    (LIKE_NANO, (61, 190), {"steps": 4, "solver": "dpm++", "feather": 20, "context": 1.25}),
    (LIKE_NANO, (40, 30), {"start": "prefill", "steps": 2}),
    (LIKE_NANO, (520, 400), {"grow": 3}),
    (LIKE_PUBLISHED, (150, 110), {"start": "masked", "guidance": 2.5, "steps": 3}),
    (LIKE_PUBLISHED, (90, 90), {"start": "prefill", "steps": 2, "context": 3.0}),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "size", "settings"), CASES)
def test_fills_agree(core: Core, spec: ModelSpec, size: tuple[int, int], settings: dict[str, Any]) -> None:
    width, height = size
    mask = disc(width, height, (0.3 * width, 0.4 * height), 0.12 * width + 3) | disc(
        width, height, (0.9 * width, 0), 7
    )
    pixels = picture(width, height)
    asked = {"seed": 5, **settings}
    result = Moebius(spec, CountingEngine(), model_hash="")(pixels, mask, **asked)
    found = filled(core, as_photo(pixels), mask, spec, **asked)
    assert [region["box"] for region in found["regions"]] == [as_box(box) for box in result.regions]
    ours = found["data"].reshape(height, width, 4)[..., :3].astype(int)
    assert np.abs(ours - result.photo.pixels).max() <= 1
    assert (ours != result.photo.pixels).mean() < 0.01, (
        "levels may differ where values lie between two of them"
    )
    assert np.array_equal((ours != pixels).any(-1), (result.photo.pixels != pixels).any(-1))
    assert found["fractions"] == sorted(found["fractions"]) and found["fractions"][-1] == pytest.approx(1)


def test_a_grey_photo_stays_grey(core: Core) -> None:
    pixels, mask = picture(90, 70, channels=1), disc(90, 70, (40, 30), 12)
    result = Moebius(LIKE_NANO, CountingEngine(), model_hash="")(pixels[..., 0], mask)
    ours = filled(core, as_photo(pixels, grey=True), mask, LIKE_NANO)["data"].reshape(70, 90, 4)
    assert (ours[..., 0] == ours[..., 1]).all() and (ours[..., 0] == ours[..., 2]).all()
    assert np.abs(ours[..., 0].astype(int) - result.photo.pixels[..., 0]).max() <= 1


def test_nothing_leaks_from_under_the_mask(core: Core) -> None:
    pixels, mask = picture(90, 70), disc(90, 70, (40, 30), 12)
    spoiled = pixels.copy()
    spoiled[mask] = np.random.default_rng(1).integers(0, 256, spoiled[mask].shape)
    first, second = (
        filled(core, as_photo(each), mask, LIKE_NANO)["data"].reshape(70, 90, 4) for each in (pixels, spoiled)
    )
    assert np.array_equal(first, second)


def test_warnings_and_refusals(core: Core) -> None:
    photo, none = as_photo(picture(40, 30)), np.zeros((30, 40), bool)
    found = filled(core, photo, none, LIKE_NANO)
    assert found["warnings"] == ["the mask is empty: nothing to fill, the photo is copied unchanged"]
    assert np.array_equal(found["data"], photo["data"].ravel()) and found["fractions"] == []
    assert "covers the whole photo" in filled(core, photo, ~none, LIKE_NANO)["warnings"][0]
    with pytest.raises(
        RuntimeError, match="mask: expected the photo's size, got 39 x 30 for a photo of 40 x 30"
    ):
        filled(core, photo, none[:, :39], LIKE_NANO)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps: expected a whole number from 1 to 1000, got 0"),
        ({"steps": 1.5}, "steps: expected a whole number from 1 to 1000, got 1.5"),
        ({"seed": "-1"}, "seed: expected a whole number from 0 to 18446744073709551615, got -1"),
        ({"seed": str(2**64)}, "seed: expected"),
        ({"seed": None}, "seed: expected a value, got null"),
        ({"solver": "euler"}, "solver: expected one of ddim, dpm\\+\\+, got euler"),
        ({"start": "official"}, "start: expected one of noise, masked, prefill, got official"),
        ({"strategy": "tiles"}, "strategy: expected crop in the browser, got tiles"),
        ({"guidance": 2}, "guidance: expected 1 for model nano, got 2"),
        ({"colour": "red"}, "colour: expected one of steps, .* got colour"),
    ],
)
def test_settings_are_checked(core: Core, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RuntimeError, match=f"settings: {message}"):
        core("core/settings.js", "completeSettings", settings, web_settings(), asdict(LIKE_NANO))


def test_settings_are_completed(core: Core) -> None:
    asked = {"seed": "18446744073709551615", "strategy": "crop", "grain": 0, "grow": None, "context": "3.5"}
    complete = core("core/settings.js", "completeSettings", asked, web_settings(), asdict(LIKE_NANO))
    assert complete == {
        "steps": 1, "guidance": 1, "seed": 2**64 - 1, "solver": "ddim", "start": "noise", "grow": None, "feather": 6,
        "context": 3.5,
    }  # fmt: skip


@pytest.mark.slow
def test_nano_in_node_gives_pythons_picture(core: Core, tmp_path: Path) -> None:
    folder = open_model("nano")
    package = runtime_folder(tmp_path / "runtime")
    runtime = {
        "folder": str(package),
        "model": str(folder.path),
        "check": check_numbers(folder.spec, folder.path),
    }
    model = Moebius.from_pretrained("nano", engine="onnx", device="cpu")
    photo = read_photo(EXAMPLES / "rocket.jpg")  # a browser is given another one
    mask = read_mask(EXAMPLES / "rocket_mask.png", size=photo.size)
    result = model(photo, mask, seed=1)
    found = filled(core, as_photo(photo.pixels), mask, folder.spec, runtime, seed=1)
    difference = np.abs(found["data"].reshape(*mask.shape, 4)[..., :3].astype(int) - result.photo.pixels)
    hole = grow_objects(mask, None)
    outside = ~grow_objects(hole, 6)
    told = f"at most {difference.max()} of 255 off, {difference[hole].mean():.1e} in the mean of the hole"
    logging.getLogger(__name__).info(told)
    assert difference.max() <= 2 and not difference[outside].any()
