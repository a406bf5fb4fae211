"""Protocols: the files that come with the package, what a wrong one is answered with, and the holes they give."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_stubs import write_photos
from PIL import Image

from moebius.errors import InputError, MaskError
from moebius.evaluation import protocol_file
from moebius.evaluation.holes import Case, open_case
from moebius.evaluation.protocol import (
    DrawnMask,
    ImageRule,
    InvertedMask,
    MaskRule,
    Protocol,
    RunRule,
    cases,
    list_sha256,
    open_protocol,
    protocol_names,
)
from moebius.evaluation.provenance import hole_id
from moebius.imaging import grow_objects
from moebius.weights.registry import MODELS

BENCHMARKS = {
    "places2-test": 10_000,
    "places2-large": 36_500,
    "places2-small": 36_500,
    "places2-256": 36_500,
    "celebahq-512": 3_000,
    "ffhq-256": 10_000,
    "lvis": 10_000,
    "deepfakeface": 3_000,
}
"""Pictures of each published one (the paper's section 4.1 and supplement)."""
LIST = """\
name = "mine"
title = "Three pictures"
kind = "list"
about = "Made up."

[images]
pattern = "picture_{:04d}.png"
first = 7
count = 3
side = 64
download = "Draw three pictures."

[masks]
generator = "free-form:mat_small"
low = 0.1
high = 0.6
seed = 5

[run]
model = "nano"
"""


def write_list(folder: Path, text: str = LIST) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def write_pictures(folder: Path, names: list[str], size: tuple[int, int] = (80, 70)) -> Path:
    random = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def write_mask(path: Path, size: tuple[int, int] = (64, 64), ground: int = 0) -> None:
    mask = np.full((size[1], size[0]), ground, np.uint8)
    mask[20:30, 20:40] = 255 - ground
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(mask).save(path)


@pytest.fixture
def mine(tmp_path: Path) -> Protocol:
    return open_protocol(write_list(tmp_path))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "data", [f"picture_{i:04d}.png" for i in (7, 8, 9)])


def one_line(caught: pytest.ExceptionInfo[InputError]) -> str:
    message = str(caught.value)
    assert "\n" not in message
    return message


# The files of the package


def test_the_protocols_are_these() -> None:
    assert protocol_names() == sorted([*BENCHMARKS, "photos", "planted", "removal"])


@pytest.mark.parametrize("name", protocol_names())
def test_every_protocol_opens(name: str) -> None:
    protocol = open_protocol(name)
    assert protocol.name == name and protocol.about.strip() and protocol.open_points
    assert protocol.run.model in MODELS
    assert (protocol.kind == "list") == (name in BENCHMARKS) == bool(protocol.published)


@pytest.mark.parametrize(("name", "count"), BENCHMARKS.items())
def test_published_benchmarks_are_run_as_published(name: str, count: int) -> None:
    protocol = open_protocol(name)
    portraits = name in ("celebahq-512", "ffhq-256", "deepfakeface")
    assert protocol.images.count == count
    assert protocol.images.side == (256 if "256" in name else 512)
    assert (protocol.run.steps, protocol.run.guidance) == (20, 2.0 if portraits else 2.5)
    assert protocol.run.metrics == ("fid", "lpips")
    assert protocol.published[-1].method == "Moebius" and not protocol.published[-1].copied
    assert len({row.method for row in protocol.published}) == len(protocol.published)
    assert all(set(row.values) == {"fid", "lpips"} for row in protocol.published)


@pytest.mark.parametrize(
    ("name", "generator", "low", "high"),
    [
        ("places2-test", "lama:thick_512", 0.4, 0.5),
        ("places2-large", "free-form:mat_large", 0, 1),
        ("places2-small", "free-form:mat_small", 0, 1),
        ("places2-256", "free-form:comodgan", 0, 1),
        ("celebahq-512", "free-form:mat_large", 0, 1),
        ("ffhq-256", "lama:thick_256", 0, 1),
        ("lvis", "lama:thick_512", 0.4, 0.5),
        ("deepfakeface", "free-form:mat_large", 0, 1),
    ],
)
def test_masks_are_as_published(name: str, generator: str, low: float, high: float) -> None:
    assert open_protocol(name).masks == MaskRule(generator=generator, low=low, high=high)


