"""What a wheel weighs, with and without the bundled model:  python scripts/package_sizes.py WHEEL"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

MODELS = "moebius/models/"


def sizes(wheel: Path) -> tuple[int, int]:
    """Bytes of the wheel, and of its entries without the models as they lie compressed in it, with their directory."""
    with zipfile.ZipFile(wheel) as archive:
        models = sum(
            each.compress_size + 2 * len(each.filename) + 128
            for each in archive.infolist()
            if each.filename.startswith(MODELS)
        )
    whole = wheel.stat().st_size
    return whole, whole - models


if __name__ == "__main__":
    for name in sys.argv[1:]:
        whole, alone = sizes(Path(name))
        told = f"{Path(name).name}: {whole / 1e6:.1f} MB, without the model {alone / 1e6:.2f} MB"
        sys.stdout.write(told + "\n")
