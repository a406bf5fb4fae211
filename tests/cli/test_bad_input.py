"""Every bad input: one line, an exit code, and nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_photos import picture
from PIL import Image
from program import in_a_process

from moebius import Moebius as Model
from moebius.engines.fuse import FusedUNet

PHOTO, MASK, WEIGHTS, DEVICE, OTHER, INTERRUPTED = 2, 2, 3, 4, 1, 130


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(outcome: Any, code: int, told: str) -> None:
    assert (outcome.code, len(outcome.lines)) == (code, 1), outcome.err
    assert outcome.err.startswith("moebius: error: ") and told in outcome.err
    assert outcome.out == b"" and "Traceback" not in outcome.err


def bomb() -> bytes:
    """A PNG that says it has 100,000 x 100,000 pixels, and holds none."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def make_bad_files(folder: Path) -> None:
    (folder / "empty.jpg").touch()
    (folder / "text.png").write_text("no image at all, " * 9)
    (folder / "folder.png").mkdir()
    (folder / "bomb.png").write_bytes(bomb())
    Image.fromarray(picture(96, 80)).save(folder / "whole.jpg")
    (folder / "truncated.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:1000])
    Image.fromarray(np.zeros((40, 48), np.uint8)).save(folder / "half.png")
    Image.fromarray(np.zeros((96, 80), np.uint8)).save(folder / "turned.png")


BAD_FILES = {
    "nowhere.png": "no such file",
    "empty.jpg": "expected an image, got 0 bytes",
    "text.png": "not an image",
    "folder.png": "got a folder",
    "bomb.png": "got 100000 x 100000",
    "truncated.jpg": "truncated",
    "": "",
}


@pytest.mark.parametrize("place", ["photo", "mask"])
@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(inpaint: Any, work: Path, place: str, name: str) -> None:
    make_bad_files(work)
    before = snapshot(work)
    assert_refused(inpaint(**{place: name}), PHOTO, BAD_FILES[name])
    assert snapshot(work) == before


@pytest.mark.parametrize(("name", "size"), [("half.png", "48 x 40"), ("turned.png", "80 x 96")])
def test_mask_of_another_size(inpaint: Any, work: Path, name: str, size: str) -> None:
    make_bad_files(work)
    assert_refused(inpaint(mask=name), MASK, f"got {size} for a photo of 96 x 80")
    assert not Path("clean.png").exists()
    assert inpaint("--fit-mask", mask=name).code == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--steps", "0"], "steps: expected a whole number from 1 to 1000, got 0"),
        (["--steps", "1001"], "got 1001"),
        (["--steps", "many"], "'many' is not a valid integer"),
        (["--guidance", "nan"], "guidance: expected a number from 0 to 20, got nan"),
        (["--guidance", "inf"], "got inf"),
        (["--guidance", "-1"], "got -1.0"),
        (["--guidance", "2"], "trained without a guidance branch, expected 1, got 2"),
        (["--seed", "-1"], "seed: expected a whole number from 0"),
        (["--seed", str(2**64)], "got 18446744073709551616"),
        (["--grow", "-1"], "grow: expected"),
        (["--grow", "513"], "got 513"),
        (["--feather", "129"], "feather: expected"),
        (["--context", "nan"], "context: expected a number from 1.25 to 8, got nan"),
        (["--context", "1"], "got 1"),
        (["--quality", "0"], "quality"),
        (["--solver", "euler"], "'euler' is not one of 'ddim', 'dpm++'"),
        (["--start", "photo"], "'photo' is not one of"),
        (["--engine", "tpu"], "'tpu' is not one of"),
        (["--nonsense"], "No such option"),
        (["one", "more"], "unexpected extra argument"),
        (["--box", "1,2,3"], "box: expected four numbers x,y,w,h, got 3"),
        (["--box", "0,0,-5,5"], "expected a width and height above 0, got -5 x 5"),
        (["--box", "96,0,5,5"], "wholly outside the photo of 96 x 80"),
        (["--polygon", "1,2,3,4,5"], "three or more points x1,y1,x2,y2,..., got 5 numbers"),
        (["--circle", "5,5"], "three numbers x,y,r, got 2"),
        (["--key", "pink"], "expected a colour such as #ff00ff, got 'pink'"),
        (["--key-in", "photo.png"], "--key-in: expected a colour in --key"),
        (["--key", "#fff", "--key-in", "nowhere.png"], "nowhere.png: no such file"),
        (["--mask-from", "beta"], "'beta' is not"),
        (["--mask-from", "alpha"], "expected a photo with transparency, got RGB without"),
        (["--differs-from", "nowhere.png"], "nowhere.png: no such file"),
        (["--differs-from", "-"], "--differs-from: expected a file, got standard input"),
        (["--category", "dog"], "--category: expected an annotation file, got mask images"),
        (["--mask", "nowhere.png"], "mask nowhere.png: no such file"),
        (["--mask", "-", "--keep", "-"], "at most one input from standard input, got 2"),
        (["--keep", "nowhere.png"], "mask nowhere.png: no such file"),
        (["--drop-specks", "-1"], "drop_specks: expected 0 or more pixels, got -1"),
        (["--close-gaps", "600"], "close_gaps: expected 0 to 512, got 600"),
    ],
)
def test_wrong_settings(inpaint: Any, work: Path, options: list[str], told: str) -> None:
    before = snapshot(work)
    assert_refused(inpaint(*options), 2, told)
    assert snapshot(work) == before


