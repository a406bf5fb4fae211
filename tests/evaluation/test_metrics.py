"""Metrics against closed forms, independent implementations, and common sense: more damage, worse score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from moebius.evaluation.features import open_perceptual
from moebius.evaluation.holes import Case, Hole, Mask, Pixels, open_case
from moebius.evaluation.judge import Judge, Networks
from moebius.evaluation.methods import Method
from moebius.evaluation.metrics import (
    BY_NAME,
    MAX_PSNR,
    METRICS,
    Picture,
    Similarity,
    edge_steps,
    masked_mae,
    masked_psnr,
    outside_change,
    seam_error,
    sharpness_ratio,
    square_around,
    whole_ssim,
)
from moebius.evaluation.protocol import cases, open_protocol
from moebius.evaluation.run import _diversity
from moebius.imaging import Box
from moebius.networks.perceptual import load_lpips


def picture(seed: int, shape: tuple[int, int] = (64, 80)) -> Picture:
    return np.random.default_rng(seed).random((*shape, 3), dtype=np.float32)


def block(shape: tuple[int, int] = (64, 80)) -> Mask:
    hole = np.zeros(shape, bool)
    hole[20:44, 30:66] = True
    return hole


def flat(level: float) -> Picture:
    return np.full((64, 80, 3), level, np.float32)


def masked_ssim(image: Picture, truth: Picture, hole: Mask) -> float:
    return float(Similarity(truth)(image)[hole].mean())


def levels(image: Picture) -> Pixels:
    return np.floor(image * 255 + 0.5).astype(np.uint8)


def hole_in(truth: Picture, mask: Mask) -> Hole:
    return Hole(Case(photo="p", image=Path("p.png"), mask=Path("m.png")), levels(truth), mask)


def squeeze(path: Path) -> Networks:
    return Networks({"lpips-squeeze": open_perceptual("lpips-squeeze", path)})


def pasted(truth: Picture, fill: Picture, hole: Mask) -> Picture:
    return np.where(hole[..., None], fill, truth)


def test_equal_pictures_are_perfect(features: Path) -> None:
    truth, hole = picture(0), block()
    perfect = {
        "psnr": MAX_PSNR, "psnr_whole": MAX_PSNR, "mae": 0, "mae_whole": 0, "ssim": 1, "ssim_whole": 1, "lpips": 0,
        "lpips_crop": 0, "sharpness": 1, "seam": 0, "ring_error": 0, "outside": 0, "outside_share": 0,
    }  # fmt: skip
    case = hole_in(truth, hole)
    numbers = dict(Judge(case, squeeze(features))(case.pixels).numbers)
    edge = {name: numbers.pop(name) for name in ("ring_step", "ring_tone", "ring_grain")}
    assert numbers.pop("area") == pytest.approx(hole.mean(), abs=1e-6)
    assert numbers == pytest.approx(perfect, abs=1e-6)
    assert edge["ring_step"] == pytest.approx(1, abs=0.05)  # noise is the same everywhere
    assert edge["ring_grain"] == pytest.approx(1, abs=0.1)


def test_metrics_have_one_name_each() -> None:
    assert len(BY_NAME) == len(METRICS) == len({metric.title for metric in METRICS})


def test_differences_of_a_constant() -> None:
    image = pasted(flat(0.25), flat(0.35), block())
    assert masked_mae(image, flat(0.25), block()) == pytest.approx(0.1, rel=1e-5)
    assert masked_psnr(image, flat(0.25), block()) == pytest.approx(20, rel=1e-5)


def test_differences_outside_the_hole_do_not_count() -> None:
    truth, hole = picture(0), block()
    image = pasted(picture(1), truth, hole)
    assert masked_mae(image, truth, hole) == 0
    assert masked_psnr(image, truth, hole) == MAX_PSNR


def test_psnr_agrees_with_scikit_image() -> None:
    truth, image, hole = picture(0), picture(1), block()
    expected = peak_signal_noise_ratio(truth[hole], image[hole], data_range=1)
    assert masked_psnr(image, truth, hole) == pytest.approx(expected, rel=1e-6)


def test_ssim_of_constants_is_the_luminance_term() -> None:
    c1 = 0.01**2
    expected = (2 * 0.2 * 0.6 + c1) / (0.2**2 + 0.6**2 + c1)
    assert masked_ssim(flat(0.2), flat(0.6), block()) == pytest.approx(expected, rel=1e-4)


def test_ssim_from_its_definition() -> None:
    """One pixel's window, weighted sums in float64, Wang et al. equation 13."""
    truth, image = picture(0), picture(1)
    hole = np.zeros((64, 80), bool)
    hole[30, 40] = True
    offsets = np.arange(-5, 6)
    weight = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(weight, weight) / weight.sum() ** 2
    values = []
    for channel in range(3):
        a, b = (p[25:36, 35:46, channel].astype(np.float64) for p in (image, truth))
        ma, mb = (window * a).sum(), (window * b).sum()
        va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
        cov = (window * (a - ma) * (b - mb)).sum()
        c1, c2 = 0.01**2, 0.03**2
        values.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    assert masked_ssim(image, truth, hole) == pytest.approx(np.mean(values), abs=1e-4)


