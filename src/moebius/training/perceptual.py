"""How different two latents look: three distances with one signature, on clean latents.

    TeacherFeatures      differences of the frozen teacher's first features; needs nothing that is not there anyway
    DecodedFeatures      LPIPS-squeeze of decoded crops around the hole
    elatentlpips_plugin  E-LatentLPIPS as in the release; not ours, not included, non-commercial

The first two are ours; the release's metric is licensed CC BY-NC 4.0, so nothing here depends on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from moebius.errors import SettingsError, WeightsError
from moebius.networks.perceptual import LPIPSSqueeze

if TYPE_CHECKING:
    from moebius.training.inputs import Inputs


class Perceptual(Protocol):
    """A perceptual distance between two batches of clean latents."""

    def __call__(self, clean_a: Tensor, clean_b: Tensor, context: Inputs) -> Tensor:
        """The distance, a scalar: the mean over the batch, 0 for equal latents.

        Args:
            clean_a: (B, c, h, w): what is diffused (`Inputs.clean`); gradients flow here.
            clean_b: (B, c, h, w): what it is compared with; taken as a constant.
            context: the batch they belong to: mask, condition, noise, ids.
        """
        ...


class Decoder(Protocol):
    """What turns latents (B, c, h, w) into images (B, 3, H, W) in [-1, 1]: any autoencoder of ours."""

    def decode(self, latents: Tensor) -> Tensor: ...


class TeacherFeatures:
    """LPIPS without heads, in the features of a denoiser: what the teacher takes latents for.

    Both latents are noised alike to a low timestep, put together with mask and condition, and go through the
    teacher's way down; features are normalised to unit length over the channels, and their squared differences are
    summed over the channels and averaged over places and taps (Zhang et al., 2018, equation 1 with weights of 1).

    Args:
        teacher: a denoiser; it is put into eval mode and frozen. One with `down_features(x, timesteps, ids, count)` is
            run as far as that goes; another one as a whole, with `return_features=True`.
        taps: which features, counted from 0 on the way down.
        timestep: how much noise, 0 to 999; 0 is next to none.
        autocast: what the teacher computes in, such as torch.bfloat16; None leaves it as it is.

    Raises:
        SettingsError: no taps, or (when called) a tap that the teacher does not have.
    """

    def __init__(
        self,
        teacher: nn.Module,
        taps: tuple[int, ...] = (0, 1, 2),
        timestep: int = 0,
        *,
        autocast: torch.dtype | None = None,
    ):
        if not taps or min(taps) < 0 or not 0 <= timestep < 1000:
            raise SettingsError(
                f"perceptual: expected taps of 0 or more and a timestep within 0 to 999, got {taps} and {timestep}"
            )
        self.teacher = teacher.eval().requires_grad_(False)
        self.taps, self.timestep, self.autocast = taps, timestep, autocast

    def __call__(self, clean_a: Tensor, clean_b: Tensor, context: Inputs) -> Tensor:
        ours = self.features(clean_a, context)
        with torch.no_grad():
            theirs = self.features(clean_b, context)
        distances = [(a - b).square().sum(1).mean() for a, b in zip(ours, theirs, strict=True)]
        return torch.stack(distances).mean()

    def features(self, clean: Tensor, context: Inputs) -> list[Tensor]:
        """The tapped features (B, C, h', w') of clean latents (B, c, h, w), float32, of length 1 at every cell."""
        at = torch.full((len(clean),), self.timestep, device=clean.device)
        x = context.with_noisy(context.diffusion.noisy(clean, context.noise, at))
        down: Callable[[Tensor, Tensor, Tensor, int], list[Tensor]] | None
        down = getattr(self.teacher, "down_features", None)
        with _computing_in(self.autocast, x.device):
            if down is not None:
                found = down(x, at, context.ids, max(self.taps) + 1)
            else:
                _, found = self.teacher(x, at, context.ids, return_features=True)
        if max(self.taps) >= len(found):
            raise SettingsError(f"perceptual: expected taps below {len(found)}, got {self.taps}")
        tapped = [found[tap].float() for tap in self.taps]
        return [f / (f.square().sum(1, keepdim=True) + 1e-10).sqrt() for f in tapped]


class DecodedFeatures:
    """LPIPS of decoded latents, each row in one square crop that holds a part of its hole.

    Crops save the time and memory of decoding whole maps. They are at places that depend on the rows' names,
    timesteps and masks, so a step can be repeated, and no generator is used; finding them waits for the device.

    Args:
        decoder: an autoencoder, frozen.
        lpips: the metric, frozen.
        side: of the crop, in latent cells, at least 4 (LPIPS needs 32 px); larger maps are cropped to it.
        autocast: what both networks compute in, such as torch.bfloat16; None leaves it as it is.

    Raises:
        SettingsError: side is too small.
    """

    def __init__(
        self, decoder: Decoder, lpips: LPIPSSqueeze, side: int = 16, *, autocast: torch.dtype | None = None
    ):
        if side < 4:
            raise SettingsError(f"perceptual: expected a crop of 4 cells or more, got {side}")
        self.decoder, self.lpips, self.side, self.autocast = decoder, lpips, side, autocast

    def __call__(self, clean_a: Tensor, clean_b: Tensor, context: Inputs) -> Tensor:
        places = self.places(context)
        ours = self._taps(clean_a, context, places)
        with torch.no_grad():
            theirs = self._taps(clean_b, context, places)
        return self.lpips.compare(ours, theirs).mean()

    def _taps(self, clean: Tensor, context: Inputs, places: list[tuple[int, int]]) -> list[Tensor]:
        crops = self._crop(context.latents(clean), places)
        with _computing_in(self.autocast, crops.device):
            return [tap.float() for tap in self.lpips.taps(self.decoder.decode(crops))]

    def places(self, context: Inputs) -> list[tuple[int, int]]:
        """(top, left) of each row's crop: centred on a cell of its hole, as far as the map's borders allow."""
        masks = (context.mask[:, 0] > 0.5).cpu()
        height, width = masks.shape[1:]
        found = []
        for row, mask in enumerate(masks):
            cells = mask.nonzero() if mask.any() else torch.ones_like(mask).nonzero()
            top, left = cells[_keyed(context, row) % len(cells)].tolist()
            corner = [
                max(0, min(place - self.side // 2, length - self.side))
                for place, length in ((top, height), (left, width))
            ]
            found.append((corner[0], corner[1]))
        return found

    def _crop(self, latents: Tensor, places: list[tuple[int, int]]) -> Tensor:
        side = self.side
        rows = zip(latents, places, strict=True)
        return torch.stack([row[:, y : y + side, x : x + side] for row, (y, x) in rows])


def elatentlpips_plugin(device: torch.device | str = "cpu", *, parity: bool = False) -> Perceptual:
    """E-LatentLPIPS for SDXL's latents, from the package `elatentlpips`, if the person has installed it.

    It is licensed for non-commercial use only, and downloads its weights into ./ckpt here. Its random augmentation
    draws from the global generators, which are set from the first row's name meanwhile and put back.

    Args:
        device: where the metric runs.
        parity: multiply the latents by SDXL's 0.13025 once more, as the release does by telling the metric that
            they are not scaled yet. Ours are: by default that is what it is told.

    Raises:
        WeightsError: the package is not installed.
    """
    try:
        from elatentlpips import ELatentLPIPS  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        raise WeightsError(
            "perceptual_features elatentlpips: expected the package elatentlpips (pip install elatentlpips), licensed "
            "CC BY-NC 4.0, for non-commercial use only, got none; teacher and decoded need no such package"
        ) from error
    metric: Any = ELatentLPIPS(encoder="sdxl", augment="bg", verbose=False).to(device).eval()
    metric.requires_grad_(False)
    where = torch.device(device)

    def distance(clean_a: Tensor, clean_b: Tensor, context: Inputs) -> Tensor:
        with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
            torch.default_generator.manual_seed(_keyed(context, 0))
            if where.type == "cuda":
                with torch.cuda.device(where):
                    torch.cuda.manual_seed(_keyed(context, 0))
            value: Tensor = metric(clean_a, clean_b.detach(), normalize=parity)
        return value.mean()

    return distance


def _computing_in(dtype: torch.dtype | None, device: torch.device) -> AbstractContextManager[object]:
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def _keyed(context: Inputs, row: int) -> int:
    """A number from a row's name and timestep, 63 bits: the same whenever the row is the same."""
    text = f"{context.keys[row]}/{int(context.timesteps[row])}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
