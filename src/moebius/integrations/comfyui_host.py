"""What the nodes ask of ComfyUI itself: folders of models, progress bars, interruption.

ComfyUI's modules (`folder_paths`, `comfy.utils`, `comfy.model_management`) are looked for when they are needed.
Without them, in a program that calls the nodes by itself, there are no model folders, no bar and no interruption.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from moebius.weights import MODELS
from moebius.weights.cache import SPEC_FILE, imported_names

MODEL_FOLDERS = "moebius"
"""The kind of model as ComfyUI's `folder_paths` knows it, and the folder's name in ComfyUI's models."""
_PARTS = 1000
"""Into which a progress bar divides each image."""


def register_model_folder() -> None:
    """Tell ComfyUI of the folder `models/moebius`; others for this kind may come from extra_model_paths.yaml."""
    paths = _module("folder_paths")
    if paths is not None:
        paths.add_model_folder_path(MODEL_FOLDERS, str(Path(paths.models_dir) / MODEL_FOLDERS))


def model_folders() -> dict[str, Path]:
    """Model folders in ComfyUI's own folders, by the names that the loader offers: "moebius/NAME"."""
    paths = _module("folder_paths")
    if paths is None or MODEL_FOLDERS not in paths.folder_names_and_paths:
        return {}
    found: dict[str, Path] = {}
    for home in paths.get_folder_paths(MODEL_FOLDERS):
        for file in sorted(Path(home).glob(f"*/{SPEC_FILE}")):
            found.setdefault(f"{MODEL_FOLDERS}/{file.parent.name}", file.parent)
    return found


def model_names() -> list[str]:
    """Every model that can be opened here: those of the registry, imported ones, ComfyUI's model folders."""
    return list(dict.fromkeys([*MODELS, *imported_names(), *model_folders()]))


def stop_if_interrupted() -> None:
    """Raises ComfyUI's own InterruptProcessingException once the person has pressed its stop button."""
    management = _module("comfy.model_management")
    if management is not None:
        management.throw_exception_if_processing_interrupted()


def progress_bar(images: int) -> Callable[[float], None]:
    """A bar on the node at hand, for so many images; it is told how many of them are done, 0.0 to `images`."""
    utils = _module("comfy.utils")
    if utils is None:
        return lambda done: None
    bar = utils.ProgressBar(images * _PARTS)
    return lambda done: bar.update_absolute(round(done * _PARTS))


def download_bar() -> Callable[[str, int, int | None], None]:
    """A bar for a model that has to be fetched first; a download that is interrupted goes on where it stopped."""
    show = progress_bar(1)

    def report(what: str, done: int, total: int | None) -> None:
        stop_if_interrupted()
        if total:
            show(done / total)

    return report


def _module(name: str) -> Any:
    """A module of ComfyUI; None outside ComfyUI."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in (name, name.split(".")[0]):
            raise
        return None
