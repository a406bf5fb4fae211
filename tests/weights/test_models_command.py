"""`moebius models`: what a person and what a machine get to read."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import Fault, Hub
from tiny_models import TINY_DENOISER

from moebius.cli import main
from moebius.weights import ModelSpec, spec_to_json


def run(*arguments: str, code: int = 0) -> None:
    try:
        main(["models", *arguments])
        left = 0
    except SystemExit as leaving:
        left = int(leaving.code or 0)
    assert left == code


@pytest.mark.parametrize("arguments", [[], ["list"]])
def test_the_list_is_for_people(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    run(*arguments)
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == "name for state size licence steps guidance start where"
    assert "places2 scenes available 1,073 MB MIT 20 2.5 masked hustvl/Moebius" in rows


@pytest.mark.parametrize("arguments", [["--json"], ["list", "--json"]])
def test_the_list_is_for_machines(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    run(*arguments)
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert {"pretrained", "places2", "celebahq", "ffhq"} <= set(entries)
    assert entries["places2"]["state"] == "available"
    assert entries["places2"]["bytes"] == 905_298_356 + 167_394_306
    assert entries["celebahq"]["bytes"] is None
    assert entries["places2"]["defaults"] == {
        "steps": 20,
        "guidance": 2.5,
        "solver": "ddim",
        "start": "masked",
    }


def test_pull_says_where(tiny: ModelSpec, home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run("pull", "tiny")
    captured = capfd.readouterr()
    assert captured.out == f"tiny: {home / 'models' / 'tiny'}\n"
    assert captured.err == "", "silent when nobody watches"
    run("pull", "tiny", "--json")
    entry = json.loads(capfd.readouterr().out)
    assert (entry["state"], entry["folder"]) == ("cached", str(home / "models" / "tiny"))


def test_a_wrong_name_is_told_before_anything_is_downloaded(
    tiny: ModelSpec, hub: Hub, capfd: pytest.CaptureFixture[str]
) -> None:
    run("pull", "tiny", "place2", code=3)
    assert capfd.readouterr().err.startswith("moebius: error: no model named 'place2': did you mean places2")
    assert hub.requests == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [(Fault(status=404), "404"), (Fault(), "expected 905298356 bytes, the server offers 10")],
)
def test_a_failed_pull_of_a_published_model_is_one_line(
    hub: Hub, capfd: pytest.CaptureFixture[str], fault: Fault, said: str, home: Path
) -> None:
    hub.files["hustvl/Moebius/ft_places2/diffusion_pytorch_model.bin"] = b"0123456789"
    hub.faults.append(fault)
    run("pull", "places2", code=3)
    err = capfd.readouterr().err
    assert err.startswith("moebius: error: ")
    assert said in err
    assert err.count("\n") == 1
    assert [path for path in (home / "models").glob("**/*") if path.is_file()] == []


def test_import_and_list(
    tmp_path: Path, tiny: ModelSpec, checkpoint: Path, capfd: pytest.CaptureFixture[str], home: Path
) -> None:
    like = tmp_path / "like"
    like.mkdir()
    (like / "model.json").write_text(
        json.dumps({**spec_to_json(tiny), "denoiser": TINY_DENOISER, "files": {}})
    )
    run("import", str(checkpoint), "--name", "mine", "--like", str(like))
    captured = capfd.readouterr()
    assert captured.out == f"mine: {home / 'models' / 'mine'}\n"
    assert captured.err.startswith("moebius: warning: its VAE is not here yet")
    run("--json")
    entries = {entry["name"]: entry for entry in json.loads(capfd.readouterr().out)}
    assert (entries["mine"]["state"], entries["mine"]["licence"]) == ("incomplete", "not stated")
    run("import", str(checkpoint), "--name", "mine", "--like", str(like), code=3)
    assert "exists already" in capfd.readouterr().err


def test_a_damaged_model_does_not_hide_the_others(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    damaged = home / "models" / "mine"
    damaged.mkdir(parents=True)
    (damaged / "model.json").write_text("{")
    run()
    captured = capfd.readouterr()
    assert "places2" in captured.out
    assert "mine" in captured.err


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    from moebius.cli.progress import transfer_bar

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with transfer_bar() as report:
        assert report is not None
        report("ft_places2/model.bin", 1_000_000, 905_298_356)
        report("ft_places2/model.bin", 500_000_000, 905_298_356)
        report("converting places2", 0, None)
    assert "converting places2" in screen.getvalue()


def test_nobody_watching_gets_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    from moebius.cli.progress import transfer_bar

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with transfer_bar() as report:
        assert report is None


def test_listing_imports_no_torch() -> None:
    script = (
        "import sys; sys.modules.update(torch=None, diffusers=None, onnxruntime=None, huggingface_hub=None); "
        "from moebius.cli import main; main(['models', '--json'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
