"""Model folders: reading, checking and writing them. Needs no torch.

A model folder holds

    model.json            the `ModelSpec`; "format": 1; "checksums": bytes and sha256 of each file beside it
    weights.safetensors   tensors "denoiser.*" and, of our own autoencoder, "autoencoder.*"; their configs
    vae.safetensors, vae.json                     a published VAE and its config, where `autoencoder` is null
    encoder.onnx, denoiser.onnx, decoder.onnx     optional graphs; their weights lie in weights.safetensors
    README.md             optional model card

or, where `exported` is not null, what `moebius export` made: graphs, and weights.safetensors with their tensors
(ONNX) or a .bin beside each graph (OpenVINO).

model.json is written last, so a folder without it is not a model.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from safetensors import SafetensorError, safe_open

from moebius.errors import CorruptWeightsError, UnknownModelError, WeightsError
from moebius.weights.cache import SPEC_FILE, VAE_CONFIG_FILE, VAE_FILE, WEIGHTS_FILE, missing_files
from moebius.weights.spec import ModelSpec, spec_from_json, spec_to_json

if TYPE_CHECKING:
    from torch import Tensor

CHECKED = ("*.safetensors", "*.onnx", "*.xml", "*.bin", VAE_CONFIG_FILE)
"""Files that model.json keeps checksums of."""


@dataclass(frozen=True)
class ModelFolder:
    """A model folder that was found in order."""

    path: Path
    spec: ModelSpec

    @property
    def hash(self) -> str:
        """SHA-256 of the weights file: what a picture's report names the model by.

        Of model.json, which has every file's, where weights lie in several.
        """
        one = self.path / WEIGHTS_FILE
        return file_sha256(one if one.is_file() else self.path / SPEC_FILE)


def open_folder(folder: str | Path, *, verify: bool = True) -> ModelFolder:
    """Read a model folder and check everything that can be checked without building a network.

    Args:
        folder: its path.
        verify: also compare every file's SHA-256 with model.json (a second or so a gigabyte, once a process).

    Raises:
        UnknownModelError: there is no such folder.
        CorruptWeightsError: a file is missing, truncated, changed, or not what its name says.
    """
    folder = Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise UnknownModelError(f"{folder}: expected a model folder, found {found}")
    values = _read_values(folder)
    spec = _spec(folder, values)
    missing = missing_files(folder, spec)
    if missing:
        raise CorruptWeightsError(f"{folder}: expected a complete model folder, found no {missing[0]}")
    _check_sums(folder, values.get("checksums", {}), verify)
    if spec.exported is not None:
        return ModelFolder(folder, spec)
    names = tensor_names(folder / WEIGHTS_FILE)
    for part in ("denoiser",) if spec.autoencoder is None else ("denoiser", "autoencoder"):
        if not any(name.startswith(f"{part}.") for name in names):
            raise CorruptWeightsError(f"{folder / WEIGHTS_FILE}: expected tensors named {part}.*, found none")
    if spec.autoencoder is None:
        tensor_names(folder / VAE_FILE)
        read_json(folder / VAE_CONFIG_FILE)
    return ModelFolder(folder, spec)


def read_spec(folder: Path) -> ModelSpec:
    """The spec in a folder's model.json; looks at nothing else.

    Raises:
        CorruptWeightsError: model.json is missing, not JSON, of another format or has a field wrong.
    """
    return _spec(folder, _read_values(folder))


def tensor_names(path: Path) -> list[str]:
    """Names of the tensors in a safetensors file; reading them proves that the file is whole.

    Raises:
        CorruptWeightsError: the file is missing, truncated or no safetensors file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise CorruptWeightsError(f"{path}: expected a whole safetensors file, got: {reason}") from error


