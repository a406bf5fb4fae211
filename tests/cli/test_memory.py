"""Peak memory of the main job, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PEAK = """
import pathlib, resource, sys
from moebius.cli import main
main(sys.argv[1:])
status = pathlib.Path("/proc/self/status")
if status.exists():  # Linux: ru_maxrss would count the process that started this one, too
    print(next(int(line.split()[1]) for line in status.read_text().splitlines() if line[:5] == "VmHWM") * 1024)
else:
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module on Windows")
@pytest.mark.parametrize(
    "hole",
    [(1400, 1700, 2000, 2400), pytest.param((300, 2700, 300, 3700), marks=pytest.mark.slow)],
    ids=["small", "most of it"],
)
def test_12_megapixels_stay_under_a_gigabyte_and_a_half(
    tmp_path: Path, hole: tuple[int, int, int, int]
) -> None:
    top, bottom, left, right = hole
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    photo = Image.fromarray(coarse).resize((4000, 3000), Image.Resampling.BICUBIC)
    photo.save(tmp_path / "photo.png", compress_level=1)
    mask = np.zeros((3000, 4000), np.uint8)
    mask[top:bottom, left:right] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    words = ["inpaint", tmp_path / "photo.png", tmp_path / "mask.png", "-o", tmp_path / "out.png"]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, words), "--engine", "onnx"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 1_500_000_000

    with Image.open(tmp_path / "out.png") as written:
        changed = (np.asarray(photo) != np.asarray(written)).any(axis=-1)
    assert changed[top:bottom, left:right].any()
    changed[top - 100 : bottom + 100, left - 100 : right + 100] = (
        False  # the mask, its growth and its feather
    )
    assert not changed.any()
