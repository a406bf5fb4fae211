"""The site built strictly, and what could be wrong with the built pages: links to nowhere, assets from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {"NO_MKDOCS_2_WARNING": "1"}
"""Material for MkDocs advertises its successor on every build; that is no warning about these pages."""

LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}


class BuildError(Exception):
    """The site does not build without warnings."""


def build(out: Path) -> None:
    """Build the site into `out`.

    Raises:
        BuildError: with what MkDocs said, warnings included.
    """
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out.absolute())],
        cwd=ROOT, env=os.environ | ENVIRONMENT, text=True, capture_output=True,
    )  # fmt: skip
    if done.returncode or "WARNING" in done.stderr:
        raise BuildError(done.stdout + done.stderr)


class _Page(HTMLParser):
    """The anchors, links and loaded files of one page."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if values.get(LOADED.get(tag, "")) and values.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(values[LOADED[tag]])


def faults(site: Path) -> list[str]:
    """What is wrong with a built site, a line each: nothing, if all is well. The page for lost visitors is left out."""
    pages = {
        path: _Page(path.read_text(encoding="utf-8"))
        for path in site.rglob("*.html")
        if path.name != "404.html"
    }
    return [
        f"{path.relative_to(site)}: {fault}"
        for path, page in pages.items()
        for fault in _faults(path, page, pages)
    ]


def _faults(path: Path, page: _Page, pages: dict[Path, _Page]) -> Iterator[str]:
    for address in page.loaded:
        if urlsplit(address).netloc:
            yield f"loads {address} from elsewhere"
    for address in page.loaded + page.links:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        target = target / "index.html" if target.is_dir() else target
        if not target.is_file():
            yield f"{address} leads nowhere"
        elif (
            parts.fragment
            and target in pages
            and unquote(parts.fragment) not in pages[target].anchors | {"__top"}
        ):
            yield f"{address} has no such anchor"