# The paper's tables 3, 4 and 7: (FID, LPIPS, copied by the paper).
PAPER = {
    "places2-test": {
        "Moebius": (9.48, 0.207, False),
        "FLUX.1-Fill-Dev": (8.02, 0.279, False),
        "MAT": (9.27, 0.211, True),
        "LDM": (21.42, 0.232, True),
        "RoRem": (24.17, 0.297, False),
    },
    "places2-large": {
        "Moebius": (2.35, 0.173, False),
        "FLUX.1-Fill-Dev": (1.86, 0.179, False),
        "MAT": (2.90, 0.189, True),
        "HiFill": (28.92, 0.284, True),
    },
    "places2-small": {
        "Moebius": (0.92, 0.091, False),
        "FLUX.1-Fill-Dev": (0.94, 0.099, False),
        "MAT": (1.07, 0.099, True),
        "DDNM": (5.43, 0.839, False),
    },
    "places2-256": {
        "Moebius": (14.13, 0.470, False),
        "FLUX.1-Fill-Dev": (10.44, 0.391, False),
        "MAT": (14.38, 0.394, True),
        "SD3.5 Large-Inpainting": (74.29, 0.595, False),
    },
    "celebahq-512": {
        "Moebius": (5.39, 0.122, False),
        "FLUX.1-Fill-Dev": (10.13, 0.141, False),
        "MAT": (4.86, 0.125, True),
        "ICT": (12.84, 0.195, True),
    },
    "ffhq-256": {
        "Moebius": (8.15, 0.231, False),
        "FLUX.1-Fill-Dev": (11.19, 0.268, False),
        "MAT": (9.04, 0.232, False),
        "PixelHacker": (6.35, 0.229, True),
    },
    "lvis": {
        "Moebius": (17.81, 0.309, False),
        "FLUX.1-Fill-Dev": (14.52, 0.339, False),
        "MAT": (18.08, 0.312, False),
        "MI-GAN": (25.88, 0.347, False),
    },
    "deepfakeface": {
        "Moebius": (15.32, 0.173, False),
        "FLUX.1-Fill-Dev": (12.24, 0.174, False),
        "MAT": (25.60, 0.203, False),
    },
}
COLUMNS = {
    "places2-test": (14, 7, 267.64, 3.910),
    "places2-large": (14, 7, 117.33, 3.660),
    "places2-small": (14, 7, 40.48, 2.336),
    "places2-256": (13, 6, 386.57, 6.145),
    "celebahq-512": (18, 9, 227.30, 3.424),
    "ffhq-256": (13, 5, 486.35, 4.463),
    "lvis": (7, 0, 236.28, 2.612),
    "deepfakeface": (6, 0, 193.64, 1.421),
}
"""Of the paper's columns: rows, copied rows, sum of FID, sum of LPIPS. A slip in any row shows."""


@pytest.mark.parametrize("name", BENCHMARKS)
def test_published_rows_are_the_papers(name: str) -> None:
    rows = {row.method: (row.fid, row.lpips, row.copied) for row in open_protocol(name).published}
    assert {method: rows[method] for method in PAPER[name]} == PAPER[name]
    fid, lpips = (
        sum(row.values[metric] for row in open_protocol(name).published) for metric in ("fid", "lpips")
    )
    copied = sum(row.copied for row in open_protocol(name).published)
    assert (len(rows), copied, round(fid, 2), round(lpips, 3)) == COLUMNS[name]


# Opening


def test_a_person_s_own_file(tmp_path: Path) -> None:
    protocol = open_protocol(str(write_list(tmp_path)))
    assert protocol.images == ImageRule(
        pattern="picture_{:04d}.png", first=7, count=3, side=64, download="Draw three pictures."
    )
    assert protocol.masks == MaskRule(generator="free-form:mat_small", low=0.1, high=0.6, seed=5)
    assert protocol.run == RunRule(model="nano") and (protocol.run.steps, protocol.run.guidance) == (
        None,
        None,
    )


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        open_protocol("places-large")
    assert "did you mean places2-large" in one_line(caught)
    with pytest.raises(InputError) as caught:
        open_protocol("?")
    assert one_line(caught).startswith("protocol: expected one of celebahq-512, deepfakeface")


