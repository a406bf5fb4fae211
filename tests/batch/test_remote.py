"""Bytes at URLs, through fsspec: in memory, on disk, and from a real HTTP server."""

from __future__ import annotations

import http.server
import threading
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from moebius.batch import files
from moebius.batch.remote import list_files, look, look_in, read_bytes, write_bytes
from moebius.errors import InputError, OutputError

pytest.importorskip("fsspec", reason="the extra [ray] is not installed")


@pytest.fixture(params=["memory", "file"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{uuid.uuid4().hex}" if request.param == "memory" else f"file://{tmp_path}/new"


def test_what_is_written_is_read(root: str) -> None:
    write_bytes(f"{root}/a/ü.bin", b"one")
    write_bytes(f"{root}/a/ü.bin", b"longer")
    write_bytes(f"{root}/b.bin", b"")
    assert read_bytes(f"{root}/a/ü.bin") == b"longer" and read_bytes(f"{root}/b.bin") == b""
    sizes = [stamp and stamp.nbytes for stamp in map(look, (f"{root}/a/ü.bin", f"{root}/b.bin", f"{root}/c"))]
    assert sizes == [6, 0, None] and look(f"{root}/a") is None
    assert look_in(root) == {"b.bin": look(f"{root}/b.bin")} and look_in(f"{root}/none") == {}
    assert look_in(f"{root}/a/") == {"ü.bin": look(f"{root}/a/ü.bin")}
    assert list_files(root) == ["b.bin"]
    assert list_files(root, recursive=True) == ["a/ü.bin", "b.bin"]


def test_what_is_not_there(root: str) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_bytes(f"{root}/none.jpg")
    with pytest.raises(InputError, match="no such folder"):
        list_files(f"{root}/none")


def test_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"x.bin|folder"):
        write_bytes(f"file://{tmp_path}/file/x.bin", b"")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_local_url_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"file://{tmp_path}/x.bin"
    write_bytes(url, b"before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_bytes(url, b"after")
    assert read_bytes(url) == b"before" and len(list(tmp_path.iterdir())) == 1


def test_urls_that_nobody_knows() -> None:
    for url in ("nonsense://a/b.jpg", "s9://bucket/key"):
        with pytest.raises(InputError, match="expected a URL that fsspec can open"):
            read_bytes(url)


def test_places_go_where_they_belong(tmp_path: Path) -> None:
    url = f"memory://{uuid.uuid4().hex}/x.bin"
    for place in (url, str(tmp_path / "x.bin")):
        files.write_bytes(place, b"bytes")
        assert files.read_bytes(place) == b"bytes"
        stamp = files.stamp(place)
        assert stamp is not None and stamp.nbytes == 5


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "photo.bin").write_bytes(b"from a server")
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))
    ) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{service.server_port}"
        service.shutdown()


def test_a_web_server(server: str) -> None:
    pytest.importorskip("aiohttp", reason="fsspec reads HTTP through aiohttp")
    assert read_bytes(f"{server}/photo.bin") == b"from a server"
    with pytest.raises(InputError, match="no such file"):
        read_bytes(f"{server}/none.bin")