def test_ssim_agrees_with_scikit_image() -> None:
    """Its settings for the paper's own program, in float64: the map, and the mean without the border."""
    truth, image, hole = picture(0), np.clip(picture(0) + 0.3 * picture(1), 0, 1), block()
    mean, full = structural_similarity(
        truth.astype(np.float64), image.astype(np.float64), data_range=1, channel_axis=2, full=True,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    assert masked_ssim(image, truth, hole) == pytest.approx(full[hole].mean(), abs=1e-5)
    assert whole_ssim(Similarity(truth)(image)) == pytest.approx(mean, abs=1e-5)


def test_change_of_known_pixels() -> None:
    truth, hole = levels(picture(0)), block()
    filled = truth.copy()
    filled[hole] = 0
    assert outside_change(filled, truth, ~hole) == (0, 0)
    filled[0, 0, 1] = truth[0, 0, 1] ^ 1
    filled[63, 79] = 255 - truth[63, 79]
    known = (~hole).sum()
    largest = np.abs(filled.astype(int) - truth)[[0, 63], [0, 79]].max() / 255
    assert outside_change(filled, truth, ~hole) == (pytest.approx(largest), pytest.approx(2 / known))


def test_steps_across_the_edge_are_counted_once_each() -> None:
    hole = np.zeros((64, 80), bool)
    hole[10:14, 20:27] = True
    steps = edge_steps(pasted(flat(0.25), flat(0.75), hole), hole)
    assert steps.shape == (2 * (4 + 7), 3)
    assert (steps == 0.5).all()


def test_sharpness_is_the_ratio_of_contrasts() -> None:
    y, x = np.mgrid[:64, :80]
    chequers = ((x + y) % 2).astype(np.float32)[..., None].repeat(3, axis=2)  # |Laplacian| 4 inside
    hole = block()
    strong, weak = 0.5 + 0.4 * (chequers - 0.5), 0.5 + 0.1 * (chequers - 0.5)
    assert sharpness_ratio(weak, strong, hole) == pytest.approx(0.25, rel=1e-5)
    assert sharpness_ratio(flat(0.5), strong, hole) == 0
    ramp = np.linspace(0, 1, 80, dtype=np.float32)[None, :, None].repeat(64, 0).repeat(3, 2)
    assert sharpness_ratio(ramp, strong, hole) == pytest.approx(0, abs=1e-6)


def test_sharpness_is_blind_to_the_seam() -> None:
    truth, hole = 0.5 + 0.1 * picture(0), block()
    raised = pasted(truth, truth + 0.3, hole)
    assert sharpness_ratio(raised, truth, hole) == pytest.approx(1, rel=1e-4)
    stroke = np.zeros_like(hole)
    stroke[30, 10:70] = True  # nothing but rim
    assert sharpness_ratio(pasted(truth, truth + 0.3, stroke), truth, stroke) > 2


def test_seam_of_a_constant_offset_and_of_an_edge_lost() -> None:
    hole = block()
    raised = pasted(flat(0.5), flat(0.7), hole)
    assert seam_error(raised, flat(0.5), hole) == pytest.approx(0.2, rel=1e-5)
    assert seam_error(flat(0.5), raised, hole) == pytest.approx(-0.2, rel=1e-5)
    assert seam_error(flat(0.1), flat(0.9), np.ones((64, 80), bool)) == 0


def test_seam_pixel_by_pixel() -> None:
    truth, hole = picture(0), np.random.default_rng(2).random((64, 80)) < 0.5
    image = pasted(truth, picture(1), hole)
    steps = []
    for y, x in zip(*np.nonzero(hole), strict=True):
        for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= ny < 64 and 0 <= nx < 80 and not hole[ny, nx]:
                outside = truth[ny, nx]
                steps.append((np.abs(image[y, x] - outside) - np.abs(truth[y, x] - outside)).mean())
    assert seam_error(image, truth, hole) == pytest.approx(np.mean(steps), abs=1e-6)


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        ((100, 200), (40, 60), Box(0, 100, 100, 200)),
        ((0, 10), (250, 256), Box(192, 0, 256, 64)),  # as large as the network needs, moved inside
        ((0, 256), (100, 101), Box(0, 0, 256, 256)),
    ],
)
def test_square_around(rows: tuple[int, int], columns: tuple[int, int], expected: Box) -> None:
    hole = np.zeros((256, 256), bool)
    hole[slice(*rows), slice(*columns)] = True
    assert square_around(hole) == expected


def test_square_around_nothing() -> None:
    with pytest.raises(ValueError, match="empty"):
        square_around(np.zeros((64, 64), bool))