def save_folder(
    folder: Path,
    spec: ModelSpec,
    tensors: Mapping[str, Tensor],
    *,
    extra: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a model folder: all of it appears at once, or nothing. Needs torch.

    Args:
        folder: where it goes.
        spec: what model.json says.
        tensors: "denoiser.*", and "autoencoder.*" for our own autoencoder.
        extra: further small files, name to contents (README.md).
        overwrite: replace a folder that is there.

    Raises:
        WeightsError: the folder exists and `overwrite` is off, or it cannot be written.
    """
    if folder.exists() and not overwrite:
        raise WeightsError(f"{folder} exists already: choose another name, or overwrite it")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    old = partial.with_suffix(".old")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        metadata = {"format": "pt", "denoiser": json.dumps(dict(spec.denoiser))}
        if spec.autoencoder is not None:
            metadata["autoencoder"] = json.dumps(dict(spec.autoencoder))
        write_tensors(partial / WEIGHTS_FILE, tensors, metadata)
        for name, contents in (extra or {}).items():
            (partial / name).write_bytes(contents)
        seal(partial, spec)
        if folder.exists():
            folder.replace(old)
        partial.replace(folder)
    except OSError as error:
        raise WeightsError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return folder


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file in one move: under another name, flushed to the disk, then renamed.

    Tensors that share memory are written out separately. Needs torch.

    Raises:
        WeightsError: it cannot be written.
    """
    from safetensors.torch import save_file

    seen: set[int] = set()
    own: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        own[name] = tensor.detach().clone() if memory in seen else tensor.detach().contiguous()
        seen.add(memory)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode  # as the umask has it; safetensors would leave the owner's alone
        save_file(own, partial, dict(metadata or {"format": "pt"}))
        partial.chmod(mode)
        with partial.open("r+b") as file:
            _sort_metadata(file)
            os.fsync(file.fileno())
        partial.replace(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _sort_metadata(file: BinaryIO) -> None:
    """Bring a safetensors file's metadata into one order; the library writes another each time, and so another hash."""
    (size,) = struct.unpack("<Q", file.read(8))
    header = json.loads(file.read(size))
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    assert len(ordered) <= size, "the same entries need no more room"
    file.seek(8)
    file.write(ordered.ljust(size))


def seal(folder: Path, spec: ModelSpec) -> ModelFolder:
    """Write model.json for the files that lie in `folder` now, with their sizes and checksums.

    To be called again after a file there was added or changed.
    """
    files = sorted({path for pattern in CHECKED for path in folder.glob(pattern)})
    checksums = {path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in files}
    text = json.dumps({**spec_to_json(spec), "checksums": checksums}, indent=1, ensure_ascii=False)
    partial = folder / f".{SPEC_FILE}.{os.getpid()}.partial"
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(folder / SPEC_FILE)
    return ModelFolder(folder, spec)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal; remembered while the file's size and time stay the same."""
    stat = path.stat()
    return _sha256(path.absolute(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256(path: Path, size: int, time: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_sums(folder: Path, checksums: Any, verify: bool) -> None:
    try:
        expected = {str(name): (int(sums["bytes"]), str(sums["sha256"])) for name, sums in checksums.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CorruptWeightsError(
            f'{folder / SPEC_FILE}: "checksums" should give bytes and sha256 a file'
        ) from error
    for name, (size, digest) in expected.items():
        path = folder / name
        if not path.is_file():
            raise CorruptWeightsError(f"{folder}: expected {name} ({size} bytes), found none")
        found = path.stat().st_size
        if found != size:
            raise CorruptWeightsError(f"{path}: expected {size} bytes, got {found}")
        if verify and file_sha256(path) != digest:
            raise CorruptWeightsError(f"{path}: expected sha256 {digest[:12]}, got {file_sha256(path)[:12]}")


def _spec(folder: Path, values: dict[str, Any]) -> ModelSpec:
    fields = {name: value for name, value in values.items() if name != "checksums"}
    return spec_from_json(fields, str(folder / SPEC_FILE))


def _read_values(folder: Path) -> dict[str, Any]:
    path = folder / SPEC_FILE
    if not path.is_file():
        raise CorruptWeightsError(f"{folder}: expected a model folder with {SPEC_FILE}, found none")
    return read_json(path)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        CorruptWeightsError: it cannot be read, or holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptWeightsError(f"{path}: expected JSON, got: {error}") from error
    if not isinstance(values, dict):
        raise CorruptWeightsError(f"{path}: expected a JSON object, got {type(values).__name__}")
    return values
