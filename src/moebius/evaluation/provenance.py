"""Where a number comes from: the code, libraries, data and weights that it depends on."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moebius.engines.measuring import versions as installed
from moebius.errors import MoebiusError
from moebius.evaluation.holes import Case
from moebius.evaluation.methods import Method
from moebius.evaluation.store import digest

_PACKAGE = Path(__file__).parents[1]
_MEASURING = (
    "imaging",
    "networks/mobilenet.py",
    "networks/perceptual.py",
    "evaluation/feature_loading.py",
    "evaluation/features.py",
    "evaluation/holes.py",
    "evaluation/judge.py",
    "evaluation/metrics.py",
    "evaluation/removal.py",
    "evaluation/ring.py",
)
"""The source that every row depends on."""
_FILLING = (
    "engines",
    "networks",
    "pipeline",
    "sampling",
    "settings.py",
    "evaluation/models.py",
    "evaluation/variants.py",
)
"""And what the rows of our own models depend on besides."""
_PEERS = (
    "evaluation/classical.py",
    "evaluation/foreign.py",
    "evaluation/foreign_convention.py",
    "evaluation/foreign_diffusers.py",
    "evaluation/foreign_onnx.py",
    "evaluation/foreign_results.py",
    "evaluation/peers.py",
)
_LIBRARIES = (
    "numpy",
    "Pillow",
    "onnxruntime",
    "opencv-python-headless",
    "scikit-image",
    "scipy",
    "torch",
    "torchmetrics",
)


def require_extra() -> None:
    """Raise MoebiusError unless everything that evaluation needs is installed."""
    for module in ("cv2", "matplotlib", "pyarrow", "scipy", "skimage", "torch", "torchmetrics"):
        if importlib.util.find_spec(module) is None:
            raise MoebiusError(f"evaluation needs {module}: pip install 'moebius-inpaint[eval]'")


def versions() -> dict[str, str]:
    """Moebius and the libraries whose numbers enter results."""
    return installed(_LIBRARIES)


def fingerprint(method: Method | None, measuring: Mapping[str, Any]) -> str:
    """A digest of everything that a method's rows depend on besides the hole; None is the truth itself."""
    values = {"measuring": dict(measuring), "code": _code(_MEASURING)}
    if method is not None:
        parts = _FILLING if "model" in method.identity else _PEERS
        values |= {"method": method.id, "identity": dict(method.identity), "filling": _code(parts)}
    return digest(values)


def hole_id(case: Case) -> str:
    """A hole by its name, by how it comes about, and by the size of its files.

    Exchanged pictures, other masks and other crops are measured anew; what else is measured makes no difference.
    """
    paths = [
        path for path in (case.image, case.mask, getattr(case.mask, "path", None)) if isinstance(path, Path)
    ]
    sizes = [path.stat().st_size for path in paths if path.exists()]
    rule = "file" if isinstance(case.mask, Path) else repr(case.mask)
    grown = case.margin is not None
    how = digest({"sizes": sizes, "mask": rule, "side": case.side, "crop": case.crop, "grown": grown})
    return f"{case.key} {how}"


def _code(parts: Sequence[str]) -> str:
    """Digest of the package's own source: numbers that other code has made are not taken over."""
    total = hashlib.sha256()
    for part in parts:
        place = _PACKAGE / part
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            if path.exists():
                total.update(path.read_bytes())
    return total.hexdigest()
