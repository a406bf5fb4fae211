"""A recipe: everything that decides what a training run makes, as one typed, frozen value and one TOML file.

    recipe = load_recipe("tiny-test", ["run.steps=50"])     a shipped name or a path; changes as NAME=VALUE

What does not change the result (folders, device, loader processes, how often to save) is not in a recipe.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from moebius.errors import InputError, SettingsError
from moebius.sampling import Prediction
from moebius.training.config import build, merge, nearest
from moebius.training.data.recipe import DataRecipe
from moebius.training.noising import NoiseRecipe
from moebius.training.weighting import LossRecipe
from moebius.weights import ModelSpec
from moebius.weights.spec import Architecture, Feed, MaskMode, Target

Objective = Literal["diffusion", "distillation", "guidance", "consistency"]


@dataclass(frozen=True, kw_only=True)
class Feeding:
    """How a network is fed and what it predicts: the fields of the same names in a `ModelSpec`."""

    feed: Feed = "masked"
    target: Target = "image"
    residual_scale: float = 1.0
    prediction: Prediction = "epsilon"
    mask_mode: MaskMode = "max"
    first_timestep: int = 900

    @classmethod
    def of(cls, spec: ModelSpec) -> Feeding:
        return cls(**{each.name: getattr(spec, each.name) for each in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class OptimizerRecipe:
    """The optimiser and its learning rate over time."""

    name: Literal["muon", "adamw"] = "muon"
    rule: Literal["ours", "published"] = "ours"
    """Muon: which tensors it orthogonalises, and how it scales them (`training.muon`)."""
    learning_rate: float = 2e-4
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    """Of AdamW, and of Muon's AdamW group."""
    warmup: int = 0
    """Steps of linear rise."""
    schedule: Literal["constant", "wsd", "cosine", "steps"] = "constant"
    decay: int = 0
    """wsd: steps of linear fall at the end."""
    milestones: tuple[tuple[int, float], ...] = ((111_000, 0.1), (129_000, 0.1))
    """steps: at which step the rate is multiplied by what; the paper's, section 4.1."""
    clip: float = 1.0
    """Largest L2 norm of the whole gradient."""

    def __post_init__(self) -> None:
        above("learning_rate", self.learning_rate, 0)
        at_least("weight_decay", self.weight_decay, 0)
        at_least("warmup", self.warmup, 0)
        at_least("decay", self.decay, 0)
        above("clip", self.clip, 0)
        for beta in self.betas:
            if not 0 <= beta < 1:
                raise SettingsError(f"betas: expected numbers from 0 to below 1, got {beta:g}")


@dataclass(frozen=True, kw_only=True)
class RunRecipe:
    """How long, how wide, how exact."""

    steps: int = 1000
    """Updates of the weights."""
    batch: int = 2
    """Rows a process and pass, at the first of `data.sizes`; larger crops get fewer."""
    accumulate: int = 1
    """Passes whose gradients are averaged into one update."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the networks' arithmetic (autocast); weights, noise, schedule and losses stay float32."""
    gradient_checkpointing: bool = False
    """Recompute blocks in the backward pass: less memory, more time, the same numbers."""
    compile: bool = False
    """torch.compile the network that is trained."""
    channels_last: bool = True
    ema: float = 0.9999
    """Decay of the averaged weights, which are what is validated and released."""
    log_every: int = 50
    validate_every: int = 1000
    """Steps between held-out losses and sample grids; 0 = only at the end."""
    held_out: int = 64
    """Held-out samples that are measured."""
    pictures: int = 8
    """Held-out samples that are filled and drawn."""
    sample_steps: int = 20
    settle: int = 100
    """Batches over which batch-norm statistics are estimated anew at the end; 0 = keep the running ones."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "log_every", "held_out", "sample_steps"):
            at_least(name, getattr(self, name), 1)
        for name in ("validate_every", "pictures", "settle"):
            at_least(name, getattr(self, name), 0)
        if not 0 <= self.ema < 1:
            raise SettingsError(f"ema: expected a number from 0 to below 1, got {self.ema:g}")


@dataclass(frozen=True, kw_only=True)
class FewStepRecipe:
    """Fewer network calls a picture: `training.few_steps`."""

    guidance: float = 1.0
    """Scale at which the teacher is guided while it teaches; the student then needs no guidance."""
    steps: int = 4
    """consistency: solver steps that the student shall need."""
    teacher_steps: int = 48
    """consistency: solver steps of the teacher's path, a multiple of `steps`."""

    def __post_init__(self) -> None:
        at_least("steps", self.steps, 1)
        at_least("guidance", self.guidance, 0)
        if self.teacher_steps % self.steps or self.teacher_steps < self.steps:
            raise SettingsError(
                f"teacher_steps: expected a multiple of steps ({self.steps}), got {self.teacher_steps}"
            )


