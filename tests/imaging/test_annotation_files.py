"""Annotation files that many photos share: parsed once, by any number of threads, and again when they change."""

from __future__ import annotations

import json
import os
import pickle
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from moebius.errors import MaskError
from moebius.imaging import annotation_files
from moebius.imaging.annotation_files import AnnotationCache, load_annotations
from moebius.imaging.annotations import read_annotations


@pytest.fixture()
def parsed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What was parsed, in order."""
    seen: list[Any] = []

    def load(source: Any) -> Any:
        seen.append(source)
        return load_annotations(source)

    monkeypatch.setattr(annotation_files, "load_annotations", load)
    yield seen


def coco(count: int, name: str = "{}.jpg") -> bytes:
    """`count` photos of 20 x 12, each with one box of its own width."""
    return json.dumps(
        {
            "images": [
                {"id": n, "file_name": name.format(n), "width": 20, "height": 12} for n in range(count)
            ],
            "annotations": [{"image_id": n, "bbox": [0, 0, n + 1, 2]} for n in range(count)],
        }
    ).encode()


def test_one_file_for_many_photos_is_parsed_once(tmp_path: Path, parsed: list[Any]) -> None:
    path, cache = tmp_path / "coco.json", AnnotationCache()
    path.write_bytes(coco(10))
    wrong: list[Any] = []

    def read(source: Any) -> None:
        for number in range(10):
            mask = read_annotations(source, size=(20, 12), name=f"{number}.jpg", cache=cache)
            if mask.sum() != 2 * (number + 1):
                wrong.append((number, mask.sum()))

    sources = (str(path), path, path.read_bytes())
    threads = [threading.Thread(target=read, args=(sources[n % 3],)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and len(parsed) == len(cache) == 2, "the path, and the bytes"


def test_threads_that_want_it_at_once_wait_for_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, both, parsed = AnnotationCache(), threading.Barrier(2), []

    def load(source: Any) -> Any:
        parsed.append(source)
        with suppress(threading.BrokenBarrierError):
            both.wait(0.2)  # the other one comes, if it does not wait
        return load_annotations(source)

    monkeypatch.setattr(annotation_files, "load_annotations", load)
    threads = [threading.Thread(target=cache.load, args=(coco(1),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(parsed) == 1


def test_a_changed_file_is_parsed_again(tmp_path: Path) -> None:
    path, cache = tmp_path / "coco.json", AnnotationCache()
    for count, seconds in ((1, 100), (2, 100), (2, 200)):  # another size, then another time
        path.write_bytes(coco(count, "{}.png" if seconds == 100 else "{}.gif"))
        os.utime(path, (seconds, seconds))
        entry = cache.load(path).images_called("0.jpg")[0]
        assert entry["file_name"] == ("0.png" if seconds == 100 else "0.gif")
        assert len(cache.load(str(path)).values["images"]) == count
    path.unlink()
    with pytest.raises(MaskError, match="no such file"):
        cache.load(path)


def test_it_is_bounded(tmp_path: Path, parsed: list[Any]) -> None:
    paths = [tmp_path / f"{n}.json" for n in range(4)]
    for path in paths:
        path.write_bytes(coco(3))
    nbytes = paths[0].stat().st_size
    for cache, most in (
        (AnnotationCache(3), 3),
        (AnnotationCache(9, 2 * nbytes), 2),
        (AnnotationCache(9, 1), 1),
    ):
        for path in paths:
            cache.load(path)
            cache.load(path)
        assert len(cache) == most
    assert len(parsed) == 12
    cache = AnnotationCache(2)
    for number in (0, 1, 0, 2, 0):  # 1 was wanted longest ago
        cache.load(paths[number])
    assert len(parsed) == 12 + 3


def test_nothing_of_it_travels(tmp_path: Path) -> None:
    cache = AnnotationCache(2)
    cache.load(coco(1))
    copy = pickle.loads(pickle.dumps(cache))
    assert len(cache) == 1 and len(copy) == 0
    copy.load(coco(1))
    copy.load(coco(2))
    copy.load(coco(3))
    assert len(copy) == 2, "its bounds do"


def test_bad_files_are_not_held(tmp_path: Path) -> None:
    path, cache = tmp_path / "a.json", AnnotationCache()
    path.write_bytes(b"{")
    for _ in range(2):
        with pytest.raises(MaskError, match="expected JSON in UTF-8"):
            cache.load(path)
    assert len(cache) == 0


@pytest.mark.parametrize(
    ("names", "wanted", "found"),
    [
        (["a/x.jpg", "b/x.jpg", "x.png"], "c/x.jpg", [0, 1]),
        (["a/x.png", "b/x.webp", "y.jpg"], "x.jpg", [0, 1]),
        (["e\u0301.jpg"], "\u00e9.jpg", [0]),
        (["a\\x.jpg"], "x.jpg", [0]),
        (["x.jpg"], "z.jpg", []),
    ],
)
def test_entries_by_name(names: list[str], wanted: str, found: list[int]) -> None:
    file = load_annotations(json.dumps({"images": [{"file_name": name} for name in names]}).encode())
    assert file.images_called(wanted) == [file.values["images"][n] for n in found]
