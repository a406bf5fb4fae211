"""The manifest: one line a photo, whatever happens to the process that writes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from child_processes import PATIENCE, child
from hypothesis import given
from hypothesis import strategies as st

from moebius.batch.claims import Claims
from moebius.batch.item import Record, Source
from moebius.batch.manifest import Manifest, conditions_of, difference
from moebius.errors import OutputError

escapes = st.integers(0xDC80, 0xDCFF).map(chr)  # bytes of a file's name that are no text
texts = st.text(st.characters(exclude_categories=["Cs"]) | escapes, max_size=8)
numbers = st.integers(0, 2**63)
sources = st.builds(Source, texts, numbers, st.none() | numbers, texts, st.none() | texts)
records = st.builds(
    Record, texts, texts, st.sampled_from(["started", "done", "failed"]), sha256=st.none() | texts,
    nbytes=st.none() | numbers, replaced=st.booleans(),
    photo=st.none() | sources, mask=st.none() | sources, model=texts, model_hash=texts,
    settings=st.dictionaries(texts, st.none() | numbers | texts | st.booleans(), max_size=3), key=texts,
    asked=st.dictionaries(texts, texts, max_size=2), size=st.none() | st.tuples(numbers, numbers), regions=numbers,
    timings=st.dictionaries(texts, st.floats(0, 1e6), max_size=2), warnings=st.lists(texts, max_size=2).map(tuple),
    frames=st.none() | numbers, written=st.none() | st.dictionaries(texts, texts | numbers, max_size=2),
    changes=st.none() | st.dictionaries(texts, st.none() | numbers | st.lists(numbers, max_size=4), max_size=2),
    error=st.none() | st.fixed_dictionaries({"kind": texts, "message": texts}),
)  # fmt: skip

DONE = Record("a.jpg", "a.png", "done", sha256="00", nbytes=5, model_hash="m", settings={"steps": 1})


def known(folder: Path) -> dict[str, int]:
    manifest = Manifest(folder)
    manifest.refresh()
    return {name: each.nbytes for name, each in manifest.done.items()}


@given(records)
def test_records_come_back(record: Record) -> None:
    line = record.to_line()
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert Record.from_dict(json.loads(line.decode("utf-8"))) == record


def test_fields_of_a_later_version_are_left_out() -> None:
    assert Record.from_dict({**DONE.to_dict(), "mood": "good"}) == DONE
    with pytest.raises(TypeError):
        Record.from_dict({"name": "a"})


def test_lines_of_an_earlier_version_can_be_read() -> None:
    line = (
        '{"name": "a.jpg", "output": "a.jpg", "status": "done", "sha256": "00", "nbytes": 5, "photo": '
        '{"place": "in/a.jpg", "nbytes": 9, "mtime_ns": 7, "sha256": "11"}, "model": "nano", "model_hash": "22", '
        '"settings": {"steps": 1}, "engine": "onnx", "device": "cpu", "dtype": "float32", "size": [40, 32], '
        '"regions": 1, "timings": {"total": 0.5}, "version": "0.1"}'
    )
    record = Record.from_dict(json.loads(line))
    assert (record.written, record.changes, record.frames) == (None, None, None)
    assert record.to_dict() == {**json.loads(line), "size": (40, 32)}


def test_the_last_line_counts(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.refresh()
    with Claims(tmp_path) as claims:
        for record in (DONE, Record("b.jpg", "b.png", "failed"), Record("a.jpg", "a.png", "done", nbytes=6)):
            manifest.append(claims, record)
            manifest.refresh()
    assert manifest.done["a.png"].nbytes == 6 and set(manifest.done["a.png"].sizes) == {5, 6}
    assert set(manifest.done["a.png"].digests) == {"00", ""}
    assert manifest.failed == {"b.png"}
    assert known(tmp_path) == {"a.png": 6}


@pytest.mark.parametrize("torn", [1, 20, -2, -1])
def test_torn_lines_are_healed(tmp_path: Path, torn: int) -> None:
    """A process killed while it wrote; the next line begins a line of its own."""
    path, line = tmp_path / "manifest.jsonl", DONE.to_line()
    path.write_bytes(line + line.replace(b"a.png", b"t.png")[:torn])
    manifest = Manifest(tmp_path)
    manifest.refresh()
    assert set(manifest.done) == {"a.png"} and manifest.damaged == 0
    with Claims(tmp_path) as claims:
        manifest.append(claims, Record("b.jpg", "b.png", "done", nbytes=7))
    manifest.refresh()
    fresh = Manifest(tmp_path)
    fresh.refresh()
    whole = {"t.png"} if torn == -1 else set()  # only its end was missing
    assert set(manifest.done) == set(fresh.done) == {"a.png", "b.png"} | whole
    assert fresh.damaged == (0 if torn == -1 else 1)


def test_lines_that_are_no_records(tmp_path: Path) -> None:
    junk = [
        b"",
        b"  ",
        b"null",
        b"[]",
        b"3",
        b'"x"',
        b"{}",
        b"[" * 100_000,
        b"\xff\xfe\x00",
        b'{"output": 3}',
        b'{"photo": {"x": 1}}',
    ]
    (tmp_path / "manifest.jsonl").write_bytes(b"\n".join([*junk, DONE.to_line()]))
    assert known(tmp_path) == {"a.png": 5}


def test_without_a_folder(tmp_path: Path) -> None:
    assert known(tmp_path / "none") == {}


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").mkdir()
    with Claims(tmp_path) as claims, pytest.raises(OutputError, match=r"manifest.jsonl: cannot be written"):
        Manifest(tmp_path).append(claims, DONE)
    with pytest.raises(OutputError, match=r"manifest.jsonl: cannot be read"):
        Manifest(tmp_path).refresh()


def test_a_line_that_did_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    with Claims(tmp_path) as claims:
        monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:10]))
        with pytest.raises(OutputError, match="the disk is full"):
            Manifest(tmp_path).append(claims, DONE)
        monkeypatch.undo()
        Manifest(tmp_path).append(claims, DONE)
    assert known(tmp_path) == {"a.png": 5}


def test_processes_write_at_once(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from moebius.batch.claims import Claims
from moebius.batch.item import Record
from moebius.batch.manifest import Manifest
folder, who = Path(sys.argv[1]), sys.argv[2]
with Claims(folder) as claims:
    for number in range(40):
        Manifest(folder).append(claims, Record(who, f"{who}-{number}", "done", nbytes=number, warnings=("x" * 3000,)))
"""
    with ExitStack() as stack:
        writers = [stack.enter_context(child([sys.executable, "-c", code, tmp_path, name])) for name in "abc"]
        assert [each.wait(PATIENCE) for each in writers] == [0, 0, 0]
    assert known(tmp_path) == {f"{who}-{number}": number for who in "abc" for number in range(40)}