def test_wrong_commands(moebius: Any) -> None:
    assert_refused(moebius("paint"), 2, "No such command 'paint'")
    assert_refused(moebius("inpaint", "photo.png"), 2, "Missing option '-o'")
    assert_refused(moebius("inpaint", "-o", "clean.png"), 2, "Missing argument 'PHOTO'")
    assert_refused(moebius("inpaint", "photo.png", "mask.png"), 2, "Missing option '-o'")


@pytest.mark.parametrize("command", [["inpaint"], ["mask", "make"], ["mask", "preview"]])
def test_no_mask_at_all(moebius: Any, work: Path, command: list[str]) -> None:
    told = "expected a mask file, --box, --polygon, --circle, --mask-from alpha, --key or --differs-from, got none"
    assert_refused(moebius(*command, "photo.png", "-o", "out.png"), MASK, told)
    assert not Path("out.png").exists()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"hello": 1}, "expected COCO (images, annotations) or LabelMe (shapes) JSON, got other JSON"),
        ({"shapes": [], "imagePath": "else.png"}, "expected annotations of photo.png, got those of else.png"),
        ({"shapes": [], "imageWidth": 9, "imageHeight": 8}, "got 9 x 8 for a photo of 96 x 80"),
        ({"images": [], "annotations": []}, "expected one entry for photo.png, got 0"),
        ({"shapes": [{"label": "cat", "points": []}]}, "a label out of cat, got 'dog'"),
    ],
)
def test_bad_annotations(inpaint: Any, work: Path, values: Any, told: str) -> None:
    Path("größe.json").write_text(json.dumps(values))
    options = ["--category", "dog"] if values.get("shapes") else []
    assert_refused(inpaint(*options, mask="größe.json"), MASK, told)
    assert not Path("clean.png").exists()


def test_large_annotations_are_not_told_to_invert(moebius: Any, work: Path) -> None:
    outline = {"label": "all", "shape_type": "rectangle", "points": [[0, 0], [96, 80]]}
    Path("all.json").write_text(json.dumps({"shapes": [outline]}))
    told = "the mask covers 100% of the photo: give --yes to fill that much"
    assert_refused(moebius("mask", "make", "photo.png", "all.json", "-o", "out.png"), MASK, told)
    assert not Path("out.png").exists()
    assert moebius("mask", "make", "photo.png", "all.json", "-o", "out.png", "--yes").code == 0


def test_existing_output_stays(inpaint: Any, work: Path) -> None:
    Path("clean.png").write_bytes(b"precious")
    assert_refused(inpaint(), 2, "clean.png exists already: give --overwrite")
    assert Path("clean.png").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("output", "options", "told"),
    [
        ("nowhere/clean.png", [], "expected an existing folder"),
        ("folder.png", ["--overwrite"], "expected a file to write, got a folder"),
        ("clean.xyz", [], "expected a format or suffix of JPEG or PNG"),
        ("clean.png", ["--format", "gif"], "expected a format or suffix"),
        ("", [], "error"),
    ],
)
def test_wrong_outputs_are_told_before_the_work(
    inpaint: Any, work: Path, monkeypatch: pytest.MonkeyPatch, output: str, options: list[str], told: str
) -> None:
    make_bad_files(work)
    before = snapshot(work)
    monkeypatch.setattr(Model, "from_pretrained", None)  # would fail
    assert_refused(inpaint(*options, output=output), 2, told)
    assert snapshot(work) == before


def test_transparency_is_not_dropped_silently(inpaint: Any, work: Path) -> None:
    Image.fromarray(picture(96, 80, channels=4), "RGBA").save("photo.png")
    assert_refused(inpaint(output="clean.jpg"), 2, "JPEG cannot keep the photo's transparency, use PNG")
    assert not Path("clean.jpg").exists()


def test_unwritable_folder(inpaint: Any, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("locked").mkdir(0o500)
    if os.geteuid() == 0:  # who may write anywhere
        access = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: "locked" not in str(path) and access(path, mode))
    assert_refused(
        inpaint(output="locked/clean.png"), 2, "expected a folder that can be written to, got locked"
    )
    assert list(Path("locked").iterdir()) == []


