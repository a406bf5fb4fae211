"""The published inference against golden data measured on the release (see tests/data/official/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from official_standins import Denoiser, decode, encode, synthetic
from PIL import Image

from moebius.errors import InputError, SettingsError
from moebius.pipeline import official
from moebius.pipeline.official import (
    category_ids,
    denoise_official,
    encode_inputs,
    guided,
    official_plan,
    official_start,
    offset_noise,
    reconstruct_official,
)
from moebius.pipeline.official_images import Prepared, prepare
from moebius.sampling import normal

DATA = Path(__file__).parents[1] / "data" / "official"
CASES: dict[str, Any] = json.loads((DATA / "cases.json").read_text())
LATENT_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray[Any]]:
    with np.load(DATA / "golden.npz") as arrays:
        return dict(arrays)


def case_of(golden: dict[str, NDArray[Any]], name: str) -> dict[str, NDArray[Any]]:
    return {key: golden[array] for key, array in CASES[name]["arrays"].items()}


def noise_of(name: str, values: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """The noise the case was run with."""
    if "noise_base" not in values:  # S2: solved for, from the start latents
        latents = encode(prepare(*synthetic(CASES[name]["images"][0])).image[None])
        plan = official_plan()
        return ((values["x_start"] - plan.alpha0 * latents) / plan.sigma0).astype(np.float32)
    offset = CASES[name]["noise_offset"]
    return (
        offset_noise(values["noise_base"], values["noise_channel"], offset)
        if offset
        else values["noise_base"]
    )


def run_case(
    name: str, values: dict[str, NDArray[Any]], **changes: Any
) -> tuple[official.OfficialResult, Denoiser]:
    photos, masks = zip(*(synthetic(number) for number in CASES[name]["images"]), strict=True)
    denoiser = Denoiser()
    arguments = {"noise": noise_of(name, values), **CASES[name]["arguments"], **changes}
    return reconstruct_official(encode, denoiser, decode, photos, masks, **arguments), denoiser


def difference(got: NDArray[Any], expected: NDArray[Any]) -> float:
    assert got.shape == expected.shape
    return float(np.abs(got.astype(np.float64) - expected).max())


def picture_of(name: str, index: int) -> NDArray[np.uint8]:
    return np.array(Image.open(DATA / CASES[name]["pictures"][index]).convert("RGB"))


@pytest.mark.parametrize("name", CASES)
def test_golden_case(name: str, golden: dict[str, NDArray[Any]]) -> None:
    values = case_of(golden, name)
    result, denoiser = run_case(name, values)
    batch = len(result.pictures)

    assert list(result.plan.timesteps) == values["timesteps"].tolist()
    assert [timestep for _, timestep, _, _ in denoiser.calls] == values["timesteps"].tolist()
    assert (denoiser.calls[0][2] == values["input_ids_first_call"]).all()
    masks = np.stack([item.mask for item in result.prepared])
    assert (np.packbits(masks.astype(bool)) == values["mask"]).all()
    assert (result.inputs.mask == values["resized_mask"]).all()

    assert difference(result.inputs.masked_latents, values["masked_latents"]) < LATENT_TOLERANCE
    assert difference(result.start, values["x_start"]) < LATENT_TOLERANCE
    last_x, _, _, last_out = denoiser.calls[-1]
    assert difference(last_x[:batch], values["x_after_last_input"]) < LATENT_TOLERANCE
    assert (last_x[:batch] == last_x[batch:]).all()
    assert difference((result.decoded[:, :, ::8, ::8] + 1) / 2, values["decoded"]) < LATENT_TOLERANCE
    if "eps_cond_last" in values:  # divided by the noise left at t = 0, 0.03, and up to 59
        assert difference(last_out[:batch], values["eps_uncond_last"]) < 2e-3
        assert difference(last_out[batch:], values["eps_cond_last"]) < 2e-3
    for index, picture in enumerate(result.pictures):
        assert difference(picture, picture_of(name, index)) <= 1


def test_golden_trajectory(golden: dict[str, NDArray[Any]]) -> None:
    values = case_of(golden, "S0")
    _, denoiser = run_case("S0", values)
    for step, expected in zip((6, 12), values["x_traj_6_12"], strict=True):
        assert difference(denoiser.calls[step][0][:1], expected) < LATENT_TOLERANCE


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 21},
        {"strength": 0.9},
        {"guidance": 2.05},
        {"kernel": 2},
        {"compensated": True},
        {"pasted": False},
        {"image_size": 448, "noise": normal((1, 4, 56, 56), seed=0)},
        {"noise": normal((1, 4, 64, 64), seed=0)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_golden_case_fails_when_anything_changes(change: Any, golden: dict[str, NDArray[Any]]) -> None:
    values = case_of(golden, "S0")
    result, denoiser = run_case("S0", values, **change)
    expected = picture_of("S0", 0)
    same_size = result.pictures[0].shape == expected.shape
    same_picture = same_size and difference(result.pictures[0], expected) <= 1
    last_x = denoiser.calls[-1][0][:1]
    same_latents = same_size and difference(last_x, values["x_after_last_input"]) < LATENT_TOLERANCE
    same_steps = list(result.plan.timesteps) == values["timesteps"].tolist()
    assert not (same_picture and same_latents and same_steps)


def test_published_start_leaks_and_strength_one_does_not() -> None:
    photo, mask = synthetic(0)
    other = np.where(mask[..., None] > 0, 255 - photo, photo)
    noise = normal((1, 4, 64, 64), seed=0)

    def start_of(image: NDArray[np.uint8], strength: float) -> Any:
        prepared = [prepare(image, mask)]
        return official_start(
            noise, encode_inputs(encode, prepared).latents, official_plan(20, strength), strength
        )

    assert difference(start_of(photo, 0.99), start_of(other, 0.99)) > 0.05
    assert difference(start_of(photo, 1.0), start_of(other, 1.0)) == 0


def test_guidance_one_runs_half_the_batch_to_the_same_end() -> None:
    inputs = encode_inputs(encode, [prepare(*synthetic(0)), prepare(*synthetic(3))])
    x = normal((2, 4, 64, 64), seed=1)
    half, whole = Denoiser(), Denoiser()
    one = guided(half, inputs.mask, inputs.masked_latents, 1.0)(x, 500)
    two = guided(whole, inputs.mask, inputs.masked_latents, 1.0 + 1e-9)(x, 500)
    assert len(half.calls[0][0]) == 2
    assert len(whole.calls[0][0]) == 4
    assert half.calls[0][2].max() == 9
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_guidance_must_be_a_number() -> None:
    inputs = encode_inputs(encode, [prepare(*synthetic(0))])
    with pytest.raises(SettingsError, match=r"guidance.*nan"):
        guided(Denoiser(), inputs.mask, inputs.masked_latents, float("nan"))


def test_category_ids() -> None:
    ids = category_ids(2)
    assert ids.dtype == np.int64
    assert ids.tolist() == [list(range(10, 20))] * 2 + [list(range(10))] * 2


def test_loop_is_a_generator_that_can_be_closed() -> None:
    inputs = encode_inputs(encode, [prepare(*synthetic(0))])
    denoiser = Denoiser()
    loop = denoise_official(
        denoiser, normal((1, 4, 64, 64), seed=0), inputs.mask, inputs.masked_latents, official_plan(20)
    )
    state = next(loop)
    loop.close()
    assert (state.index, state.total, state.timestep) == (0, 19, 900)
    assert len(denoiser.calls) == 1


def test_nan_in_latents_becomes_zero() -> None:
    def broken(image: NDArray[np.float32]) -> NDArray[np.float32]:
        latents = encode(image)
        latents[:, 0, 0, 0] = np.nan
        return latents

    inputs = encode_inputs(broken, [prepare(*synthetic(0))])
    assert inputs.latents[0, 0, 0, 0] == inputs.masked_latents[0, 0, 0, 0] == 0
    assert np.isfinite(inputs.latents).all()


def test_mask_reaches_the_latents_by_its_top_left_pixels() -> None:
    grey = np.zeros((64, 64), np.uint8)
    grey[:, 8] = 255  # on a cell's first column: kept
    grey[:, 17:24] = 255  # on no cell's first column: lost
    inputs = encode_inputs(encode, [Prepared(np.zeros((64, 64, 3), np.uint8), grey)])
    assert inputs.mask.shape == (1, 1, 8, 8)
    assert (inputs.mask[0, 0] == np.eye(8)[1]).all()


def test_one_step_is_refused_because_none_would_be_left() -> None:
    with pytest.raises(SettingsError, match=r"strength 0\.99, got 1"):
        official_plan(1)
    assert official_plan(1, 1.0).timesteps == (0,)
    assert official_plan(2).timesteps == (0,)


def test_bad_batches_are_refused() -> None:
    photo, mask = synthetic(0)
    tall, tall_mask = synthetic(1)
    noise = normal((1, 4, 64, 64), seed=0)

    def run(photos: list[Any], masks: list[Any]) -> Any:
        return reconstruct_official(encode, Denoiser(), decode, photos, masks, noise)

    with pytest.raises(InputError, match="got 2 and 1"):
        run([photo, photo], [mask])
    with pytest.raises(InputError, match="got 0 and 0"):
        run([], [])
    with pytest.raises(InputError, match="512x512, 512x768"):
        run([photo, tall], [mask, tall_mask])
    with pytest.raises(InputError, match=r"noise: expected shape \(2, 4, 64, 64\), got \(1, 4, 64, 64\)"):
        run([photo, photo], [mask, mask])
