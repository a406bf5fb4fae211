"""A browser, and exported sites for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from child_processes import PATIENCE
from exported_site import Host, hosted, quick_model
from npm_runtime import runtime_archive
from system_browser import system_browser

from moebius import Moebius
from moebius.export.web import export_web
from moebius.weights import open_model

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")  # no longer: while it is open, Playwright's event loop runs in this thread
def browser() -> Iterator[Browser]:
    # A name that browsers do not trust as they trust this machine's own.
    with system_browser("--host-resolver-rules=MAP plain.test 127.0.0.1") as opened:
        yield opened


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quick_model(open_model("nano").path, tmp_path_factory.mktemp("models") / "quick")


@pytest.fixture(scope="session")
def site(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported page with a model that is quick."""
    folder = tmp_path_factory.mktemp("sites") / "quick"
    export_web(folder, model=model_folder, runtime=runtime_archive())
    return folder


@pytest.fixture(scope="session")
def python(model_folder: Path) -> Moebius:
    """The same model in Python."""
    return Moebius.from_pretrained(model_folder, engine="onnx", device="cpu")


@pytest.fixture
def host(site: Path) -> Iterator[Host]:
    with hosted(site) as server:
        yield server


@pytest.fixture
def page(browser: Browser, host: Host) -> Iterator[Page]:
    """The site's page, just opened by a browser that has nothing of it."""
    context = browser.new_context()
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE * 1000)
    opened.goto(host.address)
    yield opened
    context.close()