def test_lpips_of_whole_and_crop_is_the_networks_own(features: Path) -> None:
    shape = (96, 128)
    truth, hole = picture(0, shape), block(shape)
    case = hole_in(truth, hole)
    image = pasted(truth, picture(1, shape), hole)
    numbers = Judge(case, squeeze(features))(levels(image)).numbers
    net = load_lpips(features)
    crop = square_around(hole).slices
    for name, part in {"lpips": (slice(None), slice(None)), "lpips_crop": crop}.items():
        pair = (levels(image)[part], case.pixels[part])
        a, b = (
            torch.from_numpy(p.transpose(2, 0, 1)[None] / np.float32(127.5) - np.float32(1)) for p in pair
        )
        assert numbers[name] == pytest.approx(float(net(a, b)), rel=1e-4)
    assert numbers["lpips_crop"] > numbers["lpips"] > 0


def blurred(truth: Picture, radius: float) -> Picture:
    image = Image.fromarray((truth * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(image, np.float32) / 255


def noisy(truth: Picture, sigma: float) -> Picture:
    noise = np.random.default_rng(3).standard_normal(truth.shape).astype(np.float32)
    return np.clip(truth + sigma * noise, 0, 1)


@pytest.mark.parametrize("damage", [blurred, noisy])
def test_more_damage_scores_worse(
    damage: Callable[[Picture, float], Picture], eval_data: Path, real_features: Path
) -> None:
    """On a real photo, with the real network: every metric, step by step."""
    hole = open_case(cases(open_protocol("photos"), eval_data, families=("medium",))[60])
    corner = slice(128, 384), slice(128, 384)
    truth, mask = hole.pixels[corner].astype(np.float32) / 255, block((256, 256))
    judge = Judge(hole_in(truth, mask), squeeze(real_features))
    strengths = (1, 2, 4, 8) if damage is blurred else (0.02, 0.05, 0.15, 0.4)
    scores = [
        judge(levels(pasted(truth, damage(truth, strength), mask))).numbers for strength in (0, *strengths)
    ]
    for metric in (metric for metric in METRICS if metric.name in scores[0]):
        values = [score[metric.name] for score in scores]
        if metric.scope == "known":
            assert values == [0] * 5, metric
        elif metric.best == "high":
            assert values == sorted(values, reverse=True), metric
        elif metric.best == "low":
            assert values == sorted(values), metric
        elif metric.name in ("sharpness", "ring_grain"):
            assert values == sorted(values, reverse=damage is blurred), metric
        elif (
            damage is noisy and metric.name != "ring_tone"
        ):  # noise has no tone; test_ring.py has what shifts it
            assert values == sorted(values), metric


def test_ring_error_counts_the_hole_near_its_edge(features: Path) -> None:
    """Pixel by pixel: those of the hole whose nearest known pixel is at most 8 away, centre to centre."""
    shape = (64, 80)
    truth, hole = picture(0, shape), block(shape)
    filled = levels(pasted(truth, picture(1, shape), hole))
    case = hole_in(truth, hole)
    known = np.argwhere(~hole)
    errors = []
    for y, x in np.argwhere(hole):
        if np.hypot(known[:, 0] - y, known[:, 1] - x).min() <= 8:
            errors.append(np.abs(filled[y, x] / 255 - case.pixels[y, x] / 255).mean())
    assert 0 < len(errors) < hole.sum()
    numbers = Judge(case, Networks())(filled).numbers
    assert numbers["ring_error"] == pytest.approx(np.mean(errors), abs=1e-6)


def test_diversity_is_the_mean_distance_of_each_two_fills(features: Path) -> None:
    shape = (96, 96)
    truth, hole = picture(0, shape), block(shape)
    case, networks = hole_in(truth, hole), squeeze(features)

    def fills(strength: float) -> list[Method]:
        pictures = [
            levels(np.clip(0.5 + strength * (picture(seed, shape) - 0.5), 0, 1)) for seed in (1, 2, 3)
        ]
        return [Method(f"m{i}", "", lambda hole, i=i: pictures[i]) for i in range(3)]

    def diversity(strength: float) -> float:
        return _diversity(case, Judge(case, networks), networks, fills(strength))["diversity"]

    crop, net = square_around(hole).slices, load_lpips(features)
    tensors = [
        torch.from_numpy(
            np.where(hole[..., None], method.fill(case), case.pixels)[crop].transpose(2, 0, 1)[None]
            / np.float32(127.5) - np.float32(1)
        )
        for method in fills(1.0)
    ]  # fmt: skip
    expected = np.mean([float(net(tensors[a], tensors[b])) for a, b in ((0, 1), (0, 2), (1, 2))])
    assert diversity(1.0) == pytest.approx(expected, rel=1e-4)
    values = [diversity(strength) for strength in (0.0, 0.1, 0.3, 1.0)]
    assert values[0] == pytest.approx(0, abs=1e-7) and values == sorted(values)


def test_published_metrics_look_at_the_whole_picture_only_where_asked(features: Path) -> None:
    case = hole_in(picture(0), block())
    narrow, wide = (
        set(Judge(case, squeeze(features), whole=whole)(case.pixels).numbers) for whole in (False, True)
    )
    assert wide - narrow == {"lpips"} and "lpips_crop" in narrow
