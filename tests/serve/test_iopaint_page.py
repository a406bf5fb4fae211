"""IOPaint's own web front end, unchanged, in a browser, with this server behind it.

Needs Chromium, and the front end: MOEBIUS_IOPAINT_WHEEL is the path of IOPaint's wheel
(`pip download --no-deps IOPaint==1.6.0`).
"""

from __future__ import annotations

import io
import mimetypes
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from made_photos import picture
from PIL import Image
from system_browser import system_browser

WHEEL = os.environ.get("MOEBIUS_IOPAINT_WHEEL", "")
FOLDER = "iopaint/web_app/"
WIDTH, HEIGHT = 384, 320
BRUSH = 40
"""Pixels across, in the front end's photo."""

pytestmark = pytest.mark.skipif(not WHEEL, reason="MOEBIUS_IOPAINT_WHEEL does not name IOPaint's wheel")


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """The built front end: what its server would answer with, by path."""
    with zipfile.ZipFile(WHEEL) as wheel:
        names = [name for name in wheel.namelist() if name.startswith(FOLDER)]
        found = {"/" + name.removeprefix(FOLDER): wheel.read(name) for name in names}
    return {**found, "/": found["/index.html"]}


@pytest.fixture
def page(server: str, files: dict[str, bytes]) -> Iterator[Any]:
    def answer(route: Any) -> None:
        asked = urlsplit(route.request.url).path
        if asked in files:
            kind = mimetypes.guess_type("x.html" if asked == "/" else asked)[0]
            route.fulfill(body=files[asked], content_type=kind or "application/octet-stream")
        else:
            route.continue_()

    with system_browser() as browser:
        opened = browser.new_page(viewport={"width": 1200, "height": 800})
        failures: list[str] = []
        opened.on("pageerror", lambda error: failures.append(str(error)))
        opened.route(server + "/**", answer)
        opened.goto(server)
        yield opened
        assert failures == []


def load(page: Any, path: Path) -> Any:
    """Put a photo into the page; its canvas."""
    page.get_by_text(re.compile("to load your picture|drag an image")).wait_for()
    page.locator("input[type=file]").last.set_input_files(path)
    page.get_by_text(f"{WIDTH}x{HEIGHT}").wait_for()
    return page.locator("canvas").last


def stroke(page: Any, canvas: Any, start: tuple[int, int], end: tuple[int, int]) -> Any:
    """Paint from one place of the photo to another; the server's answer."""
    box = canvas.bounding_box()
    assert (box["width"], box["height"]) == (WIDTH, HEIGHT)
    with page.expect_response("**/api/v1/inpaint") as answered:
        page.mouse.move(box["x"] + start[0], box["y"] + start[1])
        page.mouse.down()
        page.mouse.move(box["x"] + end[0], box["y"] + end[1], steps=5)
        page.mouse.up()
    return answered.value


def far_from(start: tuple[int, int], end: tuple[int, int], distance: float) -> np.ndarray:
    """(H, W): True further than that from the line between two places at the same height."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    beside = np.maximum(np.maximum(start[0] - columns, columns - end[0]), 0)
    return np.asarray(np.hypot(beside, rows - start[1]) > distance)


@pytest.mark.parametrize(("name", "pillow"), [("photo.png", "PNG"), ("photo.jpg", "JPEG")])
def test_a_photo_is_painted_on_twice_and_saved(page: Any, tmp_path: Path, name: str, pillow: str) -> None:
    Image.fromarray(picture(WIDTH, HEIGHT)).save(tmp_path / name, quality=92)
    before = np.asarray(Image.open(tmp_path / name))
    canvas = load(page, tmp_path / name)
    strokes = [((60, 80), (120, 80)), ((240, 220), (300, 220))]
    for start, end in strokes:
        answer = stroke(page, canvas, start, end)
        assert answer.status == 200
        assert 1 <= int(answer.headers["x-seed"]) < 100_000_000
    with page.expect_download() as downloaded:
        page.keyboard.press("Control+s")
    saved = downloaded.value
    assert saved.suggested_filename == name.replace(".", "_cleanup.")
    data = Path(saved.path()).read_bytes()
    image = Image.open(io.BytesIO(data))
    assert image.format == pillow and image.size == (WIDTH, HEIGHT)
    after = np.asarray(image.convert("RGB"))
    untouched = np.logical_and.reduce([far_from(*each, BRUSH / 2 + 30) for each in strokes])
    assert (after[untouched] == before[untouched]).all()
    for start, end in strokes:
        painted = ~far_from(start, end, BRUSH / 2 - 2)
        assert (after[painted] != before[painted]).any(axis=-1).mean() > 0.5


def test_what_is_wrong_is_shown(page: Any, tmp_path: Path) -> None:
    Image.fromarray(picture(WIDTH, HEIGHT)).save(tmp_path / "photo.png")
    canvas = load(page, tmp_path / "photo.png")
    page.route(
        "**/api/v1/inpaint", lambda route: route.continue_(post_data='{"image": "data:,", "mask": ""}')
    )
    assert stroke(page, canvas, (60, 80), (120, 80)).status == 400
    page.get_by_text("image: expected a data: URL in base64").first.wait_for()
