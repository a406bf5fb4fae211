"""Quantised coefficients of JPEG files, read and written without decoding.

By `jpeglib` (the extra "jpeg"): C code behind a path to a file, with a table of markers that all threads share. It is
given nameless files (`nameless`) without markers. Its public functions decode everything once to count the scans, and
copy the photo to the temporary folder, where a killed process leaves it. So its binding is called directly, with our
buffers; the public functions only where a version of jpeglib has no such binding.

The C code trusts its caller twice. `read_jpeg_dct` closes a file that was never opened if the header is damaged, so a
call that survives that (`read_jpeg_markers`) goes first. And buffers must have the size that the header asks for: it is
read from the very bytes that are handed over (`jpeg_segments`).
"""

from __future__ import annotations

import ctypes
import functools
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moebius.imaging.decode import reason
from moebius.imaging.jpeg_segments import Layout, read_layout, with_ids, without_metadata
from moebius.imaging.nameless import nameless_file

log = logging.getLogger(__name__)

Plane = NDArray[np.int16]
"""(rows of blocks, columns of blocks, 8, 8)"""
Table = NDArray[np.uint16]
"""(8, 8), quantisation steps"""

_VERSIONS = ("turbo210", "6b")
"""Of the libraries that jpeglib brings, by preference. They give the same bytes; the first is the faster one."""
_GREY, _YCC = 1, 3
"""libjpeg's numbers of colour spaces."""
_FLAGS = ("+OPTIMIZE_CODING",)
_ONE_AT_A_TIME = threading.Lock()
"""Around what touches jpeglib's shared table of markers."""


class CoefficientsError(Exception):
    """They cannot be read or written; the message says why."""


@dataclass(frozen=True)
class Coded:
    """A picture as coefficients, one entry a component in `planes` and `tables`."""

    layout: Layout
    planes: list[Plane]
    tables: list[Table]


def read_coefficients(data: bytes, layout: Layout) -> Coded:
    """The coefficients of a JPEG file.

    Args:
        layout: of the same file, without a problem.

    Raises:
        CoefficientsError: jpeglib is not installed, or cannot read them.
    """
    _jpeglib()
    bare = without_metadata(data)
    seen = read_layout(bare)
    if (seen.size, seen.factors) != (layout.size, layout.factors):  # a buffer's size depends on it
        raise CoefficientsError("its header can be read in two ways")
    try:
        with nameless_file(bare) as file:
            try:
                planes, tables = _read_by_binding(file.path, layout)
            except _BindingMissingError:
                planes, tables = _read_by_public(file.path, layout)
    except CoefficientsError:
        raise
    except Exception as error:  # it meets hostile bytes, like any decoder
        raise CoefficientsError(f"its coefficients cannot be read ({reason(error)})") from error
    if [plane.shape[:2] for plane in planes] != layout.blocks():
        raise CoefficientsError("its coefficients are not laid out as its header says")
    return Coded(layout, planes, tables)


def write_coefficients(coded: Coded) -> bytes:
    """A sequential file with optimised Huffman codes, from the quantisation tables to the end, without metadata.

    Raises:
        CoefficientsError: jpeglib is not installed, or cannot write them.
    """
    _jpeglib()
    if [plane.shape[:2] for plane in coded.planes] != coded.layout.blocks():
        raise CoefficientsError("its coefficients are not laid out as its header says")
    tables, numbers = [coded.tables[0]], [0]
    if coded.layout.components == 3:
        same = bool((coded.tables[1] == coded.tables[2]).all())
        tables, numbers = (coded.tables[:2], [0, 1, 1]) if same else (coded.tables, [0, 1, 2])
    try:
        with nameless_file() as file:
            try:
                _write_by_binding(file.path, coded, tables, numbers)
            except _BindingMissingError:
                _write_by_public(file.path, coded, tables, numbers)
            data = file.content()
    except CoefficientsError:
        raise
    except Exception as error:
        raise CoefficientsError(f"its coefficients cannot be written ({reason(error)})") from error
    written = read_layout(data)
    if (written.size, written.factors, written.problem) != (coded.layout.size, coded.layout.factors, ""):
        raise CoefficientsError("its coefficients cannot be written in the original's layout")
    return with_ids(data)


class _BindingMissingError(Exception):
    """This jpeglib has not the functions that are called here."""


