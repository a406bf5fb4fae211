"""`moebius inpaint` with GIF, APNG and WebP of several frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_photos import disc, picture
from PIL import Image

from moebius import Moebius
from moebius.imaging import grow_mask

FRAMES = [picture(96, 80, seed=seed) for seed in range(3)]
MASK = disc(96, 80, (40, 30), 12)


def frames_of(path: str) -> list[np.ndarray]:
    with Image.open(path) as image:
        return [
            np.asarray(image.convert("RGB")) for index in range(image.n_frames) if image.seek(index) is None
        ]


def save(path: str) -> None:
    first, *others = (Image.fromarray(frame) for frame in FRAMES)
    first.save(path, save_all=True, append_images=others, duration=70, loop=0, lossless=True)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_every_frame_is_filled(inpaint: Any, work: Path, nano_like: Moebius, suffix: str) -> None:
    save(f"waves.{suffix}")
    done = inpaint("--json", "--grow", "1", "--seed", "3", photo=f"waves.{suffix}", output=f"clean.{suffix}")
    assert done.code == 0 and done.err == "", done.err
    report = json.loads(done.out)
    assert report["frames"] == 3 and report["written"]["stored"] == "lossless"
    written = frames_of(f"clean.{suffix}")
    outside = ~grow_mask(MASK, 1 + 6)
    for before, after in zip(FRAMES, written, strict=True):
        assert np.array_equal(before[outside], after[outside])
        expected = nano_like(before, "mask.png", seed=3, grow=1).photo.pixels
        assert np.array_equal(after, expected), "as the library fills it, with the same noise in every frame"


def test_of_another_format_the_first_frame_is_taken_and_told(inpaint: Any, work: Path) -> None:
    save("waves.webp")
    done = inpaint(photo="waves.webp", output="first.png")
    assert done.code == 0 and "has 3 frames, only the first is used" in done.err
    assert len(frames_of("first.png")) == 1


@pytest.mark.parametrize("format", ["png", "webp"])
def test_a_format_that_is_the_photos_own_keeps_all_frames(inpaint: Any, work: Path, format: str) -> None:
    save("waves.png")
    done = inpaint("--json", "--steps", "1", "--format", format, photo="waves.png", output="clean.png")
    assert done.code == 0 and json.loads(done.out).get("frames") == (3 if format == "png" else None)


def test_what_is_transparent_in_each_frame_is_filled(moebius: Any, work: Path, tiny_prefill: Path) -> None:
    frames = [np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)]) for frame in FRAMES]
    for number, frame in enumerate(frames):
        frame[20:40, 10 + 20 * number : 30 + 20 * number, 3] = 0
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save("waves.png", save_all=True, append_images=others)
    fill = ("--mask-from", "alpha", "--grow", "0", "--feather", "0", "--steps", "1")
    done = moebius(
        "inpaint", "waves.png", "-o", "clean.png", *fill, "--model", tiny_prefill, "--device", "cpu"
    )
    assert done.code == 0 and done.err == "", done.err
    with Image.open("clean.png") as image:
        for number, before in enumerate(frames):
            image.seek(number)
            after, hole = np.asarray(image.convert("RGBA")), before[..., 3] == 0
            assert np.array_equal(after[~hole], before[~hole]) and (after[..., 3] == 255).all()
            assert (after[hole] != before[hole]).any()


def test_gif_of_few_colours_keeps_them(inpaint: Any, work: Path) -> None:
    flat = [Image.fromarray((frame // 128 * 120).astype(np.uint8)) for frame in FRAMES]
    flat[0].save("waves.gif", save_all=True, append_images=flat[1:], duration=70, loop=0)
    done = inpaint("--grow", "1", photo="waves.gif", output="clean.gif")
    assert done.code == 0, done.err
    outside = ~grow_mask(MASK, 1 + 6)
    for before, after in zip(frames_of("waves.gif"), frames_of("clean.gif"), strict=True):
        assert np.array_equal(before[outside], after[outside])


def test_a_report_says_what_changed(inpaint: Any, work: Path) -> None:
    report = json.loads(inpaint("--json", "--grow", "1").out)
    changes = report["changes"]
    assert 0 < changes["changed"] <= int(grow_mask(MASK, 1 + 6).sum())
    assert changes["box"][0] >= 40 - 20 and report["written"]["format"] == "PNG"
    assert (changes["outside"], changes["largest_outside"]) == (0, 0)


def test_a_report_on_all_frames(inpaint: Any, work: Path) -> None:
    save("waves.png")
    report = json.loads(
        inpaint("--json", "--grow", "1", "--steps", "1", photo="waves.png", output="clean.png").out
    )
    changes, area = report["changes"], int(grow_mask(MASK, 1 + 6).sum())
    before, after = frames_of("waves.png"), frames_of("clean.png")
    changed = [(one != other).any(axis=-1) for one, other in zip(before, after, strict=True)]
    assert changes["pixels"] == 3 * 96 * 80 and 2 * area < changes["changed"] <= 3 * area
    assert changes["changed"] == sum(int(each.sum()) for each in changed)
    left, top, right, bottom = changes["box"]
    union = np.logical_or.reduce(changed)
    assert union[top:bottom, left:right].sum() == union.sum()
    assert (changes["outside"], changes["largest_outside"]) == (0, 0)


def test_a_warning_that_holds_for_every_frame_is_told_once(inpaint: Any, work: Path) -> None:
    save("waves.png")
    Image.fromarray(np.zeros((80, 96), np.uint8)).save("nothing.png")
    done = inpaint("--json", photo="waves.png", mask="nothing.png", output="clean.png")
    assert done.code == 0 and [line for line in done.lines if "mask is empty" in line] == done.lines[:1]
    assert len(done.lines) == 1 and len(json.loads(done.out)["warnings"]) == 1
    done = inpaint(photo="photo.png", mask="nothing.png")
    assert len(done.lines) == 1, "nothing of it stays behind"


def test_a_webp_that_exif_turns(inpaint: Any, work: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    first, *others = (Image.fromarray(frame) for frame in FRAMES)
    first.save("waves.webp", save_all=True, append_images=others, lossless=True, exif=turned)
    Image.fromarray(MASK.T).save("sideways.png")
    done = inpaint(
        "--grow", "1", "--steps", "1", photo="waves.webp", mask="sideways.png", output="clean.webp"
    )
    assert done.code == 0 and done.err == "", done.err
    outside = ~grow_mask(MASK.T, 1 + 6)
    for before, after in zip(FRAMES, frames_of("clean.webp"), strict=True):
        upright = np.rot90(before, -1)
        assert np.array_equal(upright[outside], after[outside])