WRONG: dict[str, tuple[tuple[str, str], str]] = {
    "unknown key": (
        ("low = 0.1", "lowest = 0.1"),
        r"masks\.lowest: expected a field of generator, low, high, seed, got 'lowest' \(did you mean low\?\)$",
    ),
    "unknown table": (("[run]", "[runs]"), r"runs: expected a field of name, .*did you mean run\?"),
    "text for a number": (("low = 0.1", 'low = "0.1"'), r"masks\.low: expected a number, got '0\.1'$"),
    "fraction for a whole number": (
        ("count = 3", "count = 3.5"), r"images\.count: expected a whole number, got 3\.5$",
    ),
    "true for a number": (("first = 7", "first = true"), r"images\.first: expected a whole number, got True$"),
    "number for a text": (('title = "Three pictures"', "title = 3"), r"title: expected text, got 3$"),
    "number for a list": (('about = "', 'open_points = 3\nabout = "'), r"open_points: expected a list of texts"),
    "numbers in a list": (('about = "', 'open_points = [3]\nabout = "'), r"open_points: expected a list of texts"),
    "no table": (('[run]\nmodel = "nano"', "run = 3"), r"masks\.run: expected a field of"),
    "number for a table": (('about = "', 'published = [3]\nabout = "'), r"published\[0\]: expected a table, got 3"),
    "missing value": (("side = 64\n", ""), r"images\.side: expected one in a list, none elsewhere, got nothing$"),
    "missing table": (('[run]\nmodel = "nano"', ""), r"run: expected a value, got nothing$"),
    "unknown kind": (('"list"', '"lists"'), r"kind: expected one of list, manifest, removal, planted, got 'lists'"),
    "other kind": (('"list"', '"removal"'), r"images: expected a pattern or glob in a list, none elsewhere"),
    "unknown generator": (
        ("mat_small", "mat_smal"),
        r"masks\.generator: expected one of lama:thin_256, .*did you mean free-form:mat_small",
    ),
    "low above high": (
        ("low = 0.1", "low = 0.7"), r"masks\.low: expected 0 <= low < high <= 1, high 0\.6, got 0\.7$",
    ),
    "negative seed": (("seed = 5", "seed = -5"), r"masks\.seed: expected 0 to 2\*\*32 - 1, got -5$"),
    "no place for a number": (
        ("{:04d}", "0001"), r"images\.pattern: expected one place for a whole number, like {:05d}, got",
    ),
    "two places": (("{:04d}", "{}_{}"), r"images\.pattern: expected one place for a whole number"),
    "two rules": (("first = 7", 'glob = "*"'), r"images\.glob: expected none beside a pattern, got '\*'$"),
    "no count": (("count = 3\n", ""), r"images\.count: expected a number beside a pattern, got nothing$"),
    "unknown metric": (('"nano"', '"nano"\nmetrics = ["psnr"]'), r"run\.metrics: expected one of fid, .*got 'psnr'"),
    "no steps": (('"nano"', '"nano"\nsteps = 0'), r"run\.steps: expected a whole number from 1 to 1000, got 0$"),
    "a name that is a path": (('"mine"', '"../mine"'), r"name: expected a-z, 0-9, \. _ -, got '\.\./mine'$"),
    "two families": (
        ('about = "', 'families = ["thin", "thick"]\nabout = "'), r"families: expected one, got \['thin', 'thick'\]$",
    ),
    "no TOML": (("[run]", "[run"), r"expected TOML, got: "),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_one_line(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    assert change[0] in LIST
    path = write_list(tmp_path, LIST.replace(*change))
    with pytest.raises(InputError) as caught:
        open_protocol(path)
    assert re.match(re.escape(f"{path}: ") + message, one_line(caught)), caught.value


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: expected a protocol \(No such file or directory\)$"):
        open_protocol(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes('name = "\xe9"'.encode("latin-1"))
    with pytest.raises(InputError, match="expected TOML, got: 'utf-8' codec") as caught:
        open_protocol(tmp_path / "latin.toml")
    one_line(caught)


# A list


def test_a_list_gives_its_holes(mine: Protocol, pictures: Path) -> None:
    found = cases(mine, pictures)
    assert [case.key for case in found] == ["picture_0007/all", "picture_0008/all", "picture_0009/all"]
    holes = [open_case(case) for case in found]
    assert all(hole.pixels.shape == (64, 64, 3) and hole.mask.shape == (64, 64) for hole in holes)
    assert all(0.1 < hole.mask.mean() < 0.6 for hole in holes)
    assert not np.array_equal(holes[0].mask, holes[1].mask)
    assert np.array_equal(holes[0].mask, open_case(cases(mine, pictures)[0]).mask)


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_hole_stays_the_same_whatever_the_limit(mine: Protocol, pictures: Path, limit: int) -> None:
    every = {case.key: open_case(case).mask for case in cases(mine, pictures)}
    some = cases(mine, pictures, limit=limit)
    assert len(some) == min(limit, 3)
    for case in some:
        assert np.array_equal(open_case(case).mask, every[case.key])


def test_limits_are_spread_over_the_list(mine: Protocol, pictures: Path) -> None:
    assert [case.photo for case in cases(mine, pictures, limit=1)] == ["picture_0008"]


def test_a_mask_hangs_on_seed_and_place_alone() -> None:
    rule = MaskRule(generator="lama:medium_256")
    first = rule.draw(0, 128)
    assert np.array_equal(first, rule.draw(0, 128))
    assert not np.array_equal(first, rule.draw(1, 128))
    assert not np.array_equal(first, dataclasses.replace(rule, seed=1).draw(0, 128))
    # Numbers are compared over years: a place's mask must stay. This one is of boxes, the same on any machine.
    assert int(MaskRule(generator="lama:medium_256", seed=3).draw(1, 256).sum()) == 4304
    with pytest.raises(MaskError, match="expected a square picture, got 64 x 32"):
        DrawnMask(rule, 0)((64, 32))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_masks_of_the_benchmarks_lie_in_their_range(name: str) -> None:
    protocol = open_protocol(name)
    assert protocol.masks is not None and protocol.images.side is not None
    for index in range(3):
        share = protocol.masks.draw(index, protocol.images.side).mean()
        assert protocol.masks.low < share < protocol.masks.high


def test_a_missing_data_set_is_told_with_what_to_get(tmp_path: Path) -> None:
    protocol = open_protocol("places2-test")
    with pytest.raises(InputError) as caught:
        cases(protocol, None)
    assert re.match(
        "places2-test: expected a data folder, got none. Get Places365-Standard", one_line(caught)
    )
    with pytest.raises(InputError) as caught:
        cases(protocol, tmp_path / "nowhere")
    assert f"expected a folder, found none at {tmp_path / 'nowhere'}. Get Places365" in one_line(caught)
    write_pictures(tmp_path, ["Places365_test_00000001.jpg", "Places365_test_00000002.jpg"])
    with pytest.raises(InputError) as caught:
        cases(protocol, tmp_path)
    assert one_line(caught).startswith(
        f"places2-test: 9,998 of 10,000 pictures are missing in {tmp_path}, "
        "the first is Places365_test_00000003.jpg. Get Places365-Standard, high-resolution test images"
    )


def test_pictures_that_a_limit_leaves_out_may_be_missing(mine: Protocol, pictures: Path) -> None:
    (pictures / "picture_0007.png").unlink()
    assert [case.photo for case in cases(mine, pictures, limit=1)] == ["picture_0008"]
    with pytest.raises(InputError, match=r"1 of 3 pictures are missing in .*the first is picture_0007\.png"):
        cases(mine, pictures)


def test_names_without_a_suffix_find_any_picture(tmp_path: Path) -> None:
    protocol = open_protocol(write_list(tmp_path, LIST.replace("picture_{:04d}.png", "{:05d}")))
    data = write_pictures(tmp_path / "faces", ["00007.png", "00008.jpg", "00009.webp"])
    found = cases(protocol, data)
    assert [case.image.name for case in found] == ["00007.png", "00008.jpg", "00009.webp"]
    assert [case.photo for case in found] == ["00007", "00008", "00009"]


def test_files_of_any_name(tmp_path: Path) -> None:
    rule = LIST.replace('pattern = "picture_{:04d}.png"\nfirst = 7\n', 'glob = "**/*"\n')
    protocol = open_protocol(write_list(tmp_path, rule))
    data = write_pictures(tmp_path / "wiki", ["01/b.jpg", "00/z.png", "00/c.PNG", "01/x.jpg"])
    (data / "00" / "readme.txt").write_text("no picture")
    (data / "00" / "._z.png").write_text("no picture either")
    assert [case.photo for case in cases(protocol, data)] == ["00/c", "00/z", "01/b"]
    shutil.rmtree(data / "01")
    with pytest.raises(
        InputError, match=r"mine: expected 3 pictures in .*, found 2\. Draw three pictures\.$"
    ):
        cases(protocol, data)


def test_a_list_file_replaces_the_rule(mine: Protocol, pictures: Path, tmp_path: Path) -> None:
    write_pictures(pictures, ["more/other.png"])
    names = tmp_path / "names.txt"
    names.write_text("\ufeffmore/other.png\r\n\n  picture_0009.png  \n", encoding="utf-8")
    found = cases(mine, pictures, list_file=names)
    assert [case.photo for case in found] == ["more/other", "picture_0009"]
    ruled = cases(mine, pictures)
    assert [case.mask for case in found] == [case.mask for case in ruled[:2]]  # by place
    open_case(found[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"names\.txt: expected a list of pictures, a path a line \(No such file"),
        ("\n", r"names\.txt: expected a path a line, found none$"),
        ("a.png\nb.png\n", r"mine: 2 of 2 pictures are missing in .*the first is a\.png"),
        ("picture_0007.png\n" * 2, "mine: expected every picture once, got picture_0007 2 times"),
    ],
)
def test_wrong_list_files(
    text: str | None, message: str, mine: Protocol, pictures: Path, tmp_path: Path
) -> None:
    names = tmp_path / "names.txt"
    if text is not None:
        names.write_text(text)
    with pytest.raises(InputError, match=message):
        cases(mine, pictures, list_file=names)


def test_masks_of_a_folder_are_paired_by_name(mine: Protocol, pictures: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    for i in (7, 8, 9):
        write_mask(masks / f"picture_{i:04d}.{'bmp' if i == 9 else 'png'}")
    found = cases(mine, pictures, masks=masks)
    assert [open_case(case).mask.sum() for case in found] == [200, 200, 200]
    assert list_sha256(found) != list_sha256(cases(mine, pictures))
    for i in (7, 8, 9):
        write_mask(masks / f"picture_{i:04d}.png", ground=255)
    inverted = cases(mine, pictures, masks=masks, invert=True)
    assert [open_case(case).mask.sum() for case in inverted] == [200, 200, 200]
    assert list_sha256(inverted) != list_sha256(found)


def test_missing_masks_are_counted(mine: Protocol, pictures: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    write_mask(masks / "picture_0008.png")
    for invert in (False, True):
        with pytest.raises(
            InputError, match=r"mine: 2 of 3 masks are missing in .*first is picture_0007\.png"
        ):
            cases(mine, pictures, masks=masks, invert=invert)
    with pytest.raises(InputError, match=r"mine: expected a folder, found none at .*nowhere$"):
        cases(mine, pictures, masks=tmp_path / "nowhere")


# A folder with a manifest


def test_a_manifest_gives_its_holes(tmp_path: Path) -> None:
    data = write_photos(tmp_path)
    found = cases(open_protocol("photos"), data)
    assert [case.key for case in found[:4]] == ["photo0/thin", "photo0/medium", "photo0/thick", "photo1/thin"]
    assert len(found) == 12 and {case.source for case in found} == {"ramps"}
    assert [case.group for case in found[::3]] == ["natural", "portrait", "natural", "portrait"]
    assert [int(open_case(case).mask.sum()) for case in found[:3]] == [3 * 40, 20 * 20, 34 * 34]
    assert open_case(found[0]).pixels.shape == (64, 64, 3)


def test_families_are_chosen_in_the_protocol_s_order(tmp_path: Path) -> None:
    data, protocol = write_photos(tmp_path), open_protocol("photos")
    some = cases(protocol, data, families=("thick", "thin"), limit=2)
    assert [case.key for case in some] == ["photo1/thin", "photo1/thick", "photo3/thin", "photo3/thick"]
    with pytest.raises(
        InputError, match=r"families: expected one of thin, medium, thick, got 'thik' \(did you"
    ):
        cases(protocol, data, families=("thik",))


def test_what_does_not_belong_to_a_manifest(tmp_path: Path) -> None:
    data, protocol = write_photos(tmp_path), open_protocol("photos")
    with pytest.raises(InputError, match="photos: expected no masks: the data folder brings its own"):
        cases(protocol, data, masks=data)
    with pytest.raises(InputError, match="photos: expected no list file"):
        cases(protocol, data, list_file=data / "names.txt")


def test_damaged_manifests(tmp_path: Path) -> None:
    protocol = open_protocol("photos")
    with pytest.raises(InputError) as caught:
        cases(protocol, tmp_path)
    told = one_line(caught)
    assert f"{tmp_path / 'manifest.jsonl'}: expected the list of the set's pictures (No such file" in told
    assert "not distributed with the program" in told and "MOEBIUS_EVAL_DATA" in told
    write_photos(tmp_path)
    manifest = tmp_path / "manifest.jsonl"
    lines = manifest.read_text().splitlines()
    (tmp_path / "photo2.png").unlink()
    (tmp_path / "mask1-thin.png").unlink()
    with pytest.raises(
        InputError, match=r"1 of 4 pictures are missing in .*, the first is photo2\.png\. The set"
    ):
        cases(protocol, tmp_path)
    with pytest.raises(InputError, match=r"1 of 2 masks are missing in .*, the first is mask1-thin\.png"):
        cases(protocol, tmp_path, families=("thin",), limit=2)
    for damage, message in {
        "{": r"line 2: expected id, group, image, masks, got JSONDecodeError",
        "[]": r"line 2: expected id, group, image, masks, got TypeError",
        '{"id": "a"}': r"line 2: expected id, group, image, masks, got KeyError\('masks'\)",
        lines[1].replace(
            '"thick"', '"huge"'
        ): r"line 2: expected a mask of family 'thick', got thin, medium, huge$",
        lines[0]: "photos: expected every picture once, got photo0 2 times",
    }.items():
        manifest.write_text("\n".join([lines[0], damage, *lines[2:]]))
        with pytest.raises(InputError, match=message) as caught:
            cases(protocol, tmp_path)
        one_line(caught)
    manifest.write_text("")
    with pytest.raises(InputError, match="expected a line a picture, found none"):
        cases(protocol, tmp_path)


def test_the_real_photos(eval_data: Path) -> None:
    found = cases(open_protocol("photos"), eval_data)
    assert len(found) == 450 and len({case.photo for case in found}) == 150
    assert open_case(found[-1]).pixels.shape == (512, 512, 3)


# Photos with objects


def test_pairs_of_photo_and_mask(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["kitten.jpg", "otter.png", "wren.jpg"])
    for name in ("kitten", "otter", "wren"):
        write_mask(tmp_path / f"{name}_mask.png", (80, 70))
    (tmp_path / "README.md").write_text("")
    found = cases(open_protocol("removal"), tmp_path)
    assert [case.key for case in found] == ["kitten/object", "otter/object", "wren/object"]
    hole = open_case(found[0])
    drawn = np.zeros((70, 80), bool)
    drawn[20:30, 20:40] = True
    assert hole.pixels.shape == (70, 80, 3)  # its own resolution
    assert np.array_equal(hole.mask, grow_objects(drawn, None)) and hole.mask.sum() > drawn.sum()
    (tmp_path / "otter_mask.png").unlink()
    with pytest.raises(
        InputError, match=r"removal: 1 of 3 masks are missing in .*is otter_mask\.png\. Nothing"
    ):
        cases(open_protocol("removal"), tmp_path)


def test_objects_in_a_manifest(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["a.png", "b.png"])
    write_mask(tmp_path / "hole.png", (80, 70))
    entries: list[dict[str, Any]] = [
        {"name": "kitten", "image": "a.png", "mask": "hole.png", "object": "a kitten", "licence": "CC0"},
        {"name": "otter", "image": "b.png", "mask": "hole.png"},
    ]
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    found = cases(open_protocol("removal"), tmp_path)
    assert [(case.photo, case.source) for case in found] == [("kitten", "a kitten"), ("otter", "")]
    open_case(found[1])
    for damage in ("{", "[3]", '[{"name": "a"}]', "3"):
        (tmp_path / "manifest.json").write_text(damage)
        with pytest.raises(InputError, match="expected a list of name, image, mask, object, got") as caught:
            cases(open_protocol("removal"), tmp_path)
        one_line(caught)


def test_a_folder_without_photos(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"removal: expected photos in .*, found none. Nothing needs to be"):
        cases(open_protocol("removal"), tmp_path)


def test_the_examples() -> None:
    found = cases(open_protocol("removal"), Path(__file__).parents[2] / "examples")
    assert [case.photo for case in found] == ["rocket", "shuttle", "spoon"]
    assert open_case(found[0]).mask.shape == (427, 640)


# What was measured


def test_a_list_is_known_by_its_digest(mine: Protocol, pictures: Path, tmp_path: Path) -> None:
    digest = list_sha256(cases(mine, pictures))
    moved = shutil.copytree(pictures, tmp_path / "elsewhere")
    assert digest == list_sha256(cases(mine, moved))
    assert mine.masks is not None
    reseeded = dataclasses.replace(mine, masks=dataclasses.replace(mine.masks, seed=6))
    smaller = dataclasses.replace(mine, images=dataclasses.replace(mine.images, side=32))
    others = [
        list_sha256(cases(mine, pictures, limit=2)),
        list_sha256(cases(reseeded, pictures)),
        list_sha256(cases(smaller, pictures)),
        list_sha256(reversed(cases(mine, pictures))),
    ]
    assert len({digest, *others}) == 5
    stranger = Case(photo="a", image=pictures / "a.png", mask=lambda size: np.ones(size, bool))
    with pytest.raises(TypeError, match="expected a case of a protocol"):
        list_sha256([stranger])


def test_what_tells_measurements_apart(tmp_path: Path) -> None:
    """A hole is found again by its name, its files' sizes and how it is made: not by anything else."""
    image, mask = tmp_path / "a.png", tmp_path / "m.png"
    image.write_bytes(b"12345")
    mask.write_bytes(b"123")
    rule = MaskRule(generator="lama:thin_256")
    case = Case(photo="a", image=image, mask=DrawnMask(rule, 3), side=64)
    assert hole_id(case) == hole_id(dataclasses.replace(case, source="told otherwise", group="elsewhere"))
    others = [
        dataclasses.replace(case, mask=DrawnMask(rule, 4)),
        dataclasses.replace(case, mask=DrawnMask(dataclasses.replace(rule, seed=1), 3)),
        dataclasses.replace(case, mask=mask),
        dataclasses.replace(case, mask=InvertedMask(mask)),
        dataclasses.replace(case, side=65),
        dataclasses.replace(case, crop=(8, 8)),
        dataclasses.replace(case, family="thin"),
    ]
    assert len({hole_id(each) for each in (case, *others)}) == 8
    before = {hole_id(each) for each in (case, *others)}
    mask.write_bytes(b"1234")
    assert len(before - {hole_id(each) for each in (case, *others)}) == 2
    image.write_bytes(b"123456")
    assert not before & {hole_id(each) for each in (case, *others)}


@pytest.mark.parametrize("slip", [("17.81", "17.18"), ("25.88", "25.98"), ("0.339", "0.399")])
def test_the_test_of_published_rows_can_fail(
    slip: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = shutil.copytree(protocol_file.HOME, tmp_path / "protocols")
    text = (home / "lvis.toml").read_text()
    assert slip[0] in text
    (home / "lvis.toml").write_text(text.replace(*slip))
    monkeypatch.setattr(protocol_file, "HOME", home)
    with pytest.raises(AssertionError):
        test_published_rows_are_the_papers("lvis")
