"""The steps that `throughput` measures: the release's, the training loop's, and what lies between, on one scene."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moebius.engines.networks import Autoencoder, load_autoencoder
from moebius.errors import TrainingError
from moebius.networks import MoebiusUNet, PixelHackerConfig, PixelHackerUNet, build_denoiser
from moebius.training.averaging import Average
from moebius.training.data.latents import LatentCache
from moebius.training.data.loader import Batch
from moebius.training.inputs import Feeder, Inputs
from moebius.training.losses import coarse_loss, output_loss, task_loss
from moebius.training.muon import Muon, Rule
from moebius.training.objectives import Distillation, autocast, coarse_feature
from moebius.training.optimize import make_optimizer
from moebius.training.perceptual import TeacherFeatures
from moebius.training.published_step import published_step
from moebius.training.recipe import Feeding, Recipe, load_recipe, with_feeding
from moebius.training.setup import probes
from moebius.training.weighting import GradientNormWeights, LossRecipe, vectors
from moebius.weights import open_model
from moebius.weights.convert import VAE_CONFIG
from moebius.weights.registry import find

Size = Literal["tiny", "small", "full"]
Encoded = Literal["twice", "together", "kept"]

BATCHES = 2
"""Batches that are gone through in turn."""
BURN_IN = 2
"""Steps of each kind before anything is measured."""
SIZES: Mapping[str, tuple[str, str, int, int]] = {
    "tiny": ("tiny-test", "tiny-teacher", 16, 16),
    "small": ("ablation-student", "ablation-teacher", 12, 12),
    "full": ("full", "", 1, 16),
}
"""Size -> recipe of the student, recipe of the teacher (none: the published sizes), batch on a CPU and on a GPU."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """How a step is done; the defaults are the release's way."""

    latents: Encoded = "twice"
    """twice: photo and emptied photo are encoded one after the other. together: in one pass. kept: the photo's
    latents are read from a file, the emptied photo is encoded."""
    recompute: bool = True
    """Gradient checkpointing of the student."""
    vectors: bool = False
    """Norms from two vectors and one backward pass, instead of seven partial passes and a whole one."""
    rule: Rule = "published"
    """Which weights Muon orthogonalises."""
    batched: bool = False
    """Muon takes weights of equal shape together."""
    reads: bool = True
    """Twenty values are read from the device in each step, and latents are looked through for NaN; without, one."""
    channels_last: bool = False
    ema: bool = False
    """Averaged weights are kept, which the release does not."""
    compiled: bool = False
    """torch.compile of the student."""


_KEPT = Step(latents="kept")
_PLAIN = replace(_KEPT, recompute=False)
_VECTORS = replace(_PLAIN, vectors=True)
_MATRICES = replace(_VECTORS, rule="ours")
_BATCHED = replace(_MATRICES, batched=True)
_UNREAD = replace(_BATCHED, reads=False)
_LAYOUT = replace(_UNREAD, channels_last=True)
_OURS = replace(_LAYOUT, ema=True)

STEPS: Mapping[str, tuple[str, Step]] = MappingProxyType(
    {
        "published": ("published step", Step()),
        "kept": ("+ photos' latents kept", _KEPT),
        "plain": ("+ no recomputation", _PLAIN),
        "vectors": ("+ two vectors for seven passes", _VECTORS),
        "matrices": ("+ Muon for matrices only", _MATRICES),
        "batched": ("+ Muon by equal shapes", _BATCHED),
        "unread": ("+ one value read a step", _UNREAD),
        "layout": ("+ channels last", _LAYOUT),
        "ours": ("+ averaged weights = our step", _OURS),
        "together": ("our step, no latents kept", replace(_OURS, latents="together")),
        "recompute": ("our step, with recomputation", replace(_OURS, recompute=True)),
        "compiled": ("our step, compiled", replace(_OURS, compiled=True)),
    }
)
"""Name -> what it is called in the table, and the step: the ladder, then what is compared with its end."""
BESIDE = ("together", "recompute", "compiled")
"""Steps that are no rung."""


