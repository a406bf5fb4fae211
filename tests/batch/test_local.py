"""Threads around one model: the network is what everything waits for, and memory is bounded."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from child_processes import PATIENCE
from PIL import Image
from quick_model import Folders, SlowEngine, add_photo, item_of, make_folders, quick_model

from moebius import Moebius
from moebius.batch import Options
from moebius.batch.local import LocalRun, _places
from moebius.errors import MoebiusError, OutputError
from moebius.pipeline.places import Places


def started(folders: Folders, model: Moebius, **more: Any) -> tuple[LocalRun, Any]:
    plan, ledger = folders.plan(model, Options())
    return LocalRun(model, plan.todo, Options(), ledger, **more), ledger


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_any_number_of_threads_makes_the_same(folders: Folders, workers: int) -> None:
    folders.run(quick_model(), workers=workers)
    alone = Folders(folders.photos, folders.masks, folders.out.parent / "alone")
    alone.run(quick_model(), workers=1)
    assert folders.outputs() == alone.outputs()


def test_photos_share_network_calls_and_keep_it_busy(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, 24, ("png",))
    model = quick_model(pause=0.04)
    run, ledger = started(folders, model, workers=6)
    with ledger:
        assert len(list(run.records())) == 24
    engine = model.engine
    assert isinstance(engine, SlowEngine)
    assert sum(engine.rows_seen) == 24 and len(engine.rows_seen) < 24
    assert run.rows == 3 * 24 and run.calls < run.rows
    assert 0 < run.busy_share <= 1 and run.busy_share == pytest.approx(run.busy / run.seconds)


def test_closing_the_records_stops_the_run(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, 20)
    run, ledger = started(folders, quick_model(pause=0.02), workers=2)
    with ledger:
        records = run.records()
        first = next(records)
        records.close()
    assert run.stopped and first.status == "done"
    done = {line["output"] for line in folders.lines()}
    assert set(folders.outputs()) == done and 1 <= len(done) < 20
    assert len(folders.run(quick_model())) == 20 - len(done)


def test_stopping_gives_up_fills_but_not_pictures(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, 20)
    run, ledger = started(folders, quick_model(pause=0.02), workers=3)
    with ledger:
        told = []
        for record in run.records():
            told.append(record.name)
            run.stop()
    assert set(folders.outputs()) == {line["output"] for line in folders.lines()} == set(told)
    assert threading.active_count() < 20 and len(told) < 20


def test_a_failing_photo_does_not_stop_the_others(folders: Folders) -> None:
    (folders.photos / "002.webp").write_bytes(b"RIFF\x10\x00\x00\x00WEBPVP8 nonsense")
    (folders.masks / "001.png").write_bytes(b"")
    records = folders.run(quick_model())
    assert [record.name for record in records if record.error] == ["001.jpg", "002.webp"]
    assert len(folders.outputs()) == 4


def test_an_output_in_whose_folders_place_a_file_is(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, 2)
    add_photo(folders, "deep/a.png")
    folders.out.mkdir()
    (folders.out / "deep").write_bytes(b"")
    records = folders.run(quick_model(), recursive=True)
    assert [record.name for record in records if record.error] == ["deep/a.png"]
    assert set(folders.outputs()) == {"000.png", "001.jpg", "deep"}


def test_a_bug_stops_the_run(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Iterator[None]:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(Moebius, "stream", broken)
    with pytest.raises(ZeroDivisionError, match="a mistake of ours"):
        folders.run(quick_model())


FULL = """
import resource, sys
from pathlib import Path
from quick_model import Folders, quick_model
from moebius.errors import MoebiusError, OutputError
parent, limit = Path(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    Folders(parent / "photos", parent / "masks", parent / "out").run(quick_model(), workers=1)
except MoebiusError as error:
    print(error)
    sys.exit(3)
"""


def in_a_process(folders: Folders, limit: int) -> subprocess.CompletedProcess[str]:
    places = [folder for folder in sys.path if "tests" in folder]
    return subprocess.run(
        [sys.executable, "-c", FULL, str(folders.out.parent), str(limit)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("what", ["picture", "manifest"])
def test_a_file_that_may_not_grow(tmp_path: Path, what: str) -> None:
    """Half way, a picture does not fit, or the manifest's next line does not."""
    folders = make_folders(tmp_path, 4, ("bmp",))
    limit = 4500
    if what == "picture":
        Image.new("RGB", (80, 60)).save(folders.photos / "002.bmp")
        Image.new("L", (80, 60)).save(folders.masks / "002.png")
        limit = 9000
    done = in_a_process(folders, limit)
    assert done.returncode == 3 and done.stdout.count("\n") == 1 and "cannot be written" in done.stdout, (
        done.stderr
    )
    finished = folders.outputs()
    assert 0 < len(finished) < 4 and all(len(data) == 3894 for data in finished.values())
    assert folders.run(quick_model())
    assert len(folders.outputs()) == 4 and finished.items() <= folders.outputs().items()


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Callable[[str], object]]:
    """A file system in memory, and how to change its options; skips where mounting is not allowed."""

    def mount(options: str) -> int:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False, capture_output=True
        )
        return done.returncode

    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0 or mount(options) != 0:
        pytest.skip("needs to mount a small file system")
    try:
        yield lambda options: mount(f"remount,{options}")
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, 40, ("bmp",))
    with small_disk(folders.out, "size=100k") as change:
        with pytest.raises(
            MoebiusError, match=r"cannot be written \((No space left on device|the disk is full)\)"
        ):
            folders.run(quick_model())
        finished = folders.outputs()
        assert 3 < len(finished) < 40 and all(len(data) == 3894 for data in finished.values())
        change("size=4m")
        folders.run(quick_model())
        assert len(folders.outputs()) == 40 and finished.items() <= folders.outputs().items()


def test_an_output_folder_that_cannot_be_written(folders: Folders) -> None:
    with small_disk(folders.out, "ro"), pytest.raises(OutputError, match="out: cannot be written to"):
        folders.run(quick_model())


def test_large_photos_take_several_places(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    for size, places in (((10, 10), 1), ((5000, 5000), 1), ((5001, 5000), 2), ((12000, 8400), 5)):
        Image.new("1", size).save(folders.photos / "large.png")
        assert _places(item_of(folders, "large.png")) == places
    frames = [Image.new("P", (100, 100), number) for number in range(7)]
    for number, frame in enumerate(frames):
        frame.putpixel((number, 0), 200)
    frames[0].save(folders.photos / "many.gif", save_all=True, append_images=frames[1:])
    monkeypatch.setattr("moebius.pipeline.places.PIXELS_A_PLACE", 10_000)
    item = item_of(folders, "many.gif")
    assert _places(item) == 3, "what 7 frames hold, and one photo"
    assert _places(replace(item, output="one.png")) == 1
    for name in ("missing.png", "x\0y.png"):
        assert _places(item_of(folders, "000.png", photo=name)) == 1
    assert _places(replace(item_of(folders, "000.png"), photo="memory://a.png")) == 1


def test_places_are_never_exceeded_and_none_starves() -> None:
    places, chance, guard = Places(3), random.Random(1), threading.Lock()
    used, most, ended = 0, 0, []

    def work(wanted: int) -> None:
        nonlocal used, most
        with places.taken(wanted):
            with guard:
                used += min(wanted, 3)
                most = max(most, used)
            time.sleep(0.001)
            with guard:
                used -= min(wanted, 3)
                ended.append(wanted)

    threads = [threading.Thread(target=work, args=(chance.randint(1, 5),)) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(ended) == 60 and most == 3 and used == 0
