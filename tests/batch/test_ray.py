"""The batch on a real Ray cluster of two workers, which are killed half way; and what is asked of a cluster."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from quick_nano import quick_nano

from moebius.batch import Options
from moebius.batch.files import Stamp
from moebius.batch.item import Item
from moebius.batch.ray_engine import _anywhere, _for_elsewhere, run_ray
from moebius.batch.ray_pool import Machine, pool_size, processors_for
from moebius.errors import DeviceError

pytest.importorskip("ray.data", reason="the extra [ray] is not installed")

COUNT, MOST_DEATHS = 6, 2
DEADLY, LOST = "2.png", "5.png"
"""A photo that workers die of, and one whose worker dies once, between the picture and its record."""
ANIMATED = 3
"""The number of the one that has two frames."""

PROGRAM = """
import json, os, pathlib, signal, sys

import ray

from moebius import cli
from moebius.batch import Item, Options, fill_item, ray_engine
from moebius.batch.ledger import Ledger
from moebius.batch.local import LocalRun
from moebius.batch.plan import make_plan
from moebius.pipeline import Moebius

root, (count, deaths), (deadly, lost) = pathlib.Path(sys.argv[1]), map(int, sys.argv[2:4]), sys.argv[4:]
nano = str(root / "nano")

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

def init(**options):
    os.chdir("/")  # the workers' folder, as on a cluster that somebody has started elsewhere
    try:
        return begin(**options)
    finally:
        os.chdir(root)

ray_engine.FillActor, begin, ray.init = DyingActor, ray.init, init
model, options = Moebius.from_pretrained(nano), Options({"seed": 2**64 - 1})
ledger = Ledger(root / "local", model, options)
with ledger:
    list(LocalRun(model, items("local"), options, ledger).records())
os.chdir(root)
try:
    words = ["batch", ".", "mask.png", "ray", "--model", nano, "--engine", "ray", "--workers", "2"]
    cli.main([*words, "--seed", str(2**64 - 1)])
except SystemExit as ended:
    print(ended.code)
again = make_plan(items("ray"), Ledger(root / "ray", model, options))
print(json.dumps({"finished": len(again.finished), "todo": [item.name for item in again.todo]}))
"""


@pytest.mark.slow
def test_killed_workers_change_nothing(tmp_path: Path) -> None:
    quick_nano(tmp_path / "nano")
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
    done = subprocess.run(words, capture_output=True, text=True, timeout=480)
    assert done.returncode == 0, done.stderr[-3000:]
    told, code, plan = done.stdout.splitlines()
    assert told.startswith(f"{COUNT - 1} filled, 1 failed; ") and code == "1", "its places were relative"
    assert json.loads(plan) == {"finished": COUNT - 1, "todo": [DEADLY]}
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


def test_places_for_processes_in_other_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    item = Item("a", "photos/a.png", "s3://bucket/a.png", "a.png", "../m.png", boxes=("1,2,3,4",))
    moved = _anywhere(item)
    assert moved.photo == str(tmp_path / "photos" / "a.png") and moved.output == item.output
    assert Path(str(moved.mask)).resolve() == tmp_path.parent / "m.png" and _anywhere(moved) == moved
    (tmp_path / "k.png").write_bytes(b"1")
    options = Options(mask={"files": (b"2", "k.png"), "key": "red", "key_in": "k.png"})
    elsewhere, told = _for_elsewhere(options), options.mask_told
    assert elsewhere.mask == {
        "files": (b"2", str(tmp_path / "k.png")), "key": "red", "key_in": str(tmp_path / "k.png"),
    }  # fmt: skip
    (tmp_path / "k.png").unlink()
    assert pickle.loads(pickle.dumps(elsewhere)).mask_told == told, "workers do not look again"


def test_items_travel_as_json() -> None:
    item = Item("a", "p", "o", "o", "m", 2**64 - 1, "k", ("1,2,3,4",), True, Stamp(3, None, "t"), None)
    assert Item.from_dict(json.loads(json.dumps(asdict(item)))) == item


@pytest.mark.parametrize(
    ("machines", "processors", "gpus", "size"),
    [
        ([(4, 0), (4, 0)], 2, 0, 4),
        ([(3, 0), (3, 0)], 2, 0, 2),  # and not 3: no worker spans machines
        ([(8, 1), (8, 0)], 2, 0.25, 4),
        ([(1, 0), (1, 0)], 1, 0, 2),
    ],
)
def test_room_is_counted_machine_by_machine(
    machines: list[tuple[float, float]], processors: float, gpus: float, size: int
) -> None:
    assert pool_size([Machine(*each) for each in machines], (1, 0), processors, gpus) == (1, size)
    assert pool_size([Machine(*each) for each in machines], (2, 3), processors, gpus) == (2, 3)


def test_no_room_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert pool_size([Machine(1), Machine(1)], (1, 0), 2, 0) == (1, 1)
    assert caplog.messages == [
        "no machine of the Ray cluster has room for a worker (2 processors, 0 GPUs): waiting for one that has"
    ]
    with pytest.raises(
        DeviceError, match=r"room for a worker \(2 processors, 1 GPUs\), this machine has 4 and 0"
    ):
        pool_size([Machine(4)], (1, 0), 2, 1)


def test_a_worker_counts_for_no_more_than_a_machine_has() -> None:
    small, large = Machine(2), Machine(16)
    assert processors_for([small, small], 64, None) == 2
    assert processors_for([small, large], 16, None) == 8
    assert processors_for([small], 1, None) == processors_for([], 9, None) == 1
    assert processors_for([small], 64, 0.5) == 0.5
