"""The commands that pages of the documentation show: run, and their output compared or written down.

What differs from run to run is left out of the comparison: seconds and rates, how busy the network was, hashes. Paths
of this machine are written as `...`. A page's text is only changed where something else differs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docs_materials

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
WIDTH = "100"
"""Columns of the terminal that commands believe to be in."""

BLOCK = re.compile(
    r"^```(?P<kind>console|python)(?: title=\"(?P<title>[\w.-]+)\")?\n(?P<body>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
VOLATILE = (
    (re.compile(r"\b\d+(\.\d+)? s\b"), "N s"),
    (re.compile(r"\b\d+(\.\d+)? photos a minute"), "N photos a minute"),
    (re.compile(r"network busy \d+%"), "network busy N%"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "HASH"),
)


class CommandError(Exception):
    """A command that fails and does not say so in its output."""


def pages() -> list[Path]:
    """The pages that show commands which are run, by name."""
    return sorted(
        path for path in DOCS.rglob("*.md") if re.search(r"^```console$", path.read_text("utf-8"), re.M)
    )


@contextmanager
def workshop() -> Iterator[Path]:
    """A temporary folder with the photos that pages speak of."""
    with tempfile.TemporaryDirectory(prefix="moebius-docs-") as name:
        folder = Path(name) / "photos"
        folder.mkdir()
        docs_materials.make(folder)
        yield folder


def run_page(page: Path, folder: Path) -> str:
    """The page's text with the output that its commands have now, run in order in `folder`.

    Raises:
        CommandError: a command failed without an error line of ours in its output.
    """

    def renewed(block: re.Match[str]) -> str:
        if block["kind"] == "python":
            if block["title"]:
                (folder / block["title"]).write_text(block["body"], encoding="utf-8")
            return block[0]
        parts = [
            part if normal(output) == normal(printed := run(command, folder)) else f"{command}\n{printed}"
            for part, command, output in commands(block["body"])
        ]
        return f"```console\n{''.join(parts)}```"

    return BLOCK.sub(renewed, page.read_text(encoding="utf-8"))


def commands(body: str) -> Iterator[tuple[str, str, str]]:
    """What stands there, its command (with the dollar sign, and further lines after a backslash), its output."""
    for part in re.findall(r"^\$ .*?(?=^\$ |\Z)", body, re.DOTALL | re.MULTILINE):
        lines = part.splitlines(keepends=True)
        count = next(i for i, line in enumerate(lines, 1) if not line.endswith("\\\n"))
        yield part, "".join(lines[:count]).rstrip("\n"), "".join(lines[count:])


def run(command: str, folder: Path) -> str:
    """What one command prints, on both streams, without paths of this machine and spaces at line ends."""
    with tempfile.TemporaryDirectory() as name:
        programs = Path(name)
        for program, call in (("moebius", "-m moebius"), ("python", "")):
            file = programs / program
            file.write_text(f'#!/bin/sh\nexec "{sys.executable}" {call} "$@"\n', encoding="utf-8")
            file.chmod(0o755)
        environment = os.environ | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "COLUMNS": WIDTH,
            "LC_ALL": "C.UTF-8",
            "MOEBIUS_HOME": str(folder.parent / "home"),
        }
        done = subprocess.run(
            ["sh", "-c", command.removeprefix("$ ")],
            cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
        )  # fmt: skip
    if done.returncode and "moebius: error:" not in done.stdout:
        raise CommandError(f"{command}: exit code {done.returncode}\n{done.stdout}")
    text = done.stdout.replace(str(folder), "...").replace(str(ROOT / "src"), "...")
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def normal(output: str) -> str:
    """The output without what differs from run to run."""
    for pattern, word in VOLATILE:
        output = pattern.sub(word, output)
    return output
