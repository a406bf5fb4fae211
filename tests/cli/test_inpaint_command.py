"""`moebius inpaint` when all is well."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_photos import picture
from numpy.typing import NDArray
from PIL import Image
from program import PROGRAM, in_a_process

from moebius import Moebius
from moebius.imaging import read_photo


def pixels(source: Any) -> NDArray[Any]:
    return read_photo(source).pixels


def kind(path: str) -> tuple[str | None, str, tuple[int, int]]:
    """(format, mode, size) of an image file."""
    with Image.open(path) as image:
        return image.format, image.mode, image.size


def test_it_is_the_library(inpaint: Any, work: Path, nano_like: Moebius) -> None:
    done = inpaint("--seed", "4", "--steps", "2", "--grow", "3", "--solver", "ddim", "--start", "prefill")
    assert (done.code, done.out, done.err) == (0, b"", "")
    expected = nano_like("photo.png", "mask.png", seed=4, steps=2, grow=3, solver="ddim", start="prefill")
    assert np.array_equal(pixels("clean.png"), expected.photo.pixels)
    assert not np.array_equal(pixels("clean.png"), pixels("photo.png"))
    assert sorted(path.name for path in work.iterdir()) == ["clean.png", "mask.png", "photo.png"]


def test_same_seed_same_file(inpaint: Any, work: Path) -> None:
    files = []
    for name, seed in (("a.png", 1), ("b.png", 2), ("c.png", 1)):
        assert inpaint("--seed", seed, output=name).code == 0
        files.append(Path(name).read_bytes())
    assert files[0] == files[2] != files[1]


def test_json_report(inpaint: Any) -> None:
    done = inpaint("--json", "--steps", "2")
    report = json.loads(done.out)
    assert done.out.count(b"\n") == 1 and done.err == ""
    assert report["model"] == "tiny-prefill" and report["steps"] == 2 and report["engine"] == "torch"


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_what_is_kept_stays(inpaint: Any, work: Path, suffix: str) -> None:
    kept = np.broadcast_to(np.arange(96) >= 48, (80, 96))
    Image.fromarray(kept).save("keep.png")
    before = pixels("photo.png")
    if suffix == "webp":
        frames = [Image.fromarray(before), Image.fromarray(before[::-1])]
        frames[0].save("photo.webp", save_all=True, append_images=frames[1:], lossless=True)
    places = {"photo": f"photo.{suffix}", "output": f"clean.{suffix}"}
    done = inpaint("--json", "--keep", "keep.png", "--grow", "9", "--feather", "9", "--steps", "1", **places)
    assert done.code == 0, done.err
    after = pixels(f"clean.{suffix}")
    assert np.array_equal(after[kept], before[kept]) and not np.array_equal(after, before)
    changes = json.loads(done.out)["changes"]
    assert changes["outside"] == 0 and changes["box"][2] == 48


def test_overwrite(inpaint: Any, work: Path) -> None:
    Path("clean.png").write_bytes(b"old")
    assert inpaint("--overwrite").code == 0
    assert pixels("clean.png").shape == (80, 96, 3)


def test_onto_the_photo_itself(inpaint: Any, work: Path) -> None:
    before = pixels("photo.png")
    assert inpaint("--overwrite", output="photo.png").code == 0
    assert not np.array_equal(pixels("photo.png"), before)


def test_output_beside_a_link(inpaint: Any, work: Path) -> None:
    Path("real.png").write_bytes(b"old")
    Path("clean.png").symlink_to("real.png")
    assert inpaint("--overwrite").code == 0
    assert Path("clean.png").is_symlink() and pixels("real.png").shape == (80, 96, 3)


@pytest.mark.parametrize("place", ["photo", "mask"])
def test_standard_input(inpaint: Any, work: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    assert inpaint().code == 0
    piped = io.TextIOWrapper(io.BytesIO(Path(f"{place}.png").read_bytes()))
    monkeypatch.setattr(sys, "stdin", piped)
    assert inpaint(output="piped.png", **{place: "-"}).code == 0
    assert Path("piped.png").read_bytes() == Path("clean.png").read_bytes()


def test_standard_output(inpaint: Any, work: Path) -> None:
    assert inpaint().code == 0
    done = inpaint(output="-")
    assert (done.code, done.err) == (0, "")
    assert done.out == Path("clean.png").read_bytes()


def test_format_and_quality(inpaint: Any, work: Path) -> None:
    assert inpaint(output="clean.tif").code == 0
    assert inpaint("--format", "webp", output="-").out[8:12] == b"WEBP"
    sizes = [len(inpaint("--format", "jpeg", "--quality", q, output="-").out) for q in (10, 95)]
    assert kind("clean.tif") == ("TIFF", "RGB", (96, 80)) and 0 < sizes[0] < sizes[1]


def test_empty_mask_copies_the_photo(inpaint: Any, work: Path) -> None:
    Image.fromarray(np.zeros((80, 96), np.uint8)).save("mask.png")
    done = inpaint()
    assert done.code == 0 and np.array_equal(pixels("clean.png"), pixels("photo.png"))
    assert done.lines == [
        "moebius: warning: the mask is empty: nothing to fill, the photo is copied unchanged"
    ]


def test_white_mask_is_asked_about(inpaint: Any, work: Path) -> None:
    Image.fromarray(np.full((80, 96), 255, np.uint8)).save("mask.png")
    done = inpaint()
    assert done.code == 2 and len(done.lines) == 1 and not Path("clean.png").exists()
    assert "the mask covers 100% of the photo: white means fill; give --invert" in done.err
    done = inpaint("--yes")
    assert done.code == 0 and pixels("clean.png").shape == (80, 96, 3)
    assert len(done.lines) == 1 and "warning: the mask covers the whole photo" in done.err
    assert inpaint("--invert", output="copy.png").lines[0].startswith("moebius: warning: the mask is empty")
    assert np.array_equal(pixels("copy.png"), pixels("photo.png"))


def test_inverted_and_still_large(inpaint: Any, work: Path) -> None:
    done = inpaint("--invert")
    assert done.code == 2 and done.err.endswith("of the photo: give --yes to fill that much\n")
    assert inpaint("--invert", "--yes").code == 0


def test_without_a_mask_file(inpaint: Any, moebius: Any, work: Path, tiny_prefill: Path) -> None:
    """A box says the same as a mask file with that box in it."""
    box = np.zeros((80, 96), np.uint8)
    box[20:40, 30:50] = 255
    Image.fromarray(box).save("mask.png")
    assert inpaint(output="by_mask.png").code == 0
    done = moebius("inpaint", "photo.png", "--box", "30,25%,20,20", "-o", "by_box.png", "--model", tiny_prefill,
                   "--device", "cpu")  # fmt: skip
    assert (done.code, done.err) == (0, "")
    assert Path("by_box.png").read_bytes() == Path("by_mask.png").read_bytes()


def test_what_was_erased_comes_back_opaque(moebius: Any, work: Path, tiny_prefill: Path) -> None:
    """What is under the transparent pixels is not read, and what is not near them stays."""
    done = []
    for seed in (1, 2):
        erased = picture(96, 80, channels=4)
        erased[..., 3] = 255
        erased[20:40, 30:50] = np.random.default_rng(seed).integers(0, 256, (20, 20, 4)) * [1, 1, 1, 0]
        Image.fromarray(erased, "RGBA").save("erased.png")
        outcome = moebius("inpaint", "erased.png", "--mask-from", "alpha", "-o", f"{seed}.png", "--model",
                          tiny_prefill, "--device", "cpu")  # fmt: skip
        assert (outcome.code, outcome.err) == (0, "")
        filled = read_photo(f"{seed}.png")
        assert filled.alpha is not None and (filled.alpha == 255).all()
        assert np.array_equal(filled.pixels[:, 70:], erased[:, 70:, :3])
        done.append(Path(f"{seed}.png").read_bytes())
    assert done[0] == done[1]


def test_warnings_are_told_once_a_call(inpaint: Any, work: Path) -> None:
    Image.fromarray(np.zeros((80, 96), np.uint8)).save("mask.png")
    assert [len(inpaint("--overwrite").lines) for _ in range(3)] == [1, 1, 1]


def test_guided_model(inpaint: Any, tiny_masked: Path) -> None:
    done = inpaint("--json", "--guidance", "3", model=tiny_masked)
    assert done.code == 0 and json.loads(done.out)["guidance"] == 3.0


def test_progress_bar_for_a_person(inpaint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    done = inpaint()
    assert done.code == 0 and "clean.png: 3 steps on cpu" in done.err and done.out == b""


def test_pipes_of_the_real_program(work: Path) -> None:
    """The bundled model on the base installation, from a pipe to a pipe; and again, byte for byte."""
    arguments = ["inpaint", "-", "mask.png", "-o", "-", "--steps", "1", "--engine", "onnx"]
    done = [in_a_process(PROGRAM, *arguments, stdin=Path("photo.png").read_bytes()) for _ in range(2)]
    assert [(each.code, each.err) for each in done] == [(0, "")] * 2
    assert done[0].out == done[1].out and pixels(done[0].out).shape == (80, 96, 3)


def test_a_reader_that_goes_away(work: Path, tiny_prefill: Path) -> None:
    """As in `moebius ... | head -c1`: no traceback."""
    code = """
import os, sys
reading, writing = os.pipe()
os.dup2(writing, 1)
os.close(reading), os.close(writing)
from moebius.cli import main
main()
"""
    done = in_a_process(code, "models", "--json")
    assert done.code == 1 and done.err == ""


def test_photo_keeps_its_kind(inpaint: Any, work: Path) -> None:
    Image.fromarray(picture(96, 80, channels=4), "CMYK").save("photo.tif")
    assert inpaint(photo="photo.tif", output="clean.tif").code == 0
    assert kind("clean.tif") == ("TIFF", "CMYK", (96, 80))
