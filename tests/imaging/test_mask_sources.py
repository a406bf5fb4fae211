"""Masks read off pixels, and all sources together."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import encoded, exif
from made_photos import disc, photo, picture, within
from made_profiles import grey_profile, power, rgb_profile
from PIL import Image

from moebius.errors import MaskError
from moebius.imaging import Hole, Photo, read_photo
from moebius.imaging.arrays import Mask
from moebius.imaging.mask_pixels import alpha_mask, difference_mask, key_mask, opaque_under
from moebius.imaging.mask_sources import MaskSources, check_share, stored_orientation
from moebius.imaging.metadata import Metadata

WIDTH, HEIGHT = 96, 80
HOLE = disc(WIDTH, HEIGHT, (40, 30), 12)
OTHER = disc(WIDTH, HEIGHT, (70, 60), 8)


def save(path: Path, mask: Mask) -> str:
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return str(path)


@pytest.mark.parametrize(("dtype", "half"), [(np.uint8, 128), (np.uint16, 32768)])
def test_alpha_below_half_is_filled_and_becomes_opaque(dtype: type, half: int) -> None:
    seen = photo("RGBA", dtype=dtype)
    assert seen.alpha is not None
    seen.alpha[0, :2] = half - 1, half
    mask = alpha_mask(seen)
    assert mask[0, 0] and not mask[0, 1]
    np.testing.assert_array_equal(mask, seen.alpha < half)
    opaque = opaque_under(seen, mask)
    assert opaque.alpha is not None and opaque.pixels is seen.pixels
    assert (opaque.alpha[mask] == np.iinfo(dtype).max).all()
    np.testing.assert_array_equal(opaque.alpha[~mask], seen.alpha[~mask])
    assert seen.alpha[0, 0] == half - 1, "the photo given must not change"


def test_alpha_of_a_photo_that_has_none() -> None:
    with pytest.raises(MaskError, match="expected a photo with transparency, got RGB without"):
        alpha_mask(photo("RGB"))
    plain = photo("L")
    assert opaque_under(plain, HOLE) is plain


@given(st.integers(0, 255), st.integers(0, 2**32))
@settings(deadline=None, max_examples=40)
def test_key_colour(tolerance: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    key = np.array([0xC0, 0x11, 0x7F])
    expected = np.abs(pixels.astype(int) - key).max(axis=-1) <= tolerance
    np.testing.assert_array_equal(key_mask(read_photo(pixels), "#c0117F", tolerance), expected)
    deep = read_photo(pixels.astype(np.uint16) * 257)
    np.testing.assert_array_equal(key_mask(deep, "c0117f", tolerance), expected)


def test_key_colour_of_grey_and_ink() -> None:
    grey = Photo(np.where(HOLE, np.uint8(200), np.uint8(60))[..., None], "L")
    np.testing.assert_array_equal(key_mask(grey, "#ccc", 4), HOLE)
    inks = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    inks[HOLE, 1] = 255  # magenta
    np.testing.assert_array_equal(key_mask(Photo(inks, "CMYK"), "#f0f", 0), HOLE)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_copies_of_another_depth_do_not_differ(mode: str) -> None:
    """Also with a tone curve far from sRGB's: samples are compared as stored."""
    made = rgb_profile(power(1.8)) if mode == "RGB" else grey_profile(power(1.8))
    pixels = picture(WIDTH, HEIGHT, channels=3 if mode == "RGB" else 1).reshape(HEIGHT, WIDTH, -1)
    eight = Photo(pixels, mode, metadata=Metadata(icc=made))
    sixteen = Photo(pixels.astype(np.uint16) * 257, mode, metadata=Metadata(icc=made))
    assert not difference_mask(eight, sixteen, 0).any() and not difference_mask(sixteen, eight, 0).any()
    colour = "#" + bytes(np.broadcast_to(pixels[30, 40], 3)).hex()
    found = key_mask(eight, colour, 0)
    assert found[30, 40]
    np.testing.assert_array_equal(key_mask(sixteen, colour, 0), found)


