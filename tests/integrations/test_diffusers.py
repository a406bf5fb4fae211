"""The pipeline for diffusers, through the real diffusers: its pictures are the library's."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from moebius import InputError, MaskError, Moebius, PhotoError, SettingsError
from moebius.engines.networks import Autoencoder
from moebius.engines.torch import TorchEngine
from moebius.sampling import normal
from moebius.testing import LIKE_NANO, LIKE_PUBLISHED, save_tiny_model
from moebius.weights import ModelSpec

diffusers = pytest.importorskip("diffusers", reason="the pipeline is diffusers' own kind")

from moebius.integrations.diffusers import MoebiusInpaintPipeline  # noqa: E402
from moebius.integrations.diffusers_networks import MoebiusDenoiser  # noqa: E402
from moebius.integrations.diffusers_scheduler import MoebiusDDIMScheduler, make_scheduler  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning"),
]
"""In diffusers' own schedulers, with numpy 2."""

EXAMPLES = Path(__file__).parents[2] / "examples"
SAME = {"grow": 0, "feather": 0}
"""The pipeline's defaults, asked of the library."""


def quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def opened(name: str | Path) -> Any:
    return quiet(MoebiusInpaintPipeline.from_moebius(name))


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """512 x 512 of the bundled rocket."""
    return Image.open(EXAMPLES / "rocket.jpg").convert("RGB").crop((60, 0, 572, 512))


@pytest.fixture(scope="module")
def mask() -> Image.Image:
    hole = Image.open(EXAMPLES / "rocket_mask.png").convert("L").crop((60, 0, 572, 512))
    assert 0.01 < (np.asarray(hole) >= 128).mean() < 0.5
    return hole


@pytest.fixture(scope="module")
def small(photo: Image.Image) -> Image.Image:
    return photo.resize((72, 56))


@pytest.fixture(scope="module")
def small_mask() -> Image.Image:
    hole = np.zeros((56, 72), np.uint8)
    hole[20:36, 25:50] = 255
    return Image.fromarray(hole)


@pytest.fixture(scope="module")
def masked(tiny_masked: Path) -> Any:
    """Fed and sampled as the published models are; predicts noise."""
    return opened(tiny_masked)


@pytest.fixture(scope="module")
def prefilled(tiny_prefill: Path) -> Any:
    """Fed and sampled as nano is; predicts v, by DPM-Solver++."""
    return opened(tiny_prefill)


@pytest.fixture(autouse=True)
def as_made(masked: Any, prefilled: Any) -> Iterator[None]:
    """Schedulers that a test exchanges come back."""
    kept = [(pipe, pipe.scheduler) for pipe in (masked, prefilled)]
    yield
    for pipe, scheduler in kept:
        pipe.scheduler = scheduler


def pixels(picture: Any) -> NDArray[np.int64]:
    return np.asarray(picture).astype(np.int64)


def inside(mask: Image.Image) -> NDArray[np.bool_]:
    hole: NDArray[np.bool_] = np.asarray(mask) >= 128
    return hole


def assert_same(one: Any, other: Any, mask: Image.Image, share: float = 0.05) -> None:
    """Alike to rounding: at most one level apart, and that in few pixels of the hole."""
    apart = np.abs(pixels(one) - pixels(other))[inside(mask)]
    assert apart.max() <= 1
    assert (apart > 0).mean() <= share


@cache
def library(folder: Path) -> Moebius:
    return Moebius.from_pretrained(folder, device="cpu", engine="torch")


def own(folder: Path, photo: Image.Image, mask: Image.Image, **settings: Any) -> Image.Image:
    return library(folder)(photo, mask, **SAME | {"strategy": "whole"} | settings).image


