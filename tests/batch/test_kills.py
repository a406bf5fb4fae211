"""Killed at any time, and several processes at once: nothing is lost, and nothing done twice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from child_processes import PATIENCE, wait_until
from quick_model import Folders, make_folders, quick_model, running_program

from moebius.batch.claims import Claims

PAUSE = 0.03
"""Seconds that the network takes for a step."""


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Which file each picture is, and when it was written."""
    if not folder.is_dir():
        return {}
    files = {path.name: path.stat() for path in folder.iterdir() if path.suffix in (".png", ".jpg", ".bmp")}
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in files.items()}


def kill_at_random(folders: Folders, kills: int) -> list[int]:
    """How many pictures there are after each kill; a program is killed in the midst of its work."""
    chance, counts = random.Random(5), []
    for _ in range(kills):
        before, more = stamps(folders.out), chance.randint(1, 5)
        arguments = (folders.photos, folders.masks, folders.out, "--json")
        with running_program(*arguments, pause=PAUSE) as process:
            wait_for_pictures(folders, len(before) + more, process)
            time.sleep(chance.uniform(0, PAUSE))  # anywhere in the work on a picture
            process.kill()
        after = stamps(folders.out)
        assert before.items() <= after.items(), "what was finished before the kill is not touched again"
        counts.append(len(after))
    return counts


def wait_for_pictures(folders: Folders, count: int, process: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: len(stamps(folders.out)) >= count, f"there are {count} pictures", process)


def check_kills(tmp_path: Path, photos: int, kills: int) -> None:
    folders = make_folders(tmp_path, photos, ("png", "jpg", "bmp"))
    counts = kill_at_random(folders, kills)
    assert counts[-1] < photos and len(set(counts)) == kills, f"kills in the middle of the work, {counts}"
    with running_program(folders.photos, folders.masks, folders.out, "--json") as process:
        out, err = process.communicate()
    report = json.loads(out)
    assert err == b"" and report["failed"] == 0 and report["finished"] + report["done"] == photos
    assert counts[-1] == report["finished"]
    whole = Folders(folders.photos, folders.masks, tmp_path / "whole")
    whole.run(quick_model())
    assert folders.outputs() == whole.outputs()
    done = Counter(line["output"] for line in folders.lines())
    assert set(done) == {path.name for path in folders.photos.iterdir()}
    assert sum(done.values()) <= photos + 3 * kills, (
        "a line without its picture, for each thread that was killed"
    )


def test_killed_a_few_times(tmp_path: Path) -> None:
    check_kills(tmp_path, photos=40, kills=3)


@pytest.mark.slow
def test_killed_twenty_times_over_200_photos(tmp_path: Path) -> None:
    check_kills(tmp_path, photos=200, kills=20)


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, 30)
    places = (folders.photos, folders.masks, folders.out)
    with (
        running_program(*places, "--json", pause=0.02) as one,
        running_program(*places, "--json", pause=0.02) as other,
    ):
        processes = (one, other)
        ended = [process.communicate() for process in processes]
    reports = [json.loads(out) for out, _ in ended]
    assert [process.returncode for process in processes] == [0, 0]
    assert [err for _, err in ended] == [b"", b""]
    assert sum(report["done"] for report in reports) == 30
    assert [line["status"] for line in folders.lines()] == ["done"] * 30
    whole = Folders(folders.photos, folders.masks, tmp_path / "whole")
    whole.run(quick_model())
    assert folders.outputs() == whole.outputs()


def is_taken(claims: Claims, name: str) -> bool:
    if not claims.take(name):
        return True
    claims.release(name)
    return False


def test_the_work_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    """While another one is waiting for it."""
    folders = make_folders(tmp_path, 8)
    places = (folders.photos, folders.masks, folders.out)
    with running_program(*places, pause=3600) as slow:
        wait_until(lambda: (folders.out / ".moebius-claims").exists(), "the first one has begun", slow)
        with Claims(folders.out) as claims:
            wait_until(lambda: is_taken(claims, "000.png"), "it has a photo", slow)
        with running_program(*places, "--json") as other:
            wait_for_pictures(folders, 3, other)
            slow.kill()
            out, err = other.communicate()
    assert (json.loads(out)["done"], err, other.returncode) == (8, b"", 0)


def test_interrupt(tmp_path: Path) -> None:
    """Ctrl-C: what is finished stays, and the same command goes on from there."""
    folders = make_folders(tmp_path, 60)
    places = (folders.photos, folders.masks, folders.out, "--json")
    with running_program(*places, pause=0.05) as process:
        wait_for_pictures(folders, 1, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    report = json.loads(out)
    assert (process.returncode, err) == (130, b"moebius: error: stopped\n")
    assert report["stopped"] and 0 < report["done"] == len(folders.outputs()) == len(folders.lines()) < 60
    assert len(folders.run(quick_model())) == 60 - report["done"]
