"""Photos and random models for training runs, made once a session."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from teacher_models import import_diffusers
from tiny_runs import TEACHER_CHANGES, Finished, Tiny, make_tiny

from moebius.cli import main

Program = Callable[..., Finished]


@pytest.fixture(scope="session")
def imported() -> None:
    import_diffusers()


@pytest.fixture()
def one_thread() -> Iterator[None]:
    """As in the processes that tests start: the same number of threads, the same bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, imported: None) -> Tiny:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture()
def tiny(made: Tiny, one_thread: None) -> Tiny:
    return made


@pytest.fixture(scope="session")
def taught(made: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher that has learned something: the model folder."""
    out = tmp_path_factory.mktemp("taught") / "run"
    changes = [
        *TEACHER_CHANGES,
        "run.steps=100",
        "run.batch=8",
        "run.ema=0.95",
        "run.log_every=50",
        "data.views=2",
    ]
    outcome = made.train(out, *changes, "data.id_dropout=0.3")
    assert outcome.model is not None
    return outcome.model


@pytest.fixture()
def program(capfd: pytest.CaptureFixture[str], one_thread: None, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Calls the command line in this process; what it prints goes through real file descriptors."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def call(*arguments: object) -> Finished:
        capfd.readouterr()
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return Finished(list(arguments), code, out, err)

    return call
