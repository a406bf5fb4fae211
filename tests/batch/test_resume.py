"""What is done again, what is not, and what is refused before work begins."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from made_photos import picture
from PIL import Image
from quick_model import Folders, add_photo, make_folders, quick_model

from moebius.batch import Options, Record
from moebius.batch.ledger import Ledger
from moebius.batch.plan import make_plan
from moebius.errors import InputError, OutputError, SettingsError


def names(records: list[Record]) -> list[str]:
    return [record.name for record in records if record.status == "done"]


def written(folders: Folders) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folders.out.iterdir() if not path.name.startswith(".")}


def test_nothing_is_done_twice(folders: Folders) -> None:
    assert len(names(folders.run(quick_model()))) == 6
    before = written(folders)
    assert folders.run(quick_model()) == [] and written(folders) == before
    add_photo(folders, "new.png")
    assert names(folders.run(quick_model())) == ["new.png"]
    assert before.items() <= written(folders).items()


def test_missing_outputs_are_made_again(folders: Folders) -> None:
    folders.run(quick_model())
    before = folders.outputs()
    (folders.out / "003.tif").unlink()
    assert names(folders.run(quick_model())) == ["003.tif"] and folders.outputs() == before


@pytest.mark.parametrize("what", ["photo", "mask"])
def test_changed_photos_and_masks_are_done_again(folders: Folders, what: str) -> None:
    folders.run(quick_model())
    before = folders.outputs()
    if what == "photo":
        Image.fromarray(picture(40, 32, seed=99)).save(folders.photos / "000.png")
    else:
        shutil.copy(folders.masks / "001.png", folders.masks / "000.png")
    (record,) = folders.run(quick_model())
    assert (record.name, record.replaced) == ("000.png", True)
    after = folders.outputs()
    assert after["000.png"] != before["000.png"] and len(after) == 6
    assert folders.run(quick_model()) == []


def test_a_new_time_is_enough_unless_bytes_are_compared(folders: Folders) -> None:
    folders.run(quick_model())
    os.utime(folders.photos / "000.png", ns=(1, 1))
    assert folders.run(quick_model(), verify=True) == []
    assert names(folders.run(quick_model())) == ["000.png"]


def test_verify_sees_what_size_and_time_do_not(folders: Folders) -> None:
    folders.run(quick_model())
    photo = folders.photos / "004.bmp"
    time = photo.stat().st_mtime_ns
    photo.write_bytes(photo.read_bytes()[:-1] + b"\x07")
    os.utime(photo, ns=(time, time))
    assert folders.run(quick_model()) == []
    assert names(folders.run(quick_model(), verify=True)) == ["004.bmp"]


def test_failed_items_are_tried_again(folders: Folders) -> None:
    whole = (folders.photos / "000.png").read_bytes()
    (folders.photos / "000.png").write_bytes(whole[:100])
    records = folders.run(quick_model())
    assert [record.name for record in records if record.error] == ["000.png"] and len(names(records)) == 5
    (record,) = folders.run(quick_model())
    assert record.status == "failed"
    (folders.photos / "000.png").write_bytes(whole)
    assert names(folders.run(quick_model())) == ["000.png"]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (Options({"steps": 2}), "steps 1 -> 2"),
        (Options({"seed": 9, "grow": 1}), "grow None -> 1, seed 0 -> 9"),
        (Options(quality=50), "the mask's source, --quality or --rows"),
    ],
)
def test_other_settings(folders: Folders, options: Options, what: str) -> None:
    folders.run(quick_model())
    before = folders.outputs()
    with pytest.raises(
        OutputError, match=rf"6 files .* made otherwise \({what}\), .*000.png the first: --overwrite"
    ):
        folders.run(quick_model(), options)
    assert folders.outputs() == before
    assert len(names(folders.run(quick_model(), options, overwrite=True))) == 6
    assert folders.run(quick_model(), options) == []
    with pytest.raises(OutputError, match="made otherwise"):
        folders.run(quick_model())


def test_another_model(folders: Folders) -> None:
    folders.run(quick_model())
    other = quick_model()
    other.model_hash = "1" * 64
    with pytest.raises(OutputError, match=r"made otherwise \(the model\)"):
        folders.run(other)


def test_settings_the_model_has_anyway_are_no_change(folders: Folders) -> None:
    folders.run(quick_model())
    assert folders.run(quick_model(), Options({"steps": 1, "guidance": 1.0, "solver": None})) == []


def test_a_strangers_file(folders: Folders) -> None:
    folders.out.mkdir()
    (folders.out / "002.webp").write_bytes(b"precious")
    with pytest.raises(
        OutputError, match=r"1 file is there already that .* not made, .*002.webp the first: --overwrite"
    ):
        folders.run(quick_model())
    assert folders.outputs() == {"002.webp": b"precious"}
    assert len(names(folders.run(quick_model(), overwrite=True))) == 6
    assert folders.run(quick_model()) == [] == folders.run(quick_model(), overwrite=True)


def test_a_picture_that_somebody_has_worked_on(folders: Folders) -> None:
    folders.run(quick_model())
    (folders.out / "000.png").write_bytes(b"retouched")
    with pytest.raises(OutputError, match=r"1 file is there already"):
        folders.run(quick_model())
    assert folders.outputs()["000.png"] == b"retouched"


@pytest.mark.parametrize("seen_by", ["verify", "a changed photo"])
def test_a_retouched_picture_of_the_same_size(folders: Folders, seen_by: str) -> None:
    """As bitmaps have: it is nobody's to replace."""
    folders.run(quick_model())
    output = folders.out / "004.bmp"
    mine = output.read_bytes()[:-3] + b"\x07\x07\x07"
    output.write_bytes(mine)
    verify = seen_by == "verify"
    if not verify:
        assert folders.run(quick_model()) == []
        os.utime(folders.photos / "004.bmp", ns=(1, 1))
    with pytest.raises(OutputError, match=r"1 file is there already that .* not made, .*004.bmp"):
        folders.run(quick_model(), verify=verify)
    assert output.read_bytes() == mine
    assert names(folders.run(quick_model(), verify=verify, overwrite=True)) == ["004.bmp"]


