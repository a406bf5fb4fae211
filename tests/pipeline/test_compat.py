"""The names of the model's public write-ups, used as the write-ups use them."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_photos import disc, noise, picture
from PIL import Image
from torch import Tensor

from moebius import (
    CorruptWeightsError,
    DeviceError,
    InputError,
    MaskError,
    Moebius,
    MoebiusUNet,
    SettingsError,
    UnknownModelError,
    load_latent_diffusion_pipeline,
    preprocess_image_and_mask,
)
from moebius.pipeline import official_images
from moebius.pipeline.compat import LatentDiffusionPipeline
from moebius.weights.registry import MODELS

STUDENT = Path(__file__).parents[1] / "data" / "student"


@pytest.fixture()
def pipeline(model: Moebius) -> LatentDiffusionPipeline:
    """Both kinds of model, one after the other."""
    return LatentDiffusionPipeline(model)


def tensors(seed: int = 0, width: int = 96, height: int = 64) -> tuple[Tensor, Tensor]:
    hole = disc(width, height, (40, 30), 12)
    return preprocess_image_and_mask(picture(width, height, seed=seed), hole, target_size=(width, height))


def hidden(image: Tensor, mask: Tensor) -> Tensor:
    """The image with random pixels under the mask."""
    random = torch.from_numpy(noise(tuple(image.shape), seed=3)).float() / 127.5 - 1
    return torch.where(mask > 0, random, image)


def test_as_in_the_write_ups(tiny_masked: Path, tmp_path: Path) -> None:
    Image.fromarray(picture(150, 100)).save(tmp_path / "photo.jpg")
    Image.fromarray(disc(150, 100, (60, 50), 20)).save(tmp_path / "mask.png")

    pipeline = load_latent_diffusion_pipeline(
        model_cls=MoebiusUNet, checkpoint_path=str(tiny_masked), device=torch.device("cpu")
    )
    image, mask = preprocess_image_and_mask(tmp_path / "photo.jpg", tmp_path / "mask.png", target_size=128)
    latents = pipeline.reconstruct(
        prompt="background", latents=image, mask=mask, num_inference_steps=4, guidance_scale=2.0
    )
    result = pipeline.decode_latents(latents)

    assert image.shape == (1, 3, 128, 192) and mask.shape == (1, 1, 128, 192)
    assert latents.shape == (1, 4, 16, 24) and latents.dtype == torch.float32
    assert result.shape == image.shape and result.isfinite().all() and result.abs().max() <= 1


def test_bundled_model() -> None:
    """Coarse to fine, as the program does it; here on a small picture."""
    pipeline = load_latent_diffusion_pipeline(MoebiusUNet, "nano", "cpu")
    image, mask = preprocess_image_and_mask(picture(64, 64), disc(64, 64, (30, 30), 9), 64)
    latents = pipeline.reconstruct("background", image, mask)
    assert torch.equal(latents, pipeline.reconstruct(None, hidden(image, mask), mask))
    assert pipeline.decode_latents(latents).shape == (1, 3, 64, 64)


@pytest.mark.parametrize("start", [None, "noise", "masked", "prefill"])
def test_nothing_leaks(pipeline: LatentDiffusionPipeline, start: Any) -> None:
    image, mask = tensors()
    first, second = (
        pipeline.reconstruct("", photo, mask, start=start) for photo in (image, hidden(image, mask))
    )
    assert torch.equal(first, second)
    broken = torch.where(mask > 0, torch.nan, image)
    assert torch.equal(first, pipeline.reconstruct("", broken, mask, start=start))


def test_the_published_start_does_leak(pipeline: LatentDiffusionPipeline) -> None:
    image, mask = tensors()
    first, second = (
        pipeline.reconstruct("", photo, mask, 4, start="official") for photo in (image, hidden(image, mask))
    )
    assert not torch.equal(first, second)


@pytest.mark.parametrize("start", [None, "noise", "masked", "prefill"])
def test_latents_instead_of_the_image(pipeline: LatentDiffusionPipeline, start: Any) -> None:
    image, mask = tensors()
    engine = pipeline.engine
    latents = engine.encode(image.numpy())
    cells = torch.nn.functional.max_pool2d(mask, 8)
    spoiled = torch.where(cells > 0, torch.nan, latents)
    by_pixels = pipeline.reconstruct("", latents, mask, start=start)
    assert by_pixels.shape == latents.shape
    assert torch.equal(by_pixels, pipeline.reconstruct("", spoiled, cells, start=start))


def test_a_batch_is_its_photos_one_by_one(pipeline: LatentDiffusionPipeline) -> None:
    (first, mask), (second, _) = tensors(0), tensors(1)
    together = pipeline.reconstruct("", torch.cat([first, second]), mask, seed=3)
    assert torch.equal(together[:1], pipeline.reconstruct("", first, mask, seed=3))
    assert not torch.equal(together[:1], pipeline.reconstruct("", first, mask, seed=4))
    twins = pipeline.reconstruct("", torch.cat([first, first]), torch.cat([mask, mask]))
    assert not torch.equal(twins[0], twins[1]), "photos of a batch have noise of their own"
    decoded = pipeline.decode_latents(together)
    assert torch.equal(decoded[1:], pipeline.decode_latents(together[1:]))


def test_known_cells_of_a_residual_model_are_the_photos(nano_like: Moebius) -> None:
    image, mask = tensors()
    pipeline = LatentDiffusionPipeline(nano_like)
    got, encoded = pipeline.reconstruct("", image, mask), nano_like.engine.encode(image.numpy())
    far = slice(9, None)  # columns of cells beyond the encoder's reach from the hole
    torch.testing.assert_close(got[..., far], encoded[..., far], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(got, encoded, atol=1e-2)


def test_steps_and_guidance_reach_the_network(
    published_like: Moebius, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    predict = type(published_like.engine).predict

    def counting(self: Any, noisy: Any, timestep: int, mask: Any, condition: Any, guidance: float) -> Any:
        seen.append(guidance)
        return predict(self, noisy, timestep, mask, condition, guidance)

    monkeypatch.setattr(type(published_like.engine), "predict", counting)
    LatentDiffusionPipeline(published_like).reconstruct("", *tensors(), 5, 3.5)
    assert seen == [3.5] * 5


def test_other_prompts_are_ignored_and_told_of_once(
    nano_like: Moebius, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline, given = LatentDiffusionPipeline(nano_like), tensors()
    with caplog.at_level(logging.WARNING, "moebius"):
        plain = [pipeline.reconstruct(prompt, *given) for prompt in ("background", "", None)]
        assert caplog.records == []
        other = [pipeline.reconstruct(prompt, *given) for prompt in ("a cat", "a dog")]
    assert [record.getMessage() for record in caplog.records] == [
        "prompt 'a cat' is ignored: Moebius has no text encoder, it fills with background"
    ]
    assert all(torch.equal(plain[0], each) for each in plain + other)


IMAGE, MASK = torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)


@pytest.mark.parametrize(
    ("image", "mask", "options", "error", "told"),
    [
        (
            torch.zeros(3, 64, 64),
            MASK,
            {},
            InputError,
            r"expected a tensor \(B, C, H, W\), got \(3, 64, 64\)",
        ),
        (torch.zeros(1, 5, 64, 64), MASK, {}, InputError, "3 channels or latents of 4, got 5"),
        (torch.zeros(1, 3, 64, 48), MASK, {}, InputError, "sides that divide by 32, got 64 x 48"),
        (torch.zeros(1, 4, 8, 6), MASK, {}, InputError, "sides that divide by 4, got 8 x 6"),
        (IMAGE, torch.zeros(1, 1, 64, 32), {}, MaskError, "expected 64 x 64, got 64 x 32"),
        (
            torch.zeros(1, 4, 8, 8),
            torch.zeros(1, 1, 16, 16),
            {},
            MaskError,
            "expected 8 x 8 or 64 x 64, got 16",
        ),
        (IMAGE, torch.zeros(2, 1, 64, 64), {}, MaskError, r"expected shape \(1, 1, H, W\)"),
        (IMAGE, torch.full((1, 1, 64, 64), 255.0), {}, MaskError, r"numbers in \[0, 1\], got 255 to 255"),
        (IMAGE + 200, MASK, {}, InputError, r"an image in \[-1, 1\]"),
        (IMAGE * torch.nan, MASK, {}, InputError, "or NaN"),
        (IMAGE, MASK, {"num_inference_steps": 0}, SettingsError, "steps: expected"),
        (IMAGE, MASK, {"guidance_scale": 2.0}, SettingsError, "trained without a guidance branch"),
        (IMAGE, MASK, {"feather": 3}, SettingsError, "expected seed, solver or start, got 'feather'"),
    ],
)
def test_wrong_arguments(
    nano_like: Moebius,
    image: Tensor,
    mask: Tensor,
    options: dict[str, Any],
    error: type[Exception],
    told: str,
) -> None:
    with pytest.raises(error, match=told):
        LatentDiffusionPipeline(nano_like).reconstruct("", image, mask, **options)


def test_wrong_models(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="model_cls: expected MoebiusUNet, got Linear"):
        load_latent_diffusion_pipeline(torch.nn.Linear, "nano", "cpu")  # type: ignore[arg-type]
    with pytest.raises(UnknownModelError, match="did you mean nano"):
        load_latent_diffusion_pipeline(MoebiusUNet, "nanno", "cpu")
    with pytest.raises(DeviceError, match="abacus"):
        load_latent_diffusion_pipeline(MoebiusUNet, "nano", "abacus")
    broken = tmp_path / "broken.bin"
    broken.write_bytes(b"no checkpoint")
    with pytest.raises(CorruptWeightsError, match=r"broken.bin"):
        load_latent_diffusion_pipeline(MoebiusUNet, broken, "cpu")


def test_preparing_is_as_published() -> None:
    """Same tensors as the released steps, for an 8-bit RGB photo and a grey mask."""
    photo, hole = picture(150, 100), disc(150, 100, (60, 50), 20)
    ours = preprocess_image_and_mask(Image.fromarray(photo), Image.fromarray(hole), (192, 128))
    grey = np.where(hole, np.uint8(255), np.uint8(0))
    theirs = official_images.preprocess_image_and_mask(photo, grey, (192, 128))
    assert all(np.array_equal(mine.numpy(), published) for mine, published in zip(ours, theirs, strict=True))


def test_preparing_takes_any_photo(tmp_path: Path) -> None:
    Image.fromarray(picture(90, 70, channels=4), "CMYK").save(tmp_path / "photo.tif")
    image, mask = preprocess_image_and_mask(tmp_path / "photo.tif", np.ones((35, 45), bool), target_size=64)
    assert image.shape == (1, 3, 64, 64) and bool((mask == 1).all())
    with pytest.raises(SettingsError, match="expected at least 64"):
        preprocess_image_and_mask(picture(90, 70), np.ones((70, 90), bool), target_size=40)


def test_a_checkpoint_file_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A published `.bin` and its VAE, both tiny."""
    from diffusers import AutoencoderKL
    from safetensors.torch import load_file

    monkeypatch.setenv("MOEBIUS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    vae_config: dict[str, Any] = {
        "block_out_channels": [8, 8, 8, 8],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "latent_channels": 4,
    }
    denoiser = {
        "latent_size": 16,
        "channels": [32, 64, 96],
        "category_channels": 48,
        "context_channels": 40,
        "norm_groups": 16,
    }
    monkeypatch.setattr("moebius.weights.convert.VAE_CONFIG", vae_config)
    monkeypatch.setitem(MODELS, "pretrained", replace(MODELS["pretrained"], denoiser=denoiser))
    checkpoint, vae = tmp_path / "mine.bin", tmp_path / "vae.bin"
    torch.save(load_file(STUDENT / "golden_public_tiny.weights.safetensors"), checkpoint)
    with torch.random.fork_rng(devices=[]):
        torch.save(AutoencoderKL.from_config(vae_config).state_dict(), vae)

    pipeline = load_latent_diffusion_pipeline(MoebiusUNet, checkpoint, "cpu", vae_path=vae)
    monkeypatch.setattr("moebius.weights.importing.import_checkpoint", None)  # would fail
    again = load_latent_diffusion_pipeline(MoebiusUNet, str(checkpoint), "cpu")
    image, mask = tensors(width=64)
    latents = pipeline.reconstruct("background", image, mask, num_inference_steps=2, guidance_scale=2.0)
    assert latents.shape == (1, 4, 8, 8) and latents.isfinite().all()
    assert torch.equal(latents, again.reconstruct("background", image, mask, 2, 2.0))
    assert pipeline.decode_latents(latents).shape == (1, 3, 64, 64)
