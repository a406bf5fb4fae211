"""The whole measurement: repeatable, interruptible, and honest about what it was given."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evaluation_stubs import stub_model
from PIL import Image

from moebius.errors import InputError
from moebius.evaluation import __main__ as command
from moebius.evaluation.card import Card, draw_sheet, measure
from moebius.evaluation.metrics import METRICS
from moebius.pipeline import Moebius


@pytest.fixture
def card(photos: Path, features: Path, tmp_path: Path) -> Card:
    return Card(data=photos, features=features, out=tmp_path / "results.json")


def files(card: Card) -> tuple[bytes, bytes]:
    return card.out.read_bytes(), card.out.with_suffix(".csv").read_bytes()


def test_results(card: Card) -> None:
    report = measure(card, stub_model())
    results: dict[str, Any] = json.loads(card.out.read_text())
    assert results == report.results
    assert (results["photos"], results["holes"], report.measured) == (4, 12, 12)
    assert results["model"]["hash"] == "0" * 64
    assert list(results["methods"]) == ["telea", "navier-stokes", "push-pull", "autoencoder", "model:2:dpm++"]
    places = {(cell["family"], cell["group"]) for cell in results["summary"]}
    families, groups = ("thin", "medium", "thick", "all"), ("natural", "portrait", "all")
    assert places == {(family, group) for family in families for group in groups}
    assert len(results["summary"]) == 12 * 5
    for cell in results["summary"]:
        assert set(cell["metrics"]) == {metric.name for metric in METRICS}
        for number in cell["metrics"].values():
            assert number["low"] <= number["mean"] <= number["high"]
    lines = card.out.with_suffix(".csv").read_text().splitlines()
    assert len(lines) == 1 + 12 * 5


def test_interrupted_and_parallel_runs_give_the_same_bytes(card: Card, tmp_path: Path) -> None:
    measure(card, stub_model())
    broken = replace(card, out=tmp_path / "broken.json")

    def kill(pieces: Iterable[Any], count: int) -> Iterable[Any]:
        for i, piece in enumerate(pieces):
            if i == 5:
                raise KeyboardInterrupt
            yield piece

    with pytest.raises(KeyboardInterrupt):
        measure(broken, stub_model(), kill)
    assert not broken.out.exists()
    rows = broken.out.with_suffix(".rows.jsonl")
    rows.write_bytes(rows.read_bytes()[:-40])
    assert measure(replace(broken, workers=3), stub_model()).measured == 12 - 4
    assert files(broken) == files(card)
    before = rows.read_bytes()
    again = measure(broken, stub_model())
    assert (again.measured, files(broken), rows.read_bytes()) == (0, files(card), before)


def test_rows_are_reused_only_where_nothing_changed(card: Card) -> None:
    measure(replace(card, limit=2, steps=(1,)), stub_model())
    rows = card.out.with_suffix(".rows.jsonl")

    def made() -> list[str]:
        nonlocal seen
        lines = rows.read_text().splitlines()
        fresh, seen = lines[seen:], len(lines)
        return sorted({json.loads(line)["method"] for line in fresh})

    seen = 0
    everything = ["autoencoder", "model:1:dpm++", "navier-stokes", "push-pull", "telea"]
    assert made() == everything
    measure(replace(card, limit=2, steps=(1, 2), solvers=("dpm++", "ddim")), stub_model())
    assert made() == ["model:1:ddim", "model:2:ddim", "model:2:dpm++"]
    report = measure(replace(card, limit=2, steps=(1,)), stub_model("1" * 64))
    assert made() == ["autoencoder", "model:1:dpm++"]
    assert report.results["model"]["hash"] == "1" * 64
    copy = card.data.parent / "copy.safetensors"
    copy.write_bytes(card.features.read_bytes()[:-1] + b"\x3f")  # another last weight
    measure(replace(card, limit=2, steps=(1,), features=copy), stub_model())
    assert made() == everything
    measure(replace(card, limit=2, steps=(1,), families=("thin",)), stub_model())
    assert made() == []
    assert {cell["family"] for cell in json.loads(card.out.read_text())["summary"]} == {"thin", "all"}


def test_sheet(card: Card, tmp_path: Path) -> None:
    draw_sheet(card, stub_model(), tmp_path / "sheet.png", 3)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (5 * 64 + 4 * 4, 3 * 64 + 2 * 4)
        assert sheet.getpixel((20, 11)) == (255, 0, 255)
        truth, known = sheet.getpixel((4 * 68 + 1, 1)), sheet.getpixel((1, 1))
        assert truth == known


@pytest.mark.parametrize("change", [{"workers": 0}, {"families": ()}, {"out": Path("missing") / "r.json"}])
def test_impossible_cards(card: Card, change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        replace(card, **change)


@pytest.fixture
def run(photos: Path, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(command, "_one_thread_each", lambda: None)
    monkeypatch.setattr(Moebius, "from_pretrained", lambda *args, **options: stub_model())
    monkeypatch.delenv("MOEBIUS_EVAL_DATA", raising=False)
    monkeypatch.setenv("MOEBIUS_FEATURES", str(features))
    return lambda *arguments: command.main([*arguments, "--out", str(tmp_path / "results.json")])


def test_command(run: Any, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "sheet.png"
    assert run("--data", str(photos), "--limit", "2", "--steps", "1", "2", "--sheet", str(sheet)) == 0
    out, err = capsys.readouterr()
    assert out.startswith("**Thin holes** (3% of the picture, median; 2 photos)\n\n|  | PSNR, dB ↑ |")
    assert "| stub, 2 steps at each of 2 sizes, dpm++ |" in out
    assert err == ""
    assert sheet.exists()


def test_command_errors_are_one_line(
    run: Any,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = ("--data", str(photos))
    cases = {
        (): "MOEBIUS_EVAL_DATA",
        ("--data", str(tmp_path)): "manifest.jsonl",
        (*data, "--features", str(tmp_path / "none")): "expected the weights of LPIPS-squeeze",
        (*data, "--features", str(photos / "manifest.jsonl")): "expected SqueezeNet 1.1",
        (*data, "--limit", "0"): "limit: expected at least 1, got 0",
        (*data, "--steps", "0"): "steps: expected a whole number",
    }
    for arguments, said in cases.items():
        assert run(*arguments) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.startswith("error: ") and error.count("\n") == 1
        assert not (tmp_path / "results.json").exists()
