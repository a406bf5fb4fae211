"""Which mask belongs to which photo, and what pictures are called."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moebius.batch.names import READ, WRITTEN, check_below, check_outputs, is_image, output_name, stem_of
from moebius.batch.pairing import pair_by_stem, split_by_suffix
from moebius.errors import InputError, OutputError

words = st.text(
    st.characters(blacklist_characters="/.\0"), min_size=1, max_size=6
)  # any script, surrogates too
stems = st.builds("/".join, st.lists(words, min_size=1, max_size=3))
suffixes = st.sampled_from(["", "_mask", "-m"])


def composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


@given(st.lists(stems, unique_by=composed, max_size=12), st.data(), suffixes)
def test_everyone_is_paired_or_left_over(names: list[str], data: st.DataObject, suffix: str) -> None:
    with_mask = {name for name in names if data.draw(st.booleans())}
    photos = [f"{name}{data.draw(st.sampled_from(READ))}" for name in names]
    strays = data.draw(st.lists(stems, unique_by=composed, max_size=4))
    wanted = {composed(name) + suffix for name in names}
    masks = [f"{name}{suffix}.png" for name in sorted(with_mask)]
    masks += [f"{stray}.webp" for stray in strays if composed(stray) not in wanted]
    found = pair_by_stem(photos, masks, suffix)
    assert {stem_of(photo) for photo, _ in found.pairs} == {composed(name) for name in with_mask}
    assert all(stem_of(mask) == stem_of(photo) + suffix for photo, mask in found.pairs)
    assert sorted([photo for photo, _ in found.pairs] + list(found.photos_alone)) == sorted(photos)
    assert sorted([mask for _, mask in found.pairs] + list(found.masks_alone)) == sorted(masks)
    assert list(found.pairs) == sorted(found.pairs)
    assert pair_by_stem(photos[::-1], masks[::-1], suffix) == found


@given(st.lists(stems, unique_by=composed, max_size=8))
def test_photos_and_masks_in_one_folder(names: list[str]) -> None:
    photos = [f"{name}.jpg" for name in names if not composed(name).endswith("_mask")]
    masks = [f"{photo.removesuffix('.jpg')}_mask.png" for photo in photos]
    assert split_by_suffix([*photos, *masks], "_mask") == (photos, masks)
    assert pair_by_stem(photos, masks, "_mask").pairs == tuple(sorted(zip(photos, masks, strict=True)))


def test_accents_match_however_they_are_stored() -> None:
    found = pair_by_stem(["caf\u00e9.jpg"], ["cafe\u0301.png"])
    assert found.pairs == (("caf\u00e9.jpg", "cafe\u0301.png"),)


@pytest.mark.parametrize(
    ("photos", "masks", "suffix"),
    [
        (["a.jpg", "a.png"], ["a_mask.png"], "_mask"),
        (["d/a.jpg", "d/a.tif"], ["d/a.png"], ""),
        (["a.jpg"], ["a.png", "a.webp"], ""),
    ],
)
def test_duplicate_stems_name_both(photos: list[str], masks: list[str], suffix: str) -> None:
    twice = photos if len(photos) > 1 else masks
    with pytest.raises(InputError) as caught:
        pair_by_stem(photos, masks, suffix)
    assert all(name in str(caught.value) for name in twice) and "\n" not in str(caught.value)


def test_duplicate_stems_that_nobody_asks_for() -> None:
    found = pair_by_stem(["a.jpg", "a.png", "b.jpg"], ["b.png", "c.png", "c.webp"])
    assert (found.pairs, found.photos_alone) == ((("b.jpg", "b.png"),), ("a.jpg", "a.png"))
    assert found.masks_alone == ("c.png", "c.webp")


@given(stems, st.sampled_from(READ), st.sampled_from([None, *dict.fromkeys(WRITTEN.values())]))
def test_output_names(stem: str, suffix: str, format: str | None) -> None:
    photo = stem + suffix
    output = output_name(photo, format)
    assert is_image(photo) and output.removesuffix(PurePosixPath(output).suffix) == stem
    assert WRITTEN[PurePosixPath(output).suffix] == (format or WRITTEN.get(suffix, "png"))
    assert output == photo or WRITTEN.get(suffix) != WRITTEN[PurePosixPath(output).suffix]


def test_output_names_by_example() -> None:
    assert output_name("a/B.JPEG") == "a/B.JPEG" == output_name("a/B.JPEG", "jpg")
    assert output_name("x.gif") == "x.png" and output_name("x.tar.jpg", ".TIF") == "x.tar.tif"
    with pytest.raises(OutputError, match=r"--format: expected one of jpeg, png, .*, got 'gif'"):
        output_name("x.jpg", "gif")


@pytest.mark.parametrize("other", ["a.png", "A.png", "a.PNG"])
def test_two_photos_with_one_output(other: str) -> None:
    with pytest.raises(OutputError, match=f"a.gif and b.png: .* got {other} for both"):
        check_outputs([("a.gif", "a.png"), ("c.png", "c.png"), ("b.png", other)])


def test_accents_alone_do_not_tell_outputs_apart() -> None:
    with pytest.raises(OutputError):
        check_outputs([("1", "caf\u00e9.png"), ("2", "cafe\u0301.png")])
    check_outputs([("1", "a.png"), ("2", "d/a.png"), ("3", "a.jpg")])


def test_outputs_of_a_table_stay_below() -> None:
    assert check_below("a//b.png") == "a/b.png"
    for name in ("", ".", "..", "../a.png", "a/../../b.png", "/etc/a.png"):
        with pytest.raises(InputError, match="expected a path below OUT"):
            check_below(name)
