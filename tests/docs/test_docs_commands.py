"""Every `moebius` command in the documentation has a command and options that there are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import docs_commands
import pytest

DOCUMENTS = docs_commands.documents()


@pytest.mark.parametrize("path", DOCUMENTS, ids=[str(p.relative_to(docs_commands.ROOT)) for p in DOCUMENTS])
def test_commands_in_documents_exist(path: Path) -> None:
    lines = docs_commands.command_lines(path.read_text(encoding="utf-8"))
    assert [(line, fault) for line in lines if (fault := docs_commands.fault(line))] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=[str(p.relative_to(docs_commands.ROOT)) for p in DOCUMENTS])
def test_python_in_documents_is_python(path: Path) -> None:
    assert list(docs_commands.python_faults(path.read_text(encoding="utf-8"))) == []


def test_faults_of_python_are_found() -> None:
    text = (
        "```python\nfrom moebius import Moebius, Mobius\n```\n\n=== Tab\n\n"
        "    ```python\n    from moebius.imaging import read_photo\n"
        "    from moebius.image import read_photo\n    ```\n\n"
        "```python\nx = = 1\n```\n"
    )
    faults = list(docs_commands.python_faults(text))
    assert faults[:2] == ["moebius has no Mobius", "moebius.image has no read_photo"]
    assert len(faults) == 3 and "invalid syntax" in faults[2]


def test_commands_are_found_wherever_they_stand() -> None:
    text = (
        "```sh\ncat a | moebius inpaint - b -o - > c  # in a pipe\nA=1 moebius \\\n  batch a b\n```\n\n"
        "    torchrun -n 2 -m moebius distill full   the big one\n    docker build -t moebius .\n\n"
        "Call `moebius mask\npreview a`, not `from moebius import x`.\n\n```python\nfrom moebius import Moebius\n```\n"
    )
    assert [line.strip() for line in docs_commands.command_lines(text)] == [
        "inpaint - b -o -", "batch a b", "distill full", "mask preview a",
    ]  # fmt: skip
    found = [line for path in DOCUMENTS for line in docs_commands.command_lines(path.read_text("utf-8"))]
    assert len(found) > 150


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("inpaint a b -o c --grwo 3", "No such option"),
        ("inpant a b", "no command 'inpant'"),
        ("mask preveiw a", "no command 'preveiw'"),
        ("batch a b c --strategy fast", "'fast' is not one of"),
        ("inpaint a b -o c --seed soon", "not a valid integer"),
        ("mask preview a b c -o x", "too many words: c"),
        ("bench --rounds", "requires an argument"),
        ("--version inpaint --none", "No such option"),
    ],
)
def test_faults_are_found(line: str, fault: str) -> None:
    assert fault in (docs_commands.fault(line) or "")


@pytest.mark.parametrize(
    "line",
    ["", "--version", "train nano --data A --out B", "bench --rounds N", "models", "train preview ..."],
)
def test_what_is_right_is_let_be(line: str) -> None:
    assert docs_commands.fault(line) is None


def test_reference_is_what_the_commands_say() -> None:
    """In a process of its own: a command keeps the help option of the first context that asked for it."""
    code = "import sys, docs_commands; sys.stdout.buffer.write(docs_commands.reference().encode())"
    here = {**os.environ, "PYTHONPATH": str(Path(docs_commands.__file__).parent)}
    told = subprocess.run([sys.executable, "-c", code], env=here, capture_output=True, check=True).stdout
    assert docs_commands.REFERENCE.read_bytes() == told, "scripts/docs writes it"
