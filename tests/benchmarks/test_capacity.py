"""Capacity on paper: the arithmetic on made-up numbers, and the command on counted ones."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from moebius.benchmarks.capacity import CARDS, PICTURE_BYTES, Card, Shares, estimate, estimates
from moebius.benchmarks.counting import Count

SCRIPT = Path(__file__).parents[2] / "scripts" / "capacity"
CARD = Card(tflops=100, memory=1000, pcie="4.0 x16", link=31.5, cores=8, price=1.0)
WORK = {
    "encode": Count(10**12, 0, 1, {}), "decode": Count(0, 10**10, 1, {}),
    "guided": Count(2 * 10**12, 10**9, 1, {}), "single": Count(10**12, 2 * 10**10, 1, {}),
}  # fmt: skip


def test_a_part_takes_the_longer_of_operations_and_bytes() -> None:
    whole = Shares(1.0, 1.0)
    found = estimate(WORK, CARD, 20, "guided", whole)
    assert found.seconds == pytest.approx(0.01 + 0.01 + 20 * 0.02)
    assert found.bound == "compute" and found.autoencoder == pytest.approx(0.02 / 0.42)
    assert estimate(WORK, CARD, 1, "single", whole).bound == "memory"
    assert estimate(WORK, CARD, 20, "guided", Shares(0.5, 0.5)).seconds == pytest.approx(2 * found.seconds)


def results(machine: str, device: str = "cuda") -> dict[str, Any]:
    paper = estimate(WORK, CARDS["H100"], 20, "guided", Shares())
    summary = {
        "ours-graphs-20-guided": {"seconds": 32 * 2 * paper.seconds}, "ours-eager-20-guided": {"seconds": 1e3},
        "encode:ours": {"seconds": 3.2 * paper.seconds}, "decode:ours": {"seconds": 3.2 * paper.seconds},
    }  # fmt: skip
    about = {"machine": machine, "device": device, "size": "full"}
    return {"about": about, "cases": {"pictures:32": {"summary": summary}}}


def test_a_measured_card_corrects_the_others() -> None:
    paper = estimates(WORK, CARDS, Shares())
    found = estimates(WORK, CARDS, Shares(), results("NVIDIA H100-80GB"))
    workload = "20 guided"
    assert found["H100", workload].measured and not found["L4", workload].measured
    for card in CARDS:
        assert found[card, workload].seconds == pytest.approx(2 * paper[card, workload].seconds)
    assert found["H100", workload].autoencoder == pytest.approx(0.1)
    assert found["L4", "1, no pair"] == paper["L4", "1, no pair"]  # that workload was not measured
    for state in (results("NVIDIA A30"), results("NVIDIA H100", device="cpu")):
        assert estimates(WORK, CARDS, Shares(), state) == paper


def script(monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    loader = SourceFileLoader("capacity_script", str(SCRIPT))
    spec = spec_from_loader("capacity_script", loader)
    assert spec is not None
    made = module_from_spec(spec)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(made)
    monkeypatch.setattr(sys, "argv", ["capacity", *words])
    return made


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--price", "L4=3.6", "--share", "0.5", "--megapixels", "1"
    script(monkeypatch, *words).main()
    text = capsys.readouterr().out
    assert (
        "Assumed: 50 % of the dense peak, 80 % of the memory's bandwidth." in text
        and "nothing measured" in text
    )
    assert (
        "encode 1.117 TFLOP" in text and "guided step 0.464 TFLOP" in text and "JPEG of 1 megapixels" in text
    )
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if " | paper | " in line]
    assert len(rows) == 3 * len(CARDS) and [row[0] for row in rows[:4]] == list(CARDS)
    for row in rows:
        milliseconds, hourly = float(row[3]), float(row[4].replace(",", ""))
        assert hourly == pytest.approx(3.6e6 / milliseconds, rel=0.01)
        price = 3.6 if row[0] == "L4" else CARDS[row[0]].price
        assert float(row[5].replace(",", "")) == pytest.approx(1e6 * price / hourly, rel=0.01)
        pcie = PICTURE_BYTES / 2 / (milliseconds / 1e3) / (1e9 * CARDS[row[0]].link)
        assert float(row[9].removesuffix(" %")) == pytest.approx(100 * pcie, rel=0.1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--price", "L5=1"), "--price: expected one of L4, L40S, H100, H200, '=' and a number, got 'L5=1'"),
        (("--price", "L4"), "got 'L4'"),
        (("--memory-share", "1.5"), "--memory-share: expected above 0 and at most 1, got 1.5"),
        (("--bench", "none.json"), "none.json: expected results of moebius bench"),
    ],
)
def test_what_is_refused(
    words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        script(monkeypatch, *words).main()
    assert ended.value.code == 2 and message in capsys.readouterr().err