class Scene:
    """Networks with random weights and made-up batches on one device: what the steps share."""

    def __init__(self, size: str, batch: int, device: torch.device, folder: Path, *, channels_last: bool):
        self.recipe, teacher_config = sized(size, batch, device)
        self.device, self._folder = device, folder
        layout = torch.channels_last if channels_last else torch.contiguous_format
        with _seeded(7, device):
            net = build_denoiser("moebius", self.recipe.network).to(memory_format=layout)  # type: ignore[call-overload]
            teacher = build_denoiser("pixelhacker", teacher_config).to(memory_format=layout)  # type: ignore[call-overload]
            self.coder = _coder(size).to(device)
        if device.type == "cuda":  # as released, and as the loop does
            self.coder.to(dtype=torch.bfloat16)
        assert isinstance(net, MoebiusUNet) and isinstance(teacher, PixelHackerUNet)
        self.net, self.teacher = net.train(), teacher.eval().requires_grad_(False)
        half = torch.bfloat16 if device.type == "cuda" else None
        self.perceptual = TeacherFeatures(self.teacher, autocast=half)
        self.objective = Distillation(self.recipe, self.teacher, self.perceptual)
        self.weights = GradientNormWeights(self.recipe.loss)
        self.output_probe, self.feature_probe = probes(self.net, self.recipe)
        self.batches = [_made_up(self.recipe, number) for number in range(BATCHES)]
        self._feeders: dict[str, Feeder] = {}
        self._optimizers: dict[Rule, Muon] = {}

    def step(self, number: int, how: Step) -> float:
        """One update of the weights; returns its loss."""
        batch = self.batches[number % BATCHES]
        self.net.gradient_checkpointing = how.recompute
        values = self.forward_backward(self.feeder(how)(batch), how)
        values["gradient"] = nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.optimizer.clip)
        if how.reads:
            [float(value) for value in values.values()]
        elif not math.isfinite(float(values["gradient"])):
            raise TrainingError(f"expected a finite gradient, got {float(values['gradient']):g}")
        optimizer = self.optimizer(how.rule)
        optimizer.batched = how.batched
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if how.ema:
            self.average.update(self.net)
        return float(values["loss"])

    def forward_backward(self, inputs: Inputs, how: Step) -> dict[str, Tensor]:
        """Gradients are added to the student's; returns losses, ratios and norms, not yet read."""
        return self._ours(inputs, how) if how.vectors else self._published(inputs)

    def feeder(self, how: Step) -> Feeder:
        """What makes the networks' inputs in that way of a step."""
        if how.latents not in self._feeders:
            kind = _EncodesTwice if how.latents == "twice" else Feeder
            cache = self._cache if how.latents == "kept" else None
            tokens = self.net.config.tokens
            self._feeders[how.latents] = kind(self.recipe, self.coder, tokens, self.device, cache)
        return self._feeders[how.latents]

    def optimizer(self, rule: Rule) -> Muon:
        """The optimiser whose rule that is."""
        if rule not in self._optimizers:
            made = make_optimizer(self.net, replace(self.recipe.optimizer, rule=rule))
            assert isinstance(made, Muon)
            self._optimizers[rule] = made
        return self._optimizers[rule]

    @cached_property
    def average(self) -> Average:
        """The averaged weights."""
        return Average(self.net, self.recipe.run.ema)

    @cached_property
    def compiled(self) -> Any:
        """The student as the loop compiles it."""
        return torch.compile(self.net)

    def _published(self, inputs: Inputs) -> dict[str, Tensor]:
        """The release's: losses with their graphs, the perceptual network's included."""
        with autocast(self.recipe, self.device):
            predicted, features = self.net(inputs.x, inputs.timesteps, inputs.ids, return_features=True)
            # Not under no_grad: there is no graph because nothing in it asks for gradients.
            taught, theirs = self.teacher(inputs.x, inputs.timesteps, inputs.ids, return_features=True)
        predicted, features = predicted.float(), [feature.float() for feature in features]
        taught, theirs = taught.float(), [feature.float() for feature in theirs]
        kind = inputs.feeding.prediction
        clean = inputs.diffusion.clean_from(kind, predicted, inputs.noisy, inputs.timesteps)
        losses = {
            "coarse": coarse_loss(
                coarse_feature(features, self.recipe), theirs[self.recipe.loss.teacher_tap]
            ),
            "output": output_loss(predicted, taught),
            "task": task_loss(predicted, inputs.target),
            "perceptual": self.perceptual(clean, inputs.clean, inputs),
        }
        assert self.output_probe is not None and self.feature_probe is not None
        done = published_step(losses, self.output_probe, self.feature_probe, self.recipe.loss)
        values = {name: loss.detach() for name, loss in losses.items()}
        weighted = {f"weighted_{n}": self.recipe.loss.weight(n) * loss for n, loss in values.items()}
        return {"loss": done.total, **values, **weighted, **done.ratios, **done.norms}

    def _ours(self, inputs: Inputs, how: Step) -> dict[str, Tensor]:
        """The training loop's `forward_backward`, on one process."""
        goal = self.objective.goal(inputs)
        assert goal.feature is not None
        net = self.compiled if how.compiled else self.net
        with autocast(self.recipe, self.device):
            predicted, features = net(inputs.x, inputs.timesteps, inputs.ids, return_features=True)
        predicted = predicted.float()
        at_output = vectors(goal.output, predicted)
        feature = coarse_feature(features, self.recipe)
        at_feature = vectors({"coarse": goal.feature}, feature)["coarse"]
        balanced = self.weights(
            predicted, feature, at_output, at_feature, self.output_probe, self.feature_probe
        )
        balanced.backward_through(predicted, feature).backward()  # type: ignore[no-untyped-call]
        values = {name: value for name, (value, _) in at_output.items()}
        values["coarse"] = at_feature[0]
        return {"loss": balanced.total, **values, **balanced.ratios, **balanced.norms}

    @cached_property
    def _cache(self) -> LatentCache:
        """Filled photo by photo, so that this takes no memory that a step does not."""
        rows, side = BATCHES * self.recipe.run.batch, self.recipe.data.sizes[0] // self.coder.factor
        cache = LatentCache(
            self._folder, rows=rows, channels=self.coder.channels, side=side, autoencoder="made up"
        )
        with torch.no_grad():
            for batch in self.batches:
                for row, digest, image in zip(batch.rows, batch.digests, batch.image, strict=True):
                    moments = torch.stack(self.coder.encode_moments(image[None].to(self.device)), dim=1)
                    cache.put(row[None], [digest], moments)
        return cache


