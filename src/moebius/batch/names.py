"""Names of photos, masks and pictures: what is one, and what it is called."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

from moebius.batch.files import shown
from moebius.errors import InputError, OutputError

WRITTEN = {
    ".jpg": "jpeg", ".jpeg": "jpeg", ".jpe": "jpeg", ".jfif": "jpeg", ".png": "png", ".webp": "webp",
    ".tif": "tiff", ".tiff": "tiff", ".bmp": "bmp", ".avif": "avif", ".heic": "heif", ".heif": "heif",
}  # fmt: skip
"""Suffix -> format of photos that can be written as they were."""
READ = (*WRITTEN, ".gif", ".jp2", ".j2k", ".pgm", ".ppm", ".pbm", ".pnm", ".qoi", ".dib", ".apng")
"""Suffixes by which a folder's photos and masks are known."""
ANIMATED = (".gif", ".apng")
"""Suffixes of outputs that hold animations only; stills of that kind become PNG."""


def is_image(name: str) -> bool:
    """Whether a file's name is one of an image."""
    return PurePosixPath(name).suffix.lower() in READ


def is_mask(name: str) -> bool:
    """Whether a file's name is one of a mask: an image, or annotations in JSON."""
    return is_image(name) or PurePosixPath(name).suffix.lower() == ".json"


def stem_of(name: str) -> str:
    """The path without its last suffix, "a/b.jpg" -> "a/b"; accents composed, as file systems disagree on them."""
    return unicodedata.normalize("NFC", name.removesuffix(PurePosixPath(name).suffix))


def output_name(name: str, format: str | None = None, *, all_frames: bool = False) -> str:
    """What the picture of a photo is called: as the photo, with the format's suffix if that is another one.

    Args:
        all_frames: it is an animation that may keep its name.

    Raises:
        OutputError: the format is not known.
    """
    suffix = PurePosixPath(name).suffix
    own = WRITTEN.get(suffix.lower())
    if format is None:
        return name if own or all_frames else name.removesuffix(suffix) + ".png"
    wanted = WRITTEN.get("." + format.lower().removeprefix("."))
    if wanted is None:
        known = ", ".join(dict.fromkeys(WRITTEN.values()))
        raise OutputError(f"--format: expected one of {known}, got {format!r}")
    if own == wanted:
        return name
    first = next(each for each, kind in WRITTEN.items() if kind == wanted)
    return name.removesuffix(suffix) + first


def check_outputs(outputs: Iterable[tuple[str, str]]) -> None:
    """(photo's name, output name) of a whole batch: no two may be the same file.

    Names that differ in case or in the composition of accents alone count as the same, as they are on the file systems
    of macOS and Windows.

    Raises:
        OutputError: two are the same; the message names both photos.
    """
    taken: dict[str, str] = {}
    for photo, output in outputs:
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", output).casefold())
        if folded in taken:
            raise OutputError(
                f"{shown(taken[folded])} and {shown(photo)}: expected outputs of different names, "
                f"got {shown(output)} for both"
            )
        taken[folded] = photo


def check_below(name: str) -> str:
    """An output name from a table, made plain.

    Raises:
        InputError: it is not a path below OUT.
    """
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts:
        raise InputError(f"output: expected a path below OUT, got {shown(name)!r}")
    return path.as_posix()
