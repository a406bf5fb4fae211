"""Inpainters of others as ONNX files, run with ONNX Runtime on one thread, so that they repeat themselves.

What a graph wants is read off its inputs, and what it answers from one run on a fixed picture; both can be
said instead, see `foreign_convention`. The picture never holds what the hole hides.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moebius.engines.runtime import load_onnxruntime
from moebius.errors import InputError
from moebius.evaluation.foreign import Options, first_line, home_path, method_id, method_title
from moebius.evaluation.foreign_convention import (
    Convention,
    Range,
    from_range,
    numpy_types,
    read_convention,
    to_range,
)
from moebius.evaluation.holes import Hole, Mask, Pixels
from moebius.evaluation.methods import Method
from moebius.evaluation.metrics import to_picture, to_pixels
from moebius.imaging import push_pull, resize, resize_mask
from moebius.weights.store import file_sha256

Floats = NDArray[np.float32]

PROBE_SIDE = 256
"""Of the picture that a graph of any size is tried on, px."""


def onnx_method(path: str | Path, *, title: str | None = None, options: Options | None = None) -> Method:
    """An inpainter in an ONNX file.

    Args:
        path: the file; its external data, if any, lies where it says.
        title: the file's name and the options by default.
        options: what its inputs do not tell: size, multiple, order, range, mask, under, output; see
            `foreign_convention`.

    Raises:
        InputError: no such file, not ONNX, external data missing, not an inpainter's inputs or answer.
        SettingsError: an option that there is none of, or that the graph contradicts.
    """
    ort = load_onnxruntime()

    path, options = home_path(path), options or {}
    graph = Graph(path, options)

    def fill(hole: Hole) -> Pixels:
        return to_pixels(graph(to_picture(hole.pixels), hole.mask))

    identity = {
        "sha256": graph_sha256(path),
        "convention": asdict(graph.convention),
        "library": f"onnxruntime {ort.__version__}",
    }
    title = title or method_title("ONNX", path.stem, options)
    return Method(method_id("onnx", path.stem, options), title, fill, identity)


class Graph:
    """An opened graph, and how to talk to it; may be called from several threads.

    Raises:
        InputError: it cannot be opened, or does not answer the probe with a picture.
    """

    def __init__(self, path: Path, options: Options):
        self._path = path
        self._session = _open(path)
        inputs = self._session.get_inputs()
        self.convention = read_convention(inputs, options, str(path))
        self._types = numpy_types(inputs)
        answer = self._answer(*probe(self.convention.size))
        if self.convention.output is None:
            self.convention = replace(self.convention, output=range_of(answer))

    def __call__(self, picture: Floats, mask: Mask) -> Floats:
        """Fill a picture (H, W, 3) in [0, 1] where the mask is True; what is there is not read."""
        height, width = mask.shape
        answer = self._answer(*self._fit(push_pull(picture, mask), mask))
        filled = from_range(answer, self.convention.output or "1")
        return resize(filled, mask.shape) if self.convention.size else filled[:height, :width]

    def _fit(self, picture: Floats, mask: Mask) -> tuple[Floats, Mask]:
        """To the graph's size, or mirrored at its ends to a size that it can work with."""
        size, multiple = self.convention.size, self.convention.multiple
        if size is not None:
            return resize(picture, size), resize_mask(mask, size)
        ends = [(0, -side % multiple) for side in mask.shape]
        return np.pad(picture, [*ends, (0, 0)], "symmetric"), np.pad(mask, ends, "symmetric")

    def _answer(self, picture: Floats, mask: Mask) -> Floats:
        """The graph's answer to a picture (h, w, 3) of a size that suits it: (h, w, 3), in its own range."""
        try:
            answers = self._session.run(None, feed(picture, mask, self.convention, self._types))
        except Exception as error:  # onnxruntime's own exceptions share no public base but Exception
            raise InputError(f"{self._path}: does not run: {_reason(error)}") from error
        wanted = (1, 3, *mask.shape)
        for answer in answers:
            if getattr(answer, "shape", None) == wanted:
                filled: Floats = np.moveaxis(answer[0], 0, -1).astype(np.float32)
                if not np.isfinite(filled).all():
                    raise InputError(f"{self._path}: expected a picture, got numbers that are not finite")
                return filled
        got = ", ".join(str(getattr(answer, "shape", type(answer).__name__)) for answer in answers)
        raise InputError(f"{self._path}: expected an answer {wanted}, got {got or 'none'}")


