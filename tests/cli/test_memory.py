"""Peak memory of the main job, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PEAK = """
import resource, sys
from moebius.cli import main
main(sys.argv[1:])
unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module on Windows")
def test_12_megapixels_stay_under_a_gigabyte_and_a_half(tmp_path: Path) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    photo = Image.fromarray(coarse).resize((4000, 3000), Image.Resampling.BICUBIC)
    photo.save(tmp_path / "photo.png", compress_level=1)
    mask = np.zeros((3000, 4000), np.uint8)
    mask[1400:1700, 2000:2400] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    words = ["inpaint", tmp_path / "photo.png", tmp_path / "mask.png", "-o", tmp_path / "out.png"]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, words), "--engine", "onnx"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 1_500_000_000

    before, after = np.asarray(photo), np.asarray(Image.open(tmp_path / "out.png"))
    changed = (before != after).any(axis=-1)
    assert changed[1400:1700, 2000:2400].any()
    changed[1300:1800, 1900:2500] = False  # the mask, its growth and its feather
    assert not changed.any()
