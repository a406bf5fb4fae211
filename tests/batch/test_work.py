"""The work on one item: what comes out is what `Moebius` makes, and what is wrong with a file fails it alone."""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_photos import noise
from PIL import Image
from quick_model import FORMATS, Folders, add_photo, item_of, make_folders, quick_model

from moebius import Moebius
from moebius.batch import Item, Options, Record, Stopped, fill_item
from moebius.errors import OutputError
from moebius.imaging import read_photo


def nowhere(*_: object) -> None:
    raise AssertionError("nothing was to be written")


def filled(item: Item, options: Options | None = None, model: Moebius | None = None) -> tuple[Record, bytes]:
    kept: list[tuple[Item, Record, bytes]] = []
    record = fill_item(model or quick_model(), item, options or Options(), lambda *all: kept.append(all))
    assert kept == [(item, record, kept[0][2])], record.error
    return record, kept[0][2]


def failed(item: Item, options: Options | None = None) -> str:
    record = fill_item(quick_model(), item, options or Options(), nowhere)
    assert record.status == "failed" and record.error is not None and record.sha256 is None
    return f"{record.error['kind']}: {record.error['message']}"


@pytest.mark.parametrize("kind", FORMATS)
def test_it_is_the_library(tmp_path: Path, kind: str) -> None:
    folders = make_folders(tmp_path, 1, (kind,))
    item = item_of(folders, f"000.{kind}", seed=3, key="k")
    record, data = filled(item, Options({"seed": 1, "grow": 2}))
    expected = quick_model()(item.photo, str(item.mask), seed=3, key="k", grow=2)
    written = expected.save(tmp_path / f"expected.{kind}")
    assert data == (tmp_path / f"expected.{kind}").read_bytes()
    assert (record.sha256, record.nbytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert record.settings == expected.settings.to_dict()
    assert (record.key, record.size, record.regions, record.engine) == ("k", (40, 32), 1, "fake")
    assert record.photo is not None and record.photo.nbytes == Path(item.photo).stat().st_size
    assert record.mask is not None and record.mask.mtime_ns == Path(str(item.mask)).stat().st_mtime_ns
    assert {"read", "denoise", "write", "total"} <= set(record.timings)
    assert record.written == written.to_dict() and record.written["nbytes"] == len(data)
    assert record.changes == expected.changes(read_photo(item.photo)).to_dict()
    assert record.changes["changed"] > 0 and record.changes["outside"] == 0


def test_everything_can_be_pickled(folders: Folders) -> None:
    item, options = item_of(folders, "000.png", boxes=("1,2,3,4",)), Options({"seed": 1}, 90)
    assert pickle.loads(pickle.dumps((item, options))) == (item, options)
    assert pickle.loads(pickle.dumps(Record("a", "b", "done"))) == Record("a", "b", "done")


def test_what_is_wrong_with_the_files(folders: Folders) -> None:
    missing, text, cut, small = (
        folders.photos.parent / name for name in ("no.png", "t.png", "c.png", "s.png")
    )
    text.write_text("hello")
    cut.write_bytes((folders.photos / "000.png").read_bytes()[:200])
    Image.new("L", (4, 4)).save(small)
    for changes, message in [
        ({"photo": str(missing)}, "InputError: .*no.png: no such file"),
        ({"mask": str(missing)}, "InputError: .*no.png: no such file"),
        ({"photo": str(folders.photos)}, "InputError: .*cannot be read"),
        ({"photo": str(text)}, "PhotoError: photo: not an image"),
        ({"photo": str(cut)}, "PhotoError: photo: damaged or truncated PNG"),
        ({"mask": str(cut)}, "MaskError: mask: damaged or truncated PNG"),
        ({"mask": str(small)}, "MaskError: mask: expected the photo's size, got 4 x 4"),
        ({"photo": "a\0b"}, "InputError: "),
    ]:
        told = failed(item_of(folders, "000.png", **changes))
        assert Pattern(message) == told


class Pattern:
    """Equal to texts that it matches."""

    def __init__(self, pattern: str):
        self.pattern = pattern

    def __eq__(self, other: object) -> bool:
        import re

        return isinstance(other, str) and re.match(self.pattern, other) is not None

    def __repr__(self) -> str:
        return f"<{self.pattern}>"


def test_settings_that_do_not_fit(folders: Folders) -> None:
    assert failed(item_of(folders, "000.png"), Options({"guidance": 5.0})).startswith(
        "SettingsError: guidance: "
    )


def test_masks_that_look_inverted(folders: Folders) -> None:
    item = item_of(folders, "000.png")
    mask = np.full((32, 40), 255, np.uint8)
    mask[:4] = 0
    Image.fromarray(mask).save(str(item.mask))
    assert failed(item) == Pattern(
        "MaskError: the mask covers 88% of the photo: white means fill; give --invert"
    )
    assert filled(item, Options(allow_large=True))[0].status == "done"
    assert filled(item, Options({"invert": True}))[0].settings["invert"] is True


def test_transparency_that_the_format_cannot_keep(folders: Folders) -> None:
    Image.fromarray(noise((32, 40, 4))).save(folders.photos / "000.png")
    item = item_of(folders, "000.png", output=str(folders.out / "000.jpg"))
    assert failed(item) == Pattern("OutputError: JPEG cannot keep the photo's transparency")


def test_transparency_that_is_filled_is_none_to_keep(folders: Folders) -> None:
    pixels = np.full((32, 40, 4), 255, np.uint8)
    pixels[10:20, 10:20, 3] = 0
    Image.fromarray(pixels).save(folders.photos / "000.png")
    item = item_of(folders, "000.png", output=str(folders.out / "000.jpg"), mask=None)
    record, data = filled(item, Options(mask={"alpha": True}))
    assert record.written is not None and record.written["format"] == "JPEG"
    assert Image.open(io.BytesIO(data)).mode == "RGB"


def test_blocks_that_were_kept_are_told(tmp_path: Path) -> None:
    pytest.importorskip("jpeglib", reason="the extra [jpeg] is not installed")
    folders = make_folders(tmp_path, 1, ("jpg",))
    record, _ = filled(item_of(folders, "000.jpg"))
    assert record.written is not None and record.written["stored"] == "blocks kept"
    assert 0 < record.written["blocks_rewritten"] < record.written["blocks_total"]
    again, _ = filled(item_of(folders, "000.jpg"), Options(quality=80))
    assert again.written is not None and again.written["stored"] == "lossy"


def test_warnings_are_kept_with_the_item(folders: Folders) -> None:
    item = item_of(folders, "000.png")
    Image.new("L", (40, 32)).save(str(item.mask))
    handlers = list(logging.getLogger("moebius").handlers)
    record, data = filled(item)
    assert record.warnings == ("the mask is empty: nothing to fill, the photo is copied unchanged",)
    assert logging.getLogger("moebius").handlers == handlers
    assert (np.asarray(Image.open(io.BytesIO(data))) == np.asarray(Image.open(item.photo))).all()


@pytest.mark.parametrize(
    ("number", "stops"), [(errno.ENOSPC, True), (errno.EFBIG, True), (errno.EACCES, False)]
)
def test_outputs_that_cannot_be_written(folders: Folders, number: int, stops: bool) -> None:
    def commit(*_: Any) -> None:
        try:
            raise OSError(number, "reason")
        except OSError as error:
            raise OutputError("out.png: cannot be written (reason)") from error

    record = fill_item(quick_model(), item_of(folders, "000.png"), Options(), commit)
    assert (record.status, record.stops) == ("failed", stops)
    assert record.error == {"kind": "OutputError", "message": "out.png: cannot be written (reason)"}


def test_bugs_are_not_hidden(folders: Folders) -> None:
    def commit(*_: Any) -> None:
        raise ValueError("a mistake of ours")

    with pytest.raises(ValueError, match="a mistake of ours"):
        fill_item(quick_model(), item_of(folders, "000.png"), Options(), commit)


def test_stopped_half_way(folders: Folders) -> None:
    with pytest.raises(Stopped):
        fill_item(quick_model(), item_of(folders, "000.png"), Options(), nowhere, lambda: True)


def test_neither_folder_nor_name_matter(folders: Folders) -> None:
    """Nor does what was filled before: the same photo, mask and seed give the same bytes."""
    add_photo(folders, "deep/down/copy.png", seed=0)
    first = filled(item_of(folders, "000.png"))[1]
    assert filled(item_of(folders, "deep/down/copy.png"))[1] == first
    assert filled(item_of(folders, "000.png", seed=1))[1] != first
    assert filled(item_of(folders, "000.png", key="k"))[1] != first
