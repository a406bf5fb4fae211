"""A model as a browser loads it: files in shards with checksums, and a manifest that says all else.

model/manifest.json holds

    format, version, hash   1; moebius' version; SHA-256 of the weights file
    model                   the registry entry, as in model.json
    settings                type, default and range of each setting that the browser's engine has
    check                   some of each network's numbers for a small picture, to try a device with
    assets                  name -> bytes; packed (by gzip, as a whole); shards: path, bytes, sha256
    runtimes                device -> script, and the asset that is its binary
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from moebius._version import __version__
from moebius.engines.base import FloatArray
from moebius.engines.graphs import PARTS
from moebius.engines.onnx import OnnxEngine
from moebius.errors import DeviceError
from moebius.export.web_runtime import WebRuntime
from moebius.sampling import normal
from moebius.settings import HELP, RANGES, Settings
from moebius.weights import ModelFolder, ModelSpec
from moebius.weights.cache import WEIGHTS_FILE

FORMAT = 1
SHARD = 4 << 20
"""Most bytes a shard: what a broken download loses, and well below what any host allows for a file."""
SETTINGS = ("steps", "guidance", "seed", "solver", "start", "grow", "feather", "context")
"""What of `Settings` the browser's engine has; the others stay at their defaults."""
_CHECK_SIDE = 64
_CHECK_NUMBERS = 64
_WORTH_PACKING = 0.9

Files = dict[str, bytes]
"""Path inside the site -> content."""


def web_model(folder: ModelFolder, runtime: WebRuntime) -> tuple[Files, dict[str, Any]]:
    """The shards of a model and of the runtime's binaries, and the manifest.

    Raises:
        DeviceError: the model has no ONNX graphs.
        CorruptWeightsError: a graph cannot be opened.
    """
    spec = folder.spec
    names = [*(f"{graph}.onnx" for graph in PARTS), WEIGHTS_FILE]
    missing = [name for name in names if not (folder.path / name).is_file()]
    if missing:
        raise DeviceError(
            f"model {spec.name} has no {missing[0]} in {folder.path}: only models with ONNX graphs run in a browser"
        )
    files: Files = {}
    assets = {name: _asset(files, "model", name, (folder.path / name).read_bytes()) for name in names}
    runtimes = {}
    for device, binary in runtime.binaries.items():
        name = f"ort-{device}.wasm"
        assets[name] = _asset(files, "runtime", name, binary)
        runtimes[device] = {"script": f"runtime/ort-{device}.js", "binary": name}
    return files, {
        "format": FORMAT,
        "version": __version__,
        "hash": folder.hash,
        "model": asdict(spec),
        "settings": web_settings(),
        "check": check_numbers(spec, folder.path),
        "assets": assets,
        "runtimes": runtimes,
    }


def web_settings() -> dict[str, dict[str, Any]]:
    """Type, default, range or choices and a line of help of each setting that the browser's engine has."""
    defaults = {field.name: field.default for field in fields(Settings)}
    schema = {}
    for name in SETTINGS:
        allowed = RANGES[name].to_dict()
        if name == "start":  # the published start reads what lies under the mask, which is for parity only
            allowed["choices"] = [word for word in allowed["choices"] if word != "official"]
        kind = "integer" if isinstance(allowed.get("minimum"), int) else "number"
        kind = "string" if "choices" in allowed else kind
        entry: dict[str, Any] = {"type": kind, "default": defaults[name], **allowed, "help": HELP[name]}
        if defaults[name] is None:
            entry["nullable"] = True
        schema[name] = entry
    return schema


def check_numbers(spec: ModelSpec, folder: Path) -> dict[str, Any]:
    """What the networks make of a small picture of noise: some of each one's numbers, evenly spread.

    The picture is normal((3, 64, 64), seed 0, key "check/image") / 4; the denoiser sees its latents as condition, a
    mask of ones and normal noise of key "check/noise" at the model's first timestep; the decoder sees the latents.
    """
    engine = OnnxEngine(spec, folder, threads=1)
    image = normal((1, 3, _CHECK_SIDE, _CHECK_SIDE), seed=0, key="check/image") / np.float32(4)
    latents = engine.encode(image)
    noise = normal(latents.shape, seed=0, key="check/noise")
    mask = np.ones((1, 1, *latents.shape[2:]), np.float32)
    prediction = engine.predict(noise, spec.first_timestep, mask, latents, 1.0)
    return {
        "side": _CHECK_SIDE,
        "timestep": spec.first_timestep,
        "latents": _some(latents),
        "prediction": _some(prediction),
        "image": _some(engine.decode(latents)),
    }


def _some(values: FloatArray) -> list[float]:
    every = values.reshape(-1)
    return [round(float(value), 6) for value in every[:: every.size // _CHECK_NUMBERS][:_CHECK_NUMBERS]]


def _asset(files: Files, folder: str, name: str, content: bytes) -> dict[str, Any]:
    """Put a file's shards into `files`; returns its entry in the manifest.

    A shard is named by its content, so that caches never hold an old one, and ends in .bin: no host packs, converts or
    refuses that.
    """
    small = gzip.compress(content, 9, mtime=0)
    packed = len(small) < _WORTH_PACKING * len(content)
    stored = small if packed else content
    shards = []
    for start in range(0, len(stored), SHARD):
        part = stored[start : start + SHARD]
        digest = hashlib.sha256(part).hexdigest()
        path = f"{folder}/{name.split('.')[0]}-{digest[:16]}.bin"
        files[path] = part
        shards.append({"path": path, "bytes": len(part), "sha256": digest})
    return {"bytes": len(content), "packed": packed, "shards": shards}
