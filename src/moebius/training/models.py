"""The networks of a run, opened and checked against each other, and what a recipe left for them to say."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import torch
from torch import nn

from moebius.engines.networks import Autoencoder, load_denoiser
from moebius.errors import SettingsError, UnknownModelError
from moebius.networks import MoebiusConfig, PixelHackerConfig, build_denoiser
from moebius.training.config import build
from moebius.training.lender import Lender, open_lender
from moebius.training.recipe import Feeding, Recipe, with_feeding
from moebius.weights import Defaults, ModelFolder, ModelSpec, open_model

log = logging.getLogger(__name__)

AUTOENCODER = "pretrained"
"""Whose autoencoder is used where nothing says: the published VAE."""


@dataclass
class Models:
    """A run's networks, on the CPU, float32."""

    net: nn.Module
    """The network to train."""
    config: MoebiusConfig | PixelHackerConfig
    coder: Autoencoder
    teacher: nn.Module | None
    spec: ModelSpec
    """What the trained network will be described by."""
    lender: Lender
    """Where the autoencoder comes from."""
    digests: dict[str, str]
    """SHA-256 of the weights that take part, by role: for checkpoints and the latent cache."""


def open_models(recipe: Recipe, name: str = "trained") -> tuple[Recipe, Models]:
    """The recipe with nothing left open, and its networks.

    Raises:
        UnknownModelError, CorruptWeightsError: a model is not to be had.
        SettingsError: the networks do not fit together; the message has both values.
    """
    teacher = _open_teacher(recipe.teacher) if recipe.teacher else None
    start = open_model(recipe.start) if recipe.start else None
    if recipe.objective != "diffusion" and teacher is None and start is None:
        raise SettingsError(f"objective {recipe.objective} needs a teacher: give a model's name or folder")
    example = start or teacher
    taught = teacher or start
    recipe = _with_feeding(recipe, start, teacher)
    config = _config(recipe, start)
    lender = open_lender(recipe.autoencoder or example or AUTOENCODER)
    coder = lender.coder
    _check(recipe, config, coder, lender.spec.name)

    if start is not None:
        net = load_denoiser(start).requires_grad_(True)
        if net.config != config:
            raise SettingsError(
                f"network: expected that of model {start.spec.name}, which training starts from, "
                f"got other sizes: {_difference(net.config.to_dict(), config.to_dict())}"
            )
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            net = build_denoiser(recipe.architecture, config)
    needs_teacher = recipe.objective != "diffusion"
    teacher_net = load_denoiser(taught) if needs_teacher and taught is not None else None
    if teacher_net is not None:
        _check_teacher(teacher_net, config, taught)
        if start is None and recipe.category_table == "teacher":
            _take_table(net, teacher_net)
    digests = {}
    if teacher_net is not None and taught is not None:
        digests["teacher"] = taught.hash
    if start is not None:
        digests["start"] = start.hash
    digests["autoencoder"] = lender.digest  # last: it may lie in the same file as one of the others
    spec = _spec(recipe, net, config, lender.spec, coder, name, start.spec if start is not None else None)
    return recipe, Models(net, config, coder, teacher_net, spec, lender, digests)


def _open_teacher(name: str) -> ModelFolder:
    try:
        return open_model(name)
    except UnknownModelError as error:
        if name != "pixelhacker":
            raise
        raise UnknownModelError(
            "teacher: expected a model named pixelhacker, got none; bring its checkpoint in with "
            "moebius models import FILE --name pixelhacker, or name another teacher"
        ) from error


def _with_feeding(recipe: Recipe, start: ModelFolder | None, teacher: ModelFolder | None) -> Recipe:
    given = [model for model in (start, teacher) if model is not None]
    feeding = recipe.feeding or (Feeding.of(given[0].spec) if given else Feeding())
    for model in given:
        theirs = replace(Feeding.of(model.spec), first_timestep=feeding.first_timestep)
        if theirs != feeding and recipe.objective != "diffusion":
            raise SettingsError(
                f"feeding: expected what model {model.spec.name} is fed with, got "
                f"{_difference(asdict(theirs), asdict(feeding))}"
            )
    return with_feeding(recipe, feeding)