@pytest.mark.parametrize("colour", ["", "red", "#12345", "#gggggg", "#ff00ff00"])
def test_wrong_key_colours(colour: str) -> None:
    with pytest.raises(MaskError, match="expected a colour such as #ff00ff, got"):
        MaskSources(key=colour or "#")


def test_large_photos_are_worked_on_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = read_photo(picture(60, 50)), read_photo(picture(60, 50, seed=3))
    other.pixels[20:30, 10:40] = 255
    whole = key_mask(other, "fff", 40), difference_mask(one, other)
    monkeypatch.setattr("moebius.imaging.mask_pixels._STRIP", 60 * 3)
    np.testing.assert_array_equal(key_mask(other, "fff", 40), whole[0])
    np.testing.assert_array_equal(difference_mask(one, other), whole[1])
    assert whole[0].any() and whole[1].any()


@pytest.mark.parametrize("quality", [60, 75, 95])
def test_a_scribbled_copy_saved_as_jpeg(quality: int) -> None:
    pixels = picture(WIDTH, HEIGHT)
    scribbled = pixels.copy()
    scribbled[HOLE] = (255, 0, 0)
    copy = read_photo(encoded(Image.fromarray(scribbled), "JPEG", quality=quality))
    mask = difference_mask(read_photo(pixels), copy)
    assert (mask & HOLE).sum() > 0.97 * HOLE.sum()
    assert not (mask & ~within(HOLE, 8)).any()  # JPEG smears colour over its blocks
    unpainted = read_photo(encoded(Image.fromarray(pixels), "JPEG", quality=quality))
    assert not difference_mask(read_photo(pixels), unpainted).any()


def test_difference_is_the_mean_of_25_pixels() -> None:
    before = np.full((20, 20, 3), 100, np.uint8)
    after = before.copy()
    after[10, 10, 1] = 225
    one, other = read_photo(before), read_photo(after)
    mask = difference_mask(one, other, 4)
    assert mask.sum() == 25 and mask[8:13, 8:13].all()
    assert not difference_mask(one, one, 0).any()
    after[10, 10, 1] = 175  # of brightness 44
    assert not difference_mask(one, read_photo(after), 15).any()
    np.testing.assert_array_equal(difference_mask(other, one, 4), mask)


@pytest.mark.parametrize("colour", [(255, 255, 255), (20, 20, 20), (255, 240, 0)])
@pytest.mark.parametrize("size", [(60, 1), (1, 60), (1, 1)])
def test_thin_strokes_of_some_contrast_are_found(colour: tuple[int, ...], size: tuple[int, int]) -> None:
    before = np.full((60, 60, 3), 130, np.uint8)
    after = before.copy()
    painted = after[20 : 20 + size[0], 30 : 30 + size[1]]
    painted[:] = colour
    found = difference_mask(read_photo(before), read_photo(after))
    assert found[20 : 20 + size[0], 30 : 30 + size[1]].all() and found.sum() <= 25 + 5 * max(size)
    painted[:] = 130 - 64  # exactly the limit
    assert not difference_mask(read_photo(before), read_photo(after)).any()


def test_a_copy_of_another_size() -> None:
    with pytest.raises(MaskError, match="got 20 x 30 for a photo of 96 x 80"):
        difference_mask(photo("RGB"), photo("RGB", 20, 30))


def test_sources_are_united_kept_and_cleaned(tmp_path: Path) -> None:
    first, second = save(tmp_path / "ä.png", HOLE), save(tmp_path / "b.png", OTHER)
    seen = photo("RGB")
    _, union = MaskSources(files=(first, Path(second).read_bytes()), boxes=("0,0,4,4",)).mask_of(seen)
    expected = HOLE | OTHER
    expected[:4, :4] = True
    np.testing.assert_array_equal(union, expected)
    ring = save(tmp_path / "ring.png", HOLE & ~disc(WIDTH, HEIGHT, (40, 30), 5))
    core = save(tmp_path / "core.png", disc(WIDTH, HEIGHT, (40, 30), 2))
    _, kept = MaskSources(
        files=(ring,), boxes=("0,0,2,2",), keep=(core,), fill_holes=True, drop_specks=5
    ).mask_of(seen)
    np.testing.assert_array_equal(kept, HOLE & ~disc(WIDTH, HEIGHT, (40, 30), 2))


