"""COCO and LabelMe files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import random_mask

from moebius.errors import MaskError
from moebius.imaging.annotations import decode_counts, looks_like_annotations, read_annotations
from moebius.imaging.arrays import Mask
from moebius.imaging.exif import turn_upright

WIDTH, HEIGHT = 20, 12
SIZE = (WIDTH, HEIGHT)


def counts_of(mask: Mask) -> list[int]:
    """Run lengths down the columns, beginning with zeros."""
    counts, current = [0], False
    for value in mask.T.reshape(-1):
        if value != current:
            counts.append(0)
            current = bool(value)
        counts[-1] += 1
    return counts


def encode(counts: list[int]) -> str:
    """COCO's string: differences from the fourth number on, in groups of 5 bits, lowest first, sign in the last."""
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        while True:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text += chr(48 + group + 32 * more)
            if not more:
                break
    return text


def coco(*annotations: dict[str, Any], **image: Any) -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "train/other.jpg", "width": 99, "height": 98},
            {"id": 3, "file_name": "train/photo.jpg", "width": WIDTH, "height": HEIGHT, **image},
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
        "annotations": [{"image_id": 3, "category_id": 1, **each} for each in annotations],
    }


def labelme(*shapes: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {
        "version": "5", "imagePath": "..\\photos\\photo.jpg", "imageWidth": WIDTH, "imageHeight": HEIGHT,
        "shapes": [{"label": "person", "shape_type": "polygon", **shape} for shape in shapes], **values,
    }  # fmt: skip


def read(values: Any, **options: Any) -> Mask:
    data = values if isinstance(values, bytes) else json.dumps(values).encode()
    return read_annotations(data, **{"size": SIZE, "name": "photos/photo.jpg", **options})


def rectangle(left: int, top: int, right: int, bottom: int) -> Mask:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


SQUARE = [2, 3, 8, 3, 8, 9, 2, 9]
OTHER = [10, 0, 20, 0, 20, 2, 10, 2]


@given(st.lists(st.integers(0, 2**31), max_size=40))
@settings(deadline=None, max_examples=200)
def test_counts_come_back_from_their_string(counts: list[int]) -> None:
    assert decode_counts(encode(counts)) == counts


def test_strings_decoded_by_hand() -> None:
    """P is 32 + 0: another group follows; N is 30, which is -2 of 5 bits, and counts from the number two before."""
    assert decode_counts("03") == [0, 3]
    assert decode_counts("0P1") == [0, 32]
    assert decode_counts("054N5M") == [0, 5, 4, 5 - 2, 4 + 5, 3 - 3]


def test_numbers_that_never_end_are_refused() -> None:
    assert decode_counts("o" * 11 + "3")
    with pytest.raises(ValueError, match="a number of more than 60 bits"):
        decode_counts("o" * 12 + "3")


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.02, 0.3, 0.5, 0.97, 1.0]))
@settings(deadline=None, max_examples=80)
def test_run_lengths(seed: int, density: float) -> None:
    mask = random_mask(seed, density, HEIGHT, WIDTH)
    for counts in (counts_of(mask), encode(counts_of(mask))):
        found = read(coco({"segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}, "iscrowd": 1}))
        np.testing.assert_array_equal(found, mask)


def test_polygons_and_boxes() -> None:
    two = coco({"segmentation": [SQUARE, OTHER]}, {"bbox": [0, 10, 4, 2], "category_id": 18})
    persons, dogs = rectangle(2, 3, 8, 9) | rectangle(10, 0, 20, 2), rectangle(0, 10, 4, 12)
    np.testing.assert_array_equal(read(two), persons | dogs)
    np.testing.assert_array_equal(read(two, categories=["person"]), persons)
    np.testing.assert_array_equal(read(two, categories=["18"]), dogs)
    np.testing.assert_array_equal(read(two, categories=["dog", "person"]), persons | dogs)
    assert not read(coco({"segmentation": [SQUARE]}), categories=["dog"]).any()


def test_labelme_shapes() -> None:
    values = labelme(
        {"points": [[2, 3], [8, 3], [8, 9], [2, 9]]},
        {"shape_type": "rectangle", "points": [[20, 2], [10, 0]], "label": "sign"},
        {"shape_type": "circle", "points": [[15.5, 6.5], [15.5, 8.5]], "label": "ball"},
    )
    polygon, sign = rectangle(2, 3, 8, 9), rectangle(10, 0, 20, 2)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    ball = (columns - 15) ** 2 + (rows - 6) ** 2 <= 4
    np.testing.assert_array_equal(read(values), polygon | sign | ball)
    np.testing.assert_array_equal(read(values, categories=["sign"]), sign)


def test_the_photo_is_found_by_its_name() -> None:
    values = coco({"segmentation": [SQUARE]})
    for name in ("photo.jpg", "photo.png", "/a/train/photo.jpg", "c:\\train\\photo.jpg"):
        assert read(values, name=name).any()
    twice = coco({"segmentation": [SQUARE]})
    twice["images"].append({"id": 4, "file_name": "val/photo.jpg", "width": WIDTH, "height": HEIGHT})
    assert read(twice, name="data/train/photo.jpg").any() and not read(twice, name="data/val/photo.jpg").any()
    with pytest.raises(MaskError, match=r"one entry for photo.jpg, got 2"):
        read(twice, name="photo.jpg")
    values["images"] = values["images"][1:]
    assert read(values, name=None).any()


def test_accents_taken_apart_are_the_same_name(tmp_path: Path) -> None:
    file = tmp_path / "Größe.json"
    file.write_text("\ufeff" + json.dumps(coco({"segmentation": [SQUARE]}, file_name="Cafe\u0301 ☕.jpg")))
    assert read_annotations(file, size=SIZE, name="Caf\u00e9 ☕.jpg").any()


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_annotations_of_the_photo_lying_on_its_side(orientation: int) -> None:
    """Turning the drawn mask is what turning the photo does."""
    turned = read(coco({"segmentation": [SQUARE]}), size=(HEIGHT, WIDTH), orientation=orientation)
    np.testing.assert_array_equal(turned, turn_upright(rectangle(2, 3, 8, 9), orientation))
    with pytest.raises(MaskError, match="got 20 x 12 for a photo of 12 x 20"):
        read(coco({"segmentation": [SQUARE]}), size=(HEIGHT, WIDTH))


def broken(**change: Any) -> dict[str, Any]:
    return coco({"segmentation": [SQUARE], **change})


def runs(counts: Any, size: Any = (HEIGHT, WIDTH)) -> dict[str, Any]:
    return coco({"segmentation": {"size": size, "counts": counts}})


BAD = {
    "not JSON": (b"{", "expected JSON"),
    "not UTF-8": (b'{"a": "\xff"}', "expected JSON"),
    "other JSON": ({"a": 1}, "expected COCO .* or LabelMe"),
    "a list": ([1], "expected COCO .* or LabelMe"),
    "very deep": (b"[" * 100_000, "expected JSON"),
    "another photo": (
        coco(file_name="x.jpg"),
        "one entry for photo.jpg, got 0 .the file has train/other.jpg, x.jpg",
    ),
    "another size": (coco(width=21), "got 21 x 12 for a photo of 20 x 12"),
    "no image ids": ({"images": [{"file_name": "photo.jpg"}], "annotations": [{"image_id": 3}]}, "no 'id'"),
    "size of words": (coco(width="wide"), "a size of wide x 12"),
    "odd polygon": (broken(segmentation=[[1, 2, 3, 4, 5]]), "a polygon of 5 numbers"),
    "two points": (broken(segmentation=[[1, 2, 3, 4]]), "a polygon of 2 points"),
    "words": (broken(segmentation=[["a", 2, 3, 4, 5, 6]]), "damaged"),
    "nan": (broken(segmentation=[[float("nan"), 2, 3, 4, 5, 6]]), "no number of pixels"),
    "far": (broken(segmentation=[[1e300, 2, 3, 4, 5, 6]]), "no number of pixels"),
    "short runs": (runs([0, 5]), "run lengths of 5 pixels instead of 240"),
    "negative runs": (runs([-5, 245]), "no whole numbers"),
    "float runs": (runs([0.0, 240.0]), "no whole numbers"),
    "string cut off": (runs("0P"), "end within a number"),
    "alphabet": (runs("0 "), "hold the character ' '"),
    "huge": (runs([10**12], (10**6, 10**6)), "run lengths for 1000000 x 1000000"),
    "labels of another photo": (
        labelme(imagePath="x.jpg"),
        "expected annotations of photo.jpg, got those of x.jpg",
    ),
    "a point": (labelme({"shape_type": "point", "points": [[1, 1]]}), "got a point .person"),
    "a line": (labelme({"shape_type": "linestrip", "points": [[1, 1], [2, 2]]}), "got a linestrip"),
    "circle of one": (labelme({"shape_type": "circle", "points": [[1, 1]]}), "a circle of 1 points"),
    "no points": (labelme({}), "no 'points'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_annotations(case: str) -> None:
    values, message = BAD[case]
    with pytest.raises(MaskError, match=message) as caught:
        read(values)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_unknown_categories() -> None:
    with pytest.raises(MaskError, match="a category out of dog, person, got 'cat'"):
        read(coco({"segmentation": [SQUARE]}), categories=["cat"])
    with pytest.raises(MaskError, match="a label out of person, got 'cat'"):
        read(labelme({"points": [[1, 1], [5, 1], [5, 5]]}), categories=["cat"])


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=r"nowhere.json: no such file"):
        read_annotations(tmp_path / "nowhere.json", size=SIZE)
    with pytest.raises(MaskError, match="cannot be read"):
        read_annotations(tmp_path, size=SIZE)


def test_json_is_told_from_images() -> None:
    assert looks_like_annotations(b"\xef\xbb\xbf \n {") and looks_like_annotations(b"[")
    assert not looks_like_annotations(b"\x89PNG") and not looks_like_annotations(b"")
