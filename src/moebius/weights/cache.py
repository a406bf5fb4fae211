"""Where models lie: bundled with the package, or in the cache folder.

    <home>/models/<name>/       a model folder, complete and checked before it gets its name
    <home>/downloads/...        what is on its way

Everything in <home> is safe to delete.
"""

from __future__ import annotations

import importlib.resources
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from moebius.weights.spec import ModelSpec

State = Literal["bundled", "cached", "incomplete", "available"]
"""Shipped with the package; here; here except for its published VAE; to be downloaded."""

SPEC_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
VAE_FILE = "vae.safetensors"
VAE_CONFIG_FILE = "vae.json"


def cache_home() -> Path:
    """The cache: `MOEBIUS_HOME`, else `moebius` in `XDG_CACHE_HOME`, else ~/.cache/moebius."""
    home = os.environ.get("MOEBIUS_HOME")
    if home:
        return Path(home).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "moebius"


def bundled_home() -> Path:
    """The folder of model folders that ship inside the package."""
    return Path(str(importlib.resources.files("moebius"))) / "models"


def model_folder(name: str) -> Path:
    """Where the model of that name lies, or would lie once it is downloaded or imported."""
    bundled = bundled_home() / name
    return bundled if (bundled / SPEC_FILE).is_file() else cache_home() / "models" / name


def state(spec: ModelSpec) -> State:
    """Whether the model is here. Looks for files only; `open_folder` checks what is in them."""
    folder = model_folder(spec.name)
    if not (folder / SPEC_FILE).is_file():
        return "available"
    if missing_files(folder, spec):
        return "incomplete"
    return "bundled" if folder.parent == bundled_home() else "cached"


def missing_files(folder: Path, spec: ModelSpec) -> list[str]:
    """Files that a model folder needs and does not have."""
    if spec.exported is not None:
        needed = [SPEC_FILE, *spec.exported.files]
        return [name for name in needed if not (folder / name).is_file()]
    needed = [SPEC_FILE, WEIGHTS_FILE]
    if spec.autoencoder is None:
        needed += [VAE_FILE, VAE_CONFIG_FILE]
    return [name for name in needed if not (folder / name).is_file()]


def imported_names() -> list[str]:
    """Names of all model folders in the cache, downloaded or imported, sorted."""
    return sorted(path.parent.name for path in (cache_home() / "models").glob(f"*/{SPEC_FILE}"))
