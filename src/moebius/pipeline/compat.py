"""The names that the model's public write-ups use. Needs PyTorch.

    from moebius import MoebiusUNet, load_latent_diffusion_pipeline, preprocess_image_and_mask

    pipeline = load_latent_diffusion_pipeline(MoebiusUNet, "places2", device="cuda")
    image, mask = preprocess_image_and_mask("photo.jpg", "mask.png", target_size=512)
    latents = pipeline.reconstruct("background", image, mask, num_inference_steps=20, guidance_scale=2.5)
    picture = pipeline.decode_latents(latents)  # (1, 3, H, W) in [-1, 1]

These work on tensors at the network's size, as the release does: the photo comes back resized, and nothing is
pasted. `moebius.Moebius` keeps the photo's own size and its own pixels. Unlike the release, the start is
leak-free: what lies under the mask is never looked at, unless start="official" asks for it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moebius.engines import Engine, open_engine
from moebius.engines.base import Array, FloatArray
from moebius.errors import InputError, MaskError, SettingsError
from moebius.imaging import (
    Box,
    Photo,
    mask_to_latent,
    push_pull,
    read_mask,
    read_photo,
    resize,
    resize_mask,
)
from moebius.pipeline import official_images
from moebius.pipeline.frame import Frame
from moebius.pipeline.moebius import Mask, MaskSource, Moebius, Source
from moebius.pipeline.region import LatentFill, RegionFill, Timer
from moebius.sampling import SamplingPlan
from moebius.settings import Settings, Start
from moebius.weights import ModelFolder, ModelSpec, open_model

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from moebius.networks import MoebiusUNet

log = logging.getLogger(__name__)

PROMPT = "background"
"""The one category that a hole is filled with; the network's other one is what guidance leads away from."""


def load_latent_diffusion_pipeline(
    model_cls: type[MoebiusUNet],
    checkpoint_path: str | Path,
    device: str | torch.device = "auto",
    *,
    dtype: str = "auto",
    vae_path: str | Path | None = None,
) -> LatentDiffusionPipeline:
    """Open a model for `reconstruct` and `decode_latents`.

    Args:
        model_cls: `MoebiusUNet`, whose sizes the model itself states.
        checkpoint_path: a model's name ("nano", "places2"), a model folder, or a checkpoint file as published
            (`.bin`, read as tensors only). A checkpoint is converted once, into a model of the cache.
        device: "auto", "cpu", "cuda", "mps", or a `torch.device`.
        dtype: number format of the network: "auto", "float32", "bfloat16", "float16".
        vae_path: the checkpoint of the VAE that belongs to a checkpoint file. By default the one of another
            model of the cache, and where there is none, the published one is downloaded.

    Raises:
        SettingsError: `model_cls` is another class.
        WeightsError: the weights are unknown, damaged, or not to be had.
        DeviceError: device or dtype is not available, or PyTorch is missing.
    """
    from moebius.networks import MoebiusUNet

    if model_cls is not MoebiusUNet:
        raise SettingsError(
            f"model_cls: expected MoebiusUNet, got {getattr(model_cls, '__name__', model_cls)}"
        )
    path = Path(checkpoint_path).expanduser()
    model = _open_checkpoint(path, vae_path) if path.is_file() else open_model(checkpoint_path)
    engine = open_engine(model.spec, model.path, engine="torch", device=str(device), dtype=dtype)
    return LatentDiffusionPipeline(Moebius(model.spec, engine, model_hash=model.hash))


