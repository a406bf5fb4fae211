"""Coefficients are read and written without files, by whatever way is there, and by many threads at once."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_files import encoded
from made_jpegs import picture

from moebius.imaging import jpeg_coefficients, nameless
from moebius.imaging.jpeg_coefficients import Coded, CoefficientsError, read_coefficients, write_coefficients
from moebius.imaging.jpeg_segments import read_layout
from moebius.imaging.nameless import nameless_file

jpeglib = pytest.importorskip("jpeglib")

FILES = {
    "colour": encoded(picture(157, 93), "JPEG", quality=80),
    "4:2:2, progressive": encoded(picture(61, 45), "JPEG", quality=60, subsampling=1, progressive=True),
    "grey": encoded(picture(61, 45).convert("L"), "JPEG", quality=80),
    "three tables": encoded(picture(61, 45), "JPEG", qtables=[[3] * 64, [5] * 64, [9] * 64]),
}
linux = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="files in memory are Linux's")


def round_trip(data: bytes) -> tuple[Coded, bytes]:
    coded = read_coefficients(data, read_layout(data))
    return coded, write_coefficients(coded)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder, empty and for this test alone."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def public() -> Iterator[None]:
    """jpeglib's binding looks different."""
    jpeg_coefficients._binding.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(jpeglib._bind, "CJpegLib")
        yield
    jpeg_coefficients._binding.cache_clear()


