"""Small photos, masks, folders, lists and shards to train on."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moebius.training.data.recipe import DataRecipe

Pixels = NDArray[np.uint8]


def pixels(seed: int, width: int = 80, height: int = 64) -> Pixels:
    """(height, width, 3): a smooth picture with some grain, another one for each seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    return np.clip(smooth + rng.integers(-6, 7, smooth.shape), 0, 255).astype(np.uint8)


def encoded(array: NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def box_mask(width: int = 80, height: int = 64, box: tuple[int, int, int, int] = (20, 16, 44, 40)) -> Pixels:
    """(height, width) uint8, white in the box (left, top, right, bottom)."""
    mask = np.zeros((height, width), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    return mask


def make_folder(folder: Path, count: int = 12, *, first: int = 0) -> Path:
    """`count` photos of three shapes in a folder and one inside it."""
    (folder / "inside").mkdir(parents=True)
    for i in range(first, first + count):
        width, height = ((80, 64), (64, 96), (72, 72))[i % 3]
        place = folder / "inside" if i % 4 == 3 else folder
        (place / f"photo{i:03d}.png").write_bytes(encoded(pixels(i, width, height)))
    return folder


def make_list(folder: Path, count: int = 8, objects: int = 4) -> Path:
    """A list of `count` background photos (every other one with a mask) and `objects` foreground ones."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[Any] = []
    for i in range(count + objects):
        (folder / f"p{i}.png").write_bytes(encoded(pixels(i)))
        entry = {"image": f"p{i}.png", "prompt": "foreground" if i >= count else "background"}
        if i >= count or i % 2:
            (folder / f"m{i}.png").write_bytes(encoded(box_mask()))
            entry["mask"] = f"m{i}.png"
        lines.append([i, entry] if i % 3 == 0 else entry)
    path = folder / "list.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    return path


def make_shard(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def photo_members(numbers: Sequence[int]) -> dict[str, bytes]:
    """Plain photos for a shard."""
    return {f"key{i:03d}.webp": encoded(pixels(i), "WEBP", quality=80) for i in numbers}


def small_recipe(**changes: Any) -> DataRecipe:
    """Random 32 px crops with our own masks, which need no OpenCV."""
    values: dict[str, Any] = {
        "sizes": (32,),
        "crop": "random",
        "masks": {"thick": 1.0, "object": 1.0},
        "hole": (0.0, 0.6),
    }
    return DataRecipe(**values | changes)
