"""`moebius doctor`: what is installed, what it can run on, and whether it works."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
import time
from typing import Any

import click

from moebius._version import __version__
from moebius.errors import MoebiusError

PACKAGES = (
    "numpy",
    "pillow",
    "onnxruntime",
    "safetensors",
    "huggingface_hub",
    "torch",
    "diffusers",
    "openvino",
)


@click.command(short_help="Versions, devices, caches and a self test.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--no-test", is_flag=True, help="Leave out the self test.")
def doctor(as_json: bool, no_test: bool) -> None:
    """Report versions, devices and caches, and fill a small hole with the bundled model on every engine here.

    Leaves with exit code 1 if a self test fails.
    """
    report: dict[str, Any] = {
        "moebius": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": _devices(),
        "cache": _cache(),
    }
    if not no_test:
        report["self_test"] = {engine: _self_test(engine) for engine in _engines()}
    if as_json:
        click.echo(json.dumps(report))
    else:
        _print(report)
    if any(not test["ok"] for test in report.get("self_test", {}).values()):
        raise MoebiusError("self test failed")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _engines() -> list[str]:
    return ["onnx", *(name for name in ("torch", "openvino") if importlib.util.find_spec(name))]


def _devices() -> list[str]:
    devices = ["cpu"]
    if importlib.util.find_spec("torch"):
        try:
            import torch
        except Exception as failure:  # a broken installation, of which this command should tell
            return [*devices, f"torch cannot be imported ({failure})"]
        for index in range(torch.cuda.device_count()):
            devices.append(f"cuda:{index} ({torch.cuda.get_device_name(index)})")
        if torch.backends.mps.is_available():
            devices.append("mps")
    return devices


def _cache() -> dict[str, Any]:
    from moebius.weights.cache import cache_home

    home = cache_home()
    size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) if home.is_dir() else 0
    return {"folder": str(home), "bytes": size}


def _self_test(engine: str) -> dict[str, Any]:
    """Fill a disc in a colour ramp; known pixels must stay and the hole must come back near the ramp."""
    import numpy as np

    from moebius.pipeline import Moebius

    began = time.perf_counter()
    try:
        rows, columns = np.mgrid[0:160, 0:160].astype(np.float32)
        ramps = [80 + columns / 2, 100 + rows / 2, np.full_like(rows, 120)]
        photo = np.stack(ramps, axis=-1).astype(np.uint8)
        mask = (rows - 80) ** 2 + (columns - 80) ** 2 < 30**2
        result = Moebius.from_pretrained("nano", engine=engine, device="cpu")(photo, mask, grow=0, feather=0)
        filled = result.photo.pixels
        kept = bool((filled[~mask] == photo[~mask]).all())
        error = float(np.abs(filled[mask].astype(float) - photo[mask]).mean())
    except Exception as failure:  # whatever it is, it belongs in the report, beside what else is known
        told = isinstance(failure, MoebiusError)
        return {"ok": False, "reason": str(failure) if told else f"{type(failure).__name__}: {failure}"}
    ok = kept and error < 20
    seconds = round(time.perf_counter() - began, 2)
    return {"ok": ok, "known_pixels_kept": kept, "mean_error": round(error, 2), "seconds": seconds}


def _print(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    table.add_row("moebius", report["moebius"])
    table.add_row("python", f"{report['python']} on {report['system']}")
    for name, version in report["packages"].items():
        table.add_row(name, version or "not installed")
    table.add_row("devices", ", ".join(report["devices"]))
    table.add_row("cache", f"{report['cache']['folder']} ({report['cache']['bytes'] / 1e6:.1f} MB)")
    for engine, test in report.get("self_test", {}).items():
        told = f"passed in {test['seconds']} s" if test["ok"] else f"FAILED: {test.get('reason', test)}"
        table.add_row(f"self test, {engine}", told)
    Console(markup=False, highlight=False).print(table)