def test_inverting_is_for_mask_images(tmp_path: Path) -> None:
    file = save(tmp_path / "a.png", ~HOLE)
    sources = MaskSources(
        files=(file,), boxes=("0,0,4,4",), keep=(save(tmp_path / "k.png", OTHER),), invert=True
    )
    expected = HOLE & ~OTHER
    expected[:4, :4] = True
    np.testing.assert_array_equal(sources.mask_of(photo("RGB"))[1], expected)


def test_what_was_erased_is_opaque_with_its_margin() -> None:
    alpha = np.where(HOLE, np.uint8(0), np.where(within(HOLE, 2), np.uint8(200), np.uint8(255)))
    seen = Photo(picture(WIDTH, HEIGHT), "RGB", alpha)
    filled, mask = MaskSources(alpha=True, boxes=("80,70,5,5",), grow=3).mask_of(seen)
    assert filled.alpha is not None and (filled.alpha == 255).all() and (alpha[HOLE] == 0).all()
    assert mask.sum() == HOLE.sum() + 25


def test_annotations_among_the_files(tmp_path: Path) -> None:
    data = {
        "images": [{"id": 1, "file_name": "p.jpg", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 5, "name": "cup"}],
        "annotations": [{"image_id": 1, "category_id": 5, "segmentation": [[2, 3, 9, 3, 9, 8, 2, 8]]}],
    }
    file = tmp_path / "a.json"
    file.write_text(json.dumps(data))
    for source in (str(file), file.read_bytes()):
        _, mask = MaskSources(files=(source,), categories=("cup",)).mask_of(photo("RGB"), "p.jpg")
        assert mask.sum() == mask[3:8, 2:9].sum() == 35
    with pytest.raises(MaskError, match="--invert: expected mask images, got annotations"):
        MaskSources(files=(str(file),), invert=True).mask_of(photo("RGB"), "p.jpg")
    with pytest.raises(MaskError, match="--category: expected an annotation file, got mask images"):
        MaskSources(files=(save(tmp_path / "m.png", HOLE),), categories=("cup",)).mask_of(photo("RGB"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "expected a mask file, --box, .* got none"),
        ({"keep": ("a.png",)}, "expected a mask file, --box"),
        ({"boxes": ("1,1,2,2",), "invert": True}, "--invert: expected a mask file"),
        ({"boxes": ("1,1,2,2",), "categories": ("x",)}, "--category: expected an annotation file"),
        ({"alpha": True, "key_in": "a.png"}, "--key-in: expected a colour in --key"),
        ({"alpha": True, "key_tolerance": 3}, "--key-tolerance: expected a --key"),
        ({"alpha": True, "difference": 3}, "--difference: expected a photo in --differs-from"),
        ({"key": "#fff", "key_tolerance": 256}, "key tolerance: expected 0 to 255, got 256"),
        ({"differs_from": "a.png", "difference": -1}, "difference: expected 0 to 255, got -1"),
        ({"alpha": True, "close_gaps": 513}, "close_gaps: expected 0 to 512, got 513"),
        ({"alpha": True, "drop_specks": -1}, "drop_specks: expected 0 or more pixels, got -1"),
    ],
)
def test_contradictions(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(MaskError, match=message):
        MaskSources(**fields)


def test_sources_travel() -> None:
    sources = MaskSources(files=("a.png", b"123"), boxes=("1,1,2,2",), key="#fff")
    assert pickle.loads(pickle.dumps(sources)) == sources
    told = json.loads(json.dumps(sources.to_dict()))
    assert told["boxes"] == ["1,1,2,2"] and told["key"] == "#fff"
    assert told != MaskSources(files=("a.png", b"124"), boxes=("1,1,2,2",), key="#fff").to_dict()


def test_large_masks_are_asked_about() -> None:
    mask = np.ones((10, 10), bool)
    mask[:1] = False
    with pytest.raises(
        MaskError, match=r"the mask covers 90% of the photo: white means fill; give --invert .* or --yes"
    ):
        check_share(mask)
    for options in ({"inverted": True}, {"from_file": False}):
        with pytest.raises(MaskError, match=r"covers 90% of the photo: give --yes to fill that much$"):
            check_share(mask, **options)
    mask[:2] = False
    check_share(mask)


def test_what_is_kept_stays_out_of_growth_and_opacity(tmp_path: Path) -> None:
    right = np.zeros((HEIGHT, WIDTH), bool)
    right[:, 52:] = True
    keep = save(tmp_path / "keep.png", right)
    seen = photo("RGBA")
    assert seen.alpha is not None
    seen.alpha[:] = np.where(HOLE, 0, 200)
    filled, hole = MaskSources(alpha=True, keep=(keep,), grow=9).hole_of(seen)
    grown = hole.grown(9).mask
    np.testing.assert_array_equal(grown, within(HOLE & ~right, 9) & ~right)
    assert filled.alpha is not None
    np.testing.assert_array_equal(filled.alpha == 255, grown)
    np.testing.assert_array_equal(filled.alpha[right], seen.alpha[right])
    np.testing.assert_array_equal(hole.grown(9).touched(4), within(grown, 4) & ~right)
    assert MaskSources(alpha=True).hole_of(seen)[1].kept is None


def test_holes_of_masks_that_do_not_belong_together() -> None:
    for kept in (OTHER[:-1], OTHER.astype(np.uint8)):
        with pytest.raises(ValueError, match=r"expected bool masks \(80, 96\), got"):
            Hole(HOLE, kept)  # type: ignore[arg-type]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_stored_orientation(format: str, orientation: int) -> None:
    options = {"tiffinfo": {274: orientation}} if format == "TIFF" else {"exif": exif(orientation)}
    data = encoded(Image.fromarray(picture(40, 30)), format, **options)
    assert stored_orientation(data) == stored_orientation(io.BytesIO(data)) == orientation


def test_stored_orientation_is_found_without_decoding() -> None:
    image, turned = Image.fromarray(picture(40, 30)), exif(6)
    png = encoded(image, "PNG", exif=turned)
    start = png.index(b"eXIf") - 4
    end = start + 12 + len(turned) - 6
    behind = png[:start] + png[end:-12] + png[start:end] + png[-12:]  # EXIF after the pixels
    assert read_photo(behind).size == (30, 40)
    pixels = behind.index(b"IDAT") + 4
    broken = bytearray(behind)
    broken[pixels : pixels + 40] = bytes(40)
    assert stored_orientation(bytes(broken)) == 6
    tiff = encoded(image, "TIFF", tiffinfo={274: 6}, compression="tiff_deflate")
    assert stored_orientation(tiff.replace(tiff[8:200], bytes(192), 1)) == 6
    for damaged in (0, 9):
        assert stored_orientation(encoded(image, "TIFF", tiffinfo={274: damaged})) == 1


def test_annotations_of_a_tiff_lying_on_its_side() -> None:
    tiff = encoded(Image.fromarray(picture(40, 30)), "TIFF", tiffinfo={274: 6})
    entry = {"id": 1, "file_name": "a.tif", "width": 40, "height": 30}
    outline = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 5]}
    labels = json.dumps({"images": [entry], "annotations": [outline], "categories": []}).encode()
    _, hole = MaskSources(files=(labels,)).hole_in(read_photo(tiff), tiff, "a.tif")
    expected = np.zeros((40, 30), bool)
    expected[:10, -5:] = True
    np.testing.assert_array_equal(hole.mask, expected)