def test_killed_between_the_line_and_the_picture(folders: Folders) -> None:
    """Even if the picture before it has the same size, as bitmaps have."""
    folders.run(quick_model())
    old = (folders.out / "004.bmp").read_bytes()
    other = Options({"seed": 5})
    folders.run(quick_model(), other, overwrite=True)
    new = folders.outputs()
    assert len(old) == len(new["004.bmp"]) and old != new["004.bmp"]
    (folders.out / "004.bmp").write_bytes(old)
    (folders.out / "003.tif").unlink()
    assert names(folders.run(quick_model(), other)) == ["003.tif", "004.bmp"]
    assert folders.outputs() == new


def test_outputs_of_a_cluster_whose_records_were_lost(folders: Folders) -> None:
    """They are ours, and made again."""
    model, options = quick_model(), Options()
    plan, ledger = folders.plan(model, options)
    with ledger:
        ledger.note_started(plan.todo)
        (folders.out / "000.png").write_bytes(b"anything")
    assert [line["status"] for line in folders.lines()] == ["started"] * 6
    assert len(names(folders.run(quick_model()))) == 6
    assert folders.run(quick_model()) == []


@pytest.mark.parametrize("kind", ["PhotoError", "WorkerDied"])
def test_a_picture_made_by_hand_after_a_failure_on_a_cluster(folders: Folders, kind: str) -> None:
    """A failure says that there is no picture of ours; a worker that died may have left one."""
    model, options = quick_model(), Options()
    plan, ledger = folders.plan(model, options)
    with ledger:
        ledger.note_started(plan.todo)
        ledger.note(Record("001.jpg", "001.jpg", "failed", error={"kind": kind, "message": "m"}))
        (folders.out / "001.jpg").write_bytes(b"the person's own")
    if kind == "WorkerDied":
        assert len(names(folders.run(model, options))) == 6
        return
    with pytest.raises(OutputError, match=r"1 file is there already that .* not made, .*001.jpg"):
        folders.run(model, options)
    assert (folders.out / "001.jpg").read_bytes() == b"the person's own"