def _config(recipe: Recipe, start: ModelFolder | None) -> MoebiusConfig | PixelHackerConfig:
    architecture = start.spec.architecture if start is not None else recipe.architecture
    sizes: dict[str, Any] = dict(recipe.network)
    if not sizes and start is not None:
        sizes = dict(start.spec.denoiser)
    if architecture == "pixelhacker":
        return build(PixelHackerConfig, sizes, "network")
    return build(MoebiusConfig, sizes, "network")


def _check(recipe: Recipe, config: MoebiusConfig | PixelHackerConfig, coder: Autoencoder, name: str) -> None:
    if config.latent_channels != coder.channels:
        raise SettingsError(
            f"network.latent_channels: expected {coder.channels}, as the autoencoder of {name} makes, "
            f"got {config.latent_channels}"
        )
    step = coder.factor * config.multiple
    for size in recipe.data.sizes:
        if size % step:
            raise SettingsError(f"data.sizes: expected multiples of {step} px for this network, got {size}")


def _check_teacher(
    teacher: nn.Module, config: MoebiusConfig | PixelHackerConfig, model: ModelFolder | None
) -> None:
    assert model is not None
    theirs = teacher.config
    for name in ("latent_channels", "tokens"):
        ours, wanted = getattr(config, name), getattr(theirs, name)
        if ours != wanted:
            raise SettingsError(
                f"network: expected {name} {wanted} as teacher {model.spec.name} has, got {ours}"
            )


def _take_table(net: nn.Module, teacher: nn.Module) -> None:
    ours, theirs = (cast(Any, each).category_embedding.weight for each in (net, teacher))
    if ours.shape == theirs.shape:
        with torch.no_grad():
            ours.copy_(theirs)
    else:
        log.info("the teacher's category table has another size: the student's stays random")


def _spec(
    recipe: Recipe,
    net: nn.Module,
    config: MoebiusConfig | PixelHackerConfig,
    lender: ModelSpec,
    coder: Autoencoder,
    name: str,
    start: ModelSpec | None,
) -> ModelSpec:
    feeding = recipe.feeding
    assert feeding is not None
    steps, trained = recipe.run.sample_steps, recipe.data.opposite != "none"
    if recipe.objective == "consistency":
        steps, trained = recipe.few.steps, False
    if recipe.objective == "guidance":
        trained = False
    shapes: dict[str, Any] = {"size": max(recipe.data.sizes)}
    shapes["sizes"] = tuple(sorted(set(recipe.data.sizes) - {shapes["size"]}))
    if start is not None and set(recipe.data.sizes) <= set(start.sides):  # the same model, trained further
        shapes = {each: getattr(start, each) for each in ("size", "sizes", "aspects", "cascade", "detail")}
    return ModelSpec(
        name=name,
        title=recipe.title or "trained with moebius",
        licence="yours: follows from the photos and the models it was trained from",
        parameters=sum(p.numel() for p in net.parameters()),
        architecture="pixelhacker" if isinstance(config, PixelHackerConfig) else "moebius",
        denoiser=config.to_dict(),
        autoencoder=lender.autoencoder,
        latent_channels=coder.channels,
        latent_factor=coder.factor,
        latent_scale=lender.latent_scale,
        **asdict(feeding),
        **shapes,
        guidance_trained=trained,
        defaults=Defaults(
            steps=steps,
            guidance=1.0,
            start="noise" if feeding.first_timestep == 999 else feeding.feed,
        ),
        files={role: file for role, file in lender.files.items() if role == "vae"},
    )


def _difference(wanted: dict[str, Any], got: dict[str, Any]) -> str:
    name = next((name for name in wanted if wanted[name] != got.get(name)), "nothing")
    return f"{name} {got.get(name)!r} instead of {wanted.get(name)!r}"