def preprocess_image_and_mask(
    image: Source, mask: MaskSource, target_size: int | tuple[int, int] = official_images.IMAGE_SIZE
) -> tuple[Tensor, Tensor]:
    """A photo and its mask as tensors of the size the network sees, resized as the release does it.

    Args:
        image: a path, bytes, an open file, a Pillow image or an array; alpha is dropped.
        mask: the same, white = fill; one of another size or aspect is stretched to the photo's.
        target_size: the photo's short side, or (width, height); sides are floored to multiples of 64.

    Returns:
        image (1, 3, H, W) float32 in [-1, 1], and mask (1, 1, H, W) float32, 0 or 1 = fill.

    Raises:
        PhotoError, MaskError: not an image; missing; damaged.
        SettingsError: a side would be below 64.
    """
    import torch

    photo = image if isinstance(image, Photo) else read_photo(image)
    whole = photo.crop_rgb(Box(0, 0, photo.width, photo.height))
    pixels = np.floor(whole * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    hole = read_mask(mask, size=photo.size, fit=True)
    grey = np.where(hole, np.uint8(255), np.uint8(0))
    arrays = official_images.preprocess_image_and_mask(pixels, grey, target_size)
    return torch.from_numpy(arrays[0]), torch.from_numpy(arrays[1])


class LatentDiffusionPipeline:
    """What `load_latent_diffusion_pipeline` gives back.

    One instance serves any number of calls. Photos of a batch are filled one at a time, with noise of their
    own, so that a picture does not depend on its neighbours.
    """

    def __init__(self, model: Moebius):
        self.model = model
        self._told_of_prompt = False

    @property
    def engine(self) -> Engine:
        """The networks."""
        return self.model.engine

    def reconstruct(
        self,
        prompt: str | None,
        latents: Tensor,
        mask: Tensor,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        **settings: Any,
    ) -> Tensor:
        """Fill the hole, in latent space.

        Args:
            prompt: "background", "" or None. Moebius has no text encoder: anything else is ignored, and a
                warning in the log says so once.
            latents: the photo: the image tensor (B, 3, H, W) in [-1, 1] that `preprocess_image_and_mask` gave,
                or latents (B, c, h, w) of it, as scaled for the network, where an encoder was run before.
                Latents under the mask are not looked at; but latents beside it saw what lies under it when
                they were encoded, so the image is the better thing to give.
            mask: (B, 1, H, W) or (B, 1, h, w), 1 = fill; one for each photo, or one for all.
            num_inference_steps: as many network steps are run (at each side of a model that fills an image coarse
                to fine, as nano does); the model's own default for None.
            guidance_scale: 1 is off; the model's own default for None.
            **settings: `seed`, `solver` and `start` as in `Settings`. Each photo of a batch draws noise of its own.

        Returns:
            (B, c, h, w) float32 latents for `decode_latents`, on the engine's device.

        Raises:
            SettingsError: a value out of range, or a setting that this model does not have.
            InputError: shapes that do not fit together.
        """
        self._heed(prompt)
        unknown = [name for name in settings if name not in ("seed", "solver", "start")]
        if unknown:
            raise SettingsError(f"reconstruct: expected seed, solver or start, got {unknown[0]!r}")
        chosen = self.model.complete(steps=num_inference_steps, guidance=guidance_scale, **settings)
        plan = self.model.plan(chosen)
        photos, holes = _numpy(latents), _holes(mask, len(latents))
        self._check(photos, holes)
        import torch

        begin = self._fill_image if photos.shape[1] == 3 else self._fill_latents
        pairs = zip(photos, holes, strict=True)
        return torch.cat([begin(photo, hole, chosen, plan, str(i)) for i, (photo, hole) in enumerate(pairs)])

    def decode_latents(self, latents: Tensor) -> Tensor:
        """latents (B, c, h, w), as `reconstruct` gave them -> pictures (B, 3, 8h, 8w) in [-1, 1]."""
        import torch

        pictures = [self.engine.decode(self.engine.array(one[None])) for one in _numpy(latents)]
        return torch.from_numpy(np.concatenate(pictures)).clamp(-1, 1).to(latents.device)

    def _fill_image(
        self, photo: FloatArray, hole: Mask, settings: Settings, plan: SamplingPlan, key: str
    ) -> Array:
        """photo (3, H, W) in [-1, 1], hole (H, W) -> latents (1, c, h, w); coarse to fine if the model is so."""
        assert settings.start is not None and settings.guidance is not None
        spec, step = self.model.spec, _multiple(self.model.spec) * self.model.spec.latent_factor
        known = photo.transpose(1, 2, 0) * np.float32(0.5) + np.float32(0.5)  # (H, W, 3) in [0, 1]
        leaky = known if settings.start == "official" else None
        # Latents have no room for the photo's own texture: the network fills at its own size in any case.
        sides = (spec.size,) if leaky is not None else (*spec.cascade, spec.size)
        filled = push_pull(known, hole)
        for side in sides:
            shape = _scaled(hole.shape, side / spec.size, step)
            frame = Frame(resize(filled, shape), resize_mask(hole, shape), inner=shape, outer=shape)
            fill = RegionFill(
                [frame], engine=self.engine, spec=spec, plan=plan, start=settings.start,
                leaky=None if leaky is None else [leaky],
                guidance=settings.guidance, seed=settings.seed, keys=[f"{key}/{side}"], timer=Timer({}),
            )  # fmt: skip
            for _ in fill.steps():
                pass
            if side != spec.size:
                filled = np.where(hole[..., None], resize(fill.pixels()[0], hole.shape), filled)
        return fill.latents()

    def _fill_latents(
        self, photo: FloatArray, hole: Mask, settings: Settings, plan: SamplingPlan, key: str
    ) -> Array:
        """photo (c, h, w), hole (h, w) or (H, W) -> latents (1, c, h, w)."""
        assert settings.start is not None and settings.guidance is not None
        spec = self.model.spec
        if hole.shape != photo.shape[1:]:
            hole = mask_to_latent(hole, spec.latent_factor, spec.mask_mode) > 0
        known = None if settings.start == "noise" else self._without_hole(settings.start, photo, hole)
        fill = LatentFill(
            engine=self.engine, spec=spec, plan=plan, start=settings.start, guidance=settings.guidance,
            seed=settings.seed, keys=[f"{key}/{spec.size}"], known=known,
            condition=self._without_hole(spec.feed, photo, hole),
            mask=self.engine.array(hole[None, None].astype(np.float32)),
        )  # fmt: skip
        for _ in fill.steps():
            pass
        return fill.latents()

    def _without_hole(self, kind: Start, photo: FloatArray, hole: Mask) -> Array:
        """Latents (1, c, h, w) with the hole emptied ("masked"), filled smoothly ("prefill"), or as they are."""
        latents = photo.transpose(1, 2, 0)  # (h, w, c)
        if kind == "prefill":
            latents = push_pull(latents, hole)
        elif kind == "masked":
            factor = self.model.spec.latent_factor
            grey = np.zeros((1, 3, factor * hole.shape[0], factor * hole.shape[1]), np.float32)
            empty = self.engine.numpy(self.engine.encode(grey))[0].transpose(1, 2, 0)
            latents = np.where(hole[..., None], empty, latents)
        return self.engine.array(np.ascontiguousarray(latents.transpose(2, 0, 1)[None], np.float32))

    def _heed(self, prompt: str | None) -> None:
        if prompt in (None, "", PROMPT) or self._told_of_prompt:
            return
        self._told_of_prompt = True
        log.warning("prompt %r is ignored: Moebius has no text encoder, it fills with background", prompt)

    def _check(self, photos: FloatArray, holes: NDArray[np.bool_]) -> None:
        """Whether shapes and values go together; (B, C, H, W) and (B, H', W')."""
        spec = self.model.spec
        channels, sides, grid = photos.shape[1], photos.shape[2:], holes.shape[1:]
        is_image = channels == 3
        if not is_image and channels != spec.latent_channels:
            raise InputError(
                f"latents: expected an image of 3 channels or latents of {spec.latent_channels}, got {channels}"
            )
        step = _multiple(spec) * (spec.latent_factor if is_image else 1)
        if not all(side and side % step == 0 for side in sides):
            raise InputError(f"latents: expected sides that divide by {step}, got {sides[0]} x {sides[1]}")
        fitting = [sides] if is_image else [sides, tuple(spec.latent_factor * side for side in sides)]
        if grid not in fitting:
            wanted = " or ".join(f"{height} x {width}" for height, width in fitting)
            raise MaskError(f"mask: expected {wanted}, got {grid[0]} x {grid[1]}")
        if is_image:
            known = np.abs(photos).max(axis=1)[~holes]  # also of NaN, under the mask too, nothing is asked
            if not (known <= 1 + 1e-3).all():
                raise InputError("latents: expected an image in [-1, 1], got values beyond, or NaN")


def _open_checkpoint(path: Path, vae: str | Path | None) -> ModelFolder:
    """A checkpoint file as a model of the cache, named by its contents, so that it is converted only once."""
    from moebius.weights.cache import SPEC_FILE, missing_files, model_folder
    from moebius.weights.importing import import_checkpoint
    from moebius.weights.store import file_sha256, read_spec

    name = f"checkpoint-{file_sha256(path)[:16]}"
    folder = model_folder(name)
    there = (folder / SPEC_FILE).is_file()
    if there and vae is not None:
        there = not missing_files(folder, read_spec(folder))
    if not there:
        import_checkpoint(
            path, name=name, vae=None if vae is None else Path(vae).expanduser(), overwrite=True
        )
    return open_model(name)


def _scaled(shape: tuple[int, ...], scale: float, step: int) -> tuple[int, int]:
    """(height, width) times `scale`, to the nearest multiples of `step`, at least one."""
    height, width = (max(1, round(side * scale / step)) * step for side in shape)
    return height, width


def _multiple(spec: ModelSpec) -> int:
    from moebius.networks import denoiser_config

    return denoiser_config(spec.architecture, spec.denoiser).multiple


def _numpy(tensor: Tensor) -> FloatArray:
    if getattr(tensor, "ndim", 0) != 4 or len(tensor) == 0:
        raise InputError(f"expected a tensor (B, C, H, W), got {tuple(getattr(tensor, 'shape', ()))}")
    array: FloatArray = tensor.detach().float().cpu().numpy()
    return array


def _holes(mask: Tensor, batch: int) -> NDArray[np.bool_]:
    """(B, 1, H, W) or (1, 1, H, W) in [0, 1] -> (B, H, W), True = fill."""
    array = _numpy(mask)
    if array.shape[1] != 1 or len(array) not in (1, batch):
        raise MaskError(f"mask: expected shape ({batch}, 1, H, W) or (1, 1, H, W), got {array.shape}")
    if not (array.min() >= 0 and array.max() <= 1):  # also false for NaN
        raise MaskError(f"mask: expected numbers in [0, 1], got {array.min():g} to {array.max():g}")
    return np.broadcast_to(array[:, 0] >= 0.5, (batch, *array.shape[2:]))
