"""Fills that need no weights are what their libraries give for a picture with its hole black."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable

import cv2
import numpy as np
import patchmatch
import pytest
from made_photos import noise
from peer_holes import assert_hidden_is_not_read, assert_repeats, make_hole
from skimage.restoration import inpaint_biharmonic

from moebius.errors import InputError, MoebiusError
from moebius.evaluation.classical import CLASSICAL, classical
from moebius.evaluation.holes import Hole, Pixels
from moebius.evaluation.metrics import to_pixels
from moebius.imaging import exemplar_fill, push_pull

NAMES = list(CLASSICAL)


def _black(hole: Hole) -> tuple[Pixels, Pixels]:
    return np.where(hole.mask[..., None], 0, hole.pixels).astype(np.uint8), hole.mask.astype(np.uint8)


def _rounded(picture: Pixels) -> Pixels:
    return np.floor(np.clip(picture, 0, 1).astype(np.float64) * 255 + 0.5).astype(np.uint8)


DIRECT: dict[str, Callable[[Hole], Pixels]] = {
    "telea": lambda hole: cv2.inpaint(*_black(hole), 3, cv2.INPAINT_TELEA),
    "navier-stokes": lambda hole: cv2.inpaint(*_black(hole), 3, cv2.INPAINT_NS),
    "biharmonic": lambda hole: _rounded(
        inpaint_biharmonic(_black(hole)[0] / np.float32(255), hole.mask, channel_axis=-1)
    ),
    "patchmatch": lambda hole: patchmatch.inpaint(*_black(hole), patch_size=3),
    "push-pull": lambda hole: _rounded(push_pull(hole.pixels / np.float32(255), hole.mask)),
    "exemplar": lambda hole: _rounded(exemplar_fill(hole.pixels / np.float32(255), hole.mask)),
}
"""Written out anew: what each has to equal."""


def test_names() -> None:
    assert NAMES == ["telea", "navier-stokes", "biharmonic", "patchmatch", "push-pull", "exemplar"]
    assert [classical(name).id for name in NAMES] == NAMES
    assert len({classical(name).title for name in NAMES}) == len(NAMES)
    assert not any(classical(name).sees_all for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_library(name: str) -> None:
    hole = make_hole(72, 56)
    filled, expected = classical(name).fill(hole), DIRECT[name](hole)
    assert filled.dtype == expected.dtype == np.uint8
    assert (filled == expected).all()
    others = [DIRECT[other](hole) for other in NAMES if other != name]
    assert not any((filled == other).all() for other in others)


@pytest.mark.parametrize("name", NAMES)
def test_fills_the_hole_only_and_does_not_look_under_it(name: str) -> None:
    hole, method = make_hole(), classical(name)
    assert_hidden_is_not_read(method, hole)
    filled = method.fill(hole)
    assert (filled[~hole.mask] == hole.pixels[~hole.mask]).all()
    assert (filled[hole.mask] != 0).any(axis=-1).all()  # nothing is left as it came


@pytest.mark.parametrize("name", NAMES)
def test_repeats_from_any_thread(name: str) -> None:
    holes = [make_hole(64 + 8 * i, 64, seed=i) for i in range(4)]
    assert_repeats(classical(name), holes)


def test_another_seed_set_by_somebody_is_set_back() -> None:
    hole = make_hole()
    patchmatch.set_random_seed(0)
    expected = patchmatch.inpaint(*_black(hole), patch_size=3)
    patchmatch.set_random_seed(1)
    other = patchmatch.inpaint(*_black(hole), patch_size=3)
    assert (other != expected).any()
    assert (classical("patchmatch").fill(hole) == expected).all()


def test_patchmatch_refuses_what_cannot_hold_a_patch() -> None:
    method = classical("patchmatch")
    mask = np.zeros((6, 40), bool)
    mask[:, 15:20] = True
    with pytest.raises(
        InputError, match=r"^patchmatch: expected a picture of at least 7 x 7 px, got 40 x 6$"
    ):
        method.fill(make_hole(40, 6, mask))
    assert method.fill(make_hole(40, 7, np.pad(mask, ((0, 1), (0, 0)), "edge"))).shape == (7, 40, 3)


def test_patchmatch_copies_parts_of_patches_where_no_patch_is_whole() -> None:
    mask = np.zeros((64, 64), bool)
    mask[::5] = True
    hole = make_hole(64, 64, mask)
    filled = classical("patchmatch").fill(hole)
    assert (filled[mask] != 0).any(axis=-1).all()
    assert np.abs(filled[mask].astype(int) - hole.pixels[mask]).mean() < 20


def test_patchmatch_leaves_black_where_it_finds_nothing_to_copy() -> None:
    mask = np.ones((12, 12), bool)
    mask[0, 0] = False
    hole = make_hole(12, 12, mask)
    assert hole.pixels[0, 0].min() > 8
    filled = classical("patchmatch").fill(hole)
    assert (filled[~mask] == hole.pixels[~mask]).all()
    left = (filled == 0).all(axis=-1)[mask].mean()
    assert 0 < left < 1


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("telea", "cv2", "opencv-python-headless"),
        ("navier-stokes", "cv2", "opencv-python-headless"),
        ("biharmonic", "skimage.restoration", "scikit-image"),
        ("patchmatch", "patchmatch", "pypatchmatch"),
    ],
)
def test_a_missing_library_is_told_when_the_method_is_opened(
    name: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    message = f"{name} needs {package}: pip install 'moebius-inpaint[eval]'"
    with pytest.raises(MoebiusError, match=f"^{re.escape(message)}$"):
        classical(name)


def test_a_library_that_does_not_load_is_told_when_the_method_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patchmatch, "patchmatch_available", False)
    with pytest.raises(MoebiusError, match=r"^patchmatch needs the native part of pypatchmatch"):
        classical("patchmatch")


def test_unknown() -> None:
    with pytest.raises(InputError, match=r"^expected one of telea, .*, push-pull, exemplar, got 'Telea'$"):
        classical("Telea")


def test_identity_names_library_version_and_parameters() -> None:
    found = {name: json.loads(json.dumps(dict(classical(name).identity))) for name in NAMES}
    assert found["telea"] == found["navier-stokes"] == {"library": f"opencv {cv2.__version__}", "radius": 3}
    assert found["patchmatch"] == {
        "library": f"pypatchmatch {patchmatch.__version__}",
        "radius": 3,
        "seed": 0,
    }
    assert found["biharmonic"]["library"].startswith("scikit-image ")
    assert found["push-pull"]["library"].startswith("moebius ")


def test_rounding() -> None:
    levels = noise((5, 7, 3)).astype(np.float32) / np.float32(255)
    assert (to_pixels(levels) == noise((5, 7, 3))).all()
    assert to_pixels([-0.1, 0.0, 0.5 / 255 + 1e-6, 0.5 / 255 - 1e-6, 1.0, 2.0]).tolist() == [
        0,
        0,
        1,
        0,
        255,
        255,
    ]
    assert to_pixels(np.array([True, False])).tolist() == [255, 0]
