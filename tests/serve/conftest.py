"""Servers and photos for the tests of the server."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from asking import STRICT, numbers, quiet
from child_processes import wait_until
from PIL import Image
from running import Server, running_server

pytest.importorskip("fastapi", reason="needs moebius-inpaint[serve]")


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with a quick nano and default settings for every test that does no harm to it."""
    with running_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> str:
    """The shared server's address."""
    return shared_server.url


@pytest.fixture(scope="session")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with a token, and with limits that a test can reach."""
    arguments = [str(each) for pair in STRICT.items() for each in pair]
    with running_server(tmp_path_factory.mktemp("strict"), *arguments) as server:
        yield server


@pytest.fixture
def strict(strict_server: Server) -> Iterator[httpx.Client]:
    """A client of the strict server that has its token; ends with no job left there."""
    headers = {"Authorization": f"Bearer {STRICT['--token']}"}
    with httpx.Client(base_url=strict_server.url, headers=headers, timeout=60) as client:
        yield client
        wait_until(lambda: quiet(numbers(client)), "the strict server is idle")


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A PNG of 96 x 64 px, smooth with some noise."""
    random = np.random.default_rng(5)
    ramp = np.linspace(40, 200, 96)[None, :, None] + np.linspace(0, 40, 64)[:, None, None]
    pixels = np.clip(ramp + random.normal(0, 6, (64, 96, 3)), 0, 255).astype(np.uint8)
    return _png(pixels)


@pytest.fixture(scope="session")
def mask() -> bytes:
    """A PNG of the photo's size, white in a rectangle of 20 x 12 px."""
    pixels = np.zeros((64, 96), np.uint8)
    pixels[20:32, 30:50] = 255
    return _png(pixels)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def example() -> Path:
    """The folder of example photos."""
    return Path(__file__).parents[2] / "examples"
