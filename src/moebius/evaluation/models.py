"""Our own models as methods: with any settings, and two references that tell their parts apart.

    nano                        a model as it comes
    nano:steps=4,solver=dpm++   with settings of its own
    runs/mine:dtype=bfloat16    a model folder, on an engine of its own

The references are the smooth fill through the model's autoencoder, which is what the denoiser has to beat, and the
truth through it, which no denoiser can beat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from moebius.engines import open_engine
from moebius.engines.base import Array, Engine, FloatArray
from moebius.errors import InputError, SettingsError
from moebius.evaluation.holes import Hole, Pixels
from moebius.evaluation.methods import Method
from moebius.evaluation.metrics import to_picture, to_pixels
from moebius.evaluation.variants import OwnShape, save_rounded
from moebius.imaging import match_tone, push_pull
from moebius.pipeline import Moebius
from moebius.settings import Settings
from moebius.weights import open_model
from moebius.weights.spec import Defaults

ENGINE_OPTIONS = ("engine", "device", "dtype")
_CHOICES = {"weights": ("int8", "int4"), "shape": ("square", "own"), "detail": ("network", "photo")}
MODEL_OPTIONS = ("size", "cascade", "detail", "weights", "shape")
"""The side at which it fills; the sides before it ("none", or "128+256"); where its fine detail comes from; weights
rounded to int8 or int4; and shape=own for the picture's own shape instead of a square."""
THREADS = 1
"""Of an engine: workers share out the cores, and sums come out the same to the last bit."""


@dataclass(frozen=True)
class ModelRequest:
    """A model as a person asks for it."""

    name: str
    """A name, or a folder."""
    engine: Mapping[str, str]
    entry: Mapping[str, Any]
    """Fields of the registry entry to be replaced."""
    settings: Mapping[str, Any]

    @property
    def id(self) -> str:
        """What it is called in tables and files; the seed only where it is not 0."""
        shown = {**self.engine, **self.entry, **self.settings}
        if shown.get("seed") == 0:
            del shown["seed"]
        name = self.name.rstrip("/").rsplit("/", 1)[-1]
        options = ",".join(f"{key}={_plain(value)}" for key, value in shown.items())
        return f"{name}:{options}" if options else name


def parse_model(text: str, **settings: Any) -> ModelRequest:
    """NAME[:KEY=VALUE,...]: a model's name or folder, with options of its engine, its entry, or `Settings`.

    Args:
        text: as above.
        settings: used where the text does not say otherwise; None = the model's own.

    Raises:
        InputError: an option is no KEY=VALUE, or there is none of that name or value.
    """
    name, colon, tail = text.rpartition(":")
    if not colon or ("=" not in tail and tail):
        name, tail = text, ""
    chosen: dict[str, Any] = {key: value for key, value in settings.items() if value is not None}
    engine: dict[str, str] = {}
    entry: dict[str, Any] = {}
    for option in filter(None, tail.split(",")):
        key, equals, value = option.partition("=")
        if not equals or not value:
            raise InputError(f"{text}: expected options KEY=VALUE, got {option!r}")
        if key in ENGINE_OPTIONS:
            engine[key] = value
        elif key == "size":
            entry["size"] = _number(text, key, value)
        elif key in _CHOICES:
            expected = _CHOICES[key]
            if value not in expected:
                raise InputError(f"{text}: expected {' or '.join(expected)} for {key}, got {value!r}")
            entry[key] = value
        elif key == "cascade":
            sides = () if value == "none" else tuple(_number(text, key, side) for side in value.split("+"))
            entry["cascade"] = sides
        else:
            chosen[key] = _value(value)
    known = Settings.__dataclass_fields__
    unknown = next((key for key in chosen if key not in known), None)
    if unknown is not None:
        names = ", ".join((*ENGINE_OPTIONS, *MODEL_OPTIONS, *known))
        raise InputError(f"{text}: expected some of {names}, got {unknown!r}")
    return ModelRequest(name, engine, entry, chosen)


def model_method(request: ModelRequest, *, product: bool = False) -> Method:
    """The model as a method.

    Args:
        product: as a person gets it: the fill fades out beyond the hole. Else only the hole's pixels count.

    Raises:
        WeightsError, DeviceError: the model is not to be had, or not on this machine.
        InputError: settings that it does not take.
    """
    model = load(request)
    settings = dict(request.settings)
    settings.setdefault("grow", 0)
    settings.setdefault("feather", Settings.feather if product else 0)
    complete = model.complete(**settings)
    plan = model.plan(complete)
    what = {**identity(model), "settings": complete.to_dict(), "entry options": repr(request.entry)}
    if request.entry.get("shape") == "own":
        own = OwnShape(model, complete, plan)
        return Method(request.id, f"{request.id}, {complete.steps} steps", own.fill, what)

    def fill(hole: Hole) -> Pixels:
        result = model(hole.pixels, hole.mask, key=hole.case.key, **settings)
        return result.photo.pixels.astype(np.uint8, copy=False)

    sides = len(model.spec.sides)
    steps = f"{complete.steps} step{'s' if complete.steps != 1 else ''}" + (
        f" x {sides} sizes" if sides > 1 else ""
    )
    if model.spec.detail == "photo":
        steps += ", the photo's texture"
    return Method(request.id, f"{request.id}, {steps}", fill, what)