class _EncodesTwice(Feeder):
    """Encodes as the release does: one pass for the photos, one for the emptied ones, each looked through for NaN."""

    def _encode(self, batch: Batch, image: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
        photos, emptied = (self._moments(each) for each in (image, shown))
        return _without_nan(photos), _without_nan(emptied)


def _without_nan(moments: Tensor) -> Tensor:
    return moments.nan_to_num() if bool(moments.isnan().any()) else moments


def sized(size: str, batch: int, device: torch.device) -> tuple[Recipe, PixelHackerConfig]:
    """The recipe of a size, and its teacher's sizes; the released weights of the losses, the published mask."""
    student, teacher, *_ = SIZES[size]
    taught = load_recipe(teacher) if teacher else None
    recipe = load_recipe(student, [f"run.batch={batch}"])
    feeding = (taught.feeding if taught else recipe.feeding) or Feeding()
    recipe = with_feeding(recipe, replace(feeding, mask_mode="nearest"))
    precision: Literal["bfloat16", "float32"] = "bfloat16" if device.type == "cuda" else "float32"
    recipe = replace(
        recipe,
        loss=LossRecipe(),
        noise=replace(recipe.noise, latents="sample"),
        run=replace(recipe.run, precision=precision),
    )
    return recipe, PixelHackerConfig(**(taught.network if taught else {}))


def _coder(size: str) -> Autoencoder:
    """nano's autoencoder, or one with random weights built like the published VAE."""
    if size != "full":
        return load_autoencoder(open_model("nano"))
    from diffusers import AutoencoderKL

    network = AutoencoderKL.from_config(VAE_CONFIG).eval().requires_grad_(False)
    return Autoencoder(network, find("pretrained"))


def _made_up(recipe: Recipe, number: int) -> Batch:
    """A batch of smooth colours with a rectangular hole each."""
    batch, side = recipe.run.batch, recipe.data.sizes[0]
    rows = torch.arange(batch) + number * batch
    draw = torch.Generator().manual_seed(number)
    image = F.interpolate(torch.rand(batch, 3, 8, 8, generator=draw) * 2 - 1, size=side, mode="bilinear")
    mask = torch.zeros(batch, 1, side, side)
    for row, (top, left) in enumerate(torch.randint(side // 2, (batch, 2), generator=draw).tolist()):
        mask[row, :, top : top + side // 3, left : left + side // 3] = 1
    keys = [f"photo-{row}" for row in rows.tolist()]
    return Batch(
        keys=keys, positions=rows, image=image, condition=image * (1 - mask), mask=mask,
        category=torch.zeros(batch, dtype=torch.int64), rows=rows, digests=keys, broken=[],
    )  # fmt: skip


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random weights, made on the device, from that seed; the generators are left as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.device(device):
        torch.manual_seed(seed)
        yield
