"""Fills that somebody else made and saved: pictures in a folder, found by the names of photo and kind of hole."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moebius.errors import InputError, PhotoError
from moebius.evaluation.foreign import files_sha256, home_path, method_id
from moebius.evaluation.holes import Case, Hole, Pixels
from moebius.evaluation.methods import Method
from moebius.imaging import read_photo

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


def results_method(folder: str | Path, *, title: str | None = None) -> Method:
    """Pictures of a folder as fills; `check_results` tells whether they are all there.

    The picture of a hole is `FAMILY/PHOTO.png`, `PHOTO__FAMILY.png` or `PHOTO_FAMILY.png`, or `PHOTO.png` where
    photos have one hole each; of any of the `SUFFIXES`, in capitals or not.

    Raises:
        InputError: there is no such folder, or no picture in it.
    """
    results = Results(home_path(folder))
    name = results.folder.resolve().name
    identity = {"sha256": files_sha256(results.folder, results.paths)}
    return Method(method_id("results", name, {}), title or name, results, identity)


def check_results(method: Method | str | Path, cases: Sequence[Case]) -> None:
    """Whether a folder of results, or a method made of one, has one picture for each hole; all others pass.

    Raises:
        InputError: there are holes without one, or with two, or a picture is found for two holes.
    """
    if isinstance(method, str | Path):
        results = Results(home_path(method))
    elif isinstance(method.fill, Results):
        results = method.fill
    else:
        return
    single = len({case.family for case in cases}) == 1
    found = [(case, results.candidates(case, single)) for case in cases]
    missing = [case for case, paths in found if not paths]
    if missing:
        looked = ", ".join(f"{name}.*" for name in names(missing[0], single))
        raise InputError(
            f"{results.folder}: expected a picture for each of {len(cases)} holes, {len(missing)} are missing; "
            f"of {missing[0].key}, the first, looked for {looked}"
        )
    taken: dict[Path, Case] = {}
    for case, paths in found:
        path = results.only(case, paths)
        other = taken.setdefault(path, case)
        if other is not case:
            raise InputError(f"{path}: expected the picture of one hole, got both {other.key} and {case.key}")


class Results:
    """A folder of pictures, by name. Which of them are there is read once, when it is opened.

    Raises:
        InputError: there is no such folder, or no picture in it.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        if not folder.is_dir():
            raise InputError(f"{folder}: expected a folder of pictures, found none")
        self.paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not self.paths:
            raise InputError(f"{folder}: expected pictures ({', '.join(SUFFIXES)}), found none")
        self._named: dict[str, list[Path]] = {}
        for path in self.paths:
            self._named.setdefault(_same(path.relative_to(folder).with_suffix("").as_posix()), []).append(
                path
            )
        self._taken: dict[Path, str] = {}

    def __call__(self, hole: Hole) -> Pixels:
        """The picture of a hole.

        Raises:
            InputError: there is none, more than one, or it was another hole's.
            PhotoError: it cannot be read, or is of another size than the hole's.
        """
        paths = self.candidates(hole.case, single=False) or self.candidates(hole.case, single=True)
        if not paths:
            looked = ", ".join(f"{name}.*" for name in names(hole.case, single=True))
            raise InputError(f"{self.folder}: expected a picture of {hole.case.key}, looked for {looked}")
        path = self.only(hole.case, paths)
        # PHOTO.png is the picture of one hole only; how many a photo has is not known here.
        other = self._taken.setdefault(path, hole.case.key)
        if other != hole.case.key:
            raise InputError(
                f"{path}: expected the picture of one hole, got both {other} and {hole.case.key}"
            )
        pixels = np.array(read_photo(path).to_pil().convert("RGB"))
        if pixels.shape != hole.pixels.shape:
            (height, width), (wanted_height, wanted_width) = pixels.shape[:2], hole.pixels.shape[:2]
            raise PhotoError(
                f"{path}: expected {wanted_width} x {wanted_height}, the size of {hole.case.key}, "
                f"got {width} x {height}"
            )
        return pixels

    def candidates(self, case: Case, single: bool) -> list[Path]:
        """All pictures that could be the hole's."""
        return [path for name in names(case, single) for path in self._named.get(_same(name), [])]

    def only(self, case: Case, paths: list[Path]) -> Path:
        if len(paths) > 1:
            raise InputError(f"{case.key}: expected one picture, found both {paths[0]} and {paths[1]}")
        return paths[0]


def names(case: Case, single: bool) -> list[str]:
    """What a hole's picture may be called, without suffix; `single`: photos have one hole each."""
    photo, family = case.photo, case.family
    plain = [photo] if single else []
    return [f"{family}/{photo}", f"{photo}__{family}", f"{photo}_{family}", *plain]


def _same(name: str) -> str:
    """Equal for names that differ in capitals, or in how their accents are stored."""
    return unicodedata.normalize("NFC", name).casefold()
