"""ONNX inpainters: pictures, masks and answers in the conventions that people's files have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import peer_graphs as graphs
import pytest
from peer_holes import assert_hidden_is_not_read, assert_repeats, make_hole

from moebius.errors import InputError, SettingsError
from moebius.evaluation.foreign_onnx import external_files, graph_sha256
from moebius.evaluation.holes import Hole, Pixels
from moebius.evaluation.peers import onnx_method
from moebius.imaging import push_pull


def mean_fill(hole: Hole) -> Pixels:
    """What all the graphs compute."""
    mean = hole.pixels[~hole.mask].mean(axis=0, dtype=np.float64)
    return np.where(hole.mask[..., None], np.floor(mean + 0.5), hole.pixels).astype(np.uint8)


def convention(method: Any) -> dict[str, Any]:
    found: dict[str, Any] = method.identity["convention"]
    return found


KINDS = {
    "lama": (graphs.lama, {}),
    "lama-1": (lambda path: graphs.lama(path, scale=1), {}),
    "lama-signed": (lambda path: graphs.lama(path, scale=2, shift=-1), {}),
    "lama-half": (lambda path: graphs.lama(path, scale=1, kind=graphs.HALF), {}),
    "lama-dynamic": (lambda path: graphs.lama(path, None), {}),
    "lama-in-one": (graphs.lama_in_one, {"order": "image-mask"}),
    "migan-pipeline": (graphs.migan_pipeline, {}),
    "migan-generator": (graphs.migan_generator, {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_convention_is_understood(kind: str, tmp_path: Path) -> None:
    build, options = KINDS[kind]
    method, hole = onnx_method(build(tmp_path / "peer.onnx"), options=options), make_hole()
    room = 1 if kind == "lama-half" else 0
    assert np.abs(method.fill(hole).astype(int) - mean_fill(hole)).max() <= room
    assert_hidden_is_not_read(method, hole)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("lama", {"mask": "known"}),
        ("lama", {"range": "signed"}),
        ("lama", {"range": "255"}),
        ("lama", {"output": "1"}),
        ("lama", {"output": "signed"}),
        ("lama-1", {"output": "255"}),
        ("lama-in-one", {"order": "mask-image"}),
        ("lama-in-one", {"order": "image-mask", "mask": "known"}),
        ("lama-in-one", {"order": "image-mask", "under": "smooth"}),
        ("migan-pipeline", {"mask": "hole"}),
        ("migan-generator", {"mask": "hole"}),
        ("migan-generator", {"range": "1"}),
        ("migan-generator", {"output": "1"}),
        ("migan-generator", {"order": "image-mask"}),
        ("migan-generator", {"under": "smooth"}),
    ],
    ids=str,
)
def test_a_wrong_convention_gives_another_picture(kind: str, wrong: dict[str, str], tmp_path: Path) -> None:
    path, hole = KINDS[kind][0](tmp_path / "peer.onnx"), make_hole()
    filled = onnx_method(path, options=wrong).fill(hole)
    assert np.abs(filled.astype(int) - mean_fill(hole)).max() > 20


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("lama", {"size": (64, 64), "order": "image-mask", "range": "1", "white": "hole", "output": "255"}),
        ("lama-1", {"size": (64, 64), "output": "1"}),
        ("lama-signed", {"output": "signed"}),
        ("lama-dynamic", {"size": None, "multiple": 32, "under": "zero"}),
        ("migan-pipeline", {"size": None, "multiple": 1, "range": "255", "white": "known", "output": "255"}),
        ("migan-pipeline", {"under": "smooth"}),
        ("migan-generator", {"size": (64, 64), "order": "mask-image", "range": "signed", "output": "signed"}),
        ("migan-generator", {"white": "known", "under": "zero", "image": "input", "mask": "input"}),
    ],
    ids=str,
)
def test_what_is_found_is_told(kind: str, expected: dict[str, Any], tmp_path: Path) -> None:
    build, options = KINDS[kind]
    method = onnx_method(build(tmp_path / "peer.onnx"), options=options)
    found = convention(method)
    assert {key: found[key] for key in expected} == expected


def test_inputs_are_told_apart_by_channels_or_else_by_names(tmp_path: Path) -> None:
    hole, path = make_hole(), tmp_path / "peer.onnx"
    for settings in (
        {"swapped": True},
        {"names": ("x", "y")},
        {"names": ("x", "y"), "channels": ("c", 1)},
        {"names": ("x", "y"), "swapped": True, "channels": (3, "c")},
        {"channels": ("c", "d")},
        {"channels": ("c", "d"), "swapped": True},
    ):
        assert (onnx_method(graphs.lama(path, **settings)).fill(hole) == mean_fill(hole)).all()
    graphs.lama(path, names=("x", "y"), channels=("c", "d"), swapped=True)
    with pytest.raises(InputError, match=r"got y float \(1, \?, 64, 64\); x float \(1, \?, 64, 64\)$"):
        onnx_method(path)
    assert (onnx_method(path, options={"order": "mask-image"}).fill(hole) == mean_fill(hole)).all()


@pytest.mark.parametrize(("width", "height"), [(64, 64), (96, 48), (41, 100), (30, 20)])
def test_pictures_are_brought_to_the_size_and_back(width: int, height: int, tmp_path: Path) -> None:
    hole = make_hole(width, height)
    filled = onnx_method(graphs.lama(tmp_path / "peer.onnx")).fill(hole)
    assert filled.shape == hole.pixels.shape
    inside = np.abs(filled[hole.mask].astype(int) - mean_fill(hole)[hole.mask]).mean()
    outside = np.abs(filled[~hole.mask].astype(int) - hole.pixels[~hole.mask]).mean()
    turned = np.abs(filled[::-1][~hole.mask].astype(int) - hole.pixels[~hole.mask]).mean()
    assert inside < 6
    assert outside < 6
    assert turned > 20


def test_nothing_of_the_black_hole_is_mixed_into_what_is_known(tmp_path: Path) -> None:
    """White around a hole stays white, at the size of the graph too."""
    hole = make_hole(100, 90)
    hole.pixels[:] = 255
    for path in (graphs.lama(tmp_path / "a.onnx"), graphs.migan_generator(tmp_path / "b.onnx")):
        assert (onnx_method(path).fill(hole) == 255).all()


def test_a_size_can_be_asked_of_a_graph_that_leaves_it_open(tmp_path: Path) -> None:
    hole, path = make_hole(80, 48), graphs.echo(tmp_path / "peer.onnx")
    whole, small = (onnx_method(path, options=options).fill(hole) for options in ({}, {"size": "16"}))
    assert (whole[~hole.mask] == hole.pixels[~hole.mask]).all()
    assert 5 < np.abs(small[~hole.mask].astype(int) - hole.pixels[~hole.mask]).mean() < 60


def test_sides_are_mirrored_to_a_multiple(tmp_path: Path) -> None:
    hole, path = make_hole(72, 40), graphs.tiles(tmp_path / "peer.onnx")
    emptied = np.where(hole.mask[..., None], 0, hole.pixels / 255)
    padded = np.pad(emptied, ((0, 24), (0, 24), (0, 0)), "symmetric")
    means = padded.reshape(2, 32, 3, 32, 3).mean((1, 3)).repeat(32, 0).repeat(32, 1)[:40, :72]
    assert np.abs(onnx_method(path).fill(hole) - means * 255).max() <= 0.51
    with pytest.raises(InputError, match=r"expected an answer \(1, 3, 40, 72\), got \(1, 3, 32, 64\)$"):
        onnx_method(path, options={"multiple": "8"}).fill(hole)


def test_what_lies_in_the_hole_is_black_or_smooth(tmp_path: Path) -> None:
    hole = make_hole()
    smooth = push_pull(hole.pixels / np.float32(255), hole.mask)[hole.mask] * 255
    floats, whole = graphs.echo(tmp_path / "a.onnx"), graphs.echo(tmp_path / "b.onnx", kind=graphs.BYTES)
    assert (onnx_method(floats).fill(hole)[hole.mask] == 0).all()
    assert (onnx_method(whole, options={"under": "zero"}).fill(hole)[hole.mask] == 0).all()
    assert np.abs(onnx_method(whole).fill(hole)[hole.mask] - smooth).max() <= 0.51
    assert (
        np.abs(onnx_method(floats, options={"under": "smooth"}).fill(hole)[hole.mask] - smooth).max() <= 0.51
    )
    middle = onnx_method(floats, options={"range": "signed", "output": "signed"}).fill(hole)
    assert (middle[hole.mask] == 128).all()


@pytest.mark.parametrize("kind", ["lama", "migan-pipeline"])
def test_repeats_from_any_thread(kind: str, tmp_path: Path) -> None:
    method = onnx_method(KINDS[kind][0](tmp_path / "peer.onnx"))
    assert_repeats(method, [make_hole(64 + 8 * i, 64, seed=i) for i in range(4)])


def test_identity_follows_the_weights_wherever_they_lie(tmp_path: Path) -> None:
    own, other = tmp_path / "own.onnx", tmp_path / "other.onnx"
    graphs.lama(own)
    graphs.lama(other, scale=254)
    assert external_files(own) == []
    assert onnx_method(own).identity["sha256"] == graph_sha256(own) != graph_sha256(other)
    assert onnx_method(own).identity["library"] == f"onnxruntime {onnxruntime.__version__}"

    path, weights = tmp_path / "split.onnx", "weights of split.bin"
    graphs.lama(path, save_as_external_data=True, location=weights, size_threshold=0)
    assert external_files(path) == [weights]
    before, hole = onnx_method(path), make_hole()
    assert (before.fill(hole) == mean_fill(hole)).all()
    data = bytearray((tmp_path / weights).read_bytes())
    at = data.find(np.float32(255).tobytes())
    data[at : at + 4] = np.float32(200).tobytes()
    (tmp_path / weights).write_bytes(data)
    after = onnx_method(path)
    assert after.identity["sha256"] != before.identity["sha256"]
    assert (after.fill(hole) != mean_fill(hole)).any()
    (tmp_path / weights).unlink()
    with pytest.raises(InputError, match=f"expected its weights in .*{weights}, found no such file$"):
        onnx_method(path)


def test_a_long_name_of_external_data_is_read(tmp_path: Path) -> None:
    name = "w" * 200 + ".bin"
    graphs.lama(tmp_path / "a.onnx", save_as_external_data=True, location=name, size_threshold=0)
    assert external_files(tmp_path / "a.onnx") == [name]


def _told(message: str, path: Path, options: dict[str, str] | None = None) -> None:
    with pytest.raises(InputError) as caught:
        onnx_method(path, options=options)
    assert re.fullmatch(message, str(caught.value).removeprefix(f"{path}: ")), str(caught.value)


def test_files_that_are_no_inpainters(tmp_path: Path) -> None:
    path = tmp_path / "peer.onnx"
    _told("expected an ONNX file, found none", path)
    _told("expected an ONNX file, got a folder", tmp_path)
    path.write_bytes(b"")
    _told("expected an ONNX file, got: .+", path)
    path.write_text("not a graph")
    _told("expected an ONNX file, got: Load model from .* failed:Protobuf parsing failed.", path)

    node = graphs.helper.make_node
    port = ("output", graphs.FLOAT, (1, 3, 8, 8))
    two = r"image \(1, 3, H, W\) and mask \(1, 1, H, W\)"
    needed = rf"expected an inpainter's inputs, {two}, or one \(1, 4, H, W\), got "
    for inputs, shown in {
        (("x", (1, 3, 8, 8)),): r"x float \(1, 3, 8, 8\)",
        (("x", (1, 5, "h", 8)),): r"x float \(1, 5, \?, 8\)",
        (("x", (1, 3, 8)), ("mask", (1, 1, 8))): r"x float \(1, 3, 8\); mask float \(1, 1, 8\)",
        (("x", (1, 3, 8, 8)), ("y", (1, 3, 8, 8))): r"x float \(1, 3, 8, 8\); y float \(1, 3, 8, 8\)",
        (("x", (1, 3, 8, 8)), ("y", (1, 1, 4, 8))): r"x float \(1, 3, 8, 8\); y float \(1, 1, 4, 8\)",
        (("x", (2, 3, 8, 8)), ("y", (2, 1, 8, 8))): r"x float \(2, 3, 8, 8\); y float \(2, 1, 8, 8\)",
        (("x", (1, 3, 8, 8)), ("y", (1, 1, 8, 8)), ("z", (1,))): r"x .*; y .*; z float \(1\)",
    }.items():
        ports = [(name, graphs.FLOAT, shape) for name, shape in inputs]
        graphs.save_graph(
            path, [node("Identity", ["x"], ["output"])], ports, ("output", graphs.FLOAT, None), {}
        )
        _told(needed + shown, path)
    ports = [("image", graphs.FLOAT, (1, 3, 8, 8)), ("mask", graphs.FLOAT, (1, 1, 8, 8))]
    graphs.save_graph(
        path, [node("Identity", ["mask"], ["output"])], ports, ("output", graphs.FLOAT, (1, 1, 8, 8)), {}
    )
    _told(r"expected an answer \(1, 3, 8, 8\), got \(1, 1, 8, 8\)", path)
    graphs.save_graph(path, [node("Log", ["image"], ["output"])], ports, port, {})
    _told("expected a picture, got numbers that are not finite", path)
    tokens = [("ids", graphs.TensorProto.INT64, (1, 4, 8, 8))]
    graphs.save_graph(path, [node("Cast", ["ids"], ["output"], to=graphs.FLOAT)], tokens, port, {})
    _told(needed + r"ids int64 \(1, 4, 8, 8\)", path)
    four = [("both", graphs.BYTES, (1, 4, 8, 8))]
    graphs.save_graph(path, [node("Cast", ["both"], ["output"], to=graphs.FLOAT)], four, port, {})
    _told(needed + r"both uint8 \(1, 4, 8, 8\)", path)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("lama", {"sise": "512"}, "expected options size, .*, output, got 'sise'"),
        ("lama", {"size": "32"}, "expected size=64 by the graph's inputs, got 32"),
        ("lama", {"order": "mask-image"}, "expected order=image-mask by the graph's inputs, got mask-image"),
        ("lama", {"mask": "white"}, "mask: expected hole or known, got 'white'"),
        ("lama", {"output": "2"}, "output: expected 1 or 255 or signed, got '2'"),
        ("lama-dynamic", {"size": "many"}, "size: expected a whole number from 8 to 8192, got 'many'"),
        ("lama-dynamic", {"size": "4"}, "size: expected a whole number from 8 to 8192, got '4'"),
        ("migan-pipeline", {"range": "1"}, "expected range=255 for a graph that takes bytes, got 1"),
    ],
    ids=str,
)
def test_options_that_cannot_be(kind: str, options: dict[str, str], message: str, tmp_path: Path) -> None:
    path = KINDS[kind][0](tmp_path / "peer.onnx")
    with pytest.raises(SettingsError) as caught:
        onnx_method(path, options=options)
    assert re.fullmatch(message, str(caught.value).removeprefix(f"{path}: ")), str(caught.value)
