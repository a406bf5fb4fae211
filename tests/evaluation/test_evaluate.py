"""The whole measurement, with real methods on small photos: repeatable, interruptible, honest about its inputs."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from child_processes import child, wait_until
from click.testing import CliRunner
from evaluation_stubs import write_photos, write_removals
from PIL import Image
from pyarrow import parquet

from moebius.cli.evaluate import evaluate
from moebius.errors import InputError, MoebiusError
from moebius.evaluation import models
from moebius.evaluation.evaluate import Request, evaluate_request
from moebius.evaluation.metrics import BY_NAME
from moebius.evaluation.store import Store
from moebius.evaluation.threads import one_thread

COMPARED = ("rows.csv", "results.json", "results.md")
"""Files that two runs must write alike, to the last byte."""


@contextlib.contextmanager
def threads_of_the_command() -> Iterator[None]:
    import torch

    threads, opencv = torch.get_num_threads(), cv2.getNumThreads()
    one_thread()
    yield
    torch.set_num_threads(threads)
    cv2.setNumThreads(opencv)


@pytest.fixture(autouse=True)
def one_thread_as_the_command() -> Iterator[None]:
    with threads_of_the_command():
        yield


@pytest.fixture
def request_(photos: Path, networks: Path, tiny_prefill: Path, tmp_path: Path) -> Request:
    return Request(
        data=photos, features=networks, models=(f"{tiny_prefill}:engine=torch,steps=1",), peers=("telea", "push-pull"),
        out=tmp_path / "run", seeds=2, ceiling=True, no_cost=True, no_report=True,
    )  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """What was asked for once, for all tests that only read it."""

    results: dict[str, Any]
    out: Path


@pytest.fixture(scope="module")
def measured(
    photos: Path, networks: Path, tiny_prefill: Path, tmp_path_factory: pytest.TempPathFactory
) -> Measured:
    """`request_` in a folder of its own, measured without a break."""
    asked = request_.__wrapped__(photos, networks, tiny_prefill, tmp_path_factory.mktemp("measured"))
    with threads_of_the_command():
        return Measured(evaluate_request(asked), asked.out)


def written(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in COMPARED}


def methods_of(results: dict[str, Any]) -> list[tuple[str, str]]:
    return [(method["id"].split(":")[0], method["kind"]) for method in results["methods"]]


def test_results(measured: Measured) -> None:
    results = measured.results
    assert results == json.loads((measured.out / "results.json").read_text())
    assert (results["photos"], results["holes"], results["format"]) == (4, 12, 2)
    assert methods_of(results) == [
        ("telea", "peer"), ("push-pull", "peer"), ("autoencoder@tiny-prefill", "reference"),
        ("ceiling@tiny-prefill", "reference"), ("tiny-prefill", "model"),
    ]  # fmt: skip
    assert results["main"].startswith("tiny-prefill")
    places = {(cell["family"], cell["group"]) for cell in results["cells"]}
    families, groups = ("thin", "medium", "thick", "all"), ("natural", "portrait", "all")
    assert places == {(family, group) for family in families for group in groups}
    assert len(results["cells"]) == 12 * 5
    names = {metric["name"] for metric in results["metrics"]}
    assert names == {
        name for name, metric in BY_NAME.items()
        if metric.scope != "set" and name not in ("lpips", "lpips_alex", "lpips_vgg", "returns", "object_left")
    }  # fmt: skip
    for cell in results["cells"]:
        seeds = set() if cell["method"] == results["main"] else {"diversity"}
        assert set(cell["metrics"]) == names - seeds
        for name, number in cell["metrics"].items():
            assert number["low"] <= number["mean"] <= number["high"], name
        assert cell["metrics"]["outside_share"]["mean"] == (
            pytest.approx(1, abs=0.1) if cell["method"].startswith("ceiling") else 0
        )
    against = {difference["against"] for difference in results["differences"]}
    assert len(against) == 4 and results["main"] not in against


def test_distances_of_sets(request_: Request, tmp_path: Path) -> None:
    """From eight photos on; a perfect method has the distance 0, and every method has its interval."""
    (tmp_path / "eight").mkdir()
    data = write_photos(tmp_path / "eight", count=8)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for i in range(8):
        (theirs / f"photo{i}.png").write_bytes((data / f"photo{i}.png").read_bytes())
    results = evaluate_request(
        replace(
            request_, data=data, families=("thick",), seeds=1, references=False, results=(f"truth={theirs}",)
        )
    )
    alone = evaluate_request(
        replace(
            request_,
            data=data,
            families=("thick",),
            models=("none",),
            no_peers=True,
            results=(f"truth={theirs}",),
        )
    )
    assert methods_of(alone) == [("truth", "peer")] and alone["main"] == "truth"
    cells = {cell["method"]: cell["metrics"] for cell in results["cells"] if cell["group"] == "all"}
    assert all("fd_mobilenetv2" not in cell["metrics"] for cell in results["cells"] if cell["group"] != "all")
    assert cells["truth"]["fd_mobilenetv2"]["mean"] == pytest.approx(0, abs=1e-3)
    assert cells["truth"]["psnr"]["mean"] == 100
    for method in ("telea", "push-pull", results["main"]):
        distance = cells[method]["fd_mobilenetv2"]
        assert 1 < distance["low"] < distance["mean"] < distance["high"]
        assert "kid_mobilenetv2" in cells[method]
    differences = {d["against"]: d for d in results["differences"] if d["metric"] == "fd_mobilenetv2"}
    expected = cells[results["main"]]["fd_mobilenetv2"]["mean"] - cells["telea"]["fd_mobilenetv2"]["mean"]
    assert differences["telea"]["mean"] == pytest.approx(expected, abs=1e-5)


def test_tables_of_rows(measured: Measured) -> None:
    with (measured.out / "rows.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    table = parquet.read_table(measured.out / "rows.parquet").to_pylist()
    assert len(lines) == len(table) == 12 * 5
    for line, row in zip(lines, table, strict=True):
        assert list(line) == list(row)
        for name, value in row.items():
            assert line[name] == ("" if value is None else str(value))
    assert table[0]["photo"] == "photo0" and isinstance(table[0]["mae"], float)


def test_two_runs_agree_bit_for_bit_whatever_the_workers(
    request_: Request, measured: Measured, tmp_path: Path
) -> None:
    evaluate_request(replace(request_, out=tmp_path / "again", workers=3))
    assert written(measured.out) == written(tmp_path / "again")


def test_interrupted_runs_go_on(request_: Request, measured: Measured, tmp_path: Path) -> None:
    broken, counts = replace(request_, out=tmp_path / "broken"), []

    def stop(pieces: Iterable[Any], count: int) -> Iterable[Any]:
        for i, piece in enumerate(pieces):
            if i == 5:
                raise KeyboardInterrupt
            yield piece

    def watch(pieces: Iterable[Any], count: int) -> Iterable[Any]:
        counts.append(count)
        return pieces

    with pytest.raises(KeyboardInterrupt):
        evaluate_request(broken, stop)
    assert not (broken.out / "results.json").exists()
    evaluate_request(broken, watch)
    evaluate_request(broken, watch)
    assert counts == [12 - 5, 0]
    assert written(broken.out) == written(measured.out)


def test_killed_runs_go_on(request_: Request, measured: Measured, tmp_path: Path) -> None:
    """A real process, SIGKILL at a bad moment, the same command again."""
    program = [
        sys.executable, "-c", "from moebius.cli import main; main()", "evaluate", "--data", str(request_.data),
        "--features", str(request_.features), "--model", request_.models[0], "--peer", "telea", "--peer", "push-pull",
        "--ceiling", "--out", str(tmp_path / "killed"), "--seeds", "2", "--no-cost", "--no-report", "--workers", "1",
    ]  # fmt: skip
    store = tmp_path / "killed" / "measured.sqlite"
    with child(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: store.exists() and _rows(store) >= 8, "8 rows are measured", process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert 8 <= _rows(store) < 12 * 6
    assert not (tmp_path / "killed" / "results.json").exists()
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert written(tmp_path / "killed") == written(measured.out)


def _rows(path: Path) -> int:
    import sqlite3

    try:
        with sqlite3.connect(path) as db:
            count = int(db.execute("SELECT count(*) FROM measured").fetchone()[0])
        db.close()
    except sqlite3.OperationalError:  # the table is not there yet
        return 0
    return count


def test_rows_are_reused_only_where_nothing_changed(
    request_: Request, tiny_prefill: Path, tmp_path: Path, networks: Path
) -> None:
    def fresh(**changes: Any) -> set[str]:
        before = _prints(request_.out)
        results = evaluate_request(replace(request_, seeds=1, no_peers=not changes.get("peers"), **changes))
        new = _prints(request_.out) - before
        return {method["id"] for method in results["methods"] if method["id"] not in known} if new else set()

    known: set[str] = set()
    first = fresh(limit=2)
    assert len(first) == 3
    known |= first
    assert fresh(limit=2) == set()
    assert fresh(limit=2, families=("thin",)) == set()
    steps = fresh(limit=2, models=(*request_.models, f"{tiny_prefill}:engine=torch,steps=2"))
    assert len(steps) == 1 and "steps=2" in next(iter(steps))
    known |= steps
    other = tmp_path / "other"
    other.mkdir()
    for name in ("squeezenet11_lpips.safetensors", "mobilenetv2_int8.safetensors"):
        (other / name).write_bytes((networks / name).read_bytes())
    weights = other / "squeezenet11_lpips.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x3f")  # another last weight
    count = len(_prints(request_.out))
    evaluate_request(replace(request_, seeds=1, no_peers=True, limit=2, features=other))
    assert len(_prints(request_.out)) == count + 4  # the truth and three methods, all anew


def _prints(folder: Path) -> set[str]:
    path = folder / "measured.sqlite"
    if not path.exists():
        return set()
    with Store(path) as store:
        return {row[0] for row in store._db.execute("SELECT DISTINCT fingerprint FROM measured")}


def test_one_photo_is_no_set(request_: Request) -> None:
    results = evaluate_request(replace(request_, seeds=1, no_peers=True, limit=1, families=("thin",)))
    assert results["photos"] == 1 and results["cells"] and results["differences"] == []
    for cell in results["cells"]:
        assert {"mae", "lpips_crop"} <= set(cell["metrics"]) and "fd_mobilenetv2" not in cell["metrics"]


def test_without_networks_there_are_fewer_metrics(
    request_: Request, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOEBIUS_FEATURES", raising=False)
    monkeypatch.setenv("MOEBIUS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    results = evaluate_request(replace(request_, features=None, limit=2))
    assert "without lpips-squeeze and mobilenetv2" in caplog.text
    measured = {metric["name"] for metric in results["metrics"]}
    assert {"psnr", "ring_tone"} <= measured and not any(
        "lpips" in name or "net" in name for name in measured
    )


def test_our_own_pictures_score_the_same_as_somebodys_results(
    request_: Request, photos: Path, tmp_path: Path
) -> None:
    from moebius.evaluation.holes import open_case
    from moebius.evaluation.protocol import cases, open_protocol

    method = models.model_method(models.parse_model(request_.models[0], seed=0))
    for case in cases(open_protocol("photos"), photos):
        target = tmp_path / "theirs" / case.family / f"{case.photo}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(method.fill(open_case(case))).save(target)
    results = evaluate_request(
        replace(request_, no_peers=True, seeds=1, results=(f"theirs={tmp_path / 'theirs'}",))
    )
    by_method: dict[str, list[Any]] = {}
    for cell in results["cells"]:
        by_method.setdefault(cell["method"], []).append(cell["metrics"])
    assert by_method["theirs"] == by_method[results["main"]]


def test_removal(request_: Request, tmp_path: Path, tiny_prefill: Path) -> None:
    (tmp_path / "scenes").mkdir()
    results = evaluate_request(
        replace(request_, protocol="removal", data=write_removals(tmp_path / "scenes"), no_report=False)
    )
    assert results["protocol"]["paired"] is False
    assert {metric["name"] for metric in results["metrics"]} >= {"returns", "ring_tone", "outside"}
    assert not {"psnr", "lpips", "fd_mobilenetv2"} & {metric["name"] for metric in results["metrics"]}
    assert [kind for _, kind in methods_of(results)] == ["peer", "peer", "model"]
    smooth = next(cell for cell in results["cells"] if cell["method"] == "push-pull")
    assert abs(smooth["metrics"]["returns"]["mean"]) < 1e-6
    assert all(cell["metrics"]["outside"]["mean"] == 0 for cell in results["cells"])
    page = (request_.out / "report.html").read_text()
    assert page.count("scene0") >= 1 and "data:image/webp" in page


BENCHMARK = """
name = "small"
title = "A benchmark: three pictures"
kind = "list"
about = "Made up."
open_points = ["whatever is not stated"]
published = [{ method = "Theirs", fid = 9.5, lpips = 0.2, copied = true }]
[images]
pattern = "picture{:03d}.png"
first = 7
count = 3
side = 64
download = "nothing"
[masks]
generator = "free-form:mat_small"
low = 0.1
high = 0.6
[run]
model = "nano"
metrics = ["fid", "lpips"]
"""


def test_a_benchmark_of_a_persons_own(
    request_: Request, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    random = np.random.default_rng(0)
    for i in range(7, 10):
        pixels = random.integers(0, 256, (80, 100, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"picture{i:03d}.png")
    (tmp_path / "small.toml").write_text(BENCHMARK)
    results = evaluate_request(
        replace(request_, protocol=str(tmp_path / "small.toml"), data=tmp_path, no_report=False, seeds=1)
    )
    assert (results["photos"], results["holes"], results["protocol"]["name"]) == (3, 3, "small")
    assert results["published"] == [
        {"method": "Theirs", "values": {"fid": 9.5, "lpips": 0.2}, "copied": True}
    ]
    assert {"lpips", "lpips_crop", "psnr_whole"} <= {metric["name"] for metric in results["metrics"]}
    assert "no fid" in caplog.text and "--download fetches them" in caplog.text
    page = (request_.out / "report.html").read_text()
    assert "Theirs" in page and "whatever is not stated" in page


def test_cost_and_report(request_: Request) -> None:
    results = evaluate_request(replace(request_, no_cost=False, no_report=False, limit=4))
    costs = json.loads((request_.out / "cost.json").read_text())
    assert [cost["method"] for cost in costs] == [
        method["id"] for method in results["methods"] if not method["id"].startswith("ceiling")
    ]
    for cost in costs:
        assert 0 < cost["seconds_low"] <= cost["seconds"] <= cost["seconds_high"]
        assert cost["start_seconds"] > 0
        assert 20 < cost["peak_mb"] < 4000 and "core" in cost["machine"]
    table = (request_.out / "cost.md").read_text()
    assert table.count("\n| ") == len(costs) + 1 and f"| {costs[0]['seconds']:.2f} (" in table
    page = (request_.out / "report.html").read_text()
    assert (
        "<svg" in page and len(re.findall(r"data:image/webp", page)) == 3 * 4 * 7
    )  # families, cases, pictures
    assert not (request_.out / "cost.npz").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protocol": "places2-tets"}, "places2-test"),
        ({"data": Path("nowhere")}, "nowhere"),
        ({"workers": 0}, "workers: expected at least 1, got 0"),
        ({"limit": 0}, "limit: expected at least 1"),
        ({"families": ("huge",)}, "huge"),
        ({"peers": ("photoshop",)}, "photoshop"),
        ({"peers": ("telea", "telea")}, "telea twice"),
        ({"models": ("nano:steps=0",)}, "steps: expected a whole number from 1 to 1000, got 0"),
        ({"models": ("nano:stops=4",)}, "got 'stops'"),
        ({"models": ("nano:steps",)}, "nano:steps"),
        ({"models": ("nanno",)}, "did you mean nano"),
        ({"results": ("nowhere",)}, "nowhere"),
        ({"features": Path("nowhere")}, "nowhere"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(request_: Request, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(MoebiusError) as caught:
        evaluate_request(replace(request_, **changes))
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (request_.out / "results.json").exists()


WITHOUT = """
import sys
from importlib.machinery import PathFinder

