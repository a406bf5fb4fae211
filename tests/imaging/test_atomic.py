"""An output is there whole, or it is as if nobody had tried."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image

from moebius.errors import OutputError
from moebius.imaging import Photo, atomic_file, check_path, read_photo, write_photo

PHOTO = Photo(np.arange(192, dtype=np.uint8).reshape(8, 8, 3), "RGB")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["unnamed", "named", "no links to unnamed"])
def temporary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ways in which a file that is being written is kept out of sight."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system has no unnamed files")
    elif request.param == "no links to unnamed":

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    return str(request.param)


def test_appears_only_when_finished(tmp_path: Path, temporary: str) -> None:
    path = tmp_path / "a.bin"
    with atomic_file(path) as file:
        file.write(b"half")
        assert not path.exists()
        file.write(b" whole")
    assert path.read_bytes() == b"half whole"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("error", [RuntimeError("half way"), KeyboardInterrupt(), GeneratorExit()])
@pytest.mark.parametrize("existed", [False, True])
def test_killed_half_way(error: BaseException, existed: bool, tmp_path: Path, temporary: str) -> None:
    path = tmp_path / "a.bin"
    if existed:
        path.write_bytes(b"before")
    with pytest.raises(type(error)), atomic_file(path, overwrite=True) as file:
        file.write(b"half")
        raise error
    assert names(tmp_path) == (["a.bin"] if existed else [])
    assert not existed or path.read_bytes() == b"before"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tiff", "a.webp"])
def test_encoder_fails_half_way(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, file: BinaryIO, *_: Any, **__: Any) -> None:
        file.write(b"half a picture")
        raise RuntimeError("encoder error -2")

    monkeypatch.setattr(Image.Image, "save", fail)
    monkeypatch.setattr("PIL.TiffImagePlugin.ImageFileDirectory_v2.save", fail)
    path = tmp_path / name
    path.write_bytes(b"before")
    with pytest.raises(OutputError, match=r"cannot be written as \w+: encoder error -2"):
        write_photo(PHOTO, path, overwrite=True)
    assert (names(tmp_path), path.read_bytes()) == ([name], b"before")


@pytest.mark.parametrize("function", ["os.fsync", "pathlib.Path.replace"])
def test_disk_is_full(function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(function, full)
    path = tmp_path / "a.png"
    path.write_bytes(b"before")
    with pytest.raises(OutputError, match=r"a.png: cannot be written \(No space left on device\)"):
        write_photo(PHOTO, path, overwrite=True)
    assert (names(tmp_path), path.read_bytes()) == (["a.png"], b"before")


def test_a_process_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    """Where files can be without a name until they are finished."""
    with atomic_file(tmp_path / "probe") as file:
        file.write(b"x")
        if names(tmp_path):
            pytest.skip("no unnamed files here")
    (tmp_path / "a.bin").write_bytes(b"before")
    code = """
import os, signal, sys
from moebius.imaging import atomic_file
with atomic_file(sys.argv[1], overwrite=True) as file:
    file.write(b"half" * 100_000)
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.bin"], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert names(tmp_path) == ["a.bin", "probe"] and (tmp_path / "a.bin").read_bytes() == b"before"


def test_unwritable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    opened = Path.open

    def refuse(self: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if "x" in mode:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(self, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OutputError, match=r"cannot be written \(Permission denied\)"):
        write_photo(PHOTO, tmp_path / "a.png")
    assert names(tmp_path) == []


def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for place, message in [
        (tmp_path / "missing" / "a.png", "expected an existing folder, got .*missing"),
        (tmp_path / "file" / "a.png", "expected an existing folder"),
        (tmp_path / "folder.png", "got a folder or a device"),
        (Path(os.devnull), "got a folder or a device"),
        (tmp_path / "circle", "cannot be written"),
        (tmp_path / "zero\0byte.png", "cannot be written"),
        (tmp_path / ("long" * 100 + ".png"), "cannot be written"),
    ]:
        with pytest.raises(OutputError, match=message) as caught:
            write_photo(PHOTO, place, format="png", overwrite=True)
        assert "\n" not in str(caught.value)
    assert Path(os.devnull).is_char_device()


def test_existing_file_needs_overwrite(tmp_path: Path, temporary: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"before")
    with pytest.raises(OutputError, match="exists already"):
        write_photo(PHOTO, path)
    assert path.read_bytes() == b"before"
    write_photo(PHOTO, path, overwrite=True)
    np.testing.assert_array_equal(read_photo(path).pixels, PHOTO.pixels)
    assert names(tmp_path) == ["a.png"]


@pytest.mark.parametrize("links", [True, False])
def test_file_that_appears_meanwhile_is_not_replaced(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Except on file systems without hard links, where nothing can be done about it."""
    if not links:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "a.bin"

    def race() -> None:
        with atomic_file(path) as file:
            file.write(b"ours")
            path.write_bytes(b"theirs")

    if links:
        with pytest.raises(OutputError, match="File exists"):
            race()
        assert path.read_bytes() == b"theirs"
    else:
        race()
        assert path.read_bytes() == b"ours"
    assert names(tmp_path) == ["a.bin"]


def test_permissions_and_links_stay(tmp_path: Path, temporary: str) -> None:
    real, link = tmp_path / "real.png", tmp_path / "link.png"
    real.write_bytes(b"before")
    real.chmod(0o640)
    link.symlink_to(real)
    write_photo(PHOTO, link, overwrite=True)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert read_photo(real).size == (8, 8)
    fresh, usual = tmp_path / "fresh.png", tmp_path / "usual"
    write_photo(PHOTO, fresh)
    usual.touch()
    assert fresh.stat().st_mode == usual.stat().st_mode
    assert check_path(link, overwrite=True) == real


def test_streams() -> None:
    """Also such as cannot be rewound; and nothing is written to them if encoding fails."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.data += bytes(data)
            return len(data)

    for format in ("png", "jpeg", "tiff", "webp", "bmp"):
        pipe = Pipe()
        write_photo(PHOTO, pipe, format=format)  # type: ignore[arg-type]
        assert read_photo(pipe.data).size == (8, 8)
    pipe = Pipe()
    with pytest.raises(OutputError):
        write_photo(Photo(np.zeros((1, 17_000, 3), np.uint8), "RGB"), pipe, format="webp")  # type: ignore[arg-type]
    assert pipe.data == b""
