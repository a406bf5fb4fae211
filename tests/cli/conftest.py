"""The command line in this process, with files to work on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_photos import disc, picture
from PIL import Image
from program import Outcome

from moebius.cli import main

Moebius = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("MOEBIUS_HOME", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


@pytest.fixture()
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder the program is called in: photo.png and mask.png, 96 x 80."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture(96, 80)).save("photo.png")
    Image.fromarray(np.where(disc(96, 80, (40, 30), 12), np.uint8(255), np.uint8(0))).save("mask.png")
    return tmp_path


@pytest.fixture()
def moebius(capfdbinary: pytest.CaptureFixture[bytes]) -> Moebius:
    """Calls the command line in this process; what it prints goes through real file descriptors."""

    def call(*arguments: object) -> Outcome:
        capfdbinary.readouterr()
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return Outcome(code, out, err.decode())

    return call


@pytest.fixture()
def inpaint(moebius: Moebius, work: Path, tiny_prefill: Path) -> Moebius:
    """`moebius inpaint` with the tiny model: photo.png, mask.png -> clean.png, and whatever is added."""

    def call(*options: object, photo: object = "photo.png", mask: object = "mask.png", output: object = "clean.png",
             model: object = tiny_prefill) -> Outcome:  # fmt: skip
        places = [photo, mask, "-o", output, "--model", model, "--device", "cpu"]
        return moebius("inpaint", *places, *options)

    return call
