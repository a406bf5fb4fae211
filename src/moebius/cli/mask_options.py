"""Where a mask comes from: the same options on every command that takes a photo, and what they amount to."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moebius.errors import InputError, OutputError

if TYPE_CHECKING:
    from moebius.imaging import Hole
    from moebius.imaging.mask_sources import MaskSources
    from moebius.imaging.photo import Photo

_SOURCES = (
    click.option("--mask", "masks", multiple=True, metavar="FILE", help="One more mask file; repeatable."),
    click.option(
        "--keep", multiple=True, metavar="FILE",
        help="Mask file of what stays: the mask, its growth and its fade end there; repeatable.",
    ),
    click.option(
        "--box", "boxes", multiple=True, metavar="X,Y,W,H",
        help="A rectangle, in pixels of the upright photo or per cent (10%,20%,30%,5%); repeatable.",
    ),
    click.option("--polygon", "polygons", multiple=True, metavar="X1,Y1,X2,Y2,...", help="Likewise; repeatable."),
    click.option("--circle", "circles", multiple=True, metavar="X,Y,R", help="Likewise; repeatable."),
    click.option(
        "--mask-from", type=click.Choice(["alpha"]), help="The photo's transparent part; it becomes opaque."
    ),
    click.option("--key", metavar="#RRGGBB", help="What is painted in this colour."),
    click.option("--key-tolerance", type=int, help="Levels that a channel may be off, 0 to 255. [default: 16]"),
    click.option("--key-in", metavar="FILE", help="Look for the colour in this copy of the photo."),
    click.option("--differs-from", metavar="FILE", help="Where the photo and this copy of it differ."),
    click.option("--difference", type=int, help="Levels that count as different, 0 to 255. [default: 24]"),
    click.option(
        "--category", "categories", multiple=True, metavar="NAME", help="Only these of an annotation file."
    ),
    click.option("--invert", is_flag=True, help="Mask files are black where they should be filled."),
    click.option("--fit-mask", is_flag=True, help="Resize masks that have another size than the photo."),
    click.option("--close-gaps", type=int, default=0, metavar="PIXELS", help="Close gaps in the mask, by this radius."),
    click.option("--fill-holes", is_flag=True, help="Fill islands that the mask encloses, too."),
    click.option("--drop-specks", type=int, default=0, metavar="PIXELS", help="Drop pieces of fewer pixels."),
    click.option("--yes", is_flag=True, help="Fill a mask that covers more than 80 % of the photo."),
)  # fmt: skip


def mask_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to a command; it hands them on to `take_sources`."""
    for option in reversed(_SOURCES):
        command = option(command)
    return command


def files_named(options: dict[str, Any]) -> list[str]:
    """The files that these options name, "-" among them."""
    named = [*options["masks"], *options["keep"], options["key_in"], options["differs_from"]]
    return [place for place in named if place]


def check_inputs(photo: str, mask: str | None, options: dict[str, Any]) -> None:
    """Refuse what names alone tell is wrong, before numpy is loaded.

    Raises:
        InputError: several inputs from standard input.
    """
    if photo == "-" and mask == "-":
        raise InputError("photo and mask: expected at most one of them from standard input, got both")
    named = [photo, mask, *files_named(options)]
    if named.count("-") > 1:
        raise InputError(f"expected at most one input from standard input, got {named.count('-')}")
    for option in ("key_in", "differs_from"):
        if options[option] == "-":
            raise InputError(f"--{option.replace('_', '-')}: expected a file, got standard input")


def check_place(output: str, overwrite: bool, as_json: bool) -> None:
    """What the output's place alone tells, before numpy and the rest are loaded.

    Raises:
        OutputError: the file exists, its folder cannot be written to, or standard output is no place for it.
    """
    if output != "-":
        place = Path(output)
        if place.is_file() and not overwrite:
            raise OutputError(f"{output} exists already: give --overwrite to replace it")
        if place.parent.is_dir() and not os.access(place.parent, os.W_OK):
            raise OutputError(f"{output}: expected a folder that can be written to, got {place.parent}")
    elif as_json:
        raise OutputError("--json and -o - both write to standard output: expected one of them")
    elif sys.stdout.isatty():
        raise OutputError("-o -: expected standard output to be a file or a pipe, got a terminal")


def read_photo_and_mask(
    photo: str, mask: str | None, options: dict[str, Any], *, grow: int | None
) -> tuple[Photo, Hole]:
    """The photo as it is to be filled, and its hole: all that the options of `mask_options` say.

    Args:
        mask: the command's own mask argument.
        options: the command's options; those of `mask_options` are taken out.
        grow: growth that the fill will have, as in `Settings`.

    Raises:
        PhotoError, MaskError: something cannot be read, does not fit, contradicts something else, is missing, or
            covers more than 80 % of the photo without --yes.
    """
    from moebius.imaging import read_photo

    sources, allowed = take_sources(mask, options, grow=grow)
    data = _source(photo)
    return sources.hole_in(read_photo(data), data, None if photo == "-" else photo, allow_large=allowed)


def read_frame_masks(
    photo: str, first: Photo, mask: str | None, options: dict[str, Any], *, grow: int | None
) -> Callable[[Photo], tuple[Photo, Hole]]:
    """`read_photo_and_mask` for an animation: from a frame, to the frame as it is to be filled and its hole.

    All frames have the first one's mask; only transparency (--mask-from alpha) is looked for, and made opaque, in each.

    Args:
        first: the first frame, which stands for all in the checks.
    """
    sources, allowed = take_sources(mask, options, grow=grow)
    _, hole = sources.hole_in(first, photo, photo, allow_large=allowed)
    if sources.alpha:
        return lambda frame: sources.hole_in(frame, photo, photo, allow_large=True)
    return lambda frame: (frame, hole)


def take_sources(mask: str | None, options: dict[str, Any], *, grow: int | None) -> tuple[MaskSources, bool]:
    """The options of `mask_options`, taken out of `options`: the sources, and whether --yes was given."""
    from moebius.imaging.mask_sources import MaskSources

    files = tuple(options.pop("masks"))
    sources = MaskSources(
        files=tuple(_source(each) for each in ((mask, *files) if mask is not None else files)),
        keep=tuple(_source(each) for each in options.pop("keep")),
        alpha=options.pop("mask_from") == "alpha",
        fit=options.pop("fit_mask"),
        grow=grow,
        **{name: options.pop(name) for name in _SAME_NAME},
    )
    return sources, options.pop("yes")


_SAME_NAME = (
    "boxes", "polygons", "circles", "key", "key_tolerance", "key_in", "differs_from", "difference", "categories",
    "invert", "close_gaps", "fill_holes", "drop_specks",
)  # fmt: skip
"""Options that are fields of `MaskSources` under the same names."""


def _source(name: str) -> str | bytes:
    """A file's name, or the content of what can be read only once: standard input (-) and pipes."""
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes() if Path(name).is_fifo() else name
    except (OSError, ValueError):
        return name  # what reads it says what is wrong
