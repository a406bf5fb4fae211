"""Fills that need no weights: what OpenCV, scikit-image and PyPatchMatch offer, the smooth fill and the exemplar fill.

All but our own two, which never look, get the picture with its hole black. All give the same answer each
time and from any thread. Their libraries are imported when a method is opened, so what is missing shows then.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from moebius._version import __version__
from moebius.errors import InputError, MoebiusError
from moebius.evaluation.holes import Hole, Pixels
from moebius.evaluation.methods import Method
from moebius.evaluation.metrics import to_picture, to_pixels
from moebius.imaging import exemplar_fill, push_pull

OPENCV_RADIUS = 3
"""Pixels around a missing one that OpenCV's methods look at; what most users of them set."""
PATCH_RADIUS = 3
"""Of PatchMatch's patches, 7 x 7 px; what its examples set."""
SEED = 0
"""Of PatchMatch's search; each fill starts from it anew."""


def classical(name: str) -> Method:
    """One of the methods in `CLASSICAL`.

    Raises:
        InputError: there is none of that name.
        MoebiusError: its library is not installed, or cannot be used.
    """
    if name not in CLASSICAL:
        raise InputError(f"expected one of {', '.join(CLASSICAL)}, got {name!r}")
    return CLASSICAL[name]()


def telea() -> Method:
    """Telea, An Image Inpainting Technique Based on the Fast Marching Method (2004)."""
    cv2 = _library("cv2", "opencv-python-headless", "telea")
    return _of_opencv("telea", "Telea (OpenCV)", cv2, cv2.INPAINT_TELEA)


def navier_stokes() -> Method:
    """Bertalmio, Bertozzi & Sapiro, Navier-Stokes, Fluid Dynamics, and Image and Video Inpainting (2001)."""
    cv2 = _library("cv2", "opencv-python-headless", "navier-stokes")
    return _of_opencv("navier-stokes", "Navier-Stokes (OpenCV)", cv2, cv2.INPAINT_NS)


def biharmonic() -> Method:
    """scikit-image's biharmonic fill, computed in float32; its time grows with the hole, and steeply.

    In large holes it overshoots by nature. Its equations are ill-conditioned there: float64 gives other pictures in
    holes of 100 px and more, no better ones on average, in half as much time again.
    """
    restoration = _library("skimage.restoration", "scikit-image", "biharmonic")

    def fill(hole: Hole) -> Pixels:
        emptied = to_picture(hole.emptied)
        return to_pixels(restoration.inpaint_biharmonic(emptied, hole.mask, channel_axis=-1))

    identity = {"library": f"scikit-image {version('scikit-image')}"}
    return Method("biharmonic", "biharmonic (scikit-image)", fill, identity)


def patchmatch() -> Method:
    """Barnes, Shechtman, Finkelstein & Goldman, PatchMatch (2009), from coarse to fine, as PyPatchMatch does it.

    Patches that are partly hole serve as well. Where it finds nothing to copy, as in a picture of which next to
    nothing is known, it leaves black. A picture that cannot hold a patch is refused.
    """
    library = _library("patchmatch", "pypatchmatch", "patchmatch")
    if not library.patchmatch_available:
        raise MoebiusError("patchmatch needs the native part of pypatchmatch, which does not load here")
    library.set_random_seed(SEED)
    side = 2 * PATCH_RADIUS + 1

    def fill(hole: Hole) -> Pixels:
        height, width = hole.mask.shape
        if min(height, width) < side:
            raise InputError(
                f"patchmatch: expected a picture of at least {side} x {side} px, got {width} x {height}"
            )
        mask = hole.mask.astype(np.uint8)
        filled: Pixels = library.inpaint(hole.emptied, mask, patch_size=PATCH_RADIUS)
        return filled

    identity = {"library": f"pypatchmatch {library.__version__}", "radius": PATCH_RADIUS, "seed": SEED}
    return Method("patchmatch", "PatchMatch (PyPatchMatch)", fill, identity)


def smooth() -> Method:
    """The smooth fill that the bundled model starts from: what anything has to beat."""

    def fill(hole: Hole) -> Pixels:
        return to_pixels(push_pull(to_picture(hole.pixels), hole.mask))

    return Method("push-pull", "smooth fill", fill, {"library": f"moebius {__version__}"})


def exemplar() -> Method:
    """Our own fill from patches of the photo, whose texture the bundled model takes (`moebius.imaging.exemplar`)."""

    def fill(hole: Hole) -> Pixels:
        return to_pixels(exemplar_fill(to_picture(hole.pixels), hole.mask))

    return Method("exemplar", "exemplar fill", fill, {"library": f"moebius {__version__}"})


CLASSICAL: dict[str, Callable[[], Method]] = {
    "telea": telea,
    "navier-stokes": navier_stokes,
    "biharmonic": biharmonic,
    "patchmatch": patchmatch,
    "push-pull": smooth,
    "exemplar": exemplar,
}
"""By id, in the order of the tables."""


def _of_opencv(name: str, title: str, cv2: Any, kind: int) -> Method:
    def fill(hole: Hole) -> Pixels:
        filled: Pixels = cv2.inpaint(hole.emptied, hole.mask.astype(np.uint8), OPENCV_RADIUS, kind)
        return filled

    return Method(name, title, fill, {"library": f"opencv {cv2.__version__}", "radius": OPENCV_RADIUS})


def _library(module: str, package: str, method: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MoebiusError(f"{method} needs {package}: pip install 'moebius-inpaint[eval]'") from error
