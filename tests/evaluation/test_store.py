"""Measurements on disk: whole or not there, found again only where nothing changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from child_processes import child

from moebius.errors import OutputError
from moebius.evaluation.store import Measured, Store, digest

VECTOR = np.arange(5, dtype=np.float32) / 3


def test_what_was_added_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        store.add(
            "p/thin 12", {"a": Measured({"mae": 1 / 3}, {"net": VECTOR}, 0.5), "b": Measured({"mae": 2.0})}
        )
    with Store(path) as store:
        assert store.get("a", "p/thin 12") == Measured({"mae": 1 / 3}, seconds=0.5)
        found = store.features("a", "p/thin 12", "net")
        assert found is not None and found.dtype == np.float32 and (found == VECTOR).all()
        assert (
            store.has("b", "p/thin 12")
            and not store.has("c", "p/thin 12")
            and not store.has("a", "p/thick 12")
        )
        assert store.get("c", "p/thin 12") is None and store.features("b", "p/thin 12", "net") is None
        store.add("p/thin 12", {"a": Measured({"mae": 0.25})})
        assert store.get("a", "p/thin 12") == Measured({"mae": 0.25})


def test_nothing_of_a_hole_is_kept_if_part_of_it_cannot_be(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        with pytest.raises(ValueError, match="JSON"):
            store.add("p", {"a": Measured({"mae": 1.0}), "b": Measured({"mae": float("nan")})})
        assert not store.has("a", "p") and not store.has("b", "p")


WRITER = """
import sys
from moebius.evaluation.store import Measured, Store
store = Store(sys.argv[1])
for i in range(100_000):
    store.add(f"hole{i}", {"a": Measured({"mae": float(i)}), "b": Measured({"mae": -float(i)})})
    print(i, flush=True)
"""


def test_a_writer_that_is_killed_loses_nothing_that_it_had_finished(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    for _ in range(3):
        with child([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True) as process:
            lines = [process.stdout.readline() for _ in range(20)]
            process.kill()
            lines += process.stdout.read().splitlines()
        last = int(lines[-1])
        with Store(path) as store:
            for i in range(last + 1):
                assert store.get("a", f"hole{i}") == Measured({"mae": float(i)})
            for i in range(last + 50):
                assert store.has("a", f"hole{i}") == store.has("b", f"hole{i}")


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello" * 1000)
    for path in (tmp_path / "text", tmp_path / "missing" / "s.sqlite", tmp_path):
        with pytest.raises(OutputError, match="expected a file of measurements"):
            Store(path)


def test_digest_is_of_the_values() -> None:
    assert digest({"a": 1, "b": [2, "c"]}) == digest({"b": [2, "c"], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
