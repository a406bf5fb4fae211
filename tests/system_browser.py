"""The system's Chromium, by Playwright."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = "chromium", "chromium-browser", "google-chrome"


@contextlib.contextmanager
def system_browser(*options: str) -> Iterator[Browser]:
    """A browser; skips where there is none. While it is open, Playwright's event loop runs in this thread."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser here: looked for {', '.join(NAMES)}")
    with api.sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-gpu", *options]
        opened = driver.chromium.launch(executable_path=path, args=arguments)
        yield opened
        opened.close()
