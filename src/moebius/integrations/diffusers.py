"""`MoebiusInpaintPipeline`: a pipeline for diffusers, called as its inpainting pipelines are.

    from moebius.integrations.diffusers import MoebiusInpaintPipeline

    pipe = MoebiusInpaintPipeline.from_moebius("nano")
    pipe(image=photo, mask_image=mask).images[0].save("clean.png")

It is built from the library: regions, prefill, texture and blending are `moebius.pipeline`'s, and for the same noise
its pictures are the library's, but for rounding. Needs the extra `[torch]`; offloading needs accelerate.
"""

# Annotations stay objects here: diffusers reads those of __init__.

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Optional, Self, Union

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DiffusionPipeline
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from diffusers.schedulers import KarrasDiffusionSchedulers
from torch import Tensor, nn

from moebius.engines.networks import Autoencoder, load_autoencoder, load_denoiser
from moebius.errors import CorruptWeightsError, WeightsError
from moebius.imaging import Hole
from moebius.integrations.diffusers_call import (
    TENSORS,
    check_call,
    check_fills,
    given_back,
    noise_sources,
    placed,
)
from moebius.integrations.diffusers_fill import Loop, PipelineEngine, filling
from moebius.integrations.diffusers_folder import complete_folder, own_names
from moebius.integrations.diffusers_networks import MoebiusAutoencoder, MoebiusDenoiser
from moebius.integrations.diffusers_pictures import Pictures, read_items
from moebius.integrations.diffusers_scheduler import make_scheduler
from moebius.networks import NanoAutoencoder
from moebius.settings import DEFAULT_MODEL, MAX_GUIDANCE, Settings
from moebius.weights import ModelSpec, open_model, spec_from_json, spec_to_json

log = logging.getLogger(__name__)


class MoebiusInpaintPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Fills holes in photos.

    Args:
        unet: the denoiser, a `MoebiusDenoiser`.
        vae: a `MoebiusAutoencoder`, or diffusers' `AutoencoderKL` or `AutoencoderTiny`.
        scheduler: any scheduler of diffusers that goes by timesteps; take another one's settings from this one's,
            `EulerDiscreteScheduler.from_config(pipe.scheduler.config)`.
        model: what the model is, a `model.json` of the library: how it is fed, sampled and decoded.

    Raises:
        CorruptWeightsError: `model` is None, or not what a model.json holds.
    """

    model_cpu_offload_seq = "unet->vae"
    _callback_tensor_inputs: ClassVar[list[str]] = list(TENSORS)

    def __init__(
        self,
        unet: MoebiusDenoiser,
        vae: Union[MoebiusAutoencoder, AutoencoderKL, AutoencoderTiny],  # noqa: UP007 (older diffusers want it so)
        scheduler: KarrasDiffusionSchedulers,
        model: Optional[dict[str, Any]] = None,  # noqa: UP045
    ):
        super().__init__()
        self.register_modules(unet=unet, vae=vae, scheduler=scheduler)
        if model is None:
            raise CorruptWeightsError("model: expected what a model.json holds, got None (see from_moebius)")
        values = {name: value for name, value in model.items() if name != "checksums"}
        self.spec: ModelSpec = spec_from_json(values, "model_index.json, model")
        self.register_to_config(model=spec_to_json(self.spec))
        self.vae_scale_factor = self.spec.latent_factor
        self._told: set[str] = set()
        self._guidance_scale, self._num_timesteps, self._interrupt = self.spec.defaults.guidance, 0, False

    @classmethod
    def from_moebius(cls, name: str | Path = DEFAULT_MODEL, *, dtype: torch.dtype | None = None) -> Self:
        """A pipeline of a model that the library knows: a name that `moebius models` lists, or a model folder.

        Args:
            dtype: number format of the networks; float32 by default.

        Raises:
            UnknownModelError, DownloadError, CorruptWeightsError: the weights are not to be had.
            WeightsError: a folder that `moebius export` wrote for another runtime.
        """
        folder = open_model(name)
        spec = folder.spec
        if spec.exported is not None:
            expected = "expected a model with weights for PyTorch"
            raise WeightsError(f"{folder.path}: {expected}, got one exported for {spec.exported.runtime}")
        unet = MoebiusDenoiser.over(load_denoiser(folder), spec.architecture, spec.denoiser)
        vae = load_autoencoder(folder).network
        if isinstance(vae, NanoAutoencoder):
            vae = MoebiusAutoencoder.over(vae, spec.latent_scale)
        else:
            vae.register_to_config(scaling_factor=spec.latent_scale)
        if dtype is not None:
            for part in (unet, vae):
                nn.Module.to(part, dtype)  # diffusers' own warns of what does not matter here
        pipeline: Self = cls(unet, vae, make_scheduler(spec), spec_to_json(spec))
        return pipeline

    def save_config(self, save_directory: str | Path, push_to_hub: bool = False, **kwargs: Any) -> None:
        """Write model_index.json, and beside it the few lines of Python that the Hub and `trust_remote_code` want."""
        super().save_config(save_directory, push_to_hub=push_to_hub, **kwargs)
        complete_folder(Path(save_directory))

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """As of every pipeline. Parts of ours are taken from here, whatever code lies in the folder."""
        found = super().load_config(*args, **kwargs)
        own_names(found[0] if isinstance(found, tuple) else found)
        return found

    @property
    def guidance_scale(self) -> float:
        """The scale in use; a callback may set `_guidance_scale`."""
        return self._guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether the network answers twice a step."""
        return self._guidance_scale != 1.0

    @property
    def num_timesteps(self) -> int:
        """Network runs of this call, over all pictures, regions and sides: a callback's steps count up to it."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Set `_interrupt` in a callback to stop; what is not filled by then keeps a smooth fill."""
        return self._interrupt

    def enable_vae_slicing(self) -> None:
        """Encode and decode one picture of a batch at a time, which is what a fill does in any case."""
        self._switch("enable_slicing")

    def disable_vae_slicing(self) -> None:
        self._switch("disable_slicing")

    def enable_vae_tiling(self) -> None:
        """Decode in tiles, where the autoencoder can; the bundled model's is small enough without."""
        self._switch("enable_tiling")

    def disable_vae_tiling(self) -> None:
        self._switch("disable_tiling")

    def _switch(self, name: str) -> None:
        if hasattr(self.vae, name):
            getattr(self.vae, name)()

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        image: Pictures | None = None,
        mask_image: Pictures | None = None,
        *,
        height: int | None = None,
        width: int | None = None,
        padding_mask_crop: int | None = None,
        strength: float = 1.0,
        num_inference_steps: int | None = None,
        timesteps: Sequence[int] | None = None,
        sigmas: Sequence[float] | None = None,
        guidance_scale: float | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: Tensor | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Tensor]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        seed: int | None = None,
        grow: int | None = 0,
        feather: int = 0,
        prompt_2: str | Sequence[str] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        max_sequence_length: int | None = None,
        clip_skip: int | None = None,
    ) -> Any:
        """Fill holes.

        Pixels outside the mask come back as they were. Nothing under it is read. Photos may have any size.

        Args:
            prompt, prompt_2, negative_prompt, max_sequence_length, clip_skip: not used, which a warning says once:
                Moebius reads no text. A list of prompts asks for as many pictures, as elsewhere.
            image: a Pillow image, an array (H, W, 3) or (B, H, W, 3), a tensor (3, H, W) or (B, 3, H, W), floats in
                [0, 1]; or a list of these.
            mask_image: the same with one channel or none; white = fill.
            height, width: of the pictures that come back, px; the photo's own by default. The network works at its own
                size in any case.
            padding_mask_crop: fill each hole in a crop of its own instead of the whole photo scaled down, with so many
                pixels around the largest hole; from 0. For photos larger than the model (`pipe.spec.size`).
            strength: below 1, only this part of the steps is run, from a smooth fill with noise added; above 0.
            num_inference_steps: 1 to 1000; the model's own default for None.
            timesteps, sigmas: steps of one's own, for schedulers that take them.
            guidance_scale: 1 is off; the model's own default for None, and with a warning for what the model was not
                trained for and for values above 20, which belong to distilled guidance.
            num_images_per_prompt: pictures of each photo.
            eta: for schedulers that take it.
            generator: where noise comes from: one, drawn from by picture after picture, or a list with one a picture.
            latents: start noise (B, c, h, w), standard normal, one row a picture, for models that fill at one size.
            output_type: "pil" (a photo keeps its mode), "np" (B, H, W, 3) or "pt" (B, 3, H, W) in [0, 1], or
                "latent" (B, c, h, w), scaled, of the whole photo at the network's size.
            return_dict: an `ImagePipelineOutput` instead of a tuple.
            callback_on_step_end: called as (pipe, step, timestep, tensors) after each network step; may give tensors
                back in exchange.
            callback_on_step_end_tensor_inputs: some of "latents", "mask", "masked_image_latents".
            seed: noise as `moebius.Moebius` draws it for this seed, the same on every device; instead of `generator`.
            grow: pixels by which the mask grows; None scales it to each object, as the library does by default.
            feather: pixels around the grown mask over which the fill fades out.

        Raises:
            InputError: a picture, a mask or a setting that cannot be used; the message says why.
            TypeError: an argument that there is none of.
        """
        told = {"prompt": prompt, "prompt_2": prompt_2, "negative_prompt": negative_prompt}
        for name, text in told.items():
            self._heed_text(name, text)
        shown = tuple(getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs))
        check_call(image, mask_image, output_type, padding_mask_crop, strength, shown)
        assert image is not None and mask_image is not None
        settings = self._settings(num_inference_steps, guidance_scale, grow, feather)
        prompts = len(prompt) if isinstance(prompt, list | tuple) else 1
        each = 1 if num_images_per_prompt is None else num_images_per_prompt
        photos = read_items(image, mask_image, height, width, prompts)
        sources = noise_sources(len(photos), each, seed, generator, latents)
        items = [photo for photo in photos for _ in range(each)]
        holes = [Hole(item.hole).grown(grow) for item in items]

        steps = count()

        def step_end(timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            changed: dict[str, Tensor] = {}
            step = next(steps)
            if callback_on_step_end is not None:
                seen = {name: tensors[name] for name in shown}
                changed = callback_on_step_end(self, step, timestep, seen) or {}
            bar.update()
            return changed

        assert settings.steps is not None and settings.guidance is not None
        self._guidance_scale, self._interrupt = settings.guidance, False
        loop = Loop(
            self.scheduler, lambda: self._guidance_scale, lambda: self._interrupt, step_end,
            steps=settings.steps, timesteps=timesteps, sigmas=sigmas, strength=strength, eta=eta,
        )  # fmt: skip
        device = torch.device(self._execution_device)
        autoencoder = Autoencoder(self.vae, self.spec)
        engine = PipelineEngine(self.unet, autoencoder, device)
        fills = [
            filling(engine, self.spec, item.photo, hole, placed(settings, hole.mask, padding_mask_crop), loop, noise)
            for item, hole, noise in zip(items, holes, sources, strict=True)
        ]  # fmt: skip
        check_fills(fills, items, latents, output_type)
        self._num_timesteps = sum(fill.runs for fill in fills) * len(loop.begin(device))
        with self._wide(autoencoder), self.progress_bar(total=self._num_timesteps) as bar:
            for fill in fills:
                for _ in fill.run():
                    pass
        self.maybe_free_model_hooks()
        images = given_back(output_type, fills, items, holes, device)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    @contextmanager
    def _wide(self, autoencoder: Autoencoder) -> Iterator[None]:
        """An autoencoder in float16 computes in float32 meanwhile: published ones overflow."""
        narrow = self.vae.dtype is torch.float16 and self.vae.device.type != "meta"
        if narrow:
            autoencoder.to(dtype=torch.float32)
        try:
            yield
        finally:
            if narrow:
                autoencoder.to(dtype=torch.float16)

    def _settings(
        self, steps: int | None, guidance: float | None, grow: int | None, feather: int
    ) -> Settings:
        """The library's settings, complete."""
        own = self.spec.defaults
        if guidance is not None and guidance != 1.0 and not self.spec.guidance_trained:
            self._tell(
                "guidance", f"guidance_scale {guidance:g} is not used: {self.spec.name} was trained without"
            )
            guidance = 1.0
        elif guidance is not None and guidance > MAX_GUIDANCE:
            expected = f"expected up to {MAX_GUIDANCE:g}, the model's own {own.guidance:g} is used"
            self._tell("guidance", f"guidance_scale {guidance:g} is another kind of guidance: {expected}")
            guidance = None
        return Settings(
            steps=own.steps if steps is None else steps,
            guidance=own.guidance if guidance is None else guidance,
            start=own.start,
            grow=grow,
            feather=feather,
        )

    def _heed_text(self, name: str, text: Any) -> None:
        """Say once that it is not used.

        Raises:
            TypeError: a picture where a prompt would be.
        """
        texts = text if isinstance(text, list | tuple) else [text]
        if not all(one is None or isinstance(one, str) for one in texts):
            kind = type(text).__name__
            raise TypeError(
                f"{name}: expected text, got {kind}; pictures go by name: image=..., mask_image=..."
            )
        if any(texts):
            self._tell(
                name, f"{name} is not used: Moebius reads no text, it fills from what is around the hole"
            )

    def _tell(self, what: str, message: str) -> None:
        if what not in self._told:
            self._told.add(what)
            log.warning(message)