def test_what_changed() -> None:
    def told(**changes: Any) -> str:
        values = {"model_hash": "m", "settings": {"steps": 1, "seed": 0}, "key": "", "asked": {}}
        return difference(conditions_of(**values), conditions_of(**{**values, **changes}))

    assert told(settings={"steps": 4, "seed": 0}) == "steps 1 -> 4"
    assert told(settings={"steps": 4, "seed": 1}, model_hash="n") == "seed 0 -> 1, steps 1 -> 4, the model"
    assert told(key="k", asked={"quality": 3}) == "the noise key, the mask's source, --quality or --rows"


CLAIM = """
import sys
from pathlib import Path
from moebius.batch.claims import Claims
with Claims(Path(sys.argv[1])) as claims:
    print(claims.take("a.png"), claims.take("a.png"), flush=True)
    sys.stdin.read()
"""


def test_claims_end_with_their_process(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", CLAIM, tmp_path]
    with child(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True False\n"
        with Claims(tmp_path) as claims:
            assert not claims.take("a.png") and claims.take("b.png")
            with claims.writing():
                pass
            other.kill()
            other.wait()
            assert claims.take("a.png") and not claims.take("a.png")
            claims.release("a.png")
            assert claims.take("a.png")
    assert (tmp_path / ".moebius-claims").stat().st_size == 0


def test_claims_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written to"):
        Claims(tmp_path / "none")
