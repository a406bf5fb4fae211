"""Train the small autoencoder: one visible loop, resumable, the same on CPU and GPU.

    moebius train autoencoder --data SHARDS --features FILE --out runs/autoencoder

Loss: mean |error| + mean |error| at quarter size + LPIPS-squeeze on a sub-crop. Latents pass a batch norm
without affine (mean 0, variance 1) and a little noise, so the decoder forgives an imperfect denoiser.
"""

from __future__ import annotations

import copy
import json
import logging
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from moebius.networks.autoencoder import AutoencoderConfig, NanoAutoencoder
from moebius.networks.perceptual import LPIPSSqueeze, load_lpips
from moebius.training.checkpoint import load_checkpoint, save_checkpoint
from moebius.training.photos import PhotoPack, epoch_index, open_photos, random_crop
from moebius.training.schedule import update_average, warmup_stable_decay
from moebius.weights.store import write_tensors

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe:
    """Everything that decides the result of a run."""

    network: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    steps: int = 7000
    batch: int = 16
    size: int = 128
    """Side of the crops, px."""
    learning_rate: float = 1e-3
    warmup: int = 150
    decay: int = 2000
    """Steps of linear decay at the end."""
    ema: float = 0.998
    perceptual: float = 0.5
    perceptual_size: int = 64
    """Side of the sub-crop that the perceptual term sees, px."""
    latent_noise: float = 0.05
    seed: int = 0


def make_batch(photos: PhotoPack, step: int, recipe: AutoencoderRecipe) -> Tensor:
    """The crops of `step`: (batch, 3, size, size) in [-1, 1], a function of (seed, step) alone."""
    rng = np.random.default_rng([recipe.seed, 1, step])
    crops = []
    for row in range(recipe.batch):
        photo = photos[epoch_index(len(photos), step * recipe.batch + row, recipe.seed)]
        crops.append(random_crop(photo, recipe.size, rng))
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruction_loss(
    net: NanoAutoencoder, image: Tensor, lpips: LPIPSSqueeze | None, recipe: AutoencoderRecipe, step: int
) -> tuple[Tensor, dict[str, float]]:
    """The training loss on image (B, 3, S, S) in [-1, 1], and its parts for the log."""
    latents = net.encode(image)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(recipe.seed * 7919 + step))
    output = net.decode(latents + recipe.latent_noise * noise.to(latents)).float()
    error = (output - image).abs().mean()
    coarse = (F.avg_pool2d(output, 4) - F.avg_pool2d(image, 4)).abs().mean()
    loss, parts = error + coarse, {"l1": error.item(), "coarse": coarse.item()}
    if lpips is not None and recipe.perceptual:
        at = np.random.default_rng([recipe.seed, 2, step]).integers(
            0, recipe.size - recipe.perceptual_size + 1, 2
        )
        y, x = slice(at[0], at[0] + recipe.perceptual_size), slice(at[1], at[1] + recipe.perceptual_size)
        distance = lpips(output[..., y, x], image[..., y, x]).mean()
        loss = loss + recipe.perceptual * distance
        parts["lpips"] = distance.item()
    return loss, parts


def train_autoencoder(
    recipe: AutoencoderRecipe,
    *,
    shards: list[Path],
    features: Path | None,
    out: Path,
    cache: Path,
    device: str = "cpu",
    save_every: float = 120.0,
) -> NanoAutoencoder:
    """Run or continue the training in `out`; returns the averaged network with re-estimated latent statistics.

    `out/checkpoint.safetensors` is written every `save_every` seconds and at the end, `out/log.jsonl` grows by
    a line every 50 steps. `features` is the LPIPS weights file; without it the perceptual term is left out.
    """
    photos = open_photos(shards, cache)
    lpips = load_lpips(features).to(device) if features else None
    torch.manual_seed(recipe.seed)
    net = NanoAutoencoder(recipe.network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    ema = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4
    )
    path, first = out / "checkpoint.safetensors", 0
    if path.exists():
        first = load_checkpoint(path, net=net, ema=ema, optimizer=optimizer).step
        log.info("going on from step %d", first)
    out.mkdir(parents=True, exist_ok=True)

    saved = time.monotonic()
    for step in range(first, recipe.steps):
        rate = warmup_stable_decay(
            step, peak=recipe.learning_rate, warmup=recipe.warmup, total=recipe.steps, decay=recipe.decay
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        image = make_batch(photos, step, recipe).to(device, memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            loss, parts = reconstruction_loss(net, image, lpips, recipe, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        update_average(ema, net, decay=recipe.ema, step=step)

        if step % 50 == 49:
            line = {"step": step + 1, "time": round(time.time()), "loss": loss.item(), **parts}
            with (out / "log.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            log.info("%s", line)
        if time.monotonic() - saved > save_every or step + 1 == recipe.steps:
            save_checkpoint(path, net=net, ema=ema, optimizer=optimizer, step=step + 1, recipe=asdict(recipe))
            saved = time.monotonic()
    return settle_latents(ema, photos, recipe)


@torch.no_grad()
def settle_latents(net: NanoAutoencoder, photos: PhotoPack, recipe: AutoencoderRecipe) -> NanoAutoencoder:
    """Re-estimate `latent_norm` as a plain average over 64 batches of training crops; returns `net` in eval mode."""
    net.latent_norm.reset_running_stats()
    net.latent_norm.momentum = None  # cumulative average
    net.train()
    device = next(net.parameters()).device
    for step in range(64):
        net.encode(make_batch(photos, 1_000_000 + step, recipe).to(device))
    return net.eval()


def save_autoencoder(net: NanoAutoencoder, path: Path) -> Path:
    """Write the network and its configuration as one safetensors file; returns `path`."""
    state = {name: tensor.contiguous() for name, tensor in net.cpu().state_dict().items()}
    write_tensors(path, state, {"config": json.dumps(asdict(net.config))})
    return path
