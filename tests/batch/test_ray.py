"""The batch on a real Ray cluster of two workers, which are killed half way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moebius.batch import Options
from moebius.batch.ray_engine import run_ray

pytest.importorskip("ray.data", reason="the extra [ray] is not installed")

COUNT, MOST_DEATHS = 8, 2
DEADLY, LOST = "2.png", "5.png"
"""A photo that workers die of, and one whose worker dies once, between the picture and its record."""
ANIMATED = 3
"""The number of the one that has two frames."""

PROGRAM = """
import json, os, pathlib, signal, sys

from moebius.batch import Item, Options, fill_item, ray_engine
from moebius.batch.ledger import Ledger
from moebius.batch.local import LocalRun
from moebius.batch.plan import make_plan
from moebius.pipeline import Moebius

root, (count, deaths), (deadly, lost) = pathlib.Path(sys.argv[1]), map(int, sys.argv[2:4]), sys.argv[4:]

class DyingActor(ray_engine.FillActor):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        ray_engine.fill_item, ray_engine.MOST_DEATHS = fill_or_die, deaths

def fill_or_die(model, item, options, put):
    with (root / "fills").open("a") as file:
        file.write(f"{item.name} {os.getpid()}\\n")
    if item.name == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    record = fill_item(model, item, options, put)
    if item.name == lost and not (root / "died").exists():
        (root / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return record

def items(kind):
    return [
        Item(f"{n}.png", str(root / f"{n}.png"), str(root / kind / f"{n}.png"), f"{n}.png", str(root / "mask.png"))
        for n in range(count)
    ]

ray_engine.FillActor = DyingActor
model, options = Moebius.from_pretrained("nano"), Options({"seed": 2**64 - 1})
for kind in ("local", "ray"):
    ledger = Ledger(root / kind, model, options)
    todo = make_plan(items(kind), ledger).todo
    with ledger:
        if kind == "local":
            list(LocalRun(model, todo, options, ledger).records())
        else:
            ledger.note_started(todo)
            for record in ray_engine.run_ray(todo, options, "nano", workers=(2, 2)):
                ledger.note(record)
again = make_plan(items("ray"), Ledger(root / "ray", model, options))
print(json.dumps({"finished": len(again.finished), "todo": [item.name for item in again.todo]}))
"""


@pytest.mark.slow
def test_killed_workers_change_nothing(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(COUNT):
        coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        photo = coarse.resize((200, 150), Image.Resampling.BICUBIC)
        more = [photo.transpose(Image.Transpose.FLIP_TOP_BOTTOM)] * (number == ANIMATED)
        photo.save(tmp_path / f"{number}.png", save_all=bool(more), append_images=more)
    mask = np.zeros((150, 200), np.uint8)
    mask[50:90, 60:120] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")

    words = [sys.executable, "-c", PROGRAM, str(tmp_path), str(COUNT), str(MOST_DEATHS), DEADLY, LOST]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"finished": COUNT - 1, "todo": [DEADLY]}
    fills = [line.split() for line in (tmp_path / "fills").read_text().splitlines()]
    assert len([name for name, _ in fills if name == DEADLY]) == MOST_DEATHS
    assert len({process for name, process in fills if name == LOST}) == 2

    for name in {f"{number}.png" for number in range(COUNT)} - {DEADLY}:
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "ray" / "manifest.jsonl").read_text().splitlines()]
    ended = [line for line in lines if line["status"] != "started"]
    assert len(ended) == len({line["output"] for line in ended}) == COUNT, "one line for every item"
    (failed,) = (line for line in ended if line["status"] == "failed")
    assert failed["name"] == DEADLY and failed["error"]["kind"] == "WorkerDied"
    assert [line["name"] for line in ended if line.get("frames") == 2] == [f"{ANIMATED}.png"]
    assert all(line["written"]["nbytes"] == line["nbytes"] for line in ended if line["status"] == "done")
    left = {path.name for path in (tmp_path / "ray").iterdir()} - {f"{n}.png" for n in range(COUNT)}
    assert left == {"manifest.jsonl", ".moebius-claims"}, "nothing half-written is left"


def test_workers_have_to_be_a_range() -> None:
    for workers in ((0, 2), (3, 2)):
        with pytest.raises(ValueError, match="1 <= least <= most"):
            run_ray([], Options(), "nano", workers=workers)


def test_nothing_to_do_starts_nothing() -> None:
    import ray

    assert list(run_ray([], Options(), "nano")) == [] and not ray.is_initialized()
