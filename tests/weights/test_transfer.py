"""The resumable transfer of one file, against a server that breaks off, lies, refuses and recovers."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hub_server import Fault, Hub

from moebius.errors import DownloadError
from moebius.weights.spec import ModelFile
from moebius.weights.transfer import fetch, file_url

BODY = np.random.default_rng(0).bytes(700_001)
DIGEST = hashlib.sha256(BODY).hexdigest()
FILE = ModelFile(repository="owner/name", path="sub/file.bin", bytes=len(BODY), sha256=DIGEST)
UNKNOWN = replace(FILE, bytes=None, sha256=None)
NAME = "owner/name/sub/file.bin"
HALF = 350_000


@pytest.fixture()
def served(hub: Hub) -> Hub:
    hub.files[NAME] = BODY
    return hub


@pytest.fixture()
def target(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "file.bin"


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def refused(file: ModelFile, target: Path) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch(file, target, attempts=2, pause=0)
    assert "\n" not in str(caught.value)
    assert not target.exists()
    return str(caught.value)


def test_a_file_arrives_whole_and_alone(served: Hub, target: Path) -> None:
    heard: list[tuple[str, int, int | None]] = []
    fetch(FILE, target, progress=lambda *event: heard.append(event))
    assert target.read_bytes() == BODY
    assert left(target) == ["file.bin"]
    downloads = [event for event in heard if event[0] == "sub/file.bin"]
    assert downloads[-1] == ("sub/file.bin", len(BODY), len(BODY))
    assert [done for _, done, _ in downloads] == sorted(done for _, done, _ in downloads)
    assert heard[-1][0] == "checking sub/file.bin"


def test_a_file_that_is_there_is_not_asked_for_again(served: Hub, target: Path) -> None:
    fetch(FILE, target)
    fetch(FILE, target)
    assert len(served.requests) == 1


@pytest.mark.parametrize("file", [FILE, UNKNOWN])
def test_a_broken_connection_is_taken_up_where_it_broke(served: Hub, target: Path, file: ModelFile) -> None:
    served.faults.append(Fault(cut=HALF))
    fetch(file, target, pause=0)
    assert target.read_bytes() == BODY
    assert served.requests == [(NAME, None), (NAME, f"bytes={HALF}-")]


def test_a_later_call_takes_up_what_an_earlier_one_left(served: Hub, target: Path) -> None:
    served.faults += [Fault(cut=HALF), Fault(status=503)]
    refused(FILE, target)
    assert left(target) == ["file.bin.partial", "file.bin.partial.json"]
    fetch(FILE, target)
    assert target.read_bytes() == BODY
    assert served.requests[-1] == (NAME, f"bytes={HALF}-")


def test_progress_counts_what_was_there_before(served: Hub, target: Path) -> None:
    served.faults += [Fault(cut=HALF), Fault(status=503)]
    refused(FILE, target)
    heard: list[int] = []
    fetch(FILE, target, progress=lambda what, done, total: heard.append(done))
    assert heard[0] > HALF


def test_new_bytes_renew_the_patience(served: Hub, target: Path) -> None:
    served.faults += [Fault(cut=100_000)] * 5
    fetch(FILE, target, attempts=2, pause=0)
    assert target.read_bytes() == BODY


def test_a_server_that_ignores_ranges_starts_over(served: Hub, target: Path) -> None:
    served.faults += [Fault(cut=HALF), Fault(ignore_range=True)]
    fetch(FILE, target, pause=0)
    assert target.read_bytes() == BODY


def test_a_server_that_ignores_ranges_and_always_breaks_is_given_up(served: Hub, target: Path) -> None:
    served.faults += [Fault(cut=HALF, ignore_range=True)] * 4
    assert f"after {HALF} of {len(BODY)} bytes; gave up after 2 attempts" in refused(FILE, target)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble_is_asked_again(served: Hub, target: Path, status: int) -> None:
    served.faults.append(Fault(status=status))
    fetch(FILE, target, pause=0)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_final(served: Hub, target: Path, status: int) -> None:
    served.faults.append(Fault(status=status))
    assert f"the server answered {status}" in refused(FILE, target)
    assert len(served.requests) == 1


@pytest.mark.parametrize("sha256", [DIGEST, DIGEST[:8]])
def test_a_wrong_byte_is_noticed_and_nothing_kept(served: Hub, target: Path, sha256: str) -> None:
    served.files[NAME] = BODY[:5] + bytes([BODY[5] ^ 1]) + BODY[6:]
    message = refused(replace(FILE, sha256=sha256), target)
    assert f"expected sha256 {sha256[:12]}" in message
    assert left(target) == []
    served.files[NAME] = BODY
    fetch(FILE, target)


def test_only_the_known_prefix_is_compared(served: Hub, target: Path) -> None:
    fetch(replace(FILE, sha256=DIGEST[:8]), target)
    assert target.read_bytes() == BODY


def test_another_length_is_refused_before_it_is_downloaded(served: Hub, target: Path) -> None:
    served.files[NAME] = BODY + b"more"
    assert f"expected {len(BODY)} bytes, the server offers {len(BODY) + 4}" in refused(FILE, target)
    assert left(target) == []


def test_an_announced_length_that_never_comes_is_an_error(served: Hub, target: Path) -> None:
    served.faults += [Fault(extra_length=10), Fault(extra_length=10)]
    served.etags[NAME] = ""
    assert "the connection closed after" in refused(UNKNOWN, target)


def test_the_checksum_that_the_hub_states_is_checked_where_none_is_known(served: Hub, target: Path) -> None:
    served.linked[NAME] = DIGEST
    fetch(UNKNOWN, target)
    target.unlink()
    served.linked[NAME] = "0" * 64
    assert "expected sha256 000000000000" in refused(UNKNOWN, target)


def test_a_storage_redirect_keeps_the_range(served: Hub, target: Path) -> None:
    served.linked[NAME] = DIGEST
    served.faults.append(Fault(cut=HALF))
    fetch(UNKNOWN, target, pause=0)
    assert target.read_bytes() == BODY
    assert served.requests[-1] == (NAME, f"bytes={HALF}-")


def test_bytes_of_an_older_file_are_not_mixed_with_a_newer_one(served: Hub, target: Path) -> None:
    served.faults += [Fault(cut=HALF), Fault(status=503)]
    refused(UNKNOWN, target)
    newer = bytes(reversed(BODY))
    served.files[NAME], served.etags[NAME] = newer, "2"
    fetch(UNKNOWN, target, pause=0)
    assert target.read_bytes() == newer


def test_partial_bytes_beyond_the_end_are_thrown_away(served: Hub, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("file.bin.partial").write_bytes(BODY + b"beyond")
    fetch(FILE, target, pause=0)
    assert target.read_bytes() == BODY


def test_a_download_that_only_lacked_its_name_needs_no_request(hub: Hub, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("file.bin.partial").write_bytes(BODY)
    fetch(FILE, target)
    assert target.read_bytes() == BODY
    assert hub.requests == []


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_asks_nobody(served: Hub, target: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert f"{name} forbids" in refused(FILE, target)
    assert served.requests == []


def test_nobody_listening_is_one_line(target: Path) -> None:
    assert "cannot be reached: " in refused(FILE, target)


def test_an_unwritable_folder_is_one_line(served: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written" in refused(FILE, tmp_path / "file" / "file.bin")


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert file_url(FILE) == "https://mirror.example/owner/name/resolve/main/sub/file.bin"
    monkeypatch.delenv("HF_ENDPOINT")
    assert file_url(FILE) == "https://huggingface.co/owner/name/resolve/main/sub/file.bin"
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    with pytest.raises(DownloadError, match="HF_ENDPOINT"):
        file_url(FILE)
