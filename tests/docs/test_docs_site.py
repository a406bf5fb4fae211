"""The site builds without a warning, every link leads somewhere, and nothing is loaded from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import docs_site
import pytest
from system_browser import system_browser

SPOILED = """<html><head><script src="https://cdn.example/a.js"></script><link rel="stylesheet" href="a.css">
<link rel="canonical" href="https://moebius.example/"></head><body><h1 id="top">x</h1><a href="https://other.example">out</a>
<a href="#top">up</a><a href="#none">no</a><a href="gone.html">gone</a><img src="there.png"></body></html>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in ("mkdocs", "material", "mkdocstrings", "mkdocstrings_handlers.python"):
        pytest.importorskip(module, reason="the extra [docs] is not installed")
    out = tmp_path_factory.mktemp("site") / "site"
    docs_site.build(out)
    return out


def test_site_has_no_faults(site: Path) -> None:
    assert docs_site.faults(site) == []


def test_pages_can_be_searched(site: Path) -> None:
    found = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    places = {entry["location"].split("#")[0] for entry in found}
    assert {"index.html", "howto/scratch.html", "reference/cli.html", "quality.html"} <= places


def test_reference_has_every_public_name(site: Path) -> None:
    import moebius

    text = (site / "reference" / "api.html").read_text(encoding="utf-8")
    names = set(moebius.__all__) - {"__version__"}
    assert {name for name in names if f".{name}" not in text} == set()
    assert 'id="moebius.pipeline.moebius.Moebius.__call__"' in text


def test_faults_are_found(tmp_path: Path) -> None:
    (tmp_path / "there.png").touch()
    (tmp_path / "page.html").write_text(SPOILED, encoding="utf-8")
    assert docs_site.faults(tmp_path) == [
        "page.html: loads https://cdn.example/a.js from elsewhere",
        "page.html: a.css leads nowhere",
        "page.html: #none has no such anchor",
        "page.html: gone.html leads nowhere",
    ]


def test_pages_fit_a_phone_and_ask_nobody(site: Path) -> None:
    asked: set[str] = set()
    with system_browser() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.on("request", lambda request: asked.add(request.url))
        for name in ("index", "tutorial", "howto/from-flux-fill", "reference/api", "reference/cli"):
            page.goto((site / f"{name}.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, name
            assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)"), name
    assert asked and all(url.startswith(("file:", "data:")) for url in asked)