@linux
@pytest.mark.parametrize("name", FILES)
def test_no_file_is_made(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a temporary file")

    for maker in ("NamedTemporaryFile", "TemporaryDirectory", "TemporaryFile", "mkstemp", "mkdtemp"):
        monkeypatch.setattr(tempfile, maker, refuse)
    coded, data = round_trip(FILES[name])
    again = read_coefficients(b"\xff\xd8" + data, read_layout(b"\xff\xd8" + data))
    for one, other in zip(coded.planes + coded.tables, again.planes + again.tables, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", FILES)
def test_the_public_functions_give_the_same(name: str, public: None, scratch: Path) -> None:
    with pytest.raises(jpeg_coefficients._BindingMissingError):
        jpeg_coefficients._binding()
    coded, data = round_trip(FILES[name])
    assert list(scratch.iterdir()) == []
    jpeg_coefficients._binding.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jpeglib._bind, "CJpegLib", jpeglib.dct_jpeg.CJpegLib, raising=False)
        jpeg_coefficients._binding()
        ours, ours_data = round_trip(FILES[name])
    assert data == ours_data
    for one, other in zip(coded.planes + coded.tables, ours.planes + ours.tables, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("function", ["read_jpeg_markers", "read_jpeg_dct", "write_jpeg_dct"])
def test_another_signature_falls_back(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, expected = round_trip(FILES["colour"])
    binding = jpeg_coefficients._binding()
    monkeypatch.setattr(binding, function, lambda only: only)
    assert round_trip(FILES["colour"])[1] == expected


def test_the_version_that_others_chose_stays() -> None:
    jpeg_coefficients._binding.cache_clear()
    with jpeglib.version("9"):
        chosen = jpeglib._bind.CJpegLib.get()
        round_trip(FILES["colour"])
        assert jpeglib.version.get() == "9"
        assert jpeglib._bind.CJpegLib.get() is chosen


def test_damage_is_an_error_and_prints_nothing_of_jpeglib(capsys: pytest.CaptureFixture[str]) -> None:
    data = FILES["colour"]
    at = data.index(b"\xff\xc4")
    bent = data[:at] + b"\xff\xc4\x00\x05abc" + data[at:]
    with pytest.raises(CoefficientsError, match="cannot be read"):
        read_coefficients(bent, read_layout(bent))
    scan = data.index(b"\xff\xda")
    bent = data[: scan + 6] + b"\x33" + data[scan + 7 :]  # Huffman tables that there are not
    with pytest.raises(CoefficientsError, match="cannot be read"):
        read_coefficients(bent, read_layout(bent))
    coded = read_coefficients(data, read_layout(data))
    coded.planes[0][0, 0, 0, 1] = 32767
    with pytest.raises(CoefficientsError, match="cannot be written"):
        write_coefficients(coded)
    with pytest.raises(CoefficientsError, match="laid out"):
        write_coefficients(Coded(coded.layout, [plane[:-1] for plane in coded.planes], coded.tables))
    assert capsys.readouterr().out == ""


def test_buffers_fit_what_the_header_asks_for() -> None:
    """A layout that is not the file's is refused before C code writes by it."""
    small, large = FILES["4:2:2, progressive"], FILES["colour"]
    with pytest.raises(CoefficientsError, match="two ways"):
        read_coefficients(large, read_layout(small))


def test_many_threads_without_a_lock() -> None:
    """Of sizes and kinds of their own; a damaged one among them throws inside C."""
    files = [
        *FILES.values(),
        *(encoded(picture(100 + 40 * i, 90, i), "JPEG", quality=50 + i) for i in range(8)),
    ]
    bent = files[0].replace(b"\xff\xc4", b"\xff\xc4\x00\x05abc\xff\xc4", 1)

    def work(index: int) -> bytes | str:
        try:
            return round_trip([*files, bent][index % (len(files) + 1)])[1]
        except CoefficientsError as error:
            return str(error)

    alone = [work(index) for index in range(len(files) + 1)]
    assert [type(each) for each in alone] == [bytes] * len(files) + [str]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(10 * len(alone)))) == alone * 10


def test_hostile_headers_do_not_end_the_process(tmp_path: Path) -> None:
    """In a process of its own, for jpeglib is C. Without the call that goes first, it dies within a few turns."""
    code = """
import random, sys
from moebius.imaging.jpeg_coefficients import CoefficientsError, read_coefficients
from moebius.imaging.jpeg_segments import read_layout
data, rng, outcomes = open(sys.argv[1], "rb").read(), random.Random(0), {}
for turn in range(1500):
    bent = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(2, 700)
        if rng.random() < 0.6:
            bent[at] = rng.randint(0, 255)
        elif rng.random() < 0.5:
            del bent[at : at + rng.randint(1, 20)]
        else:
            bent[at:at] = bytes(rng.choice([255, 0xC0, 0xDA, 0xDB, 0xDC, 0xCC, 0, 1]) for _ in range(4))
    layout = read_layout(bytes(bent))
    if layout.problem or layout.coefficients > 10_000_000:
        continue
    try:
        read_coefficients(bytes(bent), layout)
        outcome = "read"
    except CoefficientsError:
        outcome = "refused"
    outcomes[outcome] = outcomes.get(outcome, 0) + 1
print(min(outcomes["read"], outcomes["refused"]) > 100)
"""
    path = tmp_path / "good.jpg"
    path.write_bytes(FILES["colour"])
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr[-500:]


def in_memory(_: pytest.MonkeyPatch) -> None:
    pass


def unlinked(patch: pytest.MonkeyPatch) -> None:
    patch.delattr(os, "memfd_create", raising=False)


def refused(patch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> int:
        raise OSError("not here")

    patch.setattr(os, "memfd_create", refuse, raising=False)


def in_a_folder(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(nameless, "_OWN_DESCRIPTORS", ())


@pytest.mark.parametrize("way", [in_memory, unlinked, refused, in_a_folder])
def test_nameless_files(way: Any, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    way(monkeypatch)
    with nameless_file(b"before") as file:
        inside = list(scratch.iterdir())
        assert Path(file.path).read_bytes() == file.content() == b"before"
        Path(file.path).write_bytes(b"new")
        assert file.content() == b"new"
        if way is in_a_folder:
            assert [stat.S_IMODE(folder.stat().st_mode) for folder in inside] == [0o700]
        elif os.name == "posix":
            assert inside == []
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("way", [in_memory, unlinked, in_a_folder])
def test_every_way_gives_the_same(way: Any, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, expected = round_trip(FILES["colour"])
    way(monkeypatch)
    assert round_trip(FILES["colour"])[1] == expected
    assert list(scratch.iterdir()) == []


@linux
def test_what_a_library_leaves_open_holds_no_photo() -> None:
    with nameless_file(b"a photo") as file:
        left = os.open(file.path, os.O_RDONLY)
    try:
        assert os.fstat(left).st_size == 0
    finally:
        os.close(left)


def test_a_failure_inside_is_passed_on(scratch: Path) -> None:
    with pytest.raises(KeyError), nameless_file(b"x"):
        raise KeyError
    assert list(scratch.iterdir()) == []
