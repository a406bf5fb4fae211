"""The command."""

from __future__ import annotations

import json
from pathlib import Path

import made_up_cases
import pytest
from click.testing import CliRunner, Result

from moebius.benchmarks import run as benchmark
from moebius.benchmarks.cases import all_cases
from moebius.cli import main
from moebius.cli.bench import bench


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up_cases.use(monkeypatch.setattr)


def command(*words: object) -> Result:
    return CliRunner().invoke(bench, [str(word) for word in words], catch_exceptions=False)


def test_it_lists_the_cases() -> None:
    lines = command("--list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(all_cases())
    assert next(line for line in lines if line.startswith("against")).endswith("(when named)")


def test_it_prints_tables(tmp_path: Path) -> None:
    out = tmp_path / "bench"
    done = command("one", "--size", "tiny", "--device", "cpu", "--rounds", 1, "--out", out)
    assert done.exit_code == 0 and done.stdout == (out / "bench.md").read_text()
    again = command("one", "--size", "tiny", "--rounds", 1, "--out", out, "--device", "cpu", "--json")
    assert json.loads(again.stdout)["cases"].keys() == {"one"}
    beside = command(
        "one",
        "--size",
        "tiny",
        "--device",
        "cpu",
        "--rounds",
        1,
        "--out",
        out,
        "--compare",
        out / "bench.json",
    )
    assert "| one | the quick one | " in beside.stdout and beside.stdout.rstrip().endswith("| same |")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--device", "abacus"], 4, "device 'abacus' is not available here"),
        (["--compare", "none.json"], 2, "none.json: expected results of moebius bench"),
        (
            ["step", "--against", "lama"],
            2,
            "--against: expected the case against among step, or no case at all",
        ),
        (
            ["--against", "dalle"],
            2,
            "against: expected some of pixelhacker, sd15, sd35-large, flux-fill, lama, got 'dalle'",
        ),
        (["step", "--profile"], 2, "--profile and --parity: expected one of them and no case"),
        (["--profile", "--parity"], 2, "--profile and --parity: expected one of them and no case"),
        (["--rounds", "0"], 2, "Invalid value for '--rounds'"),
    ],
)
def test_errors_are_one_line(
    words: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *words, "--out", str(tmp_path)])
    error = capsys.readouterr().err
    assert ended.value.code == code
    assert message in error and len(error.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_profile_and_parity_are_written_and_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moebius.benchmarks.profile.profiles", lambda setting: [])
    monkeypatch.setattr("moebius.benchmarks.parity.SEEDS", (0,))
    monkeypatch.setattr("moebius.benchmarks.parity.STEPS", 1)
    for option, name in (("--profile", "profile.md"), ("--parity", "psnr.md")):
        done = command(option, "--size", "tiny", "--device", "cpu", "--out", tmp_path)
        assert done.exit_code == 0 and done.stdout == (tmp_path / name).read_text() != ""
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| torch ")]
    assert [row[0] for row in rows] == ["| torch float32", "| torch bfloat16"]
    assert float(rows[0][1]) > 45 and 15 < float(rows[1][1]) < float(rows[0][1])


def test_without_torch_there_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "has_torch", lambda: False)
    assert benchmark.choose_device_name("auto") == "cpu"
    with pytest.raises(benchmark.DeviceError, match="device 'cuda' needs PyTorch"):
        benchmark.choose_device_name("cuda")