@functools.cache
def _binding() -> Any:
    """jpeglib's calls into C, bound to a library of our own choice; what others have chosen with it stays.

    Raises:
        _BindingMissingError: it looks different.
    """
    try:
        from jpeglib._bind import CJpegLib

        class Binding(CJpegLib):  # type: ignore[misc]
            """Class attributes hold the library: these are ours."""

        version = next(version for version in _VERSIONS if version in Binding.versions())
        Binding.set_version(version)
        for name in ("read_jpeg_markers", "read_jpeg_dct", "write_jpeg_dct"):
            getattr(Binding.get(), name).errcheck = _check_status
    except (ImportError, AttributeError, TypeError, OSError, RuntimeError, StopIteration) as error:
        log.info("jpeglib is called by its public functions, which leave files if killed: %s", reason(error))
        raise _BindingMissingError from error
    return Binding


def _check_status(status: int, function: Any, _: Any) -> int:
    """Raise before jpeglib does, which prints first."""
    if status == 0:
        raise OSError(f"{function.__name__} has failed")
    return status


def _read_by_binding(path: str, layout: Layout) -> tuple[list[Plane], list[Table]]:
    binding = _binding()
    planes: list[Plane] = [np.zeros((*blocks, 8, 8), dtype=np.int16) for blocks in layout.blocks()]
    tables = np.zeros((4, 8, 8), dtype=np.uint16)
    numbers = np.zeros(4, dtype=np.int16)
    pointers = _pointers(planes)
    try:
        with _ONE_AT_A_TIME:
            binding.read_jpeg_markers(srcfile=path, markers=(ctypes.c_ubyte * 1)())
        binding.read_jpeg_dct(srcfile=path, **pointers, qt=_pointer(tables), quant_tbl_no=_pointer(numbers))
    except (AttributeError, TypeError) as error:
        raise _BindingMissingError from error
    return planes, [tables[number] for number in numbers[: len(planes)]]


def _write_by_binding(path: str, coded: Coded, tables: Sequence[Table], numbers: Sequence[int]) -> None:
    binding = _binding()
    components = coded.layout.components
    planes = [np.ascontiguousarray(plane, dtype=np.int16) for plane in coded.planes]
    width, height = coded.layout.size
    block_dims = np.array(coded.layout.blocks(), dtype=np.int32)
    factors = np.array([(down, across) for across, down in coded.layout.factors], dtype=np.int32)
    stacked = np.ascontiguousarray(np.stack(tables), dtype=np.uint16)
    quant_tbl_no = np.array([*numbers, *[-1] * (4 - components)], dtype=np.int16)
    try:
        binding.write_jpeg_dct(
            srcfile=None,
            dstfile=path,
            **_pointers(planes),
            image_dims=(ctypes.c_int * 2)(height, width),
            block_dims=_pointer(block_dims),
            in_color_space=_GREY if components == 1 else _YCC,
            in_components=components,
            samp_factor=_pointer(factors),
            qt=_pointer(stacked),
            quality=-1,
            quant_tbl_no=_pointer(quant_tbl_no),
            num_markers=0,
            marker_types=None,
            marker_lengths=None,
            markers=None,
            flags=_FLAGS,
        )
    except (AttributeError, TypeError) as error:
        raise _BindingMissingError from error


def _pointers(planes: Sequence[Plane]) -> dict[str, ctypes.c_void_p | None]:
    """By the names of the binding's arguments; absent components are null."""
    names = ("Y", "Cb", "Cr", "K")
    return {name: _pointer(planes[i]) if i < len(planes) else None for i, name in enumerate(names)}


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    """To the first element; keeps the array alive, and is valid while it is contiguous."""
    return array.ctypes.data_as(ctypes.c_void_p)


def _read_by_public(path: str, layout: Layout) -> tuple[list[Plane], list[Table]]:
    jpeglib = _jpeglib()
    with _ONE_AT_A_TIME:
        read = jpeglib.read_dct(path)
        read.load()
    planes = [read.Y] if layout.components == 1 else [read.Y, read.Cb, read.Cr]
    return planes, [read.qt[number] for number in read.quant_tbl_no]


def _write_by_public(path: str, coded: Coded, tables: Sequence[Table], numbers: Sequence[int]) -> None:
    image = _jpeglib().from_dct(*coded.planes, qt=np.stack(tables), quant_tbl_no=list(numbers))
    image.width, image.height = coded.layout.size
    image.samp_factor = [[down, across] for across, down in coded.layout.factors]
    with _ONE_AT_A_TIME:
        image.write_dct(path, flags=_FLAGS)


def _jpeglib() -> Any:
    try:
        import jpeglib
    except ImportError as error:
        raise CoefficientsError(
            "keeping blocks needs jpeglib: pip install 'moebius-inpaint[jpeg]'"
        ) from error
    return jpeglib
