"""Train a small Moebius denoiser on photos: one visible loop, resumable, the same on CPU and GPU.

    torchrun --nproc-per-node 2 -m moebius.training denoiser --data SHARDS --autoencoder FILE --out runs/denoiser

The hole is filled smoothly first (`imaging.push_pull`), and what is diffused is the residual between the
photo's latents and the filled photo's: the network starts from a fill that already has the right colours and
spends its capacity on structure and texture. The network predicts v (Salimans & Ho, Progressive Distillation,
appendix D), which is noise prediction in another basis, well behaved down to pure noise:

    r = scale * (z_photo - z_prefill)      x_t = a_t r + s_t e      v = a_t e - s_t r

Loss: mean squared error of v, cells outside the hole weighted down. A second run may start from the first one's
weights and give a share of its rows to pure noise (t = 999), whose x0 is the whole fill: that row's picture is
decoded and compared as a picture (`fill_loss`), which is what a fill in one step needs.
"""

from __future__ import annotations

import copy
import json
import logging
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from moebius.imaging import push_pull
from moebius.networks.autoencoder import AutoencoderConfig, NanoAutoencoder
from moebius.networks.denoiser import MoebiusConfig, MoebiusUNet
from moebius.networks.perceptual import LPIPSSqueeze, load_lpips
from moebius.sampling import scaled_linear
from moebius.training.checkpoint import load_checkpoint, save_checkpoint
from moebius.training.masks import random_mask
from moebius.training.photos import PhotoPack, epoch_index, open_photos, random_crop
from moebius.training.schedule import update_average, warmup_stable_decay
from moebius.training.workers import Workers

log = logging.getLogger(__name__)


def _nano() -> MoebiusConfig:
    return MoebiusConfig(
        latent_channels=8,
        latent_size=16,
        channels=(64, 128, 256),
        category_channels=64,
        context_channels=64,
        norm_groups=16,
    )


@dataclass(frozen=True, kw_only=True)
class DenoiserRecipe:
    """Everything that decides the result of a run."""

    network: MoebiusConfig = field(default_factory=_nano)
    steps: int = 6000
    batch: int = 12
    """Crops a worker and step."""
    sizes: tuple[int, ...] = (128,)
    """Sides of the crops, px, taken in turn; `batch` is for the first, larger ones get fewer rows."""
    one_step: float = 0.0
    """Share of rows at t = 999 that are trained by the decoded picture (needs the decoder, and LPIPS weights)."""
    perceptual: float = 1.0
    """Weight of LPIPS in that part."""
    residual_scale: float = 2.0
    learning_rate: float = 1e-3
    warmup: int = 200
    decay: int = 1500
    """Steps of linear decay at the end."""
    weight_decay: float = 1e-2
    ema: float = 0.999
    outside_weight: float = 0.1
    """Weight of latent cells outside the hole."""
    seed: int = 0

    def rows(self, step: int) -> tuple[int, int]:
        """(crops, side in px) of each worker at `step`."""
        size = self.sizes[step % len(self.sizes)]
        return max(1, round(self.batch * (self.sizes[0] / size) ** 2)), size


def load_autoencoder(path: Path) -> NanoAutoencoder:
    """A frozen autoencoder from the file its training wrote."""
    with safe_open(path, framework="pt") as file:
        config = AutoencoderConfig(**json.loads(file.metadata()["config"]))
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    net = NanoAutoencoder(config)
    net.load_state_dict(state)
    return net.eval().requires_grad_(False)


def make_batch(
    photos: PhotoPack, step: int, workers: Workers, recipe: DenoiserRecipe
) -> tuple[Tensor, Tensor, Tensor]:
    """This worker's rows of `step`: photo, smoothly filled photo (both (B, 3, S, S) in [-1, 1]) and mask (B, 1, S, S).

    Each row is a function of (seed, step, row), so N workers see what one worker with an N times larger batch would.
    """
    images, fills, masks = [], [], []
    rows, size = recipe.rows(step)
    for row in range(rows):
        position = (step * workers.count + workers.rank) * recipe.batch + row
        rng = np.random.default_rng([recipe.seed, 3, position])
        photo = photos[epoch_index(len(photos), position, recipe.seed)]
        image = random_crop(photo, size, rng).astype(np.float32) / np.float32(255)
        mask = random_mask(size, rng)
        images.append(image)
        fills.append(push_pull(image, mask))
        masks.append(mask)
    photo_tensor, fill_tensor = (
        torch.from_numpy(np.stack(part)).permute(0, 3, 1, 2) * 2 - 1 for part in (images, fills)
    )
    return photo_tensor, fill_tensor, torch.from_numpy(np.stack(masks)).unsqueeze(1).float()