@dataclass(frozen=True, kw_only=True)
class PictureRecipe:
    """A share of the rows is filled in one step and compared as a picture (`training.objectives`)."""

    share: float = 0.0
    """Part of each batch, 0 to 1; 0 = none."""
    lpips: float = 1.0
    """Weight of LPIPS beside the mean absolute error in the hole."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise SettingsError(f"share: expected a number from 0 to 1, got {self.share:g}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a training run makes.

    Raises:
        SettingsError: values that cannot be, or do not fit together.
    """

    title: str = ""
    """What it is for, in a line."""
    objective: Objective = "diffusion"
    """diffusion: predict the noise. distillation: and what a teacher predicts. guidance: what a guided teacher
    predicts. consistency: where a teacher's many steps end."""
    seed: int = 42
    architecture: Architecture = "moebius"
    network: Mapping[str, Any] = field(default_factory=dict)
    """Sizes of the network, as in `MoebiusConfig` or `PixelHackerConfig`; empty takes the starting model's, or
    else the published ones."""
    autoencoder: str | None = None
    """Model (name or folder) whose autoencoder is used, or a file that `moebius train autoencoder` wrote; None takes
    the teacher's or the starting model's."""
    teacher: str | None = None
    """Model (name or folder) that is distilled."""
    start: str | None = None
    """Model (name or folder) whose weights training starts from; None starts from random ones."""
    category_table: Literal["teacher", "random"] = "teacher"
    """Where a student that starts from nothing has its category table from, if the teacher's fits."""
    feeding: Feeding | None = None
    """None takes the teacher's or the starting model's, or else the published one."""
    data: DataRecipe = field(default_factory=DataRecipe)
    noise: NoiseRecipe = field(default_factory=NoiseRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)
    few: FewStepRecipe = field(default_factory=FewStepRecipe)
    picture: PictureRecipe = field(default_factory=PictureRecipe)

    def __post_init__(self) -> None:
        at_least("seed", self.seed, 0)
        if self.objective == "distillation" and self.architecture != "moebius":
            raise SettingsError(
                f"architecture: expected moebius (the student of a distillation), got {self.architecture}"
            )
        if self.run.compile and self.objective == "distillation" and self.loss.form != "fixed":
            raise SettingsError(
                "run.compile: expected loss.form fixed, for a compiled network is one piece, and each gradient norm "
                f"would cost a whole backward pass; got {self.loss.form}"
            )
        if self.picture.share and self.objective != "diffusion":
            raise SettingsError(f"picture.share: expected objective diffusion, got {self.objective}")

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain values, for a checkpoint or a log."""
        return asdict(self)


ONE_STEP_SHARE = 0.625
"""Part of each batch that a model of one step is trained on as pictures (`PictureRecipe`), as `nano` was."""


def as_used(spec: ModelSpec) -> list[str]:
    """Changes to a recipe that train a model as it is used: at the sides it fills at, for the steps it takes."""
    changes = [f"data.sizes={list(spec.sides)}", f"run.sample_steps={spec.defaults.steps}"]
    if not spec.guidance_trained:
        changes.append("data.opposite=none")
    if spec.defaults.steps == 1:
        changes.append(f"picture.share={ONE_STEP_SHARE}")
    return changes


def load_recipe(source: str | Path, changes: Iterable[str] = ()) -> Recipe:
    """The shipped recipe of that name, or the one in a TOML file, with changes like "run.batch=4" made to it.

    Raises:
        InputError: no such recipe, or the file is not TOML.
        SettingsError: an unknown field or an impossible value.
    """
    text, where = _read(source)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: expected TOML, got: {error}") from error
    table = merge(table, changes, where)
    data = table.get("data")
    if isinstance(data, Mapping) and "feed" in data:
        raise SettingsError(f"{where}: data.feed follows from feeding.feed; set that one")
    recipe = build(Recipe, table, where)
    return with_feeding(recipe, recipe.feeding) if recipe.feeding else recipe


def with_feeding(recipe: Recipe, feeding: Feeding) -> Recipe:
    """The recipe with that feeding, its data made to fit."""
    return replace(recipe, feeding=feeding, data=replace(recipe.data, feed=feeding.feed))


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    folder = files("moebius.training") / "recipes"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def _read(source: str | Path) -> tuple[str, str]:
    path = Path(source)
    if path.suffix == ".toml" or isinstance(source, Path):
        if not path.is_file():
            found = "a folder" if path.is_dir() else "nothing"
            raise InputError(f"{path}: expected a recipe in TOML, found {found}")
        try:
            return path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: expected a recipe in TOML, got: {error}") from error
    if source not in recipe_names():
        raise InputError(f"no recipe named {source!r}: {nearest(str(source), recipe_names())}")
    return (files("moebius.training") / "recipes" / f"{source}.toml").read_text("utf-8"), f"recipe {source}"


def at_least(name: str, value: float, least: float) -> None:
    """Raises SettingsError unless value >= least, and finite."""
    _finite(name, value)
    if not value >= least:
        raise SettingsError(f"{name}: expected {least:g} or more, got {value:g}")


def above(name: str, value: float, limit: float) -> None:
    """Raises SettingsError unless value > limit, and finite."""
    _finite(name, value)
    if not value > limit:
        raise SettingsError(f"{name}: expected more than {limit:g}, got {value:g}")


def _finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise SettingsError(f"{name}: expected a finite number, got {value:g}")
