"""Tables that say which mask is whose."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quick_model import Folders, quick_model

from moebius.batch.gather import gather
from moebius.batch.table import Row, is_table, read_table
from moebius.errors import InputError, MoebiusError, OutputError

ROWS: list[dict[str, Any]] = [
    {"photo": "photos/000.png", "mask": "masks/000.png", "output": "", "seed": 7, "key": "", "note": "x"},
    {"photo": "photos/001.jpg", "mask": "masks/001.png", "output": "new/one.webp", "seed": None, "key": "k"},
]


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(
            pyarrow.table({name: [row.get(name) for row in rows] for name in columns}), path
        )
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".ndjson", ".parquet"])
def test_every_kind_of_table(folders: Folders, kind: str) -> None:
    table = write_table(folders.photos.parent / f"table{kind}", ROWS)
    found = gather(folders.request(photos=str(table), masks=None))
    first, second = found.items
    assert (first.photo, first.mask) == (str(folders.photos / "000.png"), str(folders.masks / "000.png"))
    assert (first.output_name, first.seed, first.key) == ("photos/000.png", 7, "")
    assert (second.output_name, second.seed, second.key) == ("new/one.webp", None, "k")
    records = folders.run(quick_model(), photos=str(table), masks=None)
    assert [record.status for record in records] == ["done", "done"]
    assert set(folders.outputs()) == {"photos/000.png", "new/one.webp"}
    assert [record.settings["seed"] for record in records] == [7, 0]
    assert folders.run(quick_model(), photos=str(table), masks=None) == []


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), max_size=5
    )
)
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("table")
    rows = [{"photo": name, "mask": name, "key": name} for name in names]
    for kind in (".csv", ".jsonl"):
        if rows:
            assert list(read_table(write_table(folder / f"a{kind}", rows))) == [
                Row(n, n, key=n) for n in names
            ]


def test_photos_elsewhere(folders: Folders) -> None:
    elsewhere = folders.photos.parent / "lists" / "table.csv"
    elsewhere.parent.mkdir()
    write_table(elsewhere, [{"photo": "../photos/000.png", "mask": str(folders.masks / "000.png")}])
    (item,) = gather(folders.request(photos=str(elsewhere), masks=None)).items
    assert item.output_name == "000.png" and Path(item.photo).samefile(folders.photos / "000.png")


def test_boxes(tmp_path: Path) -> None:
    table = tmp_path / "a.jsonl"
    boxes = ["1,2,3,4; 5,6,7,8", [1, 2, 3, 4], [[1, 2, 3, 4], "10%,2,3,4"], None]
    write_table(table, [{"photo": "a.png", "mask": "a.png", "box": box} for box in boxes])
    assert [row.boxes for row in read_table(table)] == [
        ("1,2,3,4", "5,6,7,8"), ("1,2,3,4",), ("1,2,3,4", "10%,2,3,4"), (),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a column photo, got none"),
        ("picture,mask\na,b\n", "expected a column photo, got picture, mask"),
        ("photo,mask\na\n", "line 2: expected 2 columns"),
        ("photo,mask\na,b,c\n", "line 2: expected 2 columns"),
        ("photo,mask\n,b\n", "line 2: expected a photo, got none"),
        (
            "photo,mask,seed\na,b,-1\n",
            "line 2, seed: expected a whole number from 0 to 18446744073709551615, got '-1'",
        ),
        ("photo,mask,seed\na,b,x\n", "seed: expected a whole number"),
        ('photo,mask\n"a,b\n', "cannot be read as a table"),
        ("photo\na\n", "expected a mask or a box for a, got none"),
        ("photo,mask,output\na.png,b,../c.png\n", "expected a path below OUT"),
        ("photo,mask,output\na.png,b,c.psd\n", "expected a suffix of .jpg"),
        ("photo,mask\na.png,b\na.png,c\n", "a.png and a.png: expected outputs of different names"),
    ],
)
def test_bad_csv(folders: Folders, text: str, message: str) -> None:
    table = folders.photos.parent / "table.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        gather(folders.request(photos=str(table), masks=None))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: expected a JSON object"),
        ("[1]", "line 1: expected a JSON object, got list"),
        ('{"photo": 3}', "line 1, photo: expected text, got 3"),
        ('{"photo": "a", "seed": true}', "seed: expected a whole number"),
        ('{"photo": "a", "seed": 1.5}', "seed: expected a whole number"),
        ('{"photo": "a", "box": 3}', "box: expected x,y,w,h, got 3"),
        ('{"photo": "a", "box": ' + "[" * 400 + "]" * 400 + "}", r"box: expected x,y,w,h, got \[{60}\.\.\.$"),
        ('{"photo": "a", "box": "\\ud800"}', r"box: expected x,y,w,h, got '\\ud800'$"),
        ('{"photo": "\\ud800.png"}', r"line 1, photo: expected text, got '\\ud800.png'$"),
        ('{"photo": "a", "key": "\\udfff\\ud800"}', "line 1, key: expected text"),
        ("[" * 100_000, r"line 1: expected a JSON object \(maximum recursion"),
        ('{"photo": "a", "seed": ' + "9" * 5000 + "}", "line 1: expected a JSON object"),
        ('{"photo": "a", "seed": ' + "9" * 4000 + "}", r"line 1, seed: expected .*, got 9{60}\.\.\.$"),
        ('{"photo": "a", "seed": "' + "9" * 5000 + '"}', r"line 1, seed: expected .*, got '9{59}\.\.\.$"),
    ],
)
def test_bad_json_lines(tmp_path: Path, line: str, message: str) -> None:
    table = tmp_path / "a.jsonl"
    table.write_text(line)
    with pytest.raises(InputError, match=message) as caught:
        list(read_table(table))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
def test_missing_and_damaged_tables(tmp_path: Path, kind: str) -> None:
    table = tmp_path / f"a{kind}"
    assert is_table(str(table)) and not is_table(str(tmp_path / "a.png")) and not is_table("s3://b/a.csv")
    with pytest.raises(InputError, match=f"a{kind}"):
        list(read_table(table))
    table.write_bytes(bytes(range(256)))
    with pytest.raises(MoebiusError):
        list(read_table(table))


def test_masks_beside_a_table(folders: Folders) -> None:
    table = write_table(folders.photos.parent / "a.csv", ROWS[:1])
    with pytest.raises(InputError, match="MASKS: expected none beside a table"):
        gather(folders.request(photos=str(table)))


def test_the_photos_own_place(folders: Folders) -> None:
    """An output is never written over its own photo or mask, whatever is allowed."""
    table = write_table(folders.photos.parent / "a.csv", ROWS[:1])
    with pytest.raises(OutputError, match=r"000.png: expected another place than the photo's own"):
        folders.run(quick_model(), photos=str(table), masks=None, out=str(table.parent), overwrite=True)


@pytest.mark.parametrize("what", ["photo", "mask"])
def test_another_photos_place(folders: Folders, what: str) -> None:
    """Not even where the first row would have replaced the second one's photo or mask by then."""
    other = "photos/001.jpg" if what == "photo" else "masks/000.png"
    rows = [{"photo": "photos/000.png", "box": "1,2,3,4", "output": other},
            {"photo": "photos/001.jpg", "mask": "masks/000.png", "output": "new.png"}]  # fmt: skip
    table = write_table(folders.photos.parent / "a.jsonl", rows)
    (folders.photos.parent / "link").symlink_to(folders.photos.parent)
    with pytest.raises(OutputError, match=rf"expected another place than that of the {what} .*{other}"):
        gather(folders.request(photos=str(table), masks=None, out=str(folders.photos.parent / "link")))
