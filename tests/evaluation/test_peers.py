"""Peers by a line of text, and pictures that somebody else made."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import peer_graphs as graphs
import pytest
from made_photos import noise
from peer_holes import assert_repeats, make_hole
from PIL import Image

from moebius.errors import InputError, PhotoError, SettingsError
from moebius.evaluation.classical import CLASSICAL
from moebius.evaluation.foreign import method_id, split_options
from moebius.evaluation.holes import Case, Hole, Pixels
from moebius.evaluation.peers import PEERS, check_results, onnx_method, open_peer, results_method

FAMILIES = ("thin", "thick")


def _save(path: Path, pixels: Pixels | None = None, seed: int = 0) -> Pixels:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = noise((48, 64, 3), seed=seed) if pixels is None else pixels
    Image.fromarray(pixels).save(path)
    return pixels


def _hole(photo: str = "a", family: str = "thin") -> Hole:
    return make_hole(64, 48, photo=photo, family=family)


def _cases(photos: str = "abc", families: tuple[str, ...] = FAMILIES) -> list[Case]:
    return [_hole(photo, family).case for photo in photos for family in families]


def test_peers_are_the_classical_ones() -> None:
    assert (
        PEERS
        == tuple(CLASSICAL)
        == ("telea", "navier-stokes", "biharmonic", "patchmatch", "push-pull", "exemplar")
    )
    assert [open_peer(name).id for name in PEERS] == list(PEERS)


def test_names_given_by_people(tmp_path: Path) -> None:
    path = graphs.lama(tmp_path / "big lama,v=2.onnx")
    plain = open_peer(f"onnx:{path}")
    assert plain.title == "big lama,v=2 (ONNX)"
    assert re.fullmatch(r"onnx:big-lama,v=2@[0-9a-f]{8}", plain.id)
    named = open_peer(f"lama=onnx:{path},output=255,mask=hole")
    assert (named.id, named.title) == ("lama", "lama")
    assert named.identity["convention"]["output"] == "255"
    assert (open_peer("fast=telea").id, open_peer("fast=telea").identity) == (
        "fast",
        open_peer("telea").identity,
    )
    assert open_peer(f"x=results:{_folder(tmp_path / 'made=by, them')}").id == "x"
    assert open_peer(f"results:{tmp_path / 'made=by, them'}").title == "made=by, them"


def _folder(folder: Path) -> Path:
    _save(folder / "thin" / "a.png")
    return folder


def test_options_reach_the_method(tmp_path: Path) -> None:
    path, hole = graphs.echo(tmp_path / "echo.onnx"), make_hole()
    direct = onnx_method(path, options={"range": "255", "output": "255", "under": "smooth"})
    opened = open_peer(f"onnx:{path},range=255,output=255,under=smooth")
    assert opened.id == direct.id == "onnx:echo,output=255,range=255,under=smooth"
    assert (opened.fill(hole) == direct.fill(hole)).all()
    assert (opened.fill(hole) != open_peer(f"onnx:{path}").fill(hole)).any()


@pytest.mark.parametrize(
    ("text", "path", "options"),
    [
        ("PATH", "PATH", {}),
        ("PATH,size=512", "PATH", {"size": "512"}),
        ("PATH,prompt=a red, round ball,steps=5", "PATH", {"prompt": "a red, round ball", "steps": "5"}),
        ("PATH,prompt=a=b", "PATH", {"prompt": "a=b"}),
        ("PATH,prompt=", "PATH", {"prompt": ""}),
        ("PATH,size=3.onnx", "PATH,size=3.onnx", {}),
        ("PATH,size=3.onnx,size=512", "PATH,size=3.onnx", {"size": "512"}),
        ("missing,size=3,mask=hole", "missing", {"size": "3", "mask": "hole"}),
        ("missing", "missing", {}),
    ],
)
def test_options_are_split_from_paths(text: str, path: str, options: dict[str, str], tmp_path: Path) -> None:
    for name in ("model", "model,size=3.onnx"):
        (tmp_path / name).touch()
    model = str(tmp_path / "model")
    assert split_options(text.replace("PATH", model)) == (path.replace("PATH", model), options)


def test_ids_are_names_of_files_and_differ() -> None:
    options: dict[str, str]
    ids = []
    for name, options in (
        ("lama", {}), ("lama", {"size": "512"}), ("la ma", {}), ("la-ma", {}), ("la/ma", {}), ("lämà", {}),
        ("x", {"prompt": "a ball"}), ("x", {"prompt": "a-ball"}), ("x", {"prompt": "w" * 300}),
        ("x", {"prompt": "w" * 299}), ("x", {"a": "1", "b": "2"}),
    ):  # fmt: skip
        ids.append(method_id("onnx", name, options))
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9._:=,@-]{1,100}", name) for name in ids)
    assert ids[:2] == ["onnx:lama", "onnx:lama,size=512"]
    assert (
        method_id("x", "y", {"b": "2", "a": "1"})
        == method_id("x", "y", {"a": "1", "b": "2"})
        == "x:y,a=1,b=2"
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "lama",
            r"expected one of telea, .*, push-pull, exemplar, onnx:PATH, diffusers:PATH, results:DIR, got 'lama'",
        ),
        ("", r"expected one of telea, .*, got ''"),
        ("onnx:", r"expected one of telea, .*, got 'onnx:'"),
        ("torch:/a", r"expected one of telea, .*, got 'torch:/a'"),
        ("telea:3", r"expected one of telea, .*, got 'telea:3'"),
        ("fast=tela", r"expected one of telea, .*, got 'tela'"),
        ("=telea", r"=telea: expected a name of letters, digits and -_.,@ before =, got ''"),
        ("a/b=telea", r"a/b=telea: expected a name of letters, .*, got 'a/b'"),
        ("..=telea", r"..=telea: expected a name of letters, .*, got '..'"),
        ("onnx:/none.onnx,size=512", r"/none.onnx: expected an ONNX file, found none"),
        (
            "onnx:/none.onnx,size=1,size=2",
            r"/none.onnx,size=1,size=2: expected each option once, got size twice",
        ),
        ("results:/none", r"/none: expected a folder of pictures, found none"),
    ],
)
def test_what_cannot_be_opened_is_told(spec: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        open_peer(spec)
    assert re.fullmatch(message, str(caught.value)), str(caught.value)


def test_an_unknown_option_is_told(tmp_path: Path) -> None:
    path = graphs.lama(tmp_path / "lama.onnx")
    with pytest.raises(SettingsError, match=r"expected options size, .*, output, got 'strength'$"):
        open_peer(f"onnx:{path},strength=1")


NAMES: dict[str, Callable[[str, str], str]] = {
    "folders": lambda photo, family: f"{family}/{photo}.png",
    "two underscores": lambda photo, family: f"{photo}__{family}.png",
    "one underscore": lambda photo, family: f"{photo}_{family}.png",
    "capitals": lambda photo, family: f"{family.upper()}/{photo.upper()}.PNG",
    "tiff": lambda photo, family: f"{family}/{photo}.tiff",
    "bmp": lambda photo, family: f"{photo}_{family}.bmp",
}


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_found_by_their_names(name: str, tmp_path: Path) -> None:
    cases = _cases()
    saved = {
        case.key: _save(tmp_path / NAMES[name](case.photo, case.family), seed=i)
        for i, case in enumerate(cases)
    }
    method = results_method(tmp_path)
    check_results(method, cases)
    check_results(tmp_path, cases)
    check_results(str(tmp_path), cases)
    for case in cases:
        assert (method.fill(_hole(case.photo, case.family)) == saved[case.key]).all()
    assert_repeats(method, [_hole(photo, family) for photo in "ab" for family in FAMILIES])


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "tif", "tiff", "bmp", "JPG"])
def test_photos_with_one_hole_each_need_no_family(suffix: str, tmp_path: Path) -> None:
    cases = _cases(families=("all",))
    for case in cases:
        _save(tmp_path / f"{case.photo}.{suffix}", make_hole(64, 48).pixels)
    check_results(tmp_path, cases)
    filled = results_method(tmp_path).fill(_hole("b", "all"))
    assert np.abs(filled.astype(int) - make_hole(64, 48).pixels).mean() < 8


def test_a_picture_of_one_hole_is_not_taken_for_another(tmp_path: Path) -> None:
    for photo in "abc":
        _save(tmp_path / f"{photo}.png")
    with pytest.raises(
        InputError, match=r"each of 6 holes, 6 are missing; of a/thin, the first, looked for thin/a\.\*, "
    ):
        check_results(tmp_path, _cases())
    method = results_method(tmp_path)
    for _ in range(2):
        method.fill(_hole("a", "thin"))
    with pytest.raises(
        InputError, match=r"a\.png: expected the picture of one hole, got both a/thin and a/thick$"
    ):
        method.fill(_hole("a", "thick"))
    clash = [_hole("x", "a_b").case, _hole("x_a", "b").case]
    _save(tmp_path / "x_a_b.png")
    with pytest.raises(
        InputError, match=r"x_a_b\.png: expected the picture of one hole, got both x/a_b and x_a/b$"
    ):
        check_results(tmp_path, clash)


def test_missing_pictures_are_counted_before_any_work(tmp_path: Path) -> None:
    cases = _cases()
    for case in (cases[0], cases[4]):
        _save(tmp_path / f"{case.photo}_{case.family}.png")
    message = (
        f"{tmp_path}: expected a picture for each of 6 holes, 4 are missing; "
        "of a/thick, the first, looked for thick/a.*, a__thick.*, a_thick.*"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        check_results(results_method(tmp_path), cases)
    with pytest.raises(
        InputError, match=r"expected a picture of a/thick, looked for thick/a\.\*, .*, a\.\*$"
    ):
        results_method(tmp_path).fill(_hole("a", "thick"))
    with pytest.raises(InputError, match=r"looked for all/b\.\*, b__all\.\*, b_all\.\*, b\.\*$"):
        check_results(tmp_path, [_hole("b", "all").case])


def test_two_pictures_of_one_hole_are_both_named(tmp_path: Path) -> None:
    for first, second, family in (
        ("thin/a.png", "thin/a.jpg", "thin"),
        ("b.png", "b_all.png", "all"),
    ):
        photo = Path(first).stem
        _save(tmp_path / first)
        _save(tmp_path / second)
        with pytest.raises(InputError) as caught:
            check_results(tmp_path, [_hole(photo, family).case])
        assert str(caught.value).startswith(f"{photo}/{family}: expected one picture, found both ")
        assert {str(tmp_path / first), str(tmp_path / second)} <= set(str(caught.value).split())
    with pytest.raises(InputError, match="expected one picture, found both"):
        results_method(tmp_path).fill(_hole("a", "thin"))


def test_another_size_is_told(tmp_path: Path) -> None:
    path = tmp_path / "thin" / "a.png"
    _save(path, noise((48, 60, 3)))
    method = results_method(tmp_path)
    message = f"{path}: expected 64 x 48, the size of a/thin, got 60 x 48"
    with pytest.raises(PhotoError, match=f"^{re.escape(message)}$"):
        method.fill(_hole())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(PhotoError):
        method.fill(_hole())


def test_folders_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"expected pictures \(\.png, .*\.bmp\), found none$"):
        results_method(tmp_path)
    with pytest.raises(InputError, match=r"notes\.txt: expected a folder of pictures, found none$"):
        check_results(tmp_path / "notes.txt", _cases())


def test_other_methods_have_no_pictures_to_be_checked() -> None:
    check_results(open_peer("telea"), _cases())
    check_results(replace(open_peer("telea"), id="results:x"), _cases())


def test_results_are_known_by_their_names_and_contents(tmp_path: Path) -> None:
    def sha256() -> str:
        found = json.loads(json.dumps(dict(results_method(tmp_path).identity)))["sha256"]
        assert re.fullmatch("[0-9a-f]{64}", found)
        return str(found)

    _save(tmp_path / "thin" / "a.png", seed=0)
    first = sha256()
    (tmp_path / "notes.txt").write_text("not looked at")
    assert sha256() == first
    _save(tmp_path / "thin" / "a.png", seed=1)
    assert sha256() != first
    _save(tmp_path / "thin" / "a.png", seed=0)
    assert sha256() == first
    (tmp_path / "thin" / "a.png").rename(tmp_path / "thin" / "b.png")
    assert sha256() != first
