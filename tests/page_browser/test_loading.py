"""Getting a site and its model into a browser: once, whole, and from then on without a network."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from exported_site import Host, fill, hosted, open_engine
from made_photos import disc, picture
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

MASK = disc(96, 80, (40, 30), 12)


def photo() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(96, 80)).save(buffer, "PNG")
    return buffer.getvalue()


def shards(host: Host) -> list[str]:
    return [path for path in host.asked if path.endswith(".bin")]


def wanted(site: Path) -> list[str]:
    """Shards that a browser without WebGPU needs."""
    assets: dict[str, Any] = json.loads((site / "model" / "manifest.json").read_text())["assets"]
    return sorted(
        s["path"] for name, asset in assets.items() if "webgpu" not in name for s in asset["shards"]
    )


def test_everything_is_fetched_once_and_then_offline(browser: Browser, site: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    with hosted(site) as host:
        page.goto(host.address)
        opened = open_engine(page, None)
        assert opened["info"]["device"] == "wasm"
        loads = opened["loads"]
        assert (
            loads[-1]["loaded"]
            == loads[-1]["total"]
            == sum((site / path).stat().st_size for path in wanted(site))
        )
        assert sorted(shards(host)) == wanted(site)
        first = fill(page, photo(), MASK)
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        host.asked.clear()
        page.reload()
        assert open_engine(page)["info"] == opened["info"]
        assert shards(host) == []
    page.goto(host.address)  # the server is gone
    assert page.locator('meta[name="moebius-engine"]').get_attribute("content") == "browser"
    assert open_engine(page)["info"] == opened["info"]
    assert fill(page, photo(), MASK)["file"] == first["file"]
    context.close()


def test_a_damaged_shard_is_told_and_the_rest_is_not_fetched_again(page: Page, host: Host) -> None:
    host.spoiled = "model/weights-"
    error = open_engine(page)["error"]
    assert (error["name"], error["type"]) == ("EngineError", "network")
    assert re.fullmatch(
        r"model/weights-[0-9a-f]{16}\.bin: expected SHA-256 [0-9a-f]{12}…, got [0-9a-f]{12}…; the download is damaged",
        error["message"],
    )
    asked = shards(host)
    assert max(asked.count(path) for path in asked) == 3, "each try counts"
    host.asked.clear()
    host.spoiled = None
    assert open_engine(page)["info"]["device"] == "wasm"
    again = shards(host)
    assert again and all("weights-" in path for path in again)
    assert fill(page, photo(), MASK)["format"] == "png"


def test_a_missing_file_is_told(page: Page, host: Host, site: Path) -> None:
    page.route("**/model/manifest.json", lambda route: route.fulfill(status=404))
    error = open_engine(page)["error"]
    assert error["message"] == "/deep/site/model/manifest.json: expected a file, got status 404"


def test_plain_http_from_another_machine(browser: Browser, site: Path) -> None:
    """No cache, no cryptography, no service worker there; it works all the same."""
    context = browser.new_context()
    page = context.new_page()
    with hosted(site, "plain.test") as host:
        page.goto(host.address)
        assert page.evaluate("[self.isSecureContext, 'caches' in self, typeof crypto.subtle]") == [
            False,
            False,
            "undefined",
        ]
        assert open_engine(page, None)["info"]["device"] == "wasm"
        assert fill(page, photo(), MASK)["format"] == "png"
    context.close()
