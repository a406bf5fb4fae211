"""A batch in an object store: how often it is asked, what is believed, and that nothing foreign is lost."""

from __future__ import annotations

import datetime
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_photos import disc, picture
from PIL import Image
from quick_model import Folders, quick_model

from moebius.batch import Options, files, fill_item
from moebius.batch.gather import Request, gather
from moebius.batch.ledger import Ledger
from moebius.batch.local import LocalRun
from moebius.batch.plan import Plan, make_plan
from moebius.errors import InputError, OutputError

fsspec = pytest.importorskip("fsspec", reason="the extra [ray] is not installed")
from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402

TOP = "store://bucket"
REQUEST = Request(photos=f"{TOP}/photos", masks=f"{TOP}/masks", out=f"{TOP}/out")
MANY, FEW = 50, 4
"""Photos of a folder that is listed, and of one that is not worth it."""


class Store(MemoryFileSystem):
    """Counts requests; has versions, and refuses to tell of objects with certain names."""

    protocol = ("store", "memory")
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    calls: Counter[str] = Counter()  # noqa: RUF012
    refused: set[str] = set()  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> Any:
        return MemoryFileSystem._strip_protocol(path.replace("store://", "memory://"))

    def info(self, path: str, **more: Any) -> Any:
        self.calls["look"] += 1
        if any(name in path for name in self.refused):
            raise TimeoutError("slow down")
        return self._versioned(super().info(path, **more))

    def ls(self, path: str, detail: bool = True, **more: Any) -> Any:
        self.calls["list"] += 1
        if any(name in path for name in self.refused):
            raise PermissionError("listings are refused")
        found = super().ls(path, detail=True, **more)
        return [self._versioned(each) if detail else each["name"] for each in found]

    def cat_file(self, path: str, *_: Any, **__: Any) -> bytes:
        self.calls["get"] += 1
        return bytes(self.store[self._strip_protocol(path)].getvalue())

    def pipe_file(self, path: str, value: bytes, *rest: Any, **more: Any) -> Any:
        self.calls["put"] += 1
        return super().pipe_file(path, value, *rest, **more)

    def _versioned(self, info: dict[str, Any]) -> dict[str, Any]:
        if info["type"] == "directory":
            return info
        tag = hashlib.md5(self.store[info["name"]].getvalue()).hexdigest()
        return {**info, "ETag": f'"{tag}"'}


@pytest.fixture()
def store() -> Iterator[Store]:
    fsspec.register_implementation("store", Store, clobber=True)
    Store.store.clear()
    Store.refused.clear()
    Store.calls.clear()
    yield fsspec.filesystem("store")


def add(store: Store, count: int) -> None:
    for number in range(count):
        put(store, f"/bucket/photos/{number}.png", picture(40, 32, seed=number))
        put(store, f"/bucket/masks/{number}.png", disc(40, 32, (15, 15), 4).astype(np.uint8) * 255)
    store.calls.clear()


def put(store: Store, path: str, pixels: Any) -> None:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "BMP" if path.endswith("bmp") else "PNG")
    store.pipe_file(path, file.getvalue())


def planned(state: Path, request: Request = REQUEST) -> tuple[Plan, Ledger]:
    items = gather(request).items
    Store.calls.clear()
    ledger = Ledger(state, quick_model(), Options())
    return make_plan(items, ledger), ledger


def run(state: Path) -> list[Any]:
    plan, ledger = planned(state)
    plan.check(False)
    Store.calls.clear()
    with ledger:
        return list(LocalRun(quick_model(), plan.todo, Options(), ledger).records())


def test_a_look_that_fails_is_no_missing_file(store: Store, tmp_path: Path) -> None:
    """A file that is not ours is not replaced because the storage was slow."""
    add(store, FEW)
    store.pipe_file("/bucket/out/2.png", b"the only copy")
    with pytest.raises(OutputError, match=r"2\.png the first: --overwrite"):
        run(tmp_path)
    store.refused.add("out/2.png")
    with pytest.raises(InputError, match=r"^store://bucket/out/2.png: cannot be looked at \(slow down\)$"):
        run(tmp_path)
    assert store.cat_file("/bucket/out/2.png") == b"the only copy"


def test_what_appears_after_the_plan_is_not_replaced(store: Store, tmp_path: Path) -> None:
    add(store, FEW)
    plan, ledger = planned(tmp_path)
    store.pipe_file("/bucket/out/2.png", b"the only copy")
    with ledger:
        records = list(LocalRun(quick_model(), plan.todo, Options(), ledger).records())
    (error,) = (record.error for record in records if record.error)
    assert error == {"kind": "OutputError", "message": "store://bucket/out/2.png exists already"}
    assert store.cat_file("/bucket/out/2.png") == b"the only copy"
    with pytest.raises(OutputError, match="exists already"):
        files.write_bytes(f"{TOP}/out/2.png", b"other")
    files.write_bytes(f"{TOP}/out/2.png", b"other", overwrite=True)
    assert store.cat_file("/bucket/out/2.png") == b"other"


def test_requests_of_many_photos(store: Store, tmp_path: Path) -> None:
    """Whole folders are listed; a photo is read, its mask is read, its picture is looked for and written."""
    add(store, MANY)
    plan, ledger = planned(tmp_path)
    assert dict(store.calls) == {"list": 3} and len(plan.todo) == MANY
    assert all(item.photo_stamp and item.photo_stamp.tag and item.mask_stamp for item in plan.todo)
    store.calls.clear()
    with ledger:
        assert len(list(LocalRun(quick_model(), plan.todo, Options(), ledger).records())) == MANY
    assert dict(store.calls) == {"get": 2 * MANY, "look": MANY, "put": MANY}
    again, _ = planned(tmp_path)
    assert dict(store.calls) == {"list": 3} and len(again.finished) == MANY