def feed(
    picture: Floats, mask: Mask, convention: Convention, types: Mapping[str, type[np.generic]]
) -> dict[str, NDArray[Any]]:
    """A graph's inputs: picture (h, w, 3) in [0, 1], without anything hidden, and mask (h, w), True = fill."""
    samples = to_range(picture, convention.range)
    if convention.under == "zero":
        samples = np.where(mask[..., None], np.float32(0), samples)
    image = np.moveaxis(samples, -1, 0)[None]  # (1, 3, h, w)
    white = (mask if convention.white == "hole" else ~mask)[None, None].astype(np.float32)  # (1, 1, h, w)
    if convention.image == convention.mask:
        both = (image, white) if convention.order == "image-mask" else (white - np.float32(0.5), image)
        image = white = np.concatenate(both, axis=1)
    elif types[convention.mask] is np.uint8:
        white = white * np.float32(255)
    if types[convention.image] is np.uint8:
        image = np.floor(image + np.float32(0.5))
    return {
        convention.mask: np.ascontiguousarray(white.astype(types[convention.mask])),
        convention.image: np.ascontiguousarray(image.astype(types[convention.image])),
    }


def probe(size: tuple[int, int] | None) -> tuple[Floats, Mask]:
    """What every graph is tried on: dark to the left, bright to the right, a hole in the middle."""
    height, width = size or (PROBE_SIDE, PROBE_SIDE)
    picture = np.zeros((height, width, 3), np.float32)
    picture += np.linspace(0, 1, width, dtype=np.float32)[:, None]
    mask = np.zeros((height, width), bool)
    mask[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8] = True
    return picture, mask


def range_of(answer: NDArray[Any]) -> Range:
    """The range that an answer to the probe is in. Networks overshoot a little, hence the room."""
    if answer.max() > 4:
        return "255"
    return "signed" if answer.min() < -0.25 else "1"


def graph_sha256(path: Path) -> str:
    """SHA-256 of an ONNX file, or of its own and its external files' if it has any."""
    own = file_sha256(path)
    others = [file_sha256(path.parent / name) for name in external_files(path)]
    return hashlib.sha256("".join([own, *others]).encode()).hexdigest() if others else own


def external_files(path: Path) -> list[str]:
    """Names of the files that an ONNX file keeps weights in, sorted; without the package onnx.

    A protobuf entry of key "location" (field 1) is followed by its value (field 2): a length and the name.
    """
    if path.stat().st_size == 0:
        return []
    names = set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for match in re.finditer(rb"\n\x08location\x12([\x80-\xff]?)([\x00-\x7f])", data):
            low, high = match.groups()
            length = (low[0] & 0x7F) + (high[0] << 7) if low else high[0]
            names.add(data[match.end() : match.end() + length].decode("utf-8", "replace"))
    return sorted(names)


def _open(path: Path) -> Any:
    ort = load_onnxruntime()

    if not path.is_file():
        raise InputError(
            f"{path}: expected an ONNX file, {'got a folder' if path.is_dir() else 'found none'}"
        )
    for name in external_files(path):
        if not (path.parent / name).is_file():
            raise InputError(f"{path}: expected its weights in {path.parent / name}, found no such file")
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    try:
        return ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no public base but Exception
        raise InputError(f"{path}: expected an ONNX file, got: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What onnxruntime says, without the code before it."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first_line(error))