def batches(
    photos: PhotoPack, first: int, workers: Workers, recipe: DenoiserRecipe, loaders: int = 0
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """`make_batch` for every step from `first`, made ahead: on one thread, or in `loaders` processes (for a GPU)."""
    pool: Executor = ThreadPoolExecutor(1)
    if loaders:
        pool = ProcessPoolExecutor(loaders, mp_context=get_context("spawn"))
    with pool:
        steps = iter(range(first, recipe.steps))
        ahead = deque(
            pool.submit(make_batch, photos, step, workers, recipe) for step in islice(steps, loaders + 1)
        )
        while ahead:
            ready = ahead.popleft()
            for step in islice(steps, 1):
                ahead.append(pool.submit(make_batch, photos, step, workers, recipe))
            yield ready.result()


def fill_loss(
    picture: Tensor, image: Tensor, mask: Tensor, lpips: LPIPSSqueeze | None, perceptual: float
) -> Tensor:
    """How far a decoded fill is from the photo: mean |error| in the hole, and LPIPS of the pasted picture.

    picture, image (B, 3, S, S) in [-1, 1], mask (B, 1, S, S); the LPIPS is divided by the hole's share of the crop.
    """
    error = (mask * (picture - image)).abs().sum() / (3 * mask.sum())
    if lpips is None or not perceptual:
        return error
    pasted = torch.lerp(image, picture, mask)
    distance: Tensor = lpips(pasted, image) / mask.mean((1, 2, 3))
    return error + perceptual * distance.mean()


def train_denoiser(
    recipe: DenoiserRecipe,
    *,
    shards: list[Path],
    autoencoder: Path,
    out: Path,
    cache: Path,
    device: str = "cpu",
    features: Path | None = None,
    initial: Path | None = None,
    loaders: int = 0,
    save_every: float = 120.0,
) -> MoebiusUNet:
    """Run or continue the training in `out`; returns the averaged network.

    `features` is the LPIPS weights file for `one_step` rows; without it they have no perceptual term.
    `initial` is the checkpoint of another run to start from (weights only). `loaders` is the number of processes
    that crop and mask photos; a CPU run needs none, a GPU wants one for each processor core.
    `out/checkpoint.safetensors` is written every `save_every` seconds and at the end, `out/log.jsonl` grows by
    a line every 50 steps.
    """
    workers = Workers.join(device)
    photos = open_photos(shards, cache)
    coder = load_autoencoder(autoencoder).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    lpips = load_lpips(features).to(device) if features is not None and recipe.one_step else None
    torch.manual_seed(recipe.seed)
    net = MoebiusUNet(recipe.network)
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    ema = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        net.parameters(),
        lr=recipe.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    path, first = out / "checkpoint.safetensors", 0
    if path.exists():
        first = load_checkpoint(path, net=net, ema=ema, optimizer=optimizer)
        log.info("going on from step %d", first)
    elif initial is not None:
        scratch = torch.optim.AdamW(net.parameters())
        load_checkpoint(initial, net=ema, ema=net, optimizer=scratch)  # both start from the averaged weights
        ema.load_state_dict(net.state_dict())
    out.mkdir(parents=True, exist_ok=True)
    alpha_bar = torch.from_numpy(scaled_linear().alphas_cumprod).float().to(device)
    ids = torch.arange(recipe.network.tokens, device=device)
    net.train()

    saved, started = time.monotonic(), time.monotonic()
    losses: list[float] = []
    pictures: list[float] = []
    for step, (image, fill, mask) in enumerate(batches(photos, first, workers, recipe, loaders), start=first):
        rate = warmup_stable_decay(
            step, peak=recipe.learning_rate, warmup=recipe.warmup, total=recipe.steps, decay=recipe.decay
        )
        for group in optimizer.param_groups:
            group["lr"] = rate

        with torch.no_grad():
            prefill = coder.encode(fill.to(device))  # (B, c, h, w)
            residual = recipe.residual_scale * (coder.encode(image.to(device)) - prefill)
            hole = F.max_pool2d(mask.to(device), mask.shape[-1] // prefill.shape[-1])  # (B, 1, h, w)
            random = torch.Generator().manual_seed(
                (recipe.seed * 1_000_003 + step) * workers.count + workers.rank
            )
            noise = torch.randn(residual.shape, generator=random).to(device)
            t = torch.randint(0, len(alpha_bar), (len(residual),), generator=random).to(device)
            whole = round(recipe.one_step * len(residual))  # the first rows are filled in one step
            t[:whole] = len(alpha_bar) - 1
            a = alpha_bar[t].sqrt().view(-1, 1, 1, 1)
            s = (1 - alpha_bar[t]).sqrt().view(-1, 1, 1, 1)
            noisy, target = a * residual + s * noise, a * noise - s * residual
            weight = hole + recipe.outside_weight * (1 - hole)

        x = torch.cat([noisy, hole, prefill], dim=1).contiguous(memory_format=torch.channels_last)
        predicted = net(x, t, ids.expand(len(t), -1))
        loss = (weight * (predicted - target).square()).sum() / (weight.sum() * target.shape[1])
        if whole:
            x0 = (a * noisy - s * predicted)[:whole]
            latents = prefill[:whole] + hole[:whole] * x0 / recipe.residual_scale
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                picture = coder.decode(latents.contiguous(memory_format=torch.channels_last)).float()
                part = fill_loss(
                    picture, image[:whole].to(device), mask[:whole].to(device), lpips, recipe.perceptual
                )
            loss = loss + part
            pictures.append(part.item())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        workers.average_gradients(net)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        update_average(ema, net, decay=recipe.ema, step=step)

        losses.append(loss.item())
        if step % 50 == 49 and workers.first:
            pace = (
                sum(recipe.rows(i)[0] for i in range(first, step + 1))
                * workers.count
                / (time.monotonic() - started)
            )
            line = {"step": step + 1, "time": round(time.time()), "loss": round(float(np.mean(losses)), 5)}
            line |= {"picture_loss": round(float(np.mean(pictures)), 5)} if pictures else {}
            line |= {"lr": rate, "images_per_second": round(pace, 1)}
            with (out / "log.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            log.info("%s", line)
            losses.clear()
            pictures.clear()
        if step % 50 == 49 or step + 1 == recipe.steps:
            workers.average_buffers(net)
            due = time.monotonic() - saved > save_every or step + 1 == recipe.steps
            if workers.first and due:
                for average, value in zip(ema.buffers(), net.buffers(), strict=True):
                    average.copy_(value)
                save_checkpoint(
                    path, net=net, ema=ema, optimizer=optimizer, step=step + 1, recipe=asdict(recipe)
                )
                saved = time.monotonic()
    workers.leave()
    ema.eval()
    return ema