def test_requests_of_a_few(store: Store, tmp_path: Path) -> None:
    add(store, FEW)
    planned(tmp_path)
    assert dict(store.calls) == {"look": FEW}, "of the outputs"
    run(tmp_path)
    assert len(planned(tmp_path)[0].finished) == FEW and dict(store.calls) == {"look": 3 * FEW}


def test_requests_of_a_worker(store: Store, tmp_path: Path) -> None:
    """Three, as docs/scale.md says."""
    from moebius.batch.ray_engine import _put

    add(store, MANY)
    item = planned(tmp_path)[0].todo[0]
    store.calls.clear()
    assert fill_item(quick_model(), item, Options(), _put).status == "done"
    assert dict(store.calls) == {"get": 2, "put": 1}


def test_without_listings_files_are_looked_at_one_by_one(store: Store, tmp_path: Path) -> None:
    """A refused listing is no empty folder."""
    add(store, MANY)
    store.pipe_file("/bucket/out/7.png", b"the only copy")
    items = gather(REQUEST).items
    store.refused.add("bucket/out")
    with pytest.raises(InputError, match="cannot be looked at"):
        make_plan(items, Ledger(tmp_path, quick_model(), Options()))

    class Unlisted(Store):
        def ls(self, path: str, detail: bool = True, **more: Any) -> Any:
            raise PermissionError("listings are refused")

    store.refused.clear()
    fsspec.register_implementation("store", Unlisted, clobber=True)
    plan = make_plan(items, Ledger(tmp_path, quick_model(), Options()))
    assert [item.name for item in plan.foreign] == ["7.png"] and len(plan.todo) == MANY - 1


@pytest.mark.parametrize("what", ["photos", "masks"])
def test_changes_that_keep_the_size(store: Store, tmp_path: Path, what: str) -> None:
    """Versions tell, where storages have them."""
    add(store, FEW)
    run(tmp_path)
    path = f"/bucket/{what}/1.png"
    data = store.cat_file(path)
    store.pipe_file(path, data[:-1] + b"\x07")
    plan, _ = planned(tmp_path)
    assert [item.name for item in plan.again] == ["1.png"] and len(plan.finished) == FEW - 1


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"ETag": '"a"', "LastModified": datetime.datetime(2026, 1, 1)}, files.Stamp(5, None, "a")),
        ({"mtime": 12.5}, files.Stamp(5, 12_500_000_000)),
        (
            {"LastModified": datetime.datetime(1970, 1, 1, 0, 1, 0, 700_000, tzinfo=datetime.UTC)},
            files.Stamp(5, 60 * 10**9),
        ),
        ({"updated": "1970-01-01T00:01:00.700Z"}, files.Stamp(5, 60 * 10**9)),
        ({"Last-Modified": "Thu, 01 Jan 1970 00:01:00 GMT"}, files.Stamp(5, 60 * 10**9)),
        ({"Last-Modified": "yesterday"}, files.Stamp(5, None)),
        ({"size": None}, files.Stamp(None, None)),
        ({"type": "directory"}, None),
        ({}, files.Stamp(5, None)),
    ],
)
def test_what_storages_tell(told: dict[str, Any], expected: files.Stamp | None) -> None:
    from moebius.batch.remote import _stamp

    assert _stamp({"name": "a", "size": 5, "type": "file", **told}) == expected


@pytest.mark.parametrize("place_of", [str, lambda path: f"file://{path}"], ids=["path", "url"])
@pytest.mark.parametrize("out_of", [str, lambda path: f"file://{path}/"], ids=["path", "url"])
def test_out_and_masks_inside_photos(
    folders: Folders, place_of: Callable[[Path], str], out_of: Callable[[Path], str]
) -> None:
    folders.masks.rename(folders.photos / "masks")
    (folders.photos / "out" / "deep").mkdir(parents=True)
    for name in ("out/0.png", "out/deep/0.png", "0.png"):
        Image.new("RGB", (8, 8)).save(folders.photos / name)
    places = {"photos": place_of(folders.photos), "out": out_of(folders.photos / "out")}
    found = gather(Request(**places, masks=out_of(folders.photos / "masks"), recursive=True))
    assert len(found.items) == 6 and found.photos_alone == ("0.png",) and found.masks_alone == ()
    found = gather(Request(**places, masks=out_of(folders.photos / "0.png").rstrip("/"), recursive=False))
    assert "0.png" not in [item.name for item in found.items] and len(found.items) == 6
    with pytest.raises(OutputError, match="OUT: expected another folder than PHOTOS"):
        gather(Request(photos=places["photos"], out=out_of(folders.photos), other_masks=True))


def test_outputs_in_an_object_store_keep_to_themselves(store: Store, tmp_path: Path) -> None:
    add(store, 2)
    table = tmp_path / "t.jsonl"
    table.write_text(f'{{"photo": "{TOP}/photos/0.png", "box": "1,2,3,4", "output": "1.png"}}\n' * 1
                     + f'{{"photo": "{TOP}//photos/1.png", "box": "1,2,3,4", "output": "2.png"}}\n')  # fmt: skip
    with pytest.raises(OutputError, match=r"photos/1.png: expected another place than that of the photo"):
        gather(Request(photos=str(table), out=f"{TOP}/photos"))