def test_outputs_of_a_cluster_that_replaced_ours(folders: Folders) -> None:
    """Their records were lost: they are ours all the same."""
    model, options = quick_model(), Options()
    folders.run(model, options)
    Image.fromarray(picture(40, 32, seed=99)).save(folders.photos / "000.png")
    plan, ledger = folders.plan(model, options)
    with ledger:
        ledger.note_started(plan.todo)
        (folders.out / "000.png").write_bytes(b"anything")
    assert names(folders.run(model, options)) == ["000.png"]


@pytest.mark.parametrize("source", ["files", "keep", "key_in", "differs_from"])
def test_files_that_all_masks_share(folders: Folders, source: str) -> None:
    """A change of their bytes is another mask; by whatever name, and from the first look on."""
    shared = folders.photos.parent / "shared.png"
    mask = {source: (str(shared),) if source in ("files", "keep") else str(shared)}
    mask |= {"key": "#ff0000"} if source == "key_in" else {}

    def draw(x: int) -> None:
        image = Image.new("L" if source in ("files", "keep") else "RGB", (40, 32))
        image.paste("white" if image.mode == "L" else "red", (x, 2, x + 3, 5))
        image.save(shared)

    def run(**more: bool) -> list[Record]:
        return folders.run(quick_model(), Options({"grow": 0}, mask=mask, allow_large=True), **more)

    draw(5)
    assert len(names(run())) == 6 and run() == []
    (asked,) = {str(line["asked"]) for line in folders.lines()}
    assert str(shared) not in asked
    draw(6)
    with pytest.raises(OutputError, match=r"6 files are .* made otherwise \(the mask's source"):
        run()
    assert len(names(run(overwrite=True))) == 6
    shared.unlink()
    with pytest.raises(InputError, match=r"shared.png: no such file"):
        run()


def test_a_batch_can_be_moved(folders: Folders) -> None:
    folders.run(quick_model())
    parent = folders.photos.parent
    for name in ("photos", "masks", "out"):
        (parent / name).rename(parent / f"{name} 2")
    moved = Folders(parent / "photos 2", parent / "masks 2", parent / "out 2")
    assert moved.run(quick_model()) == []


def test_the_manifest_elsewhere(folders: Folders, tmp_path: Path) -> None:
    model, options = quick_model(), Options()
    plan, _ = folders.plan(model, options)
    ledger = Ledger(tmp_path / "state", model, options)
    with ledger, pytest.raises(RuntimeError, match="inside its with block"):
        Ledger(tmp_path, model, options).note(Record("a", "b", "failed"))
    assert make_plan(plan.todo, ledger).todo == plan.todo
    assert not folders.out.exists() and (tmp_path / "state" / ".moebius-claims").exists()


def test_plans_write_nothing(folders: Folders) -> None:
    folders.plan(quick_model(), Options())
    assert not folders.out.exists()


def test_settings_that_are_not_for_the_model(folders: Folders) -> None:
    for settings, told in (({"guidance": 3.0}, "guidance"), ({"start": "official"}, "steps")):
        with pytest.raises(SettingsError, match=told):
            folders.plan(quick_model(), Options(settings))


def test_items_of_a_plan(tmp_path: Path) -> None:
    """One of each kind."""
    folders = make_folders(tmp_path, 5)
    folders.run(quick_model())
    add_photo(folders, "new.png")
    (folders.out / "000.png").unlink()
    (folders.out / "001.jpg").write_bytes(b"else")
    plan, ledger = folders.plan(quick_model(), Options())
    named = {
        kind: [item.name for item in getattr(plan, kind)] for kind in ("todo", "again", "foreign", "finished")
    }
    assert named == {
        "todo": ["000.png", "new.png"], "again": ["000.png"], "foreign": ["001.jpg"],
        "finished": ["002.webp", "003.tif", "004.bmp"],
    }  # fmt: skip
    everything, _ = folders.plan(quick_model(), Options(), overwrite=True)
    assert [item.name for item in everything.todo] == ["000.png", "001.jpg", "new.png"]
    assert [item.replaces for item in everything.todo] == [False, True, False]
    assert ledger.verdict(replace(plan.todo[1], seed=4)) == "new"
