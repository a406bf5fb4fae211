"""`moebius batch`."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_photos import disc, picture
from PIL import Image
from program import Outcome

from moebius import Moebius
from moebius.cli.batch import EPILOG


@pytest.fixture()
def many(work: Path) -> Path:
    """photos/ with a.png, b.jpg, sub/c.webp of 96 x 80; masks/ with their masks."""
    for number, name in enumerate(("a.png", "b.jpg", "sub/c.webp")):
        photo, mask = work / "photos" / name, (work / "masks" / name).with_suffix(".png")
        photo.parent.mkdir(parents=True, exist_ok=True)
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(96, 80, seed=number)).save(photo)
        hole = disc(96, 80, (40 + 5 * number, 30), 12)
        Image.fromarray(np.where(hole, np.uint8(255), np.uint8(0))).save(mask)
    return work


@pytest.fixture()
def batch(
    moebius: Any, many: Path, nano_like: Moebius, monkeypatch: pytest.MonkeyPatch, tiny_prefill: Path
) -> Any:
    """`moebius batch photos masks out` with the tiny model, opened once for all, and whatever is added."""
    monkeypatch.setattr(Moebius, "from_pretrained", lambda *_, **__: nano_like)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # threads of several pools wait for one another by turning in circles

    def call(*options: object, places: tuple[str, ...] = ("photos", "masks", "out")) -> Outcome:
        outcome: Outcome = moebius("batch", *places, "--model", tiny_prefill, "--device", "cpu", *options)
        return outcome

    yield call
    torch.set_num_threads(before)


def files(folder: str = "out") -> set[str]:
    """Pictures in a folder."""
    found = {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}
    return found - {"manifest.jsonl", ".moebius-claims"}


def test_same_bytes_as_inpaint(batch: Any, moebius: Any, many: Path, tiny_prefill: Path) -> None:
    options = ("--seed", "4", "--steps", "2", "--grow", "3")
    done = batch("--recursive", *options)
    assert (done.code, done.err) == (0, "") and done.out.startswith(b"3 filled; ")
    assert files() == {"a.png", "b.jpg", "sub/c.webp"}
    for name in files():
        mask = (Path("masks") / name).with_suffix(".png")
        places = (Path("photos") / name, mask, "-o", f"one{Path(name).suffix}")
        assert moebius("inpaint", *places, "--model", tiny_prefill, "--device", "cpu", *options).code == 0
        assert Path(f"one{Path(name).suffix}").read_bytes() == (Path("out") / name).read_bytes()


def test_json_and_resume(batch: Any) -> None:
    done = batch("--json")
    report = json.loads(done.out)
    assert done.out.count(b"\n") == 1 and done.err == ""
    assert {name: report[name] for name in ("items", "todo", "done", "failed", "finished", "stopped")} == {
        "items": 2, "todo": 2, "done": 2, "failed": 0, "finished": 0, "stopped": False,
    }  # fmt: skip
    assert 0 < report["network_busy"] <= 1 and report["photos_a_minute"] > 0 and report["network_rows"] >= 6
    again = json.loads(batch("--json").out)
    assert (again["todo"], again["done"], again["finished"]) == (0, 0, 2)
    assert batch().out.startswith(b"0 filled, 2 finished before; ")


def test_orphans_are_told_first(batch: Any) -> None:
    for name in ("photos/x.png", "photos/y.jpg", "masks/z.png"):
        Path(name).touch()
    done = batch("--json")
    assert done.code == 0 and files() == {"a.png", "b.jpg"}
    assert done.lines == [
        "moebius: warning: 2 photos have no mask: x.png, y.jpg",
        "moebius: warning: 1 mask has no photo: z.png",
    ]
    report = json.loads(done.out)
    assert (report["photos_without_mask"], report["masks_without_photo"]) == (["x.png", "y.jpg"], ["z.png"])
    strict = batch("--strict", places=("photos", "masks", "new"))
    assert (strict.code, strict.lines) == (
        2,
        ["moebius: error: --strict: 2 photos have no mask: x.png, y.jpg"],
    )
    assert not Path("new").exists()


def test_many_orphans_are_counted(batch: Any) -> None:
    for number in range(14):
        Path(f"photos/n{number:02}.png").touch()
    (line,) = batch("--dry-run").lines
    assert line.endswith("n08.png, n09.png and 4 more") and line.startswith("moebius: warning: 14 photos")


def test_dry_run_writes_nothing(batch: Any, many: Path) -> None:
    before = sorted(many.rglob("*"))
    done = batch("--dry-run", "-r")
    assert done.code == 0 and sorted(many.rglob("*")) == before
    assert done.out.decode().splitlines() == [
        f"photos{os.sep}a.png + masks{os.sep}a.png -> out{os.sep}a.png",
        f"photos{os.sep}b.jpg + masks{os.sep}b.png -> out{os.sep}b.jpg",
        f"photos{os.sep}sub{os.sep}c.webp + masks{os.sep}sub{os.sep}c.png -> out{os.sep}sub{os.sep}c.webp",
        "3 to do, 0 finished",
    ]
    assert batch().code == 0
    report = json.loads(batch("--dry-run", "-r", "--json").out)
    assert (report["todo"], report["finished"], len(report["plan"])) == (1, 2, 1)
    refused = batch("--dry-run", "--steps", "2")
    assert refused.code == 2 and "made otherwise (steps 3 -> 2)" in refused.err


def test_masks_for_all_photos_are_no_photos(batch: Any, many: Path) -> None:
    for name in ("wires", "logo", "copy"):
        shutil.copy("masks/a.png", f"photos/{name}.png")
    options = ("--mask", "photos/wires.png", "--keep", "photos/logo.png", "--differs-from", "photos/copy.png")
    done = batch("--dry-run", "-r", *options, places=("photos", "out"))
    assert done.code == 0 and "3 to do" in done.out.decode() and "wires" not in done.out.decode()


def test_dry_run_without_the_model(moebius: Any, many: Path) -> None:
    """It is not fetched for that."""
    done = moebius("batch", "photos", "masks", "out", "--dry-run", "--model", "places2")
    assert done.code == 0 and done.out.endswith(b"2 to do, 0 finished\n") and "not here yet" in done.err
    refused = moebius(
        "batch", "photos", "out", "--differs-from", "none.png", "--dry-run", "--model", "places2"
    )
    assert refused.lines == ["moebius: error: none.png: no such file"], "what is missing is told before"


def test_failures(batch: Any) -> None:
    Path("photos/a.png").write_bytes(b"nothing")
    done = batch("--json")
    assert done.code == 1 and files() == {"b.jpg"}
    assert done.lines[0].startswith("moebius: failed: a.png: photo: not an image")
    assert done.lines[1].startswith("moebius: error: 1 of 2 failed, see out")
    (failure,) = json.loads(done.out)["failures"]
    assert (failure["name"], failure["kind"]) == ("a.png", "PhotoError")


def test_fail_fast(batch: Any) -> None:
    Path("photos/a.png").write_bytes(b"nothing")
    for number in range(10):
        Path(f"photos/c{number}.png").write_bytes(Path("photos/b.jpg").read_bytes())
    done = batch("--fail-fast", "--json", "--workers", "1", places=("photos", "mask.png", "out"))
    report = json.loads(done.out)
    assert done.code == 1 and report["failed"] == 1 and report["stopped"] and report["done"] < 10


def test_warnings_about_photos_are_counted(batch: Any) -> None:
    Image.new("L", (96, 80)).save("masks/a.png")
    done = batch()
    assert (done.code, done.err) == (0, "") and b"2 filled, 1 with warnings; " in done.out
    lines = [json.loads(line) for line in Path("out/manifest.jsonl").read_text().splitlines()]
    assert [line["warnings"] for line in lines if "warnings" in line] == [
        ["the mask is empty: nothing to fill, the photo is copied unchanged"]
    ]


def test_masks_that_look_inverted(batch: Any) -> None:
    Image.new("L", (96, 80), 255).save("masks/a.png")
    done = batch()
    assert done.code == 1 and "covers 100% of the photo: white means fill; give --invert" in done.lines[0]
    assert batch("--yes").code == 0 and files() == {"a.png", "b.jpg"}


def test_ways_to_name_masks(batch: Any) -> None:
    assert batch(places=("photos", "mask.png", "one")).code == 0
    assert files("one") == {"a.png", "b.jpg"}
    for name in ("a", "b"):
        Path(f"masks/{name}.png").rename(f"photos/{name}_mask.png")
    assert batch("--mask-suffix", "_mask", places=("photos", "beside")).code == 0
    assert files("beside") == {"a.png", "b.jpg"}
    assert batch("--box", "10%,10%,20%,20%", places=("photos", "boxed")).code == 0
    assert files("boxed") == {"a.png", "a_mask.png", "b.jpg", "b_mask.png"}
    Path("list.csv").write_text("photo,mask,seed\nphotos/a.png,mask.png,5\n")
    assert batch("--format", "tiff", places=("list.csv", "listed")).code == 0
    assert files("listed") == {"photos/a.tif"}


def test_a_manifest_elsewhere(batch: Any) -> None:
    assert batch("--manifest", "state").code == 0
    assert {path.name for path in Path("out").iterdir()} == {"a.png", "b.jpg"} and Path(
        "state/manifest.jsonl"
    ).exists()
    assert json.loads(batch("--manifest", "state", "--json").out)["finished"] == 2


@pytest.mark.parametrize(
    ("places", "options", "message"),
    [
        ((), (), "expected PHOTOS [MASKS] OUT, got 0 places"),
        (("a", "b", "c", "d"), (), "expected PHOTOS [MASKS] OUT, got 4 places"),
        (("photos", "out"), (), "masks: expected MASKS, --mask-suffix, --box or another source, got none"),
        (("none", "masks", "out"), (), "none: expected a folder, got nothing"),
        (("photos", "none", "out"), (), "MASKS: none: no such file or folder"),
        (("masks", "photos/sub", "out"), (), "expected photos with masks, found none"),
        (("photos", "masks", "photos"), (), "OUT: expected another folder than PHOTOS"),
        (("photos", "masks", "s3://bucket/out"), (), "--manifest: expected a local folder"),
        (("photos", "masks", "out"), ("--format", "gif"), "--format: expected one of jpeg, png"),
        (("photos", "masks", "out"), ("--feather", "999"), "feather: expected a whole number from 0 to 128"),
        (("photos", "masks", "out"), ("--category", "cat", "--key", "red"), "expected a colour"),
        (("photos", "out"), ("--invert", "--box", "1,2,3,4"), "--invert: expected a mask file, got none"),
        (("photos", "-", "out"), (), "expected files and folders, got - for standard input"),
        (
            ("photos", "masks", "out"),
            ("--engine", "ray", "--rows", "2"),
            "--rows: expected 1 with --engine ray",
        ),
        (("photos", "masks", "out"), ("--workers", "0"), "0 is not in the range"),
        (("photos", "masks", "mask.png"), (), "OUT: expected a folder, got the file mask.png"),
        (("photos", "masks", "o" * 300), (), "OUT: expected a folder, got ooo"),
        (("photos", "out"), ("--mask", "none.png"), "none.png: no such file"),
        (("photos", "masks", "out"), ("--keep", "none.png"), "none.png: no such file"),
        (("photos", "out"), ("--key", "#ff0000", "--key-in", "none.png"), "none.png: no such file"),
        (("photos", "out"), ("--differs-from", "none.png"), "none.png: no such file"),
        (("photos", "masks", "out"), ("--start", "official", "--steps", "1"), "steps: expected"),
    ],
)
def test_bad_input(batch: Any, places: tuple[str, ...], options: tuple[str, ...], message: str) -> None:
    done = batch(*options, places=places)
    assert done.code == 2 and done.out == b"" and message in done.lines[-1], done.err
    assert done.lines[-1].startswith("moebius: error: ") and not Path("out").exists()


def test_progress_for_a_person(batch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    Path("photos/a.png").write_bytes(b"nothing")
    done = batch()
    assert done.code == 1 and done.out.startswith(b"1 filled, 1 failed; ")


def test_the_examples_of_the_help(batch: Any, moebius: Any) -> None:
    shown = moebius("batch", "--help").out.decode()
    assert all(line.strip() in shown for line in EPILOG.splitlines()[1:])


def test_a_shared_mask_that_changes(batch: Any) -> None:
    """Is noticed, and one change in the middle of a run does not divide it: it is read once."""
    options = ("--mask", "shared.png", "--workers", "1")
    Path("shared.png").write_bytes(Path("masks/a.png").read_bytes())
    assert batch(*options, places=("photos", "out")).code == 0
    Path("shared.png").write_bytes(Path("masks/b.png").read_bytes())
    refused = batch(*options, places=("photos", "out"))
    assert refused.code == 2 and "made otherwise (the mask's source" in refused.err
    assert batch(*options, "--overwrite", places=("photos", "out")).code == 0
    assert json.loads(batch(*options, "--json", places=("photos", "out")).out)["finished"] == 2


def test_ray_needs_no_device_here(batch: Any, nano_like: Moebius, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers have it; this machine tells them what to do only."""
    pytest.importorskip("ray.data", reason="the extra [ray] is not installed")
    opened, asked = [], []
    monkeypatch.setattr(Moebius, "from_pretrained", lambda *_, **more: opened.append(more) or nano_like)
    monkeypatch.setattr("moebius.batch.ray_engine.run_ray", lambda *_, **more: asked.append(more) or iter(()))
    batch("--engine", "ray", "--device", "cuda", "--dtype", "bfloat16")
    assert [(each["engine"], each["device"], each["dtype"]) for each in opened] == [("auto", "cpu", "auto")]
    assert [(each["device"], each["dtype"]) for each in asked] == [("cuda", "bfloat16")]
