"""`moebius export`: models and the page for other places than this program."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moebius.settings import DEFAULT_MODEL, MAX_GUIDANCE, MAX_STEPS

if TYPE_CHECKING:
    from moebius.export.model import ExportedModel
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


def _graph_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of both commands that write graphs."""
    for option in reversed((
        click.argument("folder", metavar="DIR", type=click.Path(path_type=Path)),
        click.option(
            "--model", default=DEFAULT_MODEL, show_default=True, help="A model's name, or a model folder."
        ),
        click.option(
            "--dtype", type=click.Choice(("float32", "float16", "int8")), default="float16", show_default=True,
            help="How weights are stored; they are computed with in float32. int8 where it costs little.",
        ),
        click.option(
            "--size", "sizes", type=int, multiple=True, metavar="PX",
            help="Side of a square that gets a graph of its own; several may be given. [default: one for any size]",
        ),
        click.option(
            "--graph", type=click.Choice(("parts", "loop")), default="parts", show_default=True,
            help="loop: besides, a whole fill as one graph; noise is an input.",
        ),
        click.option(
            "--steps", type=click.IntRange(1, MAX_STEPS),
            help="Of the loop, and the folder's default. [default: the model's]",
        ),
        click.option(
            "--guidance", type=click.FloatRange(0, MAX_GUIDANCE),
            help="Of the loop, and the folder's default; 1 leaves out the opposite. [default: the model's]",
        ),
        click.option("--overwrite", is_flag=True, help="Replace an earlier export in DIR."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON for machines."),
    )):  # fmt: skip
        command = option(command)
    return command


@export.command()
@_graph_options
def onnx(**options: Any) -> None:
    """Write a model to DIR as ONNX graphs, which ONNX Runtime runs without PyTorch.

    DIR is a model folder: every command takes it for --model. Each number format's cost is measured against the plain
    network and printed. Needs the extra [export].
    """
    _write_graphs("onnx", **options)


@export.command()
@_graph_options
def openvino(**options: Any) -> None:
    """Write a model to DIR as OpenVINO's files, for its bfloat16 on processors that have it.

    As `export onnx`, for engine openvino. Needs the extras [export] and [openvino].
    """
    _write_graphs("openvino", **options)


@export.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="A model's name, or a model folder.")
@click.option(
    "--dtype", type=click.Choice(("float32", "float16")), default="float32", show_default=True,
    help="How weights are stored.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an earlier pipeline in DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def diffusers(folder: Path, as_json: bool, **options: Any) -> None:
    """Write a model to DIR as a pipeline for diffusers, ready for the Hugging Face Hub.

    DiffusionPipeline.from_pretrained(DIR, trust_remote_code=True) opens it wherever moebius-inpaint is installed. Needs
    the extra [torch].
    """
    import importlib.util

    from moebius.errors import DeviceError

    for name in ("torch", "diffusers"):
        if importlib.util.find_spec(name) is None:
            raise DeviceError(
                f"export needs {name}, which is not installed: pip install 'moebius-inpaint[torch]'"
            )
    from moebius.integrations.diffusers_folder import export_diffusers

    result = export_diffusers(folder, **options)
    if as_json:
        click.echo(json.dumps(result.to_dict()))
        return
    click.echo(f"{result.path}: {result.spec.name} for diffusers")
    for name, size in result.bytes.items():
        click.echo(f"  {size / 1e6:8.2f} MB  {name}")


def _write_graphs(
    runtime: Any, *, folder: Path, as_json: bool, sizes: tuple[int, ...], **options: Any
) -> None:
    import importlib.util

    from moebius.errors import DeviceError

    for name in ("torch", "onnx", "onnxscript"):
        if importlib.util.find_spec(name) is None:
            raise DeviceError(
                f"export needs {name}, which is not installed: pip install 'moebius-inpaint[export]'"
            )
    from moebius.export.model import export_model

    def tell(line: str) -> None:
        if not as_json:
            click.echo(line, err=True)

    result = export_model(folder, runtime=runtime, sizes=sizes, tell=tell, **options)
    if as_json:
        click.echo(json.dumps(result.to_dict()))
        return
    for line in _export_lines(result):
        click.echo(line)


def _export_lines(result: ExportedModel) -> list[str]:
    exported = result.spec.exported
    assert exported is not None
    stored = ", ".join(f"{part} {size / 1e6:.1f} MB" for part, size in result.stored.items())
    lines = [
        f"{result.path}: {result.spec.name} for {exported.runtime}, weights in {exported.dtype} ({stored})",
        *(f"  {size / 1e6:8.2f} MB  {name}" for name, size in result.bytes.items()),
        "Beside the plain network in float32: relative error, largest difference",
        *(f"  {row.relative:8.1e}  {row.largest:8.1e}  {row.what}" for row in result.parity.rows),
    ]
    if result.predicted:
        kept = f"{len(result.float16)} tensors stay float16"
        lines.append(f"  int8: {kept}; error predicted for the denoiser {result.predicted['denoiser']:.1e}")
    psnr, steps = result.parity.psnr, result.parity.steps
    told = "the same pixels" if psnr is None else f"PSNR {psnr:.1f} dB in the hole"
    return [*lines, f"  A fill of {steps} step{'s' if steps > 1 else ''}: {told}"]


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
