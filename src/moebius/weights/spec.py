"""What a model is: a `ModelSpec`, and its JSON form, the `model.json` of every model folder.

A spec says how a model is fed, sampled and decoded, so that one pipeline serves every model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from moebius.errors import CorruptWeightsError
from moebius.sampling.solvers import PREDICTIONS, Prediction
from moebius.settings import MAX_GUIDANCE, MAX_STEPS, SOLVERS, STARTS, Solver, Start

FORMAT = 1
"""Version of the model folder's layout; another one is refused."""

Architecture = Literal["moebius", "pixelhacker"]
Feed = Literal["masked", "prefill"]
Target = Literal["image", "residual"]
Spacing = Literal["leading", "trailing"]
MaskMode = Literal["max", "nearest"]
Detail = Literal["network", "photo"]
GraphRuntime = Literal["onnx", "openvino"]
Storage = Literal["float32", "float16", "int8"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{6,64}")


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A file on the Hugging Face Hub.

    Raises:
        ValueError: `bytes` or `sha256` cannot be one.
    """

    repository: str
    """"owner/name"."""
    path: str
    """Inside the repository."""
    bytes: int | None = None
    """Exact size; None where nobody has published it."""
    sha256: str | None = None
    """Lower-case hexadecimal; of a prefix, the prefix is checked. None leaves it to what the Hub states."""
    revision: str = "main"

    def __post_init__(self) -> None:
        if self.bytes is not None:
            _whole("bytes", self.bytes, 1)
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"sha256: expected 6 to 64 lower-case hexadecimal digits, got {self.sha256!r}")


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """A model's own best values, used where `Settings` says None.

    Raises:
        ValueError: a value is out of its range.
    """

    steps: int
    guidance: float
    solver: Solver = "ddim"
    start: Start = "masked"

    def __post_init__(self) -> None:
        _whole("steps", self.steps, 1, MAX_STEPS)
        _number("guidance", self.guidance, 0.0, MAX_GUIDANCE)
        _choice("solver", self.solver, SOLVERS)
        _choice("start", self.start, STARTS)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What a folder holds that `moebius export` made: graphs alone, no network that could be built from its weights.

    Raises:
        ValueError: a field is out of its range.
    """

    runtime: GraphRuntime
    dtype: Storage
    """How weights are stored; they are computed with in float32."""
    source: str
    """SHA-256 of the weights file of the model that it was made of."""
    shapes: tuple[tuple[int, int], ...] = ()
    """Latent (height, width) that have a denoiser of their own, "denoiser-64x64"; none where one takes any size."""
    steps: int = 0
    """Steps of the graph "loop", which is a whole fill; 0 where there is none."""

    def __post_init__(self) -> None:
        _choice("runtime", self.runtime, get_args(GraphRuntime))
        _choice("dtype", self.dtype, get_args(Storage))
        if not isinstance(self.source, str) or not _SHA256.fullmatch(self.source):
            raise ValueError(f"source: expected a SHA-256, got {self.source!r}")
        object.__setattr__(self, "shapes", tuple(tuple(shape) for shape in self.shapes))
        for shape in self.shapes:
            if len(shape) != 2:
                raise ValueError(f"shapes: expected pairs of height and width, got {shape!r}")
            for side in shape:
                _whole("shapes", side, 1)
        _whole("steps", self.steps, 0, MAX_STEPS)

    @property
    def denoisers(self) -> tuple[str, ...]:
        """Names of the denoiser's graphs, without their suffix."""
        return tuple(f"denoiser-{height}x{width}" for height, width in self.shapes) or ("denoiser",)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files of graphs and weights."""
        graphs = ("encoder", *self.denoisers, "decoder", *(("loop",) if self.steps else ()))
        if self.runtime == "onnx":
            return (*(f"{graph}.onnx" for graph in graphs), "weights.safetensors")
        return tuple(f"{graph}.{suffix}" for graph in graphs for suffix in ("xml", "bin"))


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Everything the program knows of a model besides its weights. The defaults are the published models'.

    Raises:
        ValueError: a field has the wrong type or is out of its range; the message names it.
    """

    name: str
    """Short name; also the folder's name in the cache, hence letters, digits, ".", "_", "-" only."""
    title: str
    """What it is for, in a few words."""
    licence: str
    parameters: int
    """Of the denoiser, its category table included."""
    architecture: Architecture = "moebius"
    """Of the denoiser: Moebius, or PixelHacker, the network that it was distilled from."""
    denoiser: Mapping[str, Any]
    """Fields of `MoebiusConfig` or `PixelHackerConfig`."""
    autoencoder: Mapping[str, Any] | None = None
    """Fields of `AutoencoderConfig`; None for a published VAE (vae.safetensors and vae.json)."""
    latent_channels: int = 4
    latent_factor: int = 8
    """Pixels a latent cell, along one side."""
    latent_scale: float = 0.13025
    """The denoiser works on encoder output times this."""
    feed: Feed = "masked"
    """What the network sees of the photo: its hole emptied to mid-grey, or filled smoothly."""
    target: Target = "image"
    """What is diffused: the latents, or `residual_scale` times their difference from the fed photo's."""
    residual_scale: float = 1.0
    prediction: Prediction = "epsilon"
    spacing: Spacing = "trailing"
    """How timesteps are spread; "trailing" runs exactly the steps asked for, from `first_timestep` down."""
    first_timestep: int = 900
    """Where sampling begins, 0 to 999."""
    mask_mode: MaskMode = "max"
    """How a mask reaches the latent grid; "max" never loses a thin stroke."""
    size: int = 512
    """Native side of the square that the network fills, px."""
    sizes: tuple[int, ...] = ()
    """Other sides that it was trained for, px."""
    aspects: tuple[float, ...] = ()
    """Shorter over longer side of the rectangles that it fills besides the square, lying and standing; below 1."""
    cascade: tuple[int, ...] = ()
    """Sides (px, ascending) at which a hole is filled before `size`, each fill being the next one's prefill."""
    detail: Detail = "network"
    """Where fine detail comes from: the network, which fills a hole at `size`, too; or the photo, whose own texture is
    brought at `size` into the colours that the network gave the sides of `cascade` (`moebius.imaging.textured`)."""
    guidance_trained: bool = True
    """Whether guidance other than 1 means something."""
    defaults: Defaults
    files: Mapping[str, ModelFile] = field(default_factory=dict)
    """Where it comes from: role ("denoiser", "vae") to file. Empty for a model that needs no download."""
    exported: Exported | None = None
    """Of a folder that `moebius export` wrote."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(f"name: expected letters, digits, '.', '_' and '-', got {self.name!r}")
        for name in ("title", "licence"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name}: expected text, got {getattr(self, name)!r}")
        _choice("architecture", self.architecture, get_args(Architecture))
        _mapping("denoiser", self.denoiser)
        if self.autoencoder is not None:
            _mapping("autoencoder", self.autoencoder)
        _whole("parameters", self.parameters, 0)
        for name in ("latent_channels", "latent_factor", "size"):
            _whole(name, getattr(self, name), 1)
        for size in self.sizes:
            _whole("sizes", size, 1)
        for aspect in self.aspects:
            _number("aspects", aspect, 0.05, 0.99)
        for size in self.cascade:
            _whole("cascade", size, 1, self.size)
        if self.cascade and self.feed != "prefill":
            raise ValueError(f"cascade: expected a model fed with a prefill, got feed {self.feed!r}")
        _whole("first_timestep", self.first_timestep, 0, 999)
        for name in ("latent_scale", "residual_scale"):
            _number(name, getattr(self, name), 1e-6, 1e6)
        _choice("feed", self.feed, get_args(Feed))
        _choice("target", self.target, get_args(Target))
        _choice("prediction", self.prediction, PREDICTIONS)
        _choice("spacing", self.spacing, get_args(Spacing))
        _choice("mask_mode", self.mask_mode, get_args(MaskMode))
        _choice("detail", self.detail, get_args(Detail))
        _choice("guidance_trained", self.guidance_trained, (True, False))

    def shapes(self, side: int) -> tuple[tuple[int, int], ...]:
        """(height, width) of its pictures of longer side `side` px: the square, then each aspect lying and standing.

        The same place means the same aspect at every side.
        """
        unit = self.latent_factor * 4  # the network halves latents twice
        shorter = [min(side, max(1, round(aspect * side / unit)) * unit) for aspect in self.aspects]
        return ((side, side), *(shape for each in shorter for shape in ((each, side), (side, each))))

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides (px, ascending) at which the network fills a hole."""
        own = () if self.detail == "photo" and self.cascade else (self.size,)
        return (*self.cascade, *own)

    @property
    def tokens(self) -> int:
        """Category ids a condition: its rows of the table come first, then as many of the opposite's."""
        return int(self.denoiser.get("categories", 20)) // 2


def spec_to_json(spec: ModelSpec) -> dict[str, Any]:
    """The spec as the contents of a `model.json`, the layout's version included."""
    values = asdict(spec)
    if spec.exported is None:
        del values["exported"]
    return {"format": FORMAT, **values}


def spec_from_json(values: object, where: str = "model.json") -> ModelSpec:
    """The spec that `spec_to_json` wrote; unknown fields are refused, to catch typing errors.

    Raises:
        CorruptWeightsError: not an object, another layout version, a field missing, unknown or out of range.
    """
    if not isinstance(values, dict):
        raise CorruptWeightsError(f"{where}: expected a JSON object, got {type(values).__name__}")
    values = dict(values)
    version = values.pop("format", None)
    if version != FORMAT:
        raise CorruptWeightsError(
            f'{where}: expected "format": {FORMAT}, got {version!r}; a newer one needs a newer moebius'
        )
    try:
        files = {
            str(role): _build(ModelFile, item, f"files.{role}: ")
            for role, item in _mapping("files", values.pop("files", {})).items()
        }
        defaults = _build(Defaults, values.pop("defaults", None), "defaults: ")
        exported = values.pop("exported", None)
        if exported is not None:
            values["exported"] = _build(Exported, exported, "exported: ")
        sides = {name: tuple(values.pop(name, ())) for name in ("sizes", "cascade", "aspects")}
        spec: ModelSpec = _build(ModelSpec, {**values, **sides, "defaults": defaults, "files": files}, "")
        return spec
    except (TypeError, ValueError) as error:
        raise CorruptWeightsError(f"{where}: {error}") from error


def _build(kind: type[Any], values: object, prefix: str) -> Any:
    """An instance of dataclass `kind`; raises ValueError for missing and unknown fields."""
    given = _mapping(prefix.rstrip(": "), values)
    known = {item.name for item in fields(kind)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ValueError(f"{prefix}unknown field {unknown[0]!r}")
    try:
        return kind(**given)
    except TypeError as error:  # a missing field: "... missing 1 required keyword-only argument: 'name'"
        raise ValueError(f"{prefix}{str(error).split('.__init__() ')[-1]}") from error
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from error


def _mapping(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: expected an object, got {value!r}")
    return dict(value)


def _whole(name: str, value: object, low: int, high: int | None = None) -> None:
    fits = isinstance(value, int) and not isinstance(value, bool) and value >= low
    if not fits or (high is not None and value > high):  # type: ignore[operator]
        span = f"{low} or more" if high is None else f"{low} to {high}"
        raise ValueError(f"{name}: expected a whole number, {span}, got {value!r}")


def _number(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")


def _choice(name: str, value: object, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(str, choices))}, got {value!r}")