def seeded(request: ModelRequest, seed: int) -> ModelRequest:
    """The same request with another seed."""
    return replace(request, settings={**request.settings, "seed": seed})


def autoencoder_method(request: ModelRequest) -> Method:
    """The smooth fill as the model's autoencoder renders it, without its denoiser."""
    model = load(request)
    spec = replace(
        model.spec, feed="prefill", target="residual", prediction="sample", cascade=(), detail="network",
        guidance_trained=False, defaults=Defaults(steps=1, guidance=1.0, solver="ddim", start="noise"),
    )  # fmt: skip
    bare = Moebius(spec, NoDenoiser(model.engine), model_hash=model.model_hash)

    def fill(hole: Hole) -> Pixels:
        result = bare(hole.pixels, hole.mask, grow=0, feather=0)
        return result.photo.pixels.astype(np.uint8, copy=False)

    title = f"smooth fill through {request.name}'s autoencoder"
    return Method(f"autoencoder@{_short(request)}", title, fill, {**identity(model), "only": "autoencoder"})


def ceiling_method(request: ModelRequest) -> Method:
    """The truth as the model's autoencoder renders it: what a perfect denoiser would give."""
    model = load(request)

    def fill(hole: Hole) -> Pixels:
        truth = to_picture(hole.pixels)
        height, width = hole.mask.shape
        factor = model.spec.latent_factor
        pad = ((0, -height % factor), (0, -width % factor), (0, 0))
        padded = np.pad(truth, pad, mode="symmetric")
        image = np.ascontiguousarray(padded.transpose(2, 0, 1)[None] * np.float32(2) - np.float32(1))
        decoded = model.engine.decode(model.engine.encode(image))[0].transpose(1, 2, 0)[:height, :width]
        picture = np.clip(decoded * np.float32(0.5) + np.float32(0.5), 0, 1)
        toned = match_tone(picture, push_pull(truth, hole.mask), hole.mask)
        return to_pixels(toned)

    title = f"truth through {request.name}'s autoencoder"
    what = {**identity(model), "only": "ceiling"}
    return Method(f"ceiling@{_short(request)}", title, fill, what, sees_all=True)


def identity(model: Moebius) -> dict[str, Any]:
    """What a model's pictures depend on besides hole and settings."""
    engine = model.engine
    return {
        "model": model.spec.name,
        "hash": model.model_hash,
        "entry": repr(model.spec),
        "engine": engine.name,
        "device": engine.device,
        "dtype": engine.dtype,
    }


def load(request: ModelRequest) -> Moebius:
    """The loaded model; the same one for requests that differ in settings only."""
    return _load(request.name, tuple(sorted(request.engine.items())), tuple(sorted(request.entry.items())))


@lru_cache(maxsize=8)
def _load(name: str, engine: tuple[tuple[str, str], ...], entry: tuple[tuple[str, Any], ...]) -> Moebius:
    opened = open_model(name)
    changes = dict(entry)
    changes.pop("shape", None)
    bits = changes.pop("weights", None)
    try:
        spec = replace(opened.spec, **changes)
    except ValueError as error:
        raise SettingsError(f"model {name}: {error}") from error
    if bits is None:
        running = open_engine(spec, opened.path, threads=THREADS, **dict(engine))
    else:
        with TemporaryDirectory() as folder:
            rounded = save_rounded(opened, Path(folder) / "model", int(bits.removeprefix("int")))
            running = open_engine(spec, rounded, threads=THREADS, **dict(engine))
    return Moebius(spec, running, model_hash=opened.hash)


class NoDenoiser:
    """An engine with the denoiser of another left out: it answers zero, whatever it is asked."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self.name, self.device, self.dtype = engine.name, engine.device, engine.dtype
        self.rows, self.calls = engine.rows, engine.calls

    def array(self, values: FloatArray) -> Array:
        return self._engine.array(values)

    def numpy(self, values: Array) -> FloatArray:
        return self._engine.numpy(values)

    def join(self, parts: Sequence[Array]) -> Array:
        return self._engine.join(parts)

    def encode(self, image: FloatArray) -> Array:
        return self._engine.encode(image)

    def predict(self, noisy: Array, timestep: int, mask: Array, condition: Array, guidance: float) -> Array:
        return noisy * 0.0

    def decode(self, latents: Array) -> FloatArray:
        return self._engine.decode(latents)


def _short(request: ModelRequest) -> str:
    return replace(request, settings={}).id


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return "+".join(map(str, value)) or "none"
    return "auto" if value is None else str(value)


def _number(text: str, key: str, value: str) -> int:
    if not value.isdigit():
        raise InputError(f"{text}: expected a whole number for {key}, got {value!r}")
    return int(value)


def _value(text: str) -> Any:
    """A setting's value from its text: a whole number, a number, true or false, auto, or a word."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "auto": None}.get(text.lower(), text)