def test_nano_gives_the_librarys_picture(photo: Image.Image, mask: Image.Image) -> None:
    pipe = opened("nano")
    picture = pipe(image=photo, mask_image=mask, seed=5).images[0]
    model = Moebius.from_pretrained("nano", device="cpu")  # ONNX Runtime, as everybody's
    assert_same(picture, model(photo, mask, seed=5, strategy="whole", **SAME).image, mask, 0.001)
    hole = inside(mask)
    assert np.array_equal(pixels(picture)[~hole], pixels(photo)[~hole])
    assert (pixels(picture) != pixels(photo)).any(axis=-1)[hole].mean() > 0.9

    noise = torch.from_numpy(normal((1, 8, 32, 32), seed=5, key="/0/256"))
    again = pipe(image=photo, mask_image=mask, latents=noise).images[0]
    assert np.array_equal(again, picture)


def test_a_model_of_512_px_that_predicts_noise(photo: Image.Image, mask: Image.Image, tmp_path: Path) -> None:
    folder = save_tiny_model(replace(LIKE_PUBLISHED, size=512), tmp_path / "large")
    noise = torch.from_numpy(normal((1, 4, 64, 64), seed=2, key="/0/512"))
    picture = opened(folder)(image=photo, mask_image=mask, latents=noise).images[0]
    expected = own(folder, photo, mask, seed=2)
    assert_same(picture, expected, mask)
    hole = inside(mask)
    assert np.array_equal(pixels(picture)[~hole], pixels(photo)[~hole])
    assert pixels(picture)[hole].std() > 1


def own_latents(folder: Path, *arguments: Any, **settings: Any) -> tuple[torch.Tensor, Image.Image]:
    """What the library decodes last, and the picture that comes of it."""
    engine, seen = library(folder).engine, []
    with pytest.MonkeyPatch.context() as patch:
        decode = engine.decode
        patch.setattr(engine, "decode", lambda latents: seen.append(latents) or decode(latents))
        picture = own(folder, *arguments, **settings)
    return seen[-1], picture


