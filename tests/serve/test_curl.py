"""The README's and the docs' curl lines, by curl itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")


def curl(*arguments: str, cwd: Path) -> bytes:
    return subprocess.run(
        ["curl", "--silent", "--show-error", *arguments], cwd=cwd, capture_output=True, check=True
    ).stdout


@pytest.fixture
def files(tmp_path: Path, photo: bytes, mask: bytes) -> Path:
    (tmp_path / "photo.png").write_bytes(photo)
    (tmp_path / "mask.png").write_bytes(mask)
    return tmp_path


FORM = ("-F", "image=@photo.png", "-F", "mask=@mask.png")


def test_a_photo(server: str, files: Path) -> None:
    curl(*FORM, "-F", "seed=7", "-o", "clean.png", f"{server}/v1/inpaint", cwd=files)
    found = (files / "clean.png").read_bytes()
    assert found.startswith(b"\x89PNG") and found != (files / "photo.png").read_bytes()
    answer = curl(*FORM, "-F", "seed=7", "-H", "Accept: application/json", f"{server}/v1/inpaint", cwd=files)
    assert json.loads(answer)["result"]["seed"] == 7


def test_a_job_and_its_events(server: str, files: Path) -> None:
    job = json.loads(curl(*FORM, f"{server}/v1/jobs", cwd=files))
    events = curl("-N", server + job["events"], cwd=files).decode()
    kinds = re.findall(r"^event: (\w+)$", events, re.MULTILINE)
    assert kinds[-1] == "done" and "progress" in kinds
    assert curl(server + job["result"], cwd=files).startswith(b"\x89PNG")
    status = curl("-X", "DELETE", "-w", "%{http_code}", f"{server}/v1/jobs/{job['id']}", cwd=files)
    assert status == b"204"


def test_a_gigabyte(server: str, files: Path) -> None:
    """Refused by its announced length: not one megabyte of it is taken."""
    with (files / "large.bin").open("wb") as large:
        large.truncate(1 << 30)  # a sparse file
    told = subprocess.run(
        ["curl", "--silent", "-F", "image=@large.bin", "-w", "\n%{http_code} %{size_upload}", f"{server}/v1/inpaint"],
        cwd=files, capture_output=True, check=False,
    ).stdout.decode()  # fmt: skip
    body, _, numbers = told.rpartition("\n")
    status, sent = numbers.split()
    assert status == "413" and json.loads(body)["error"]["type"] == "limit"
    assert int(sent) < 16 << 20
