"""`moebius export`: models and the page for other places than this program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moebius.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from moebius.export.web import WebSite


@click.group(short_help="Write a model for other runtimes.")
def export() -> None:
    """Write a model for other runtimes."""


@export.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="A model's name, or a model folder.")
@click.option(
    "--runtime", type=click.Path(path_type=Path),
    help="Folder or .tgz of the npm package onnxruntime-web. [default: fetched with npm]",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an earlier site in DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def web(folder: Path, model: str, runtime: Path | None, overwrite: bool, as_json: bool) -> None:
    """Write the web page to DIR as a static site that fills photos in the visitor's browser.

    Any web server or static host will do, under any path; no photo leaves the visitor's machine. Needs npm, which
    fetches ONNX Runtime's files, or these files by --runtime.
    """
    from moebius.export.web import export_web

    site = export_web(folder, model=model, runtime=runtime, overwrite=overwrite)
    if as_json:
        values = {
            "path": str(site.path),
            "version": site.version,
            "model": site.model,
            "runtime": site.runtime,
        }
        click.echo(json.dumps({**values, "bytes": site.weights}))
        return
    for line in _lines(site):
        click.echo(line)


def _lines(site: WebSite) -> list[str]:
    weights = site.weights
    base = weights["page"] + weights["model"] + weights["scripts"]
    total = sum(weights.values())
    titles = {
        "page": "page", "model": f"model {site.model}", "scripts": "runtime's scripts, manifest",
        "wasm": f"ONNX Runtime Web {site.runtime}, WASM", "webgpu": f"ONNX Runtime Web {site.runtime}, WebGPU",
    }  # fmt: skip
    return [
        f"{site.path}: version {site.version}",
        *(f"  {size / 1e6:6.2f} MB  {titles[part]}" for part, size in weights.items()),
        f"  {total / 1e6:6.2f} MB  in all; a first visit fetches {(base + weights['wasm']) / 1e6:.1f} MB (WASM)"
        f" or {(base + weights['webgpu']) / 1e6:.1f} MB (WebGPU)",
        f"Try it: python -m http.server --directory {site.path}",
    ]