@pytest.mark.parametrize("name", ["masked", "prefilled"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_every_number_of_steps(
    name: str, steps: int, small: Image.Image, small_mask: Image.Image, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue("tiny_masked" if name == "masked" else "tiny_prefill")
    pipe = request.getfixturevalue(name)
    arguments = {"image": small, "mask_image": small_mask, "seed": 1, "num_inference_steps": steps}
    latents, picture = own_latents(folder, small, small_mask, seed=1, steps=steps)
    assert_same(pipe(**arguments).images[0], picture, small_mask)
    assert pipe.num_timesteps == steps
    found = pipe(**arguments, output_type="latent").images
    assert (found - latents).abs().max() < 1e-3 * latents.abs().max()


FED_OTHERWISE = {
    "start": replace(LIKE_NANO, defaults=replace(LIKE_NANO.defaults, start="masked")),
    "leading": replace(LIKE_PUBLISHED, spacing="leading"),
    "nearest": replace(LIKE_PUBLISHED, mask_mode="nearest"),
    "prefilled": replace(LIKE_PUBLISHED, feed="prefill", prediction="sample"),
}


@pytest.mark.parametrize("name", FED_OTHERWISE)
def test_other_ways_of_feeding(
    name: str, small: Image.Image, small_mask: Image.Image, tmp_path: Path
) -> None:
    folder = save_tiny_model(FED_OTHERWISE[name], tmp_path / name)
    found = opened(folder)(image=small, mask_image=small_mask, seed=1, output_type="latent").images
    latents, _ = own_latents(folder, small, small_mask, seed=1)
    assert (found - latents).abs().max() < 1e-3 * latents.abs().max()


def test_guidance_is_the_librarys(
    masked: Any, tiny_masked: Path, small: Image.Image, small_mask: Image.Image
) -> None:
    pictures = []
    for guidance in (None, 1.0, 3.5):
        found = masked(
            image=small, mask_image=small_mask, seed=1, guidance_scale=guidance, output_type="latent"
        ).images
        latents, _ = own_latents(tiny_masked, small, small_mask, seed=1, guidance=guidance)
        assert (found - latents).abs().max() < 1e-3 * latents.abs().max()
        pictures.append(found)
    assert not torch.allclose(pictures[0], pictures[1], rtol=0.01)
    assert not torch.allclose(pictures[0], pictures[2], rtol=0.01)


@pytest.mark.parametrize("name", ["masked", "prefilled"])
def test_crops_are_the_librarys_regions(
    name: str, photo: Image.Image, request: pytest.FixtureRequest
) -> None:
    """Two holes far apart, in a photo many times larger than the model."""
    folder = request.getfixturevalue("tiny_masked" if name == "masked" else "tiny_prefill")
    hole = np.zeros((512, 512), np.uint8)
    hole[40:80, 60:130], hole[400:440, 300:340] = 255, 255
    spots = Image.fromarray(hole)
    pipe = request.getfixturevalue(name)
    picture = pipe(image=photo, mask_image=spots, seed=1, padding_mask_crop=35).images[0]
    assert pipe.num_timesteps == 6
    expected = own(folder, photo, spots, seed=1, strategy="crop", context=2.0)
    assert_same(picture, expected, spots)
    assert not np.array_equal(picture, own(folder, photo, spots, seed=1))


def test_grown_and_feathered_as_the_library_does(
    masked: Any, tiny_masked: Path, small: Image.Image, small_mask: Image.Image
) -> None:
    whole = Image.new("L", small.size, 255)
    picture = masked(image=small, mask_image=small_mask, seed=1, grow=None, feather=4).images[0]
    expected = own(tiny_masked, small, small_mask, seed=1, grow=None, feather=4)
    assert_same(picture, expected, whole)
    changed = (pixels(picture) != pixels(small)).any(axis=-1)
    assert (changed & ~inside(small_mask)).any()


SCHEDULERS = (
    "DDIMScheduler", "DDPMScheduler", "DEISMultistepScheduler", "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler", "LCMScheduler",
    "PNDMScheduler", "UniPCMultistepScheduler",
)  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULERS)
def test_any_scheduler(
    name: str, masked: Any, prefilled: Any, small: Image.Image, small_mask: Image.Image
) -> None:
    hole, found = inside(small_mask), []
    for pipe in (masked, masked, prefilled):
        pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config)
        arguments = {"seed": 1, "num_inference_steps": 4, "guidance_scale": 1.0}
        found.append(pixels(pipe(image=small, mask_image=small_mask, **arguments).images[0]))
        assert np.array_equal(found[-1][~hole], pixels(small)[~hole])
        assert 1 < found[-1][hole].std() < 100
    assert np.array_equal(found[0], found[1])


@pytest.mark.parametrize("name", ["masked", "prefilled"])
def test_schedulers_that_solve_the_same_equation_agree(
    name: str, small: Image.Image, small_mask: Image.Image, request: pytest.FixtureRequest
) -> None:
    """A scheduler fed without its own scaling, of the start or of the network's input, would not."""
    pipe, latents = request.getfixturevalue(name), []
    arguments = {"image": small, "mask_image": small_mask, "guidance_scale": 1.0, "output_type": "latent"}
    for kind in (MoebiusDDIMScheduler, diffusers.EulerDiscreteScheduler):  # both of first order
        pipe.scheduler = kind.from_config(pipe.scheduler.config)
        latents.append(pipe(**arguments, seed=1, num_inference_steps=7).images)
    other = pipe(**arguments, seed=2, num_inference_steps=7).images
    apart, spread = (latents[1] - latents[0]).abs().mean(), (other - latents[0]).abs().mean()
    # Euler's noise has the deviation of the first timestep, DDIM's has 1: the same but for 0.2 %.
    assert apart < (1e-4 if name == "masked" else 0.01) * spread


def test_noise_between_steps(masked: Any, small: Image.Image, small_mask: Image.Image) -> None:
    """eta reaches DDIM, ours as diffusers' own, and its noise comes from the same generator."""
    pictures = []
    for kind in (MoebiusDDIMScheduler, diffusers.DDIMScheduler):
        masked.scheduler = kind.from_config(masked.scheduler.config)
        for eta in (0.0, 1.0, 1.0):
            generator = torch.Generator().manual_seed(1)
            arguments = {
                "generator": generator,
                "eta": eta,
                "num_inference_steps": 4,
                "output_type": "latent",
            }
            pictures.append(masked(image=small, mask_image=small_mask, **arguments).images)
    plain, noisy, again = pictures[:3]
    assert torch.equal(noisy, again) and not torch.allclose(plain, noisy, rtol=0.05)
    assert (pictures[4] - noisy).abs().mean() < 0.1 * (plain - noisy).abs().mean()


def test_own_timesteps(masked: Any, small: Image.Image, small_mask: Image.Image) -> None:
    masked.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(masked.scheduler.config)
    seen: list[int] = []

    def watch(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append(int(timestep))
        return tensors

    masked(image=small, mask_image=small_mask, timesteps=[900, 500, 100], callback_on_step_end=watch)
    assert seen == [900, 500, 100]


def test_what_lies_under_the_mask_is_not_read(
    masked: Any, prefilled: Any, small: Image.Image, small_mask: Image.Image
) -> None:
    painted = pixels(small).astype(np.uint8)
    painted[inside(small_mask)] = np.random.default_rng(0).integers(0, 256, 3)
    for pipe in (masked, prefilled):
        for settings in ({}, {"strength": 0.6}, {"height": 90, "width": 100}, {"padding_mask_crop": 4}):
            one, other = (
                pipe(image=picture, mask_image=small_mask, seed=1, **settings).images[0]
                for picture in (small, Image.fromarray(painted))
            )
            assert np.array_equal(one, other), settings


def test_strength_runs_a_part_of_the_steps(masked: Any, small: Image.Image, small_mask: Image.Image) -> None:
    steps: list[int] = []
    arguments = {"image": small, "mask_image": small_mask, "seed": 1, "num_inference_steps": 10}
    masked(**arguments, strength=0.5, callback_on_step_end=lambda pipe, step, t, shown: steps.append(int(t)))
    assert steps == [449, 359, 269, 179, 89]


def test_generators(masked: Any, small: Image.Image, small_mask: Image.Image) -> None:
    def seeded(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    one = masked(image=small, mask_image=small_mask, generator=seeded(1)).images[0]
    assert np.array_equal(one, masked(image=small, mask_image=small_mask, generator=seeded(1)).images[0])
    listed = masked(
        image=[small] * 3, mask_image=small_mask, generator=[seeded(1), seeded(2), seeded(1)]
    ).images
    assert np.array_equal(listed[0], one) and np.array_equal(listed[2], one)
    assert not np.array_equal(listed[1], one)
    several = masked(image=small, mask_image=small_mask, generator=seeded(1), num_images_per_prompt=2).images
    assert np.array_equal(several[0], one) and not np.array_equal(several[1], one)
    state = torch.get_rng_state()
    free = [masked(image=small, mask_image=small_mask).images[0] for _ in range(2)]
    torch.set_rng_state(state)
    assert not np.array_equal(*free)


def test_batches_do_not_change_pictures(masked: Any, small: Image.Image, small_mask: Image.Image) -> None:
    """Each of a batch is what it is alone, at sizes of their own."""
    photos = [small, small.resize((40, 90)), small.rotate(180)]
    masks = [small_mask, small_mask.resize((40, 90)), small_mask]
    together = masked(image=photos, mask_image=masks, seed=4).images
    for photo, mask, picture in zip(photos, masks, together, strict=True):
        assert picture.size == photo.size
        assert np.array_equal(picture, masked(image=photo, mask_image=mask, seed=4).images[0])
    variants = masked(image=small, mask_image=small_mask, seed=4, prompt=["", "", ""]).images
    assert np.array_equal(variants[0], together[0]) and len(variants) == 3


def test_outputs(masked: Any, small: Image.Image, small_mask: Image.Image) -> None:
    arguments = {"image": [small, small], "mask_image": small_mask, "seed": 1}
    pictures = masked(**arguments).images
    array = masked(**arguments, output_type="np").images
    tensor = masked(**arguments, output_type="pt").images
    assert array.shape == (2, 56, 72, 3) and array.dtype == np.float32
    assert tensor.shape == (2, 3, 56, 72)
    assert np.array_equal(np.round(array * 255), np.stack([pixels(one) for one in pictures]))
    assert np.array_equal(tensor.permute(0, 2, 3, 1).numpy(), array)
    assert np.array_equal(masked(**arguments, return_dict=False)[0][0], pictures[0])
    latents = masked(**arguments, output_type="latent").images
    assert latents.shape == (2, 4, 8, 8)
    decoded = masked.vae.decode(latents / masked.vae.config.scaling_factor).sample
    assert decoded.shape == (2, 3, 64, 64)


def test_floats_outside_the_mask_come_back_as_they_were(masked: Any, small_mask: Image.Image) -> None:
    image = torch.rand(2, 3, 56, 72, generator=torch.Generator().manual_seed(0))
    hole = torch.from_numpy(inside(small_mask)).float()
    for mask in (hole, hole[None], hole[None, None], hole.expand(2, 1, -1, -1)):
        found = masked(image=image, mask_image=mask, seed=1, output_type="pt").images
        outside = (hole < 0.5).expand_as(image)
        assert torch.equal(found[outside], image[outside])
        assert (found[~outside] != image[~outside]).float().mean() > 0.9
    array = image.permute(0, 2, 3, 1).numpy()
    for given in (array, list(array)):
        again = masked(image=given, mask_image=hole.numpy()[None], seed=1, output_type="np").images
        assert np.array_equal(again, found.permute(0, 2, 3, 1).numpy())
    assert masked(image=array[0], mask_image=hole.numpy()[..., None], seed=1).images[0].size == (72, 56)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK"])
def test_photos_keep_their_mode(mode: str, masked: Any, small: Image.Image, small_mask: Image.Image) -> None:
    given = small.convert(mode)
    picture = masked(image=given, mask_image=small_mask, seed=1).images[0]
    assert picture.mode == ("RGB" if mode == "P" else mode)
    hole = inside(small_mask)
    assert np.array_equal(pixels(picture)[~hole], pixels(given.convert(picture.mode))[~hole])


def test_sizes(masked: Any, small: Image.Image, small_mask: Image.Image) -> None:
    """Odd ones too; a photo is scaled where a size is asked for, as other pipelines do."""
    for size in ((33, 91), (200, 31), (65, 64)):
        photo, mask = small.resize(size), small_mask.resize(size)
        picture = masked(image=photo, mask_image=mask, seed=1).images[0]
        assert picture.size == size
        assert np.array_equal(pixels(picture)[~inside(mask)], pixels(photo)[~inside(mask)])
    wide = masked(image=small, mask_image=small_mask, seed=1, height=112, width=144).images[0]
    assert wide.size == (144, 112)
    far = ~inside(small_mask.resize((144, 112)).filter(ImageFilter.MaxFilter(9)))
    apart = np.abs(pixels(wide) - pixels(small.resize((144, 112), Image.Resampling.BICUBIC)))[far]
    assert apart.mean() < 4
    assert masked(image=small, mask_image=small_mask, seed=1, width=144).images[0].size == (144, 56)
    assert masked(image=small, mask_image=small_mask.resize((36, 28)), seed=1).images[0].size == small.size


def test_pixels_are_taken_as_they_lie(masked: Any, small: Image.Image, small_mask: Image.Image) -> None:
    turned = small.copy()
    turned.getexif()[0x0112] = 6
    picture = masked(image=turned, mask_image=small_mask, seed=1).images[0]
    assert np.array_equal(picture, masked(image=small, mask_image=small_mask, seed=1).images[0])


def test_an_empty_mask_changes_nothing(masked: Any, small: Image.Image) -> None:
    picture = masked(image=small, mask_image=Image.new("L", small.size), seed=1).images[0]
    assert np.array_equal(picture, small) and masked.num_timesteps == 0


def test_callbacks_see_and_change_steps(masked: Any, small: Image.Image, small_mask: Image.Image) -> None:
    told: list[tuple[int, float, tuple[int, ...]]] = []

    def watch(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        told.append((step, float(timestep), tuple(tensors["latents"].shape)))
        assert set(tensors) == {"latents", "mask"}
        return {}

    names = ["latents", "mask"]
    arguments = {"image": small, "mask_image": small_mask, "seed": 1, "num_inference_steps": 4}
    plain = masked(**arguments).images[0]
    watched = masked(
        **arguments, callback_on_step_end=watch, callback_on_step_end_tensor_inputs=names
    ).images[0]
    assert np.array_equal(plain, watched)
    assert [step for step, _, _ in told] == [0, 1, 2, 3] and told[0][1] == 900
    assert {shape for _, _, shape in told} == {(1, 4, 8, 8)}

    def empty(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return {"latents": torch.zeros_like(tensors["latents"])}

    assert not np.array_equal(plain, masked(**arguments, callback_on_step_end=empty).images[0])

    def unguided(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        pipe._guidance_scale = 1.0
        return tensors

    changed = masked(**arguments, callback_on_step_end=unguided).images[0]
    assert not np.array_equal(plain, changed) and not masked.do_classifier_free_guidance
    assert np.array_equal(plain, masked(**arguments).images[0])


def test_interrupting(masked: Any, small: Image.Image, small_mask: Image.Image) -> None:
    steps = []

    def stop(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        steps.append(step)
        pipe._interrupt = step == 1
        return tensors

    pictures = masked(
        image=[small, small], mask_image=small_mask, seed=1, num_inference_steps=5, callback_on_step_end=stop
    ).images
    assert steps == [0, 1] and masked.interrupt
    hole = inside(small_mask)
    assert not np.array_equal(*pictures)
    whole = masked(image=small, mask_image=small_mask, seed=1, num_inference_steps=5).images[0]
    assert not masked.interrupt and not np.array_equal(whole, pictures[0])
    assert all(np.array_equal(pixels(one)[~hole], pixels(small)[~hole]) for one in pictures)


def test_text_is_said_to_be_ignored_once(
    tiny_prefill: Path, small: Image.Image, small_mask: Image.Image, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = opened(tiny_prefill)
    plain = pipe(image=small, mask_image=small_mask, seed=1).images[0]
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            found = pipe("a dog", image=small, mask_image=small_mask, seed=1, guidance_scale=30.0).images[0]
            assert np.array_equal(found, plain)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and told[0].startswith("prompt is not used: ")
    assert told[1] == "guidance_scale 30 is not used: tiny-prefill was trained without"


def test_distilled_guidance_is_not_taken_for_ours(
    masked: Any, small: Image.Image, small_mask: Image.Image, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = masked(image=small, mask_image=small_mask, seed=1, guidance_scale=30).images[0]
    assert "expected up to 20, the model's own 2 is used" in caplog.text
    assert np.array_equal(found, masked(image=small, mask_image=small_mask, seed=1).images[0])


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"image": None}, PhotoError, "image: expected a picture, got None"),
    ({"mask_image": None}, MaskError, "mask_image: expected a mask"),
    ({"image": "photo.jpg"}, PhotoError, "image: expected a Pillow image, .* got str"),
    ({"image": np.full((8, 8, 3), 2.0)}, PhotoError, r"expected floats in \[0, 1\], got 2 to 2"),
    ({"image": torch.zeros(2, 8, 8)}, PhotoError, "1, 3 or 4 channels"),
    ({"image": np.zeros((0, 8, 3))}, PhotoError, "none of them empty"),
    (
        {"output_type": "tensor"},
        SettingsError,
        "output_type: expected one of pil, np, pt, latent, got 'tensor'",
    ),
    (
        {"padding_mask_crop": -1},
        SettingsError,
        "padding_mask_crop: expected a number of pixels from 0, got -1",
    ),
    ({"padding_mask_crop": 8, "output_type": "latent"}, SettingsError, "expected no padding_mask_crop"),
    ({"strength": 0}, SettingsError, "strength: expected a number above 0, up to 1, got 0"),
    ({"num_inference_steps": 0}, SettingsError, "steps: expected a whole number from 1 to 1000, got 0"),
    ({"guidance_scale": -1.0}, SettingsError, "guidance: expected a number from 0 to 20, got -1"),
    ({"num_images_per_prompt": 0}, SettingsError, "num_images_per_prompt: expected a whole number from 1"),
    ({"generator": [torch.Generator()] * 2}, SettingsError, "expected one, or 1 for 1 pictures, got 2"),
    ({"latents": torch.zeros(1, 4, 9, 8)}, SettingsError, r"expected rows of \(4, 8, 8\), got \(4, 9, 8\)"),
    ({"latents": torch.zeros(3, 4, 8, 8)}, SettingsError, r"latents: expected \(1, c, h, w\)"),
    ({"seed": 1, "generator": torch.Generator()}, SettingsError, "expected no generator"),
    ({"seed": -1}, SettingsError, "seed: expected a whole number from 0"),
    ({"timesteps": [900, 400]}, SettingsError, "timesteps: expected none, MoebiusDDIMScheduler has its own"),
    ({"width": 0}, InputError, "width: expected a whole number of pixels from 1, got 0"),
    ({"callback_on_step_end_tensor_inputs": ["prompt_embeds"]}, SettingsError, "got 'prompt_embeds'"),
    ({"prompt": Image.new("L", (8, 8))}, TypeError, "prompt: expected text, got Image; pictures go by name"),
    ({"prompt_embeds": None}, TypeError, "prompt_embeds"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), WRONG, ids=[next(iter(w[0])) for w in WRONG])
def test_what_cannot_be_used(
    arguments: dict[str, Any], kind: type[Exception], message: str, masked: Any, small: Image.Image,
    small_mask: Image.Image,
) -> None:  # fmt: skip
    with pytest.raises(kind, match=message):
        masked(**{"image": small, "mask_image": small_mask} | arguments)


def test_numbers_of_pictures_that_do_not_fit(
    masked: Any, small: Image.Image, small_mask: Image.Image
) -> None:
    with pytest.raises(InputError, match="mask_image: expected 1 or 3 pictures, got 2"):
        masked(image=[small] * 3, mask_image=[small_mask] * 2)
    with pytest.raises(SettingsError, match='"np": expected photos of one size'):
        masked(image=[small, small.resize((30, 30))], mask_image=small_mask, output_type="np")
    holes = Image.new("L", (300, 300))
    holes.paste(255, (10, 10, 20, 20))
    holes.paste(255, (280, 280, 290, 290))
    noise = torch.zeros(1, 4, 8, 8)
    with pytest.raises(SettingsError, match="latents: expected a fill of one network run, got one of 2"):
        masked(image=small.resize((300, 300)), mask_image=holes, padding_mask_crop=1, latents=noise)


@pytest.fixture(scope="module")
def with_kl() -> Any:
    """A model with diffusers' own autoencoder, as the published ones have."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = diffusers.AutoencoderKL(
            block_out_channels=(8, 8, 8, 8), latent_channels=4, norm_num_groups=4, layers_per_block=1,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            scaling_factor=0.5, sample_size=32,
        ).eval()  # fmt: skip
        unet = MoebiusDenoiser(denoiser=LIKE_PUBLISHED.denoiser).eval()
    return quiet(MoebiusInpaintPipeline(unet, vae, *_rest(replace(LIKE_PUBLISHED, autoencoder=None))))


def _rest(spec: ModelSpec) -> tuple[Any, Any]:
    from moebius.weights import spec_to_json

    return make_scheduler(spec), spec_to_json(spec)


def test_the_published_kind_of_autoencoder(
    with_kl: Any, small: Image.Image, small_mask: Image.Image, tmp_path: Path
) -> None:
    spec = with_kl.spec
    engine = TorchEngine.over(spec, with_kl.unet.network, Autoencoder(with_kl.vae, spec), torch.device("cpu"))
    expected = Moebius(spec, engine, model_hash="")(small, small_mask, seed=1, strategy="whole", **SAME)
    picture = with_kl(image=small, mask_image=small_mask, seed=1).images[0]
    assert_same(picture, expected.image, small_mask)
    with_kl.save_pretrained(tmp_path / "kl")
    again = quiet(MoebiusInpaintPipeline.from_pretrained(tmp_path / "kl"))
    assert type(again.vae) is diffusers.AutoencoderKL and again.spec == spec
    assert np.array_equal(picture, again(image=small, mask_image=small_mask, seed=1).images[0])
    with_kl.enable_vae_slicing()
    assert with_kl.vae.use_slicing
    assert_same(picture, with_kl(image=small, mask_image=small_mask, seed=1).images[0], small_mask)
    with_kl.disable_vae_slicing()
    with_kl.enable_vae_tiling()
    tiled = with_kl(image=small, mask_image=small_mask, seed=1).images[0]
    with_kl.disable_vae_tiling()
    assert not np.array_equal(tiled, picture)  # its tiles of 32 px overlap and are blended
    assert not with_kl.vae.use_slicing and not with_kl.vae.use_tiling


def test_offloading(
    masked: Any, tiny_masked: Path, with_kl: Any, small: Image.Image, small_mask: Image.Image
) -> None:
    """Weights that accelerate brings in for each call, the autoencoder's two methods included."""
    accelerate = pytest.importorskip("accelerate", reason="offloading is its work")
    brought: list[str] = []

    class Told(accelerate.hooks.ModelHook):  # type: ignore[misc]
        """In the place of what moves a whole model: asked before each of the autoencoder's methods."""

        def pre_forward(self, module: Any, *arguments: Any, **named: Any) -> Any:
            brought.append(type(module).__name__)
            return arguments, named

    for pipe in (opened(tiny_masked), with_kl):
        assert set(pipe.model_cpu_offload_seq.split("->")) == {"unet", "vae"}
        expected = pipe(image=small, mask_image=small_mask, seed=1).images[0]
        for part in (pipe.unet, pipe.vae):
            accelerate.cpu_offload(part, execution_device="cpu")
        assert {p.device.type for part in (pipe.unet, pipe.vae) for p in part.parameters()} == {"meta"}
        assert np.array_equal(expected, pipe(image=small, mask_image=small_mask, seed=1).images[0])
        for part in (pipe.unet, pipe.vae):
            accelerate.hooks.remove_hook_from_module(part, recurse=True)

        brought.clear()
        for part in (pipe.unet, pipe.vae):
            accelerate.hooks.add_hook_to_module(part, Told())
        pipe(image=small, mask_image=small_mask, seed=1, num_inference_steps=1)
        vae = type(pipe.vae).__name__
        assert brought == [vae, "MoebiusDenoiser", vae]
        for part in (pipe.unet, pipe.vae):
            accelerate.hooks.remove_hook_from_module(part, recurse=True)


@pytest.mark.slow
def test_compiled(small: Image.Image, small_mask: Image.Image, tmp_path: Path) -> None:
    sizes = {
        **LIKE_PUBLISHED.denoiser,
        "layers": 1,
        "channels": [16, 32],
    }  # compiling takes as long as it is deep
    pipe = opened(save_tiny_model(replace(LIKE_PUBLISHED, denoiser=sizes), tmp_path / "flat"))
    arguments = {"image": small, "mask_image": small_mask, "seed": 1, "num_inference_steps": 2}
    expected = pipe(**arguments).images[0]
    pipe.unet = torch.compile(pipe.unet, backend="eager")
    found = pipe(**arguments).images[0]
    assert_same(found, expected, small_mask)
    torch.compiler.reset()
    gc.collect()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_number_formats(
    dtype: torch.dtype, masked: Any, tiny_masked: Path, small: Image.Image, small_mask: Image.Image
) -> None:
    pipe = quiet(MoebiusInpaintPipeline.from_moebius(tiny_masked, dtype=dtype))
    assert pipe.dtype is dtype and pipe.vae.dtype is dtype
    found = pipe(image=small, mask_image=small_mask, seed=1).images[0]
    assert pipe.vae.dtype is dtype
    expected = masked(image=small, mask_image=small_mask, seed=1).images[0]
    hole = inside(small_mask)
    apart = np.abs(pixels(found) - pixels(expected))[hole]
    assert 0 < apart.mean() < 4
    assert np.array_equal(pixels(found)[~hole], pixels(small)[~hole])
