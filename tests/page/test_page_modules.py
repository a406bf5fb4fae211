"""The page without a browser: node runs its modules, tsc reads their types, and its files are what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from moebius.imaging import read_mask
from moebius.page import FOLDER

HERE = Path(__file__).parent
TYPESCRIPT = "7.0.2"
SIZE = 300_000
"""Bytes of all that a browser fetches for the page before any model, below."""
FILES = sorted(
    path
    for path in FOLDER.rglob("*")
    if path.is_file() and path.suffix not in (".py", ".pyc") and path.name != "tsconfig.json"
)
OURS = [path for path in FILES if path.parent == FOLDER]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which node finds the page's modules."""
    if shutil.which("node") is None:
        pytest.skip("no node here")
    copy = tmp_path_factory.mktemp("modules") / "page"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (copy / "package.json").write_text('{"type": "module"}')  # the browser needs none
    return {**os.environ, "MOEBIUS_PAGE": str(copy), "NODE_NO_WARNINGS": "1"}


@pytest.mark.parametrize("name", sorted(path.name for path in HERE.glob("*.test.mjs")))
def test_modules(node: dict[str, str], name: str) -> None:
    command = ["node", "--test", "--test-reporter=spec", str(HERE / name)]
    done = subprocess.run(command, env=node, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"pass [1-9]", done.stdout), "expected some tests"


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 3), (333, 250)])
def test_masks_are_png_files_that_everybody_reads(node: dict[str, str], size: tuple[int, int]) -> None:
    width, height = size
    mask = np.random.default_rng(width).random((height, width)) < 0.4
    code = """
    const { maskToPng } = await import(`${process.env.MOEBIUS_PAGE}/png.js`);
    const chunks = [];
    for await (const chunk of process.stdin) chunks.push(chunk);
    const { width, height, data } = JSON.parse(Buffer.concat(chunks));
    const file = await maskToPng({ width, height, data: Uint8Array.from(data) });
    process.stdout.write(Buffer.from(await file.arrayBuffer()));
    """
    given = json.dumps({"width": width, "height": height, "data": mask.ravel().astype(int).tolist()})
    done = subprocess.run(
        ["node", "--input-type=module", "-e", code],
        env=node,
        input=given.encode(),
        capture_output=True,
        check=True,
    )
    assert (read_mask(done.stdout, size=size) == mask).all()


def test_types(pytestconfig: pytest.Config) -> None:
    """tsc --strict over the JSDoc types. TypeScript is installed once, into pytest's cache."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here")
    cache = pytestconfig.cache
    assert cache is not None
    folder = cache.mkdir(f"typescript-{TYPESCRIPT}")
    compiler = folder / "node_modules" / ".bin" / "tsc"
    if not compiler.exists():
        install = [
            "npm",
            "install",
            "--no-save",
            "--no-audit",
            "--no-fund",
            "--fetch-retries=0",
            "--prefix",
            str(folder),
        ]
        try:
            got = subprocess.run(
                [*install, f"typescript@{TYPESCRIPT}"],
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
            )
        except subprocess.TimeoutExpired:
            pytest.skip("TypeScript cannot be had here within 30 s")
        if got.returncode != 0:
            pytest.skip(f"TypeScript cannot be had here: {got.stderr.strip()[-200:]}")
    done = subprocess.run([str(compiler), "-p", str(FOLDER)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("kind", "other"), [("server", "browser_engine.js"), ("browser", "server_engine.js")]
)
def test_the_page_is_small(kind: str, other: str) -> None:
    """All that its document names, and what that imports; the engine of the other kind is never fetched."""
    fetched: set[Path] = set()
    left = [FOLDER / name for name in ("index.html", "service_worker.js", "manifest.webmanifest")]
    while left:
        path = left.pop()
        if path in fetched or path.name == other:
            continue
        assert path.is_file(), path
        fetched.add(path)
        if path.suffix == ".html":
            named = re.findall(r'(?:src|href)="page/([^"]+)"', path.read_text(encoding="utf-8"))
            left += [FOLDER / each for each in named]
        elif path.suffix == ".js":
            code = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
            left += [(path.parent / each).resolve() for each in re.findall(r'"(\.{1,2}/[\w/]+\.js)"', code)]
    assert {FOLDER / "app.js", FOLDER / "style.css", FOLDER / f"{kind}_engine.js"} <= fetched
    if kind == "browser":
        server_alone = {"server_engine.js", "server_events.js"}
        assert {path.name for path in set(FILES) - fetched} == {*server_alone, "types.js"}, (
            "all others are of use"
        )
    total = sum(path.stat().st_size for path in fetched)
    assert total < SIZE, f"{total} bytes in {len(fetched)} files"


@pytest.mark.parametrize(
    "path", [path for path in OURS if path.suffix in (".js", ".css")], ids=lambda p: p.name
)
def test_shape_of_the_files(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) <= 300
    assert max(map(len, lines)) <= 140
    assert lines[0].startswith("/*"), "expected a comment that says what the file is for"


@pytest.mark.parametrize("path", [path for path in OURS if path.suffix != ".jpg"], ids=lambda p: p.name)
def test_nothing_comes_from_elsewhere(path: Path) -> None:
    text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//[a-z0-9-]+\.[a-z]", text)
    assert "toDataURL" not in text and "innerHTML" not in text and "eval(" not in text


class Outline(HTMLParser):
    """What the page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.commands: set[str] = set()
        self.buttons: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        if identity := values.get("id"):
            self.ids.append(identity)
        self.links += [value for name, value in attrs if name in ("src", "href", "popovertarget") and value]
        if command := values.get("data-command"):
            self.commands.add(command)
        if tag == "button":
            self.words = values.get("aria-label") or ""

    def handle_data(self, data: str) -> None:
        if self.words is not None:
            self.words += data.strip()

    def handle_endtag(self, tag: str) -> None:
        if tag == "button" and self.words is not None:
            self.buttons.append(self.words)
            self.words = None


@pytest.fixture(scope="module")
def outline() -> Outline:
    return Outline((FOLDER / "index.html").read_text("utf-8"))


def test_every_link_leads_somewhere(outline: Outline) -> None:
    assert len(set(outline.ids)) == len(outline.ids)
    for link in outline.links:
        if link.startswith("#") or ("/" not in link and "." not in link):
            assert link.removeprefix("#") in outline.ids, link
        elif link != "manifest.webmanifest":  # at the root of a static site only
            assert (FOLDER / link.removeprefix("page/")).is_file(), link


def test_scripts_find_their_elements(outline: Outline) -> None:
    code = "".join(path.read_text("utf-8") for path in OURS if path.suffix == ".js")
    assert set(re.findall(r'element\("([\w-]+)"', code)) <= set(outline.ids)
    assert outline.commands <= set(re.findall(r'^ +"?([\w-]+)"?: (?:\{|tool)', code, re.MULTILINE))


def test_every_control_has_a_name(outline: Outline) -> None:
    assert len(outline.buttons) > 20 and all(outline.buttons)
    for tag, values in outline.tags:
        if tag in ("input", "canvas") and values.get("type") != "file" and values.get("id") != "token-text":
            assert values.get("aria-label"), values
        if tag == "img":
            assert "alt" in values


def test_no_script_or_style_in_the_markup(outline: Outline) -> None:
    """A strict content security policy would refuse them."""
    for tag, values in outline.tags:
        assert not any(name.startswith("on") or name == "style" for name in values), values
        assert tag != "style" and (tag != "script" or values.get("src"))
