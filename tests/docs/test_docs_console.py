"""What pages show of commands is what these print, and the pictures are what they make."""

from __future__ import annotations

from pathlib import Path

import docs_console
import docs_pictures
import numpy as np
import pytest
from PIL import Image

PAGES = docs_console.pages()
LONG = ("tutorial.md", "howto/product-set.md", "cannot.md")
"""Pages that fill several photos."""
NEEDS = {"howto/fine-tune.md": "accelerate"}
ALIKE = 4.0
"""Levels of 255 by which a picture may differ in the mean: JPEG's loss, and last bits of other processors."""


def named(page: Path) -> str:
    return page.relative_to(docs_console.DOCS).as_posix()


def cases() -> list[object]:
    slow = pytest.mark.slow
    return [pytest.param(page, id=named(page), marks=slow if named(page) in LONG else ()) for page in PAGES]


@pytest.mark.parametrize("page", cases())
def test_page_shows_what_its_commands_print(page: Path) -> None:
    if named(page) in NEEDS:
        pytest.importorskip(NEEDS[named(page)], reason="training's libraries are not installed")
    with docs_console.workshop() as folder:
        text = docs_console.run_page(page, folder)
        made = docs_pictures.sheets(page, folder)
    assert text == page.read_text(encoding="utf-8"), "scripts/docs --update writes down what is printed now"
    for place, picture in made.items():
        kept = Image.open(place).convert("RGB")
        assert kept.size == picture.size, place
        difference = np.abs(np.asarray(kept, np.float32) - np.asarray(picture, np.float32)).mean()
        assert difference < ALIKE, f"{place}: scripts/docs --pictures makes it anew"


def test_every_page_with_pictures_is_run() -> None:
    assert set(docs_pictures.SHEETS) <= {named(page) for page in PAGES}


@pytest.mark.parametrize("name", [name for sheets in docs_pictures.SHEETS.values() for name in sheets])
def test_pictures_are_small_and_shown(name: str) -> None:
    place = docs_pictures.IMAGES / name
    assert place.stat().st_size < docs_pictures.MOST_BYTES
    page = next(page for page, sheets in docs_pictures.SHEETS.items() if name in sheets)
    assert f"images/{name})" in (docs_console.DOCS / page).read_text(encoding="utf-8")


def test_commands_are_told_from_their_output() -> None:
    body = "$ one a \\\n    b\nout 1\nout 2\n$ two\n$ three\nend\n"
    found = [(command, output) for _, command, output in docs_console.commands(body)]
    assert found == [("$ one a \\\n    b", "out 1\nout 2\n"), ("$ two", ""), ("$ three", "end\n")]


def test_only_what_varies_is_left_out() -> None:
    was = "2 filled; 4.5 s, 26.4 photos a minute, network busy 16%\n"
    now = "2 filled; 31 s, 3.9 photos a minute, network busy 7%\n"
    assert docs_console.normal(was) == docs_console.normal(now)
    assert docs_console.normal(was) != docs_console.normal(now.replace("2 filled", "3 filled"))


def test_wrong_output_is_put_right_and_right_output_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        '# A\n\n```python title="say.py"\nprint("0.1 s")\nprint("two")\n```\n\ntext\n\n'
        "```console\n$ python say.py\n7 s\ntwo\n$ python say.py\n7 s\nthree\n$ pwd\n```\n\n```sh\nfalse\n```\n"
    )
    text = docs_console.run_page(page, tmp_path)
    assert "$ python say.py\n7 s\ntwo\n$ python say.py\n0.1 s\ntwo\n$ pwd\n...\n```\n" in text
    assert text.startswith(page.read_text()[:40]) and text.endswith("```sh\nfalse\n```\n")


def test_commands_must_not_fail_in_silence(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ moebius inpaint none.jpg none.png -o out.jpg\n```\n")
    assert "moebius: error: photo none.jpg: no such file" in docs_console.run_page(page, tmp_path)
    page.write_text("```console\n$ ls none\n```\n")
    with pytest.raises(docs_console.CommandError, match="ls none: exit code"):
        docs_console.run_page(page, tmp_path)
