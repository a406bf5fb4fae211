"""Runs small enough to repeat: photos, model folders, a recipe, and the program in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from made_photos import picture
from PIL import Image
from random_models import AUTOENCODER
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from moebius.networks import MoebiusConfig, NanoAutoencoder, PixelHackerConfig, build_denoiser
from moebius.testing import LIKE_PUBLISHED
from moebius.training.loop import Outcome, RunOptions, train
from moebius.training.recipe import Recipe, load_recipe
from moebius.weights import save_folder

Finished = subprocess.CompletedProcess[str]
"""What a call of the program left behind."""
TESTS = Path(__file__).parents[1]
SIZES: dict[str, Any] = {
    "latent_channels": 4, "latent_size": 8, "layers": 1, "heads": 2, "category_channels": 8,
    "context_channels": 8, "norm_groups": 4,
}  # fmt: skip
STUDENT = MoebiusConfig(channels=(8, 16, 16), **SIZES)
TEACHER = PixelHackerConfig(channels=(16, 16, 16), **SIZES)
RECIPE = """
objective = "distillation"
[network]
latent_channels = 4
latent_size = 8
channels = [8, 16, 16]
layers = 1
heads = 2
category_channels = 8
context_channels = 8
norm_groups = 4
[data]
sizes = [64]
crop = "random"
masks = { medium = 1.0 }
hole = [0.05, 0.5]
holdout = 0.2
[noise]
timesteps = "uniform"
[loss]
coarse = 0.01
output = 0.5
task = 0.5
perceptual = 0.5
teacher_tap = 3
[optimizer]
name = "adamw"
learning_rate = 3e-3
weight_decay = 0.01
[run]
steps = 3
batch = 4
ema = 0.5
log_every = 1
validate_every = 0
held_out = 4
pictures = 0
sample_steps = 2
settle = 0
"""
TEACHER_CHANGES = (
    "objective=diffusion",
    "architecture=pixelhacker",
    "network.channels=[16, 16, 16]",
    "feeding.prediction=v",
    "feeding.first_timestep=999",
)
"""The recipe, made that of the teacher."""


@dataclass(frozen=True)
class Tiny:
    """Where everything lies."""

    photos: Path
    recipe: Path
    teacher: Path
    """Random weights; category ids that matter."""
    student: Path
    """Random weights, and another table of categories than the teacher's."""

    def load(self, *changes: str, teacher: Path | None = None) -> Recipe:
        """The recipe with the teacher that it needs, and changes."""
        return load_recipe(self.recipe, [f'teacher="{teacher or self.teacher}"', *changes])

    def train(self, out: Path, *changes: str, teacher: Path | None = None, **options: Any) -> Outcome:
        """Run it in this process."""
        recipe = self.load(*changes, teacher=teacher)
        return train(recipe, [self.photos], out, RunOptions(device="cpu", **options))


def make_tiny(folder: Path) -> Tiny:
    made = Tiny(folder / "photos", folder / "tiny.toml", folder / "teacher", folder / "student")
    save_photos(made.photos)
    made.recipe.write_text(RECIPE)
    save_model(made.teacher, TEACHER, made.photos)
    save_model(made.student, STUDENT, made.photos)
    return made


def save_photos(folder: Path, count: int = 10) -> None:
    """Parts of a large picture with their channels in turn."""
    folder.mkdir(parents=True)
    whole = picture(400, 300)
    for i in range(count):
        part = whole[20 * i : 20 * i + 72, 30 * i : 30 * i + 80]
        Image.fromarray(np.roll(part, i, axis=2)).save(folder / f"photo{i}.png")


def save_model(folder: Path, config: MoebiusConfig | PixelHackerConfig, photos: Path) -> None:
    """A model folder: random weights, latents of mean 0 and variance 1 on the photos."""
    architecture = "moebius" if isinstance(config, MoebiusConfig) else "pixelhacker"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5 if architecture == "moebius" else 6)
        nets = {
            "denoiser": build_denoiser(architecture, config),
            "autoencoder": _settled(NanoAutoencoder(AUTOENCODER), photos),
        }
    spec = replace(
        LIKE_PUBLISHED, name=f"tiny-{folder.name}", architecture=architecture, denoiser=config.to_dict(),
        latent_scale=1.0, prediction="v", first_timestep=999,
    )  # fmt: skip
    save_folder(
        folder, spec, {f"{part}.{k}": t for part, net in nets.items() for k, t in net.state_dict().items()}
    )


@torch.no_grad()
def _settled(net: NanoAutoencoder, photos: Path) -> NanoAutoencoder:
    pictures = [np.asarray(Image.open(path))[:64, :64] for path in sorted(photos.iterdir())]
    net.latent_norm.momentum = None
    net.train().encode(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 127.5 - 1)
    return net.eval()


def lines(out: Path, kind: str = "train") -> list[dict[str, Any]]:
    """What a run logged."""
    every = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line for line in every if line["kind"] == kind]


def state(out: Path, name: str = "checkpoint.safetensors") -> dict[str, Tensor]:
    """All tensors of a run's checkpoint."""
    return load_file(out / name)


def step_of(path: Path) -> int:
    with safe_open(path, framework="pt") as file:
        return int(file.metadata()["step"])


def differences(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    """Names of the tensors that are not the same to the bit."""
    names = a.keys() | b.keys()
    return sorted(n for n in names if n not in a or n not in b or not torch.equal(a[n], b[n]))


def environment(**more: str) -> dict[str, str]:
    """For a process of its own: one thread, no network, and no torchvision, which may not fit torch."""
    paths = [str(TESTS / "no_torchvision"), *filter(None, [os.environ.get("PYTHONPATH")])]
    quiet = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"}
    return {**os.environ, **quiet, "PYTHONPATH": os.pathsep.join(paths), **more}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "moebius", *map(str, arguments)]


def moebius(*arguments: object, cwd: Path | None = None, **more: str) -> Finished:
    """`moebius ARGUMENTS` in a process of its own."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=cwd, env=environment(**more), check=False,
        timeout=300,
    )  # fmt: skip


def options(tiny: Tiny, out: Path, changes: Iterable[str] = ()) -> list[object]:
    """Those that `moebius train` needs for the tiny recipe."""
    given: list[object] = ["--data", tiny.photos, "--out", out, "--device", "cpu", "--threads", 1]
    for change in changes:
        given += ["--set", change]
    return given
