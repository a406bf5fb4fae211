"""A model that takes no time, folders of small photos, and a program that runs a batch over them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from child_processes import child
from made_photos import disc, picture
from PIL import Image

from moebius import Moebius
from moebius.batch import Options
from moebius.batch.gather import Request, gather
from moebius.batch.item import Item, Record
from moebius.batch.ledger import Ledger
from moebius.batch.local import LocalRun
from moebius.batch.plan import Plan, make_plan
from moebius.engines.base import FloatArray as Floats
from moebius.testing import FakeEngine
from moebius.weights import find

TESTS = Path(__file__).parents[1]
FORMATS = ("png", "jpg", "webp", "tif", "bmp")
PROGRAM = """
import sys
from quick_model import quick_model
from moebius import Moebius
from moebius.cli import main
pause = float(sys.argv.pop(1))
Moebius.from_pretrained = classmethod(lambda cls, *_, **__: quick_model(pause))
main(["batch", *sys.argv[1:]])
"""


class SlowEngine(FakeEngine):
    """Takes its time, and notes how many rows come in together."""

    def __init__(self, pause: float):
        super().__init__()
        self.pause = pause
        self.rows_seen: list[int] = []

    def predict(
        self, noisy: Floats, timestep: int, mask: Floats, condition: Floats, guidance: float
    ) -> Floats:
        time.sleep(self.pause)
        self.rows_seen.append(len(noisy))
        return super().predict(noisy, timestep, mask, condition, guidance)


def quick_model(pause: float = 0.0) -> Moebius:
    """Fed and sampled like nano at 64 px, by an engine without networks; no copied texture, which takes longest."""
    spec = replace(find("nano"), size=64, cascade=(), detail="network")
    return Moebius(spec, SlowEngine(pause), model_hash="0" * 64)


@dataclass(frozen=True)
class Folders:
    """Where a batch's files are."""

    photos: Path
    masks: Path
    out: Path

    def request(self, **changes: Any) -> Request:
        return Request(
            **{"photos": str(self.photos), "masks": str(self.masks), "out": str(self.out), **changes}
        )

    def plan(self, model: Moebius, options: Options, **more: Any) -> tuple[Plan, Ledger]:
        ledger = Ledger(self.out, model, options, verify=more.pop("verify", False))
        overwrite = more.pop("overwrite", False)
        return make_plan(gather(self.request(**more)).items, ledger, overwrite=overwrite), ledger

    def run(self, model: Moebius, options: Options | None = None, **more: Any) -> list[Record]:
        """A whole run; what it says of each item that it worked on, by name."""
        options, workers = options or Options(), more.pop("workers", 2)
        plan, ledger = self.plan(model, options, **more)
        plan.check(bool(more.get("overwrite")))
        with ledger:
            records = LocalRun(model, plan.todo, options, ledger, workers=workers).records()
            return sorted(records, key=lambda record: record.name)

    def outputs(self, out: Path | None = None) -> dict[str, bytes]:
        """All files in OUT but the batch's own; hidden ones too."""
        out = out or self.out
        files = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
        return {
            name: path.read_bytes()
            for name, path in files.items()
            if name not in ("manifest.jsonl", ".moebius-claims")
        }

    def lines(self) -> list[dict[str, Any]]:
        """The manifest's lines, without halves: a kill in the midst of a write leaves what filled a page."""
        lines = (self.out / "manifest.jsonl").read_bytes().splitlines()
        return [json.loads(line) for line in lines if line and line.endswith(b"}")]


def make_folders(parent: Path, count: int, formats: tuple[str, ...] = FORMATS) -> Folders:
    """photos/000.png, 001.jpg, ... of 40 x 32 pixels, and masks of the same stems."""
    folders = Folders(parent / "photos", parent / "masks", parent / "out")
    folders.photos.mkdir()
    folders.masks.mkdir()
    for number in range(count):
        add_photo(folders, f"{number:03}.{formats[number % len(formats)]}", number)
    return folders


def add_photo(folders: Folders, name: str, seed: int = 0) -> None:
    """One more photo, in a format by its name, and its mask."""
    photo, mask = folders.photos / name, (folders.masks / name).with_suffix(".png")
    photo.parent.mkdir(parents=True, exist_ok=True)
    mask.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(40, 32, seed=seed)).save(photo)
    hole = disc(40, 32, (12 + seed % 16, 10 + seed % 11), 4)
    Image.fromarray(np.where(hole, np.uint8(255), np.uint8(0))).save(mask)


def item_of(folders: Folders, name: str, **changes: Any) -> Item:
    """The item of one photo."""
    mask = str((folders.masks / name).with_suffix(".png"))
    item = Item(name, str(folders.photos / name), str(folders.out / name), name, mask)
    return replace(item, **changes)


def running_program(
    *arguments: object, pause: float = 0.0
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """`moebius batch` with the quick model, in a process of its own."""
    places = [TESTS, TESTS / "batch"]
    return child(
        [sys.executable, "-c", PROGRAM, pause, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "OMP_NUM_THREADS": "1"},
    )