class Hidden(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.split(".")[0] in ("matplotlib", "pyarrow", "cv2", "skimage", "torch"):
            return None
        return super().find_spec(name, path, target)

sys.meta_path = [Hidden if finder is PathFinder else finder for finder in sys.meta_path]
from moebius.cli import main
main()
"""


@pytest.mark.parametrize("command", [["evaluate"], ["study", "steps"]])
def test_without_the_extra_it_says_what_to_install(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "moebius: error: evaluation needs cv2: pip install 'moebius-inpaint[eval]'\n"
    listed = subprocess.run(
        [sys.executable, "-c", WITHOUT, "evaluate", "--protocols"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (listed.returncode, listed.stdout.count("\n")) == (0, 11)


def test_the_command_offers_all_that_can_be_asked_for() -> None:
    offered = {parameter.name for parameter in evaluate.params} - {"listing", "as_json", "name"}
    assert offered | {"protocol", "references"} == {field.name for field in fields(Request)}


def test_command(request_: Request, tmp_path: Path) -> None:
    arguments = [
        "--data", str(request_.data), "--features", str(request_.features), "--model", request_.models[0],
        "--peer", "telea", "--out", str(tmp_path / "cli"), "--limit", "4", "--seeds", "1", "--no-cost",
        "--family", "thick", "--workers", "1",
    ]  # fmt: skip
    done = CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert done.output.startswith(
        "**Thick holes** (28% of the picture, median; 4 photos, 4 holes)\n\n|  | PSNR, dB ↑ |"
    )
    assert "| Telea (OpenCV) |" in done.output and "minus each of the others" in done.output
    names = [
        "cost.json",
        "cost.md",
        "measured.sqlite",
        "report.html",
        "results.json",
        "results.md",
        "rows.csv",
        "rows.parquet",
    ]
    assert sorted(path.name for path in (tmp_path / "cli").iterdir()) == names
    listed = CliRunner().invoke(evaluate, ["--protocols"]).output
    assert listed.count("\n") == 11 and "places2-test" in listed
    both = CliRunner().invoke(evaluate, ["--no-peers", "--peer", "telea"])
    assert isinstance(both.exception, InputError)