def test_full_disk_leaves_nothing(inpaint: Any, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("clean.png").write_bytes(b"precious")
    before = snapshot(work)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert_refused(inpaint("--overwrite"), 2, "cannot be written (No space left on device)")
    assert snapshot(work) == before


def test_standard_streams_are_used_once(inpaint: Any) -> None:
    assert_refused(inpaint(photo="-", mask="-"), 2, "at most one of them from standard input")
    assert_refused(inpaint("--json", output="-"), 2, "both write to standard output")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("nanno", "no model named 'nanno': did you mean nano?"),
        ("plaecs", "did you mean places2"),
        ("qqq", "known are nano, pretrained, places2, celebahq, ffhq"),
        ("./nowhere", "expected a model folder, found nothing"),
        ("./photo.png", "expected a model folder, found a file"),
        (".", "expected a model folder with model.json"),
        ("places2", "HF_HUB_OFFLINE forbids downloading it"),
    ],
)
def test_unknown_models(inpaint: Any, work: Path, model: str, told: str) -> None:
    before = snapshot(work)
    assert_refused(inpaint(model=model), WEIGHTS, told)
    assert snapshot(work) == before


def damage(folder: Path, how: str) -> None:
    weights, spec = folder / "weights.safetensors", folder / "model.json"
    values = json.loads(spec.read_text())
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif how == "flipped":
        data = bytearray(weights.read_bytes())
        data[-100] ^= 1
        weights.write_bytes(data)
    elif how == "missing":
        weights.unlink()
    elif how == "emptied":
        weights.write_bytes(b"")
    elif how == "no json":
        spec.write_text("{")
    else:
        values.pop("checksums")
        values["denoiser"] |= {"other network": {"layers": 3}, "no network": {"channels": [17]}}[how]
        spec.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("truncated", "weights.safetensors: expected"),
        ("flipped", "weights.safetensors: expected sha256"),
        ("missing", "found no weights.safetensors"),
        ("emptied", "weights.safetensors: expected"),
        ("no json", "model.json: expected JSON"),
        ("other network", "the weights do not fit what its JSON describes"),
        ("no network", "channels must divide by heads"),
    ],
)
def test_damaged_weights(inpaint: Any, work: Path, tiny_prefill: Path, how: str, told: str) -> None:
    shutil.copytree(tiny_prefill, "model")
    damage(Path("model"), how)
    assert_refused(inpaint(model="./model"), WEIGHTS, told)
    assert not Path("clean.png").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--device", "abacus"], "device 'abacus' is not available here"),
        (["--device", "meta"], "device 'meta' is not available here"),
        (["--device", "cuda:77"], "device 'cuda:77' is not available here"),
        (["--dtype", "float12"], "dtype: expected auto, float32"),
        (["--dtype", "float16"], "float16 is for GPUs"),
        (["--engine", "onnx"], "has no encoder.onnx"),
        (["--engine", "onnx", "--device", "cuda"], "the onnx engine runs on cpu in float32"),
        (["--engine", "onnx", "--dtype", "bfloat16"], "the onnx engine runs on cpu in float32"),
    ],
)
def test_engines_that_are_not_here(inpaint: Any, work: Path, options: list[str], told: str) -> None:
    assert_refused(inpaint(*options), DEVICE, told)
    assert not Path("clean.png").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_no_gpu(inpaint: Any) -> None:
    assert_refused(inpaint("--device", "cuda"), DEVICE, "device 'cuda' is not available here")


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        (KeyboardInterrupt(), INTERRUPTED, "stopped"),
        (RuntimeError("out of\nmemory"), OTHER, "RuntimeError: out of memory (moebius --debug"),
    ],
)
def test_stopped_half_way(
    inpaint: Any, work: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, told: str
) -> None:
    Path("clean.png").write_bytes(b"precious")
    before = snapshot(work)

    def stop(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(FusedUNet, "step", stop)
    outcome = inpaint("--overwrite")
    assert outcome.code == code and outcome.out == b""
    assert outcome.err.strip().splitlines() == [outcome.err.strip()] and told in outcome.err
    assert snapshot(work) == before


def test_debug_shows_the_traceback(moebius: Any, work: Path) -> None:
    from moebius import PhotoError

    with pytest.raises(PhotoError, match="no such file"):
        moebius("--debug", "inpaint", "nowhere.png", "mask.png", "-o", "clean.png")


def test_one_line_from_the_real_program(work: Path) -> None:
    code = "from moebius.cli import main; main()"
    outcome = in_a_process(code, "inpaint", "nowhere.png", "mask.png", "-o", "clean.png")
    assert_refused(outcome, PHOTO, "photo nowhere.png: no such file")
