"""The room's front door."""

from __future__ import annotations

import subprocess
import sys

import moebius.imaging


def test_names_are_listed_and_sorted() -> None:
    names = moebius.imaging.__all__
    assert names == sorted(names)
    assert all(hasattr(moebius.imaging, name) for name in names)


def test_nothing_but_numpy_and_pillow_is_imported() -> None:
    script = "import sys, moebius.imaging; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"numpy", "PIL"} <= loaded
    assert not loaded & {"torch", "scipy", "cv2", "skimage", "onnxruntime", "rich", "click"}
