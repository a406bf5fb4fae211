"""ONNX Runtime for browsers: the few files of its npm package that a static site needs."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from moebius.errors import DownloadError, SettingsError

log = logging.getLogger(__name__)

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Of the package's archive, as npm's lock files state it."""
FILES = {
    "wasm": ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": ("ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
}
"""Script and binary for each device of a browser, in the package's folder `dist`."""
_TIMEOUT = 600
"""Seconds that npm may take."""


@dataclass(frozen=True)
class WebRuntime:
    """The files of a runtime, in memory."""

    version: str
    scripts: dict[str, bytes]
    """By device."""
    binaries: dict[str, bytes]
    """By device."""


def fetch_runtime(source: Path | None = None) -> WebRuntime:
    """The runtime from a folder or an archive of the npm package, else fetched with npm.

    Args:
        source: the package's folder, or its `.tgz`; None runs `npm pack`, and checks what comes.

    Raises:
        DownloadError: npm is not installed, fails, or gives other bytes than the pinned version has.
        SettingsError: `source` is not the package, or lacks a file.
    """
    if source is None:
        with tempfile.TemporaryDirectory() as folder:
            return _from_archive(fetch_archive(Path(folder)), checked=True)
    if source.is_dir():
        return _collect(source / "package.json", source / "dist", str(source))
    if not source.is_file():
        raise SettingsError(f"runtime: expected a folder or a .tgz of {PACKAGE}, got {source}")
    return _from_archive(source, checked=False)


def fetch_archive(folder: Path) -> Path:
    """The package's .tgz, fetched into `folder` by npm from wherever npm is told to fetch from. Not checked.

    Raises:
        DownloadError: npm is not installed, or fails.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadError(
            f"expected npm to fetch {PACKAGE} {VERSION} with, found none: install Node.js, or give the package's "
            "folder or .tgz with --runtime"
        )
    command = [
        npm,
        "pack",
        f"{PACKAGE}@{VERSION}",
        "--silent",
        "--ignore-scripts",
        "--pack-destination",
        str(folder),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT, cwd=folder, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DownloadError(f"npm pack {PACKAGE}@{VERSION}: {error}") from error
    archives = sorted(folder.glob("*.tgz"))
    if done.returncode or not archives:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = said[0] if said else f"exit code {done.returncode}"
        raise DownloadError(f"npm could not fetch {PACKAGE} {VERSION}: {reason} (or give it with --runtime)")
    return archives[0]


def _from_archive(path: Path, *, checked: bool) -> WebRuntime:
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if f"sha512-{digest}" != INTEGRITY:
        found = (
            f"{path.name}: expected {PACKAGE} {VERSION} with {INTEGRITY[:20]}..., got sha512-{digest[:13]}..."
        )
        if checked:
            raise DownloadError(found)
        log.warning("%s; it is used as it is", found)
    with tempfile.TemporaryDirectory() as folder:
        wanted = {
            "package/package.json",
            *(f"package/dist/{name}" for names in FILES.values() for name in names),
        }
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    if member.name in wanted and member.isfile():
                        archive.extract(member, folder, filter="data")
        except (tarfile.TarError, OSError, EOFError) as error:
            raise SettingsError(f"runtime: expected a .tgz of {PACKAGE}, got {path}: {error}") from error
        package = Path(folder) / "package"
        return _collect(package / "package.json", package / "dist", str(path))


def _collect(manifest: Path, dist: Path, where: str) -> WebRuntime:
    missing = [name for names in FILES.values() for name in names if not (dist / name).is_file()]
    if missing:
        raise SettingsError(f"runtime: expected {PACKAGE} with dist/{missing[0]}, found none in {where}")
    try:
        version = str(json.loads(manifest.read_text("utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"runtime: expected a package.json with a version in {where}, got {error!r}"
        ) from error
    if version != VERSION:
        log.warning("runtime: tested with %s %s, got %s", PACKAGE, VERSION, version)
    return WebRuntime(
        version=version,
        scripts={device: (dist / names[0]).read_bytes() for device, names in FILES.items()},
        binaries={device: (dist / names[1]).read_bytes() for device, names in FILES.items()},
    )
