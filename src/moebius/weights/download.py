"""Getting a model onto this machine: download, check, convert once, open.

A pull goes through states, each of which a later pull goes on from: part of a file, a whole checkpoint, a
model folder without its VAE ("incomplete"), a model folder. One process pulls at a time; others wait for it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moebius.errors import DownloadError
from moebius.weights.cache import (
    SPEC_FILE,
    VAE_CONFIG_FILE,
    VAE_FILE,
    WEIGHTS_FILE,
    cache_home,
    imported_names,
    missing_files,
    model_folder,
    state,
)
from moebius.weights.convert import convert_denoiser, read_checkpoint, read_vae, require_torch
from moebius.weights.lock import exclusive
from moebius.weights.registry import MODELS, find
from moebius.weights.spec import ModelFile, ModelSpec
from moebius.weights.store import ModelFolder, open_folder, read_spec, save_folder, seal, write_tensors
from moebius.weights.transfer import Progress, fetch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Progress", "open_model", "pull"]


def open_model(source: str | Path, *, progress: Progress | None = None, verify: bool = True) -> ModelFolder:
    """The model of that name or in that folder; a published one that is not here is downloaded first.

    Text that has a path separator in it, begins with a dot, or names an existing folder and no known model,
    is a folder's path.

    Args:
        source: "nano", "places2", an imported model's name, or a model folder.
        progress: told of downloads.
        verify: compare the files' checksums.

    Raises:
        UnknownModelError: no such model or folder; has the nearest names.
        DownloadError: it has to be downloaded, and cannot.
        CorruptWeightsError: it is here, and damaged.
    """
    if isinstance(source, Path) or _is_path(source):
        return open_folder(Path(source).expanduser(), verify=verify)
    spec = find(source)
    if state(spec) in ("available", "incomplete"):
        return pull(spec, progress)
    folder = open_folder(model_folder(spec.name), verify=verify)
    return ModelFolder(folder.path, spec)


def _is_path(source: str) -> bool:
    if "/" in source or "\\" in source or source.startswith((".", "~")):
        return True
    return source not in MODELS and source not in imported_names() and Path(source).is_dir()


def pull(spec: ModelSpec, progress: Progress | None = None) -> ModelFolder:
    """Download what is missing of a model, check it, convert it to safetensors, and open it.

    Needs PyTorch and diffusers, for the conversion only; that they are there is checked before any byte is
    asked for. The converted files have the published values in the published number formats.

    Raises:
        WeightsError: PyTorch or diffusers is missing.
        DownloadError: the network is switched off or fails, or what it sends is wrong.
        CorruptWeightsError: what was published under that name is not that model.
    """
    folder = model_folder(spec.name)
    if state(spec) in ("available", "incomplete"):
        require_torch(f"model {spec.name} is converted on arrival, which")
        report = progress or _silent
        with exclusive(cache_home() / "pull.lock", lambda: report("waiting for another download", 0, None)):
            if state(spec) == "available":
                _pull_denoiser(spec, folder, report)
            if state(spec) == "incomplete":
                _complete(spec, folder, report)
    open_folder(folder)
    return ModelFolder(folder, spec)


def downloads(file: ModelFile) -> Path:
    """Where a file lies while it is downloaded."""
    return cache_home() / "downloads" / file.repository.replace("/", "--") / file.path


def add_vae(folder: Path, spec: ModelSpec, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Put a VAE, as `read_vae` gives it, into a model folder."""
    (folder / VAE_CONFIG_FILE).write_text(json.dumps(dict(config), indent=1) + "\n", encoding="utf-8")
    write_tensors(folder / VAE_FILE, tensors)
    seal(folder, spec)


def borrow_vae(folder: Path, spec: ModelSpec) -> bool:
    """Take the VAE from another model of the cache that uses the same one; False if there is none.

    The file is linked, not copied, where the file system can: four published models share one.
    """
    return _borrow("vae", (VAE_CONFIG_FILE, VAE_FILE), folder, spec)


def _borrow(role: str, names: tuple[str, ...], folder: Path, spec: ModelSpec) -> bool:
    """Take files from a complete model of the cache that has the same download in that role."""
    wanted = spec.files.get(role)
    for name in imported_names():
        other = model_folder(name)
        if wanted is None or other == folder or not (other / SPEC_FILE).is_file():
            continue
        lender = read_spec(other)
        if lender.files.get(role) != wanted or missing_files(other, lender):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        for file in names:
            (folder / file).unlink(missing_ok=True)  # of a try that was cut short
            try:
                (folder / file).hardlink_to(other / file)
            except OSError:
                shutil.copyfile(other / file, folder / file)
        seal(folder, spec)
        return True
    return False


def _pull_denoiser(spec: ModelSpec, folder: Path, report: Progress) -> None:
    if _borrow("denoiser", (WEIGHTS_FILE,), folder, spec):
        return
    file = _source(spec, "denoiser")
    arrived = fetch(file, downloads(file), progress=report)
    report(f"converting {spec.name}", 0, None)
    save_folder(folder, spec, convert_denoiser(read_checkpoint(arrived), spec, arrived))
    arrived.unlink()


def _complete(spec: ModelSpec, folder: Path, report: Progress) -> None:
    if borrow_vae(folder, spec):
        return
    file = _source(spec, "vae")
    arrived = fetch(file, downloads(file), progress=report)
    report(f"converting the VAE of {spec.name}", 0, None)
    add_vae(folder, spec, *read_vae(arrived))
    arrived.unlink()


def _source(spec: ModelSpec, role: str) -> ModelFile:
    if role not in spec.files:
        raise DownloadError(
            f"model {spec.name} lacks its {role}; its {SPEC_FILE} does not say where to get it"
        )
    return spec.files[role]


def _silent(what: str, done: int, total: int | None) -> None:
    """Progress that nobody watches."""
