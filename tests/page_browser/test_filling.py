"""Fills in a real browser: Python's pictures, from the file to the file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from exported_site import Host, fill, hosted, open_engine
from made_photos import disc, picture
from PIL import Image, ImageCms

from moebius import Moebius
from moebius.imaging import grow_objects, read_mask, read_photo
from moebius.imaging.exif import turn_upright

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

SIZE = 210, 150
MASK = disc(*SIZE, (90, 60), 25) | disc(*SIZE, (190, 130), 8)
EXAMPLES = Path(__file__).parents[2] / "examples"


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def wide_gamut() -> bytes:
    """A profile of RGB that is not sRGB: its red and green are exchanged, so that nobody can miss a conversion."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(profile[128:132], "big")
    tags = {bytes(profile[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green = (bytes(profile[tags[name] + 4 : tags[name] + 12]) for name in (b"rXYZ", b"gXYZ"))
    profile[tags[b"rXYZ"] + 4 : tags[b"rXYZ"] + 12], profile[tags[b"gXYZ"] + 4 : tags[b"gXYZ"] + 12] = (
        green,
        red,
    )
    return bytes(profile)


@pytest.fixture(scope="module")
def shared_host(site: Path) -> Iterator[Host]:
    with hosted(site) as server:
        yield server


@pytest.fixture(scope="module")
def tab(browser: Browser, shared_host: Host) -> Iterator[Page]:
    """A page whose engine is open, for all tests here; it may ask nobody but its host."""
    context = browser.new_context()
    page = context.new_page()
    elsewhere: list[str] = []
    page.on("request", lambda request: elsewhere.append(request.url))
    page.goto(shared_host.address)
    opened = open_engine(page)
    assert opened.get("info", {}).get("device") == "wasm", opened.get("error")
    yield page
    context.close()
    allowed = (shared_host.address, "blob:", "data:")
    assert [url for url in elsewhere if not url.startswith(allowed)] == []


def assert_agrees(ours: Any, original: Any, expected: Any, mask: Any, *, feather: int = 6) -> None:
    hole = grow_objects(mask, None)
    outside = ~grow_objects(hole, feather)
    assert np.abs(ours - expected).max() <= 2
    assert np.array_equal(ours[outside], original[outside])
    assert (ours[hole] != original[hole]).any(-1).mean() > 0.9


@pytest.mark.parametrize(
    "settings", [{}, {"seed": "18446744073709551615", "steps": 2, "solver": "dpm++", "start": "prefill"}]
)
def test_png_as_in_python(tab: Page, python: Moebius, settings: dict[str, Any]) -> None:
    original = picture(*SIZE)
    answer = fill(tab, encoded(Image.fromarray(original), "PNG"), MASK, **settings)
    asked = {**settings, "seed": int(settings.get("seed", 0))}
    result = python(original, MASK, **asked)
    assert_agrees(pixels(answer["file"]), original, result.photo.pixels, MASK)
    report = answer["report"]
    assert (answer["format"], answer["type"], answer["seed"]) == ("png", "image/png", str(asked["seed"]))
    assert report["regions"] == result.to_dict()["regions"] and report["steps"] == result.steps
    assert (report["engine"], report["device"], report["model_hash"]) == (
        "browser",
        "wasm",
        python.model_hash,
    )
    fractions = [each["fraction"] for each in answer["progress"]]
    assert (
        fractions == sorted(fractions)
        and fractions[0] == 0
        and all(e["state"] == "running" for e in answer["progress"])
    )
    assert {tuple(e["box"]) for e in answer["progress"] if e["box"]} == set(map(tuple, report["regions"]))
    assert any(each["preview"] for each in answer["progress"])


def test_transparency_stays_to_the_sample(tab: Page, python: Moebius) -> None:
    original = picture(*SIZE, channels=4)
    answer = fill(tab, encoded(Image.fromarray(original), "PNG"), MASK)
    ours = pixels(answer["file"])
    assert np.array_equal(ours[..., 3], original[..., 3])
    assert_agrees(ours, original, python(original, MASK).photo.samples().astype(int), MASK)
    refused = fill(tab, encoded(Image.fromarray(original), "PNG"), MASK, format="jpeg")
    assert refused["error"] == {
        "name": "EngineError", "type": "output", "message": "JPEG cannot keep the photo's transparency, use PNG",
    }  # fmt: skip


def test_a_photo_from_a_camera(tab: Page, python: Moebius) -> None:
    """A JPEG on its side, with a profile of its own: PNG holds its stored values, upright, and says so."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    profile = wide_gamut()
    options = {"exif": exif.tobytes(), "icc_profile": profile, "quality": 95, "subsampling": 0}
    data = encoded(Image.fromarray(np.ascontiguousarray(np.rot90(picture(*SIZE)))), "JPEG", **options)
    answer = fill(tab, data, MASK)
    image = Image.open(io.BytesIO(answer["file"]))
    assert image.info["icc_profile"] == profile and dict(image.getexif()) == {0x0112: 1, 0x010F: "Camera"}
    stored = turn_upright(np.asarray(Image.open(io.BytesIO(data))), 6).astype(int)
    assert stored.shape == (SIZE[1], SIZE[0], 3)
    assert answer["report"]["warnings"] == []
    assert_agrees(np.asarray(image).astype(int), stored, python(data, MASK).photo.pixels, MASK)

    again = fill(tab, data, MASK, format="jpeg", quality=97)
    image = Image.open(io.BytesIO(again["file"]))
    assert (again["format"], again["type"], image.format) == ("jpeg", "image/jpeg", "JPEG")
    assert image.info["icc_profile"] == profile and dict(image.getexif()) == {0x0112: 1, 0x010F: "Camera"}
    outside = ~grow_objects(grow_objects(MASK, None), 6)
    assert np.abs(np.asarray(image).astype(int) - stored)[outside].mean() < 5
    assert len(fill(tab, data, MASK, format="jpeg", quality=50)["file"]) < len(again["file"])


def test_webp_and_grey(tab: Page, python: Moebius) -> None:
    data = encoded(Image.fromarray(picture(*SIZE)), "WEBP", lossless=True, icc_profile=wide_gamut())
    answer = fill(tab, data, MASK, format="webp")
    assert Image.open(io.BytesIO(answer["file"])).format == "WEBP"
    assert answer["report"]["warnings"] == ["the colour profile is not kept: colours are converted to sRGB"]
    grey = picture(*SIZE, channels=1)[..., 0]
    answer = fill(tab, encoded(Image.fromarray(grey), "PNG"), MASK)
    assert Image.open(io.BytesIO(answer["file"])).mode == "L"
    assert np.abs(pixels(answer["file"]) - python(grey, MASK).photo.pixels[..., 0]).max() <= 2


def test_cancelling(tab: Page) -> None:
    data = encoded(Image.fromarray(picture(*SIZE)), "PNG")
    stopped = fill(tab, data, MASK, abort_after=2, steps=900)
    assert stopped["error"]["name"] == "AbortError"
    assert len(stopped["progress"]) == 2
    assert fill(tab, data, MASK, abort_after=1)["error"]["name"] == "AbortError"
    assert fill(tab, data, MASK)["format"] == "png"


@pytest.mark.parametrize(
    ("data", "settings", "type", "message"),
    [
        (b"no picture at all", {}, "photo", "photo: expected an image that this browser can read"),
        (None, {"steps": 0}, "settings", "steps: expected a whole number from 1 to 1000, got 0"),
        (None, {"format": "tiff"}, "output", "expected png, jpeg or webp, got tiff"),
    ],
)
def test_errors(tab: Page, data: bytes | None, settings: dict[str, Any], type: str, message: str) -> None:
    photo = encoded(Image.fromarray(picture(*SIZE)), "PNG") if data is None else data
    error = fill(tab, photo, MASK, **settings)["error"]
    assert (error["name"], error["type"]) == ("EngineError", type) and message in error["message"]


def test_a_mask_of_another_size(tab: Page) -> None:
    error = fill(tab, encoded(Image.fromarray(picture(*SIZE)), "PNG"), MASK[:, 1:])["error"]
    assert error["message"] == "mask: expected the photo's size, got 209 x 150 for a photo of 210 x 150"


def test_nano_itself(browser: Browser, tmp_path: Path) -> None:
    """The model that people get, at its own sides, on an example photo."""
    from npm_runtime import runtime_archive

    from moebius.export.web import export_web

    export_web(tmp_path / "site", runtime=runtime_archive())
    photo = read_photo(EXAMPLES / "spoon.png")
    mask = read_mask(EXAMPLES / "spoon_mask.png", size=photo.size)
    expected = Moebius.from_pretrained("nano", engine="onnx", device="cpu")(photo, mask, seed=3)
    with hosted(tmp_path / "site") as host:
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(240_000)
        page.goto(host.address)
        assert open_engine(page)["info"]["model"]["name"] == "nano"
        answer = fill(page, (EXAMPLES / "spoon.png").read_bytes(), mask, seed=3)
        context.close()
    assert_agrees(pixels(answer["file"]), photo.pixels, expected.photo.pixels, mask)
