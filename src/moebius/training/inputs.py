"""From a batch of photos and masks to what the networks read: latents, noise, timesteps, category ids.

Everything stays float32 until the network's own arithmetic, and every row depends on (seed, position) alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from moebius.engines.networks import Autoencoder
from moebius.training.data.latents import LatentCache
from moebius.training.data.loader import Batch
from moebius.training.noising import Diffusion, draw
from moebius.training.recipe import Feeding, Recipe


@dataclass(frozen=True)
class Inputs:
    """A batch as the networks see it, all on one device. c latent channels, m ids a category."""

    keys: list[str]
    image: Tensor
    """(B, 3, S, S) in [-1, 1]: the photos."""
    pixel_mask: Tensor
    """(B, 1, S, S), 1 = hole."""
    condition: Tensor
    """(B, c, h, w): latents of the photos with their holes emptied or filled smoothly."""
    mask: Tensor
    """(B, 1, h, w), 1 = hole."""
    clean: Tensor
    """(B, c, h, w): what is diffused; the photos' latents, or the scaled residual of the condition's."""
    noise: Tensor
    """(B, c, h, w)."""
    timesteps: Tensor
    """(B,) int64, 0 to 999."""
    category: Tensor
    """(B,) int64: 0 = the first half of the category table, 1 = the second."""
    ids: Tensor
    """(B, m) int64."""
    diffusion: Diffusion
    feeding: Feeding

    @property
    def noisy(self) -> Tensor:
        """(B, c, h, w): the clean latents at `timesteps`."""
        return self.diffusion.noisy(self.clean, self.noise, self.timesteps)

    @property
    def x(self) -> Tensor:
        """(B, 2c+1, h, w): what the network reads at `timesteps`."""
        return self.with_noisy(self.noisy)

    @property
    def target(self) -> Tensor:
        """(B, c, h, w): what the network shall predict."""
        return self.diffusion.target(self.feeding.prediction, self.clean, self.noise, self.timesteps)

    def with_noisy(self, noisy: Tensor) -> Tensor:
        """(B, 2c+1, h, w) for other noisy latents."""
        return torch.cat([noisy, self.mask, self.condition], dim=1)

    def at(self, timesteps: Tensor) -> Inputs:
        """The same rows at other timesteps."""
        return replace(self, timesteps=timesteps)

    def latents(self, clean: Tensor) -> Tensor:
        """The autoencoder's latents (B, c, h, w) of a fill whose diffused latents are `clean`."""
        if self.feeding.target == "image":
            return clean
        return self.condition + self.mask * clean / self.feeding.residual_scale


class Feeder:
    """Turns batches into `Inputs`.

    Args:
        recipe: a resolved recipe; its feeding, noise and seed decide.
        coder: the frozen autoencoder, on the device.
        tokens: m, ids a category.
        cache: latents of photos that were encoded before; needs fixed crops (`data.views`).
    """

    def __init__(
        self, recipe: Recipe, coder: Autoencoder, tokens: int, device: torch.device, cache: LatentCache | None
    ):
        assert recipe.feeding is not None
        self.recipe, self.coder, self.cache, self.device = recipe, coder, cache, device
        self.feeding = recipe.feeding
        self.diffusion = Diffusion().to(device)
        self.ids = torch.arange(tokens, device=device)
        self.encoded = self.hits = 0
        """Photos that were encoded, and that were not because their latents were at hand."""

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Inputs:
        image, shown = batch.image.to(self.device), batch.condition.to(self.device)
        pixel_mask, category = batch.mask.to(self.device), batch.category.to(self.device)
        side = image.shape[-1] // self.coder.factor
        drawn = draw(
            self.recipe.noise, batch.positions, (self.coder.channels, side, side), seed=self.recipe.seed
        )
        moments, condition_moments = self._encode(batch, image, shown)
        clean, condition = moments[:, 0], condition_moments[:, 0]
        if self.recipe.noise.latents == "sample":
            posterior = drawn.posterior.to(self.device)
            clean = clean + moments[:, 1] * posterior[:, 0]
            condition = condition + condition_moments[:, 1] * posterior[:, 1]
        if self.feeding.target == "residual":
            clean = (clean - condition) * self.feeding.residual_scale
        return Inputs(
            keys=batch.keys,
            image=image,
            pixel_mask=pixel_mask,
            condition=condition,
            mask=self._to_latent(pixel_mask),
            clean=clean,
            noise=drawn.noise.to(self.device),
            timesteps=drawn.timesteps.to(self.device),
            category=category,
            ids=self.ids + len(self.ids) * category[:, None],
            diffusion=self.diffusion,
            feeding=self.feeding,
        )

    def _encode(self, batch: Batch, image: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2, c, h, w) each: mean and standard deviation of the photos' and of the conditions' latents."""
        rows = len(image)
        if self.cache is None or (batch.rows < 0).any():
            self.encoded += rows
            both = self._moments(torch.cat([image, shown]))
            return both[:rows], both[rows:]
        condition = self._moments(shown)
        known, hit = self.cache.get(batch.rows, batch.digests)
        self.hits += int(hit.sum())
        if hit.all():
            return known.to(self.device), condition
        # All rows in one call, known ones too: how many are missing differs after a kill, and a convolution's last
        # bits depend on the number of rows. What is kept is read back, rounded as every later epoch will see it.
        missing = (~hit).nonzero().flatten()
        self.encoded += len(missing)
        digests = [batch.digests[i] for i in missing.tolist()]
        self.cache.put(batch.rows[missing], digests, self._moments(image).cpu()[missing])
        known[missing] = self.cache.get(batch.rows[missing], digests)[0]
        return known.to(self.device), condition

    def _moments(self, image: Tensor) -> Tensor:
        mean, deviation = self.coder.encode_moments(image)
        return torch.stack([mean.float(), deviation.float()], dim=1)

    def _to_latent(self, mask: Tensor) -> Tensor:
        if self.feeding.mask_mode == "max":
            return F.max_pool2d(mask, self.coder.factor)
        return mask[..., :: self.coder.factor, :: self.coder.factor].contiguous()
