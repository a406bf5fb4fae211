"""The system's browser, and pages opened in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from page.fake_server import Fake, fake_server
from page.opened_page import OpenedPage
from serve.running import running_server
from system_browser import system_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Opener = Callable[..., OpenedPage]


@pytest.fixture(scope="module")  # no longer: while it is open, Playwright's event loop runs in this thread
def browser() -> Iterator[Browser]:
    with system_browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real `moebius serve` with nano."""
    pytest.importorskip("fastapi", reason="the server is not installed")
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running.url + "/"


@pytest.fixture
def fake(browser: Browser) -> Iterator[Fake]:
    with fake_server() as running:
        yield running


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Opener]:
    """Opens the page at an address; at the end of the test it must have had no trouble but the expected."""
    opened: list[OpenedPage] = []

    def open_at(
        url: str, *, size: tuple[int, int] = (1280, 800), troubles: tuple[str, ...] = (), **how: Any
    ) -> OpenedPage:
        viewport: Any = {"width": size[0], "height": size[1]}
        opened.append(OpenedPage(browser.new_context(viewport=viewport, **how), url, troubles))
        return opened[-1]

    yield open_at
    for page in opened:
        page.close()


@pytest.fixture
def photo_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a photo that is made up."""
    from made_photos import picture
    from PIL import Image

    def write(name: str = "house.png", size: tuple[int, int] = (240, 160), **options: Any) -> Path:
        Image.fromarray(picture(*size)).save(tmp_path / name, **options)
        return tmp_path / name

    return write
