"""ONNX Runtime Web for tests, fetched with npm as `moebius export web` does; skips where it cannot be had."""

from __future__ import annotations

import atexit
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest

from moebius.errors import DownloadError
from moebius.export.web_runtime import fetch_archive

_FETCHED: list[Path] = []


def runtime_archive() -> Path:
    """The npm package's .tgz, fetched once a session."""
    if not _FETCHED:
        folder = Path(tempfile.mkdtemp(prefix="moebius-npm-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        try:
            _FETCHED.append(fetch_archive(folder))
        except DownloadError as error:
            pytest.skip(f"no ONNX Runtime Web here: {error}")
    return _FETCHED[0]


def runtime_folder(folder: Path) -> Path:
    """The package's folder, with what node and browsers need of it."""
    with tarfile.open(runtime_archive()) as archive:
        for member in archive:
            name = member.name
            if name == "package/package.json" or (
                name.startswith("package/dist/") and "min.mjs.map" not in name
            ):
                archive.extract(member, folder, filter="data")
    return folder / "package"


def node() -> str:
    """Where node is; skips where it is not."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node here")
    return found
