"""The web page as a static site that fills photos in the visitor's browser.

    index.html, manifest.webmanifest, service_worker.js
    page/       the page's files
    model/      manifest.json and shards of the model
    runtime/    ONNX Runtime for browsers: scripts, and shards of its binaries
    LICENSES.txt

All addresses are relative, so the site works under any path. Files end in .html, .js, .json, .css, .svg, .jpg, .txt,
.webmanifest and .bin: every host serves those as they should be.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from moebius.errors import MoebiusError, OutputError
from moebius.export.folder import new_folder
from moebius.export.web_licences import licences
from moebius.export.web_model import Files, web_model
from moebius.export.web_runtime import fetch_runtime
from moebius.page import FOLDER
from moebius.weights import open_model

SUFFIXES = (".css", ".html", ".jpg", ".js", ".png", ".svg", ".webmanifest", ".webp")
"""Of the page's files that belong on a site."""
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; worker-src 'self' blob:; "
    "connect-src 'self' blob: data:; base-uri 'none'; form-action 'none'; object-src 'none'"
)
"""The page loads nothing from elsewhere and sends nothing anywhere."""
_ENGINE = re.compile(r'<meta\s+name="moebius-engine"\s+content="[a-z]*"\s*/?>')
_AT_ROOT = ("index.html", "manifest.webmanifest", "service_worker.js")


@dataclass(frozen=True)
class WebSite:
    """What was written, and what it weighs."""

    path: Path
    version: str
    """Hash of all content; visitors' browsers fetch the page anew when it changes."""
    model: str
    runtime: str
    """Version of ONNX Runtime Web."""
    weights: dict[str, int]
    """Bytes by part: page, model, scripts, wasm and webgpu (of the runtime). A visitor fetches the first three and one
    of the others."""


def export_web(
    target: Path, *, model: str | Path = "nano", runtime: Path | None = None, overwrite: bool = False
) -> WebSite:
    """Write the site: all of it appears at once, or nothing.

    Args:
        target: folder to write; absent or empty, unless `overwrite`.
        model: a model's name or folder; it needs ONNX graphs.
        runtime: folder or .tgz of the npm package onnxruntime-web; None fetches it with npm.
        overwrite: replace the folder, if it holds an earlier site.

    Raises:
        OutputError: the folder is not empty, holds something else than a site, or cannot be written.
        DownloadError, SettingsError: the runtime is not to be had; see `fetch_runtime`.
        DeviceError, WeightsError: the model cannot run in a browser, or is not to be had.
    """
    _check_target(target, overwrite)
    folder = open_model(model)
    fetched = fetch_runtime(runtime)
    shards, manifest = web_model(folder, fetched)
    page = page_files()
    scripts = {f"runtime/ort-{device}.js": script for device, script in fetched.scripts.items()}
    small = page | scripts
    small["model/manifest.json"] = json.dumps(manifest, separators=(",", ":")).encode()
    version = _digest(small)
    files = small | shards
    files["LICENSES.txt"] = licences(fetched.version, folder.spec).encode()
    kept = ["./", *sorted(name for name in small if name != "service_worker.js")]
    site = json.dumps({"version": version, "files": kept}, separators=(",", ":"))
    files["service_worker.js"] = f"self.MOEBIUS_SITE = {site};\n".encode() + page["service_worker.js"]
    with new_folder(target, overwrite, _check_target) as partial:
        for name, content in files.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    weights = {
        "page": sum(map(len, page.values())),
        "model": sum(len(data) for path, data in shards.items() if path.startswith("model/")),
        "scripts": sum(map(len, scripts.values())) + len(small["model/manifest.json"]),
    }
    for device, entry in manifest["runtimes"].items():
        weights[device] = sum(shard["bytes"] for shard in manifest["assets"][entry["binary"]]["shards"])
    return WebSite(target, version, folder.spec.name, fetched.version, weights)


def page_files() -> Files:
    """The page's files at their places in the site, with the browser's engine chosen.

    Raises:
        MoebiusError: the package's page is incomplete.
    """
    files = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and path.suffix in SUFFIXES and not path.name.startswith("."):
            name = path.relative_to(FOLDER).as_posix()
            files[name if name in _AT_ROOT else f"page/{name}"] = path.read_bytes()
    index, found = _ENGINE.subn(
        '<meta name="moebius-engine" content="browser">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<link rel="manifest" href="manifest.webmanifest">',
        files.get("index.html", b"").decode(),
    )
    if found != 1 or any(name not in files for name in _AT_ROOT):
        raise MoebiusError(
            f"{FOLDER}: expected a page with {', '.join(_AT_ROOT)} and one moebius-engine, found less"
        )
    files["index.html"] = index.encode()
    return files


def _digest(files: Files) -> str:
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    return whole.hexdigest()[:16]


def _check_target(target: Path, overwrite: bool) -> None:
    try:
        if target.exists() and not target.is_dir():
            raise OutputError(f"{target}: expected a folder to write, got a file")
        is_empty = not target.is_dir() or not any(target.iterdir())
        has_parent = target.absolute().parent.is_dir()
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error})") from error
    if not has_parent:
        raise OutputError(f"{target}: expected an existing folder to write into, got {target.parent}")
    if is_empty:
        return
    if not overwrite:
        raise OutputError(f"{target}: expected a new or empty folder (or --overwrite)")
    if not (target / "model" / "manifest.json").is_file():
        raise OutputError(
            f"{target}: expected an earlier site to replace, got a folder with something else in it"
        )
