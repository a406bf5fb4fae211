"""The page itself as a static site: open, draw, run, look before and after, undo, download."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from exported_site import Host
from PIL import Image

from moebius.page import FOLDER

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow


def test_a_person_removes_something(browser: Browser, host: Host) -> None:
    context = browser.new_context(viewport={"width": 1000, "height": 700})
    page = context.new_page()
    page.set_default_timeout(120_000)
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on(
        "request",
        lambda r: None if r.url.startswith((host.address, "blob:", "data:")) else troubles.append(r.url),
    )
    page.goto(host.address)
    page.locator("#example").click()
    page.locator('[data-command="fit"]').first.wait_for()
    place = page.locator("#stage").bounding_box()
    assert place is not None
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    page.mouse.move(x - 20, y - 20)
    page.mouse.down()
    page.mouse.move(x + 20, y + 10, steps=5)
    page.mouse.up()
    page.keyboard.press("Enter")
    page.locator('[data-command="another"]').first.wait_for()
    with page.expect_download() as download:
        page.locator('[data-command="download"]').first.click()
    assert download.value.suggested_filename.endswith("-clean.png")
    saved = Path(download.value.path()).read_bytes()
    before = np.asarray(Image.open(FOLDER / "examples" / "rocket.jpg").convert("RGB")).astype(int)
    after = np.asarray(Image.open(io.BytesIO(saved))).astype(int)
    changed = (after != before).any(-1)
    rows, columns = np.nonzero(changed)
    assert 0 < changed.mean() < 0.2, "what lies around the stroke and nothing else"
    assert np.ptp(rows) < 0.6 * len(before) and np.ptp(columns) < 0.6 * before.shape[1]
    page.keyboard.press("Control+z")
    page.locator('[data-command="another"]').first.wait_for(state="hidden")
    context.close()
    assert troubles == []
