"""A photo's fill with a scheduler of diffusers in the place of the library's own solver.

Everything around the network is `moebius.pipeline`'s: regions, frames, prefill, texture, blending. What is another's
here is the loop: `timesteps`, `scale_model_input`, `step` and `add_noise` of a diffusers scheduler.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from moebius.engines.base import FloatArray
from moebius.engines.networks import Autoencoder
from moebius.errors import SettingsError
from moebius.imaging import Hole, Photo, Region, mask_to_latent, match_tone
from moebius.pipeline.filling import Event, Filling
from moebius.pipeline.frame import Frame
from moebius.pipeline.region import LatentFill, Timer, from_network, to_network
from moebius.sampling import SamplingPlan, make_plan, scaled_linear
from moebius.settings import Settings
from moebius.weights import ModelSpec

StepEnd = Callable[[Any, dict[str, Tensor]], dict[str, Tensor]]
"""(timestep, tensors by name) -> those that are to be exchanged."""


@dataclass
class Loop:
    """What a call's network runs share.

    Args:
        scheduler: of diffusers.
        guidance: the scale as it stands; a callback may change it between steps.
        interrupted: whether a callback has asked to stop.
        step_end: called after each step.
        steps, timesteps, sigmas: for `set_timesteps`; the first unless one of the others is given.
        strength: part of the steps that are run, from the noised start on.
        eta: for schedulers that take it.
    """

    scheduler: Any
    guidance: Callable[[], float]
    interrupted: Callable[[], bool]
    step_end: StepEnd
    steps: int
    timesteps: Sequence[int] | None = None
    sigmas: Sequence[float] | None = None
    strength: float = 1.0
    eta: float = 0.0

    def begin(self, device: torch.device) -> Tensor:
        """The timesteps of one network run; the scheduler stands before the first of them.

        Raises:
            SettingsError: timesteps or sigmas for a scheduler that does not take them.
        """
        scheduler, given = self.scheduler, {"timesteps": self.timesteps, "sigmas": self.sigmas}
        own = {name: list(values) for name, values in given.items() if values is not None}
        accepted = inspect.signature(scheduler.set_timesteps).parameters
        for name in own:
            if name not in accepted:
                raise SettingsError(f"{name}: expected none, {type(scheduler).__name__} has its own")
        if own:
            scheduler.set_timesteps(**own, device=device)
        else:
            scheduler.set_timesteps(self.steps, device=device)
        timesteps: Tensor = scheduler.timesteps
        skipped = 0
        if self.strength < 1.0:
            order = int(getattr(scheduler, "order", 1))
            count = len(timesteps) // order
            skipped = max(0, count - max(1, int(count * self.strength))) * order
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(skipped)
        return timesteps[skipped:]

    def start(self, kind: str, noise: Tensor, known: Tensor | None, first: Tensor) -> Tensor:
        """The latents at the first timestep: noise alone, or the known latents with noise added to them."""
        if kind == "noise" or known is None:
            scaled: Tensor = noise * self.scheduler.init_noise_sigma
            return scaled
        start: Tensor = self.scheduler.add_noise(known, noise, first.reshape(1))
        return start

    def step(self, out: Tensor, t: Tensor, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """The latents after a step."""
        accepted = inspect.signature(self.scheduler.step).parameters
        extra: dict[str, Any] = {"eta": self.eta} if "eta" in accepted else {}
        if "generator" in accepted:
            extra["generator"] = generator
        after: Tensor = self.scheduler.step(out, t, x, **extra, return_dict=False)[0]
        return after


class PipelineEngine:
    """The pipeline's denoiser and autoencoder behind the library's protocol of an engine; one row a call."""

    name = "diffusers"
    rows = 1
    calls = 1

    def __init__(self, unet: Any, autoencoder: Autoencoder, device: torch.device):
        self._unet, self._autoencoder, self._device = unet, autoencoder, device
        self.device, self.dtype = str(device), str(unet.dtype).removeprefix("torch.")

    def array(self, values: FloatArray) -> Tensor:
        return torch.from_numpy(values.copy()).float().to(self._device)

    def numpy(self, values: Tensor) -> FloatArray:
        result: FloatArray = values.detach().float().cpu().numpy()
        return result

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts))

    def encode(self, image: FloatArray) -> Tensor:
        return self._autoencoder.encode_moments(self.array(image))[0]

    def predict(
        self, noisy: Tensor, timestep: Any, mask: Tensor, condition: Tensor, guidance: float
    ) -> Tensor:
        x = torch.cat([noisy, mask, condition], dim=1).to(self._unet.dtype)
        m = int(self._unet.config.denoiser.get("categories", 20)) // 2
        ids = torch.arange(m, device=x.device).expand(len(x), -1)
        if guidance == 1.0:
            return self._answer(x, timestep, ids)
        both = self._answer(torch.cat([x, x]), timestep, torch.cat([ids + m, ids]))
        opposite, wanted = both.chunk(2)
        return opposite + guidance * (wanted - opposite)

    def _answer(self, x: Tensor, timestep: Any, ids: Tensor) -> Tensor:
        out: Tensor = self._unet(x, timestep, class_labels=ids, return_dict=False)[0]
        return out.float()

    def decode(self, latents: Tensor) -> FloatArray:
        return self.numpy(self._autoencoder.decode(latents))


@dataclass(frozen=True)
class Noise:
    """Where a picture's noise comes from; without any of the three, from torch's own generator.

    Args:
        seed: drawn as the library draws it.
        key: mixed in with the seed.
        generator: drawn by torch, on the generator's own device.
        given: (1, c, h, w), drawn by the caller, for fills of one network run.
    """

    seed: int | None = None
    key: str = ""
    generator: torch.Generator | None = None
    given: Tensor | None = None

    def of_steps(self) -> torch.Generator | None:
        """The generator of noise that is added between steps."""
        if self.seed is None or self.generator is not None:
            return self.generator
        return torch.Generator().manual_seed(self.seed % 2**63)


@dataclass
class ScheduledFilling(Filling):
    """One photo's fill: `run()` it, then take `photo`, or `latents` of the last network run.

    A hole is filled at the model's own sizes, as by `Moebius`, but not refined by tiles afterwards.
    """

    loop: Loop = field(kw_only=True)
    noise: Noise = field(kw_only=True)
    latents: Tensor | None = field(default=None, init=False)
    """(1, c, h, w), scaled, as the autoencoder takes them: of the last network run."""

    @property
    def runs(self) -> int:
        """Network runs: one a region and side."""
        return len(self.regions) * len(self._sides)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of the first run's latents."""
        height, width = self._shape(self.regions[0], self._sides[0])
        factor = self.spec.latent_factor
        return self.spec.latent_channels, height // factor, width // factor

    def _is_refined(self, region: Region) -> bool:
        return False

    def _coarse(
        self, group: list[Region], frames: list[Frame], finished: int
    ) -> Generator[Event, None, list[FloatArray]]:
        yield from ()  # progress is told by the callback
        (region,), (frame,) = group, frames
        pixels: FloatArray | None = None
        for side in self._sides:
            if self.loop.interrupted():
                break
            sized = frame.at(self._shape(region, side))
            if pixels is not None:
                sized = sized.refilled(pixels)
            key = f"{self.noise.key}/{region.index}/{side}"
            decoded = from_network(self.engine.decode(self._run(sized, key)))[0]
            pixels = match_tone(decoded, sized.filled, sized.mask)
        return [frame.filled if pixels is None else pixels]

    def _run(self, frame: Frame, key: str) -> Tensor:
        """One network run: the latents (1, c, h, w) of the finished frame."""
        engine, spec, loop = self.engine, self.spec, self.loop
        start = "prefill" if loop.strength < 1.0 else str(self.settings.start)
        pictures = {"masked": frame.emptied, "prefill": frame.filled}
        condition = engine.encode(to_network([pictures[spec.feed]]))
        known = None
        if start != "noise":
            known = condition if start == spec.feed else engine.encode(to_network([pictures[start]]))
            if spec.target == "residual":
                known = (known - condition) * spec.residual_scale
        latent_mask = mask_to_latent(frame.mask, spec.latent_factor, spec.mask_mode)
        mask = engine.array(latent_mask[None, None])
        fill = LatentFill(
            engine=engine, spec=spec, plan=self.plan, start="noise", guidance=1.0,
            seed=self.noise.seed or 0, keys=[key], condition=condition, mask=mask, known=None,
        )  # fmt: skip
        timesteps = loop.begin(condition.device)
        x = loop.start(start, self._noise(fill.x), known, timesteps[0])
        generator = self.noise.of_steps()
        for t in timesteps:
            if loop.interrupted():
                break
            scaled = loop.scheduler.scale_model_input(x, t)
            out = engine.predict(scaled, t, mask, condition, loop.guidance())
            x = loop.step(out, t, x, generator)
            told = {"latents": x, "mask": mask, "masked_image_latents": condition}
            changed = loop.step_end(t, told)
            x, mask = changed.get("latents", x), changed.get("mask", mask)
            condition = changed.get("masked_image_latents", condition)
        self.latents = fill.latents(x)
        return self.latents

    def _noise(self, drawn: Tensor) -> Tensor:
        """The start noise: `drawn` where the library's own is asked for."""
        from diffusers.utils.torch_utils import randn_tensor

        if self.noise.given is not None:
            return self.noise.given.to(drawn)
        if self.noise.seed is not None:
            return drawn
        made: Tensor = randn_tensor(
            tuple(drawn.shape), generator=self.noise.generator, device=drawn.device, dtype=torch.float32
        )
        return made


def filling(
    engine: PipelineEngine, spec: ModelSpec, photo: Photo, hole: Hole, settings: Settings, loop: Loop, noise: Noise
) -> ScheduledFilling:  # fmt: skip
    """A photo's fill, ready to run.

    Args:
        hole: grown already.
        settings: complete.
    """
    plan: SamplingPlan = make_plan(
        scaled_linear(), [spec.first_timestep]
    )  # the scheduler's is followed instead
    return ScheduledFilling(
        engine, spec, photo, hole.mask, hole.kept, settings, plan, plan, noise.key, Timer({}), loop=loop, noise=noise
    )  # fmt: skip
