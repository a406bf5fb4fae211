"""Where a number comes from: the code, libraries, data and weights that it depends on."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moebius._version import __version__
from moebius.errors import InputError, MoebiusError
from moebius.evaluation.fillers import SEED, Filler
from moebius.evaluation.photos import manifest_sha256
from moebius.evaluation.rows import digest
from moebius.pipeline import Moebius

_PACKAGE = Path(__file__).parents[1]
_MEASURING = (
    "imaging",
    "evaluation/fillers.py",
    "evaluation/metrics.py",
    "evaluation/photos.py",
    "networks/perceptual.py",
)
"""The source that every row depends on."""
_FILLING = ("engines", "networks", "pipeline", "sampling", "settings.py")
"""And what a model's rows depend on besides."""


def require_extra() -> None:
    """Raise MoebiusError unless everything that evaluation needs is installed."""
    for module in ("cv2", "skimage", "torch"):
        if importlib.util.find_spec(module) is None:
            raise MoebiusError(f"evaluation needs {module}: pip install 'moebius-inpaint[eval]'")


def of_measuring(data: Path, features: Path) -> dict[str, Any]:
    """What all rows depend on: the set, the weights of LPIPS-squeeze, library versions.

    Raises:
        InputError: the manifest or the weights cannot be read.
    """
    try:
        weights = hashlib.sha256(features.read_bytes()).hexdigest()
    except OSError as error:
        message = f"{features}: expected the weights of LPIPS-squeeze ({error.strerror})"
        raise InputError(message) from error
    return {"data": manifest_sha256(data), "features": weights, "versions": _versions()}


def of_model(model: Moebius) -> dict[str, Any]:
    """What a model's rows depend on besides."""
    engine = model.engine
    return {
        "name": model.spec.name,
        "hash": model.model_hash,
        "engine": engine.name,
        "device": engine.device,
        "dtype": engine.dtype,
        "seed": SEED,
    }


def fingerprint(filler: Filler, model: Moebius, measuring: dict[str, Any]) -> str:
    """A digest of everything that the filler's rows depend on besides the hole."""
    values = {**measuring, "filler": filler.id, "code": _code(_MEASURING)}
    if filler.of_model:
        values |= {"model": of_model(model), "spec": repr(model.spec), "filling": _code(_FILLING)}
    return digest(values)


def _code(parts: Sequence[str]) -> str:
    """Digest of the package's own source: numbers that other code has made are not taken over."""
    total = hashlib.sha256()
    for part in parts:
        place = _PACKAGE / part
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            total.update(path.read_bytes())
    return total.hexdigest()


def _versions() -> dict[str, str]:
    import cv2
    import numpy
    import onnxruntime
    import PIL
    import skimage
    import torch

    modules: dict[str, Any] = {
        "opencv": cv2,
        "scikit-image": skimage,
        "torch": torch,
        "onnxruntime": onnxruntime,
        "Pillow": PIL,
        "numpy": numpy,
    }
    return {"moebius": __version__} | {name: str(module.__version__) for name, module in modules.items()}
