"""What is published: archives made by scripts/release of what is committed, and the program run from them alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moebius import Moebius, __version__

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts"))

from package_sizes import sizes  # noqa: E402

OWN = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
"""No settings of whoever runs the tests."""


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    command = ["git", *who, *arguments]
    done = subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True, env={**os.environ, **OWN}
    )
    return done.stdout


def release(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "scripts/release", *arguments]
    return subprocess.run(
        command, cwd=folder, check=False, capture_output=True, text=True, env={**os.environ, **OWN}
    )


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """Every file of this tree that git would keep, by its path."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not in a clone: releases are made of what is committed")
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return [name for name in listed if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def source(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with all this in one commit, tagged, its changes written down as a version's."""
    folder = tmp_path_factory.mktemp("release") / "source"
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    changes = folder / "CHANGELOG.md"
    if f"## [{__version__}]" not in changes.read_text():
        changes.write_text(changes.read_text().replace("## [Unreleased]", f"## [{__version__}]", 1))
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all of it")
    git(folder, "tag", f"v{__version__}")
    return folder


@pytest.fixture(scope="module")
def archives(source: Path) -> tuple[Path, Path]:
    """(wheel, source distribution) as scripts/release makes them."""
    done = release(source, "dist")
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = (source / "dist").glob("*.whl"), (source / "dist").glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture()
def restored(source: Path) -> Iterator[Path]:
    yield source
    git(source, "tag", "--force", f"v{__version__}")
    git(source, "checkout", "--quiet", ".")
    git(source, "clean", "--quiet", "--force", "--exclude", "dist")


def test_a_tree_with_changes_is_refused(restored: Path) -> None:
    (restored / "new.txt").write_text("not committed")
    done = release(restored, "other")
    assert done.returncode == 2
    assert done.stderr == "release: expected a clean working tree, got 1 changed or new files\n"
    assert not (restored / "other").exists()


def test_an_untagged_commit_is_refused(restored: Path) -> None:
    git(restored, "tag", "--delete", f"v{__version__}")
    done = release(restored, "other")
    assert done.returncode == 2
    assert f"expected the commit to be tagged v{__version__}" in done.stderr
    assert not (restored / "other").exists()


def test_one_version_everywhere() -> None:
    assert version("moebius-inpaint") == __version__
    assert re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)[1] == __version__  # type: ignore[index]
    stated = [
        path
        for path in (ROOT / "src").rglob("*.py")
        if path.name != "_version.py" and f'"{__version__}"' in path.read_text(encoding="utf-8")
    ]
    assert stated == []


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(
    archives: tuple[Path, Path], tracked: list[str]
) -> None:
    with zipfile.ZipFile(archives[0]) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        (about,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(wheel.read(about).decode())
    expected = {name.removeprefix("src/") for name in tracked if name.startswith("src/moebius/")}
    assert held == expected
    assert "moebius/py.typed" in held
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert len(needed) <= 8
    assert not any(line.startswith(("torch", "diffusers")) for line in needed)


@pytest.mark.slow
def test_archives_are_small(archives: tuple[Path, Path]) -> None:
    whole, alone = sizes(archives[0])
    assert whole < 70e6
    assert alone < 1e6


@pytest.mark.slow
def test_the_source_distribution_holds_what_is_committed(
    archives: tuple[Path, Path], tracked: list[str]
) -> None:
    with tarfile.open(archives[1]) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames() if not name.endswith("/")}
    hidden = {name for name in tracked if name.startswith(".")}
    assert {name for name in tracked if name not in hidden} - held == set()


@pytest.mark.slow
def test_the_program_runs_from_the_wheel_alone(archives: tuple[Path, Path], tmp_path: Path) -> None:
    """As `pipx run` has it: an environment of its own with nothing but the wheel and what that asks for."""
    photo, mask = (ROOT / "examples" / name for name in ("rocket.jpg", "rocket_mask.png"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment.update(PIPX_HOME=str(tmp_path / "pipx"), PIPX_BIN_DIR=str(tmp_path / "bin"))
    command = [
        sys.executable, "-m", "pipx", "run", "--no-cache", "--spec", archives[0], "moebius",
        "inpaint", photo, mask, "-o", "clean.png", "--seed", "3",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    ours = Moebius.from_pretrained("nano", engine="onnx")(photo, mask, seed=3).image
    # ONNX Runtime's newest version may differ from the one that is tested with in last bits.
    far = np.abs(np.asarray(Image.open(tmp_path / "clean.png")).astype(int) - np.asarray(ours))
    assert far.mean() < 0.1
