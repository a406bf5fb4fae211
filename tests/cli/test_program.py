"""The program as a whole: help, what it imports, what it does without PyTorch, doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from program import in_a_process

from moebius import Moebius, __version__
from moebius.cli import COMMANDS

NO_TORCH = """
import sys
sys.modules["torch"] = sys.modules["diffusers"] = None  # importing them fails, as if they were not installed
"""
LIGHT = """
import sys
from moebius.cli import main
commands = ["inpaint", "batch", "mask", "models", "doctor"]
for arguments in ([], ["--help"], ["--version"], ["mask", "make", "-h"], *([name, "--help"] for name in commands)):
    main(arguments)
import moebius
heavy = {"torch", "numpy", "onnxruntime", "PIL", "rich", "huggingface_hub", "safetensors", "diffusers"}
print("HEAVY", sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""


def test_help_imports_nothing_heavy() -> None:
    done = in_a_process(LIGHT)
    assert done.code == 0 and done.err == ""
    assert done.out.decode().splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize(
    ("before", "asked", "expected"),
    [("", {}, "1"), ("", {"OPENBLAS_NUM_THREADS": "3"}, "3"), ("import numpy", {}, "None")],
    ids=["alone", "as somebody asked", "in a program that has NumPy already"],
)
def test_numpys_products_keep_to_one_thread(
    monkeypatch: pytest.MonkeyPatch, before: str, asked: dict[str, str], expected: str
) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    code = f"{before}\nimport os; from moebius.cli import main; main(['--version'])"
    done = in_a_process(f"{code}; print(os.environ.get('OPENBLAS_NUM_THREADS'))", **asked)
    assert done.out.decode().splitlines()[-1] == expected


def test_help_lists_every_command(moebius: Any) -> None:
    text = moebius("--help").out.decode()
    assert all(name in text and line in text for name, line in COMMANDS.items())
    assert moebius().out == moebius("-h").out == text.encode()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(moebius: Any, name: str) -> None:
    done = moebius(name, "--help")
    assert done.code == 0 and b"Usage: moebius " + name.encode() in done.out and done.err == ""


@pytest.mark.parametrize("command", ["inpaint", "batch"])
def test_help_names_the_formats_that_can_be_written(moebius: Any, command: str) -> None:
    from moebius.cli.format_option import FORMATS
    from moebius.imaging.writer import _FORMATS

    assert {"HEIF" if name == "heic" else name.upper() for name in FORMATS} == set(_FORMATS)
    shown = " ".join(moebius(command, "--help").out.decode().split())
    assert "png, jpeg, webp, tiff, bmp, avif or heic (with the extra [heic])" in shown


def test_version(moebius: Any) -> None:
    assert moebius("--version").out.decode().strip() == f"moebius, version {__version__}"


def test_without_torch_the_bundled_model_works(work: Path, tiny_prefill: Path) -> None:
    code = f"""{NO_TORCH}
from moebius.cli import main
def run(*options):
    try:
        main(["inpaint", "photo.png", "mask.png", "--steps", "1", *options])
    except SystemExit as stop:
        return stop.code
    return 0
tiny = {str(tiny_prefill)!r}
codes = [run("-o", "a.png"), run("-o", "b.png", "--engine", "torch"),
         run("-o", "c.png", "--model", tiny), run("-o", "d.png", "--model", "places2")]
main(["models"])
import moebius
try:
    moebius.MoebiusUNet
except ImportError as error:
    print(error)
print(codes, sys.modules["torch"])
"""
    done = in_a_process(code)
    assert done.code == 0, done.err
    lines = done.out.decode().splitlines()
    assert lines[-1] == "[0, 4, 4, 3] None"
    assert lines[-2] == "MoebiusUNet needs PyTorch: pip install 'moebius-inpaint[torch]'"
    assert len(done.lines) == 3 and all("pip install 'moebius-inpaint[torch]'" in line for line in done.lines)
    assert Path("a.png").exists() and not any(Path(f"{name}.png").exists() for name in "bcd")


def test_doctor_without_its_test(moebius: Any, home: Path) -> None:
    report = json.loads(moebius("doctor", "--json", "--no-test").out)
    assert report["moebius"] == __version__ and report["cache"] == {"folder": str(home), "bytes": 0}
    assert report["packages"]["numpy"] and report["devices"][0] == "cpu" and "self_test" not in report
    told = moebius("doctor", "--no-test").out.decode()
    assert __version__ in told and "onnxruntime" in told and str(home)[:20] in told


@pytest.mark.slow
def test_doctor_passes(moebius: Any) -> None:
    done = moebius("doctor")
    assert done.code == 0 and done.err == ""
    assert [
        name for name in ("onnx", "torch", "openvino") if f"self test, {name}" not in done.out.decode()
    ] == []
    assert done.out.decode().count("passed in") == 3


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_doctor_tells_what_is_wrong(moebius: Any, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    """One engine breaks: the report is printed all the same, and the exit code tells."""

    def broken(name: str, *, engine: str, device: str) -> Any:
        raise RuntimeError(f"{engine} is broken")

    monkeypatch.setattr(Moebius, "from_pretrained", broken)
    monkeypatch.setattr("moebius.cli.doctor._engines", lambda: [engine])
    done = moebius("doctor", "--json")
    assert done.code == 1 and done.lines == ["moebius: error: self test failed"]
    test = json.loads(done.out)["self_test"][engine]
    assert test == {"ok": False, "reason": f"RuntimeError: {engine} is broken"}
    assert f"FAILED: RuntimeError: {engine}" in moebius("doctor").out.decode()
