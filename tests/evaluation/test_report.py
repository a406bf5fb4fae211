"""The report: one file that needs nothing else, says what the numbers say, and works in a browser and without one."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from report_data import METRICS, make_alone, make_groups, make_results, make_rows, make_unpaired
from system_browser import system_browser

from moebius.errors import OutputError
from moebius.evaluation.page.tables import verdict
from moebius.evaluation.report import Picture, ShownCase, ShownGroup, choose_cases, write_report
from moebius.evaluation.rows import Row

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_rows()


@pytest.fixture(scope="module")
def results(rows: list[Row]) -> dict[str, Any]:
    return make_results(rows)


@pytest.fixture(scope="module")
def report(results: dict[str, Any], rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, results, rows, make_groups(rows))
    return path


@pytest.fixture(scope="module")
def page(report: Path) -> str:
    return report.read_text("utf-8")


@pytest.fixture
def few(results: dict[str, Any]) -> dict[str, Any]:
    """Results of one metric: quick to draw."""
    return results | {"metrics": [metric for metric in results["metrics"] if metric["name"] == "lpips_crop"]}


class Outline(HTMLParser):
    """Which elements are open where, and what they load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.links: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.links += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")
        ]
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_elements_are_closed_and_nothing_is_loaded(page: str) -> None:
    outline = Outline(page)
    assert outline.open == []
    assert all(link.startswith(("data:", "#")) for link in outline.links)
    assert outline.count["script"] == outline.count["style"] == 1
    assert outline.count["img"] == 3 * 2 * 2 * 8
    assert "Content-Security-Policy" in page
    assert "url(" not in page.split("</style>")[0]


def test_the_same_input_gives_the_same_bytes(rows: list[Row], few: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, few, rows, make_groups(rows, count=1))
    first = path.read_bytes()
    write_report(path, few, rows, make_groups(rows, count=1))
    assert path.read_bytes() == first


def test_sections_in_order(page: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == [
        "At a glance",
        "Results",
        "Cost",
        "Plots",
        "Published",
        "Pictures",
        "Open points",
        "Provenance",
    ]
    assert "6 methods filled the same 120 holes in 40 photos." in page
    assert page.count('class="eyebrow"') == 1
    assert "belong to their owners" in page


def test_a_table_for_every_part(page: str) -> None:
    parts = re.findall(r'data-holes="(\w+)" data-photos="(\w+)"', page)
    families, groups = ("thin", "medium", "thick", "all"), ("natural", "portrait", "all")
    assert parts == [(family, group) for family in families for group in groups]


def test_the_best_is_bold_references_apart(page: str) -> None:
    table = page[page.index('data-holes="all" data-photos="all"') :].split("</table>")[0]
    lines = {line.split("<")[0]: line for line in table.split('scope="row">')[1:]}
    bold = [title for title, line in lines.items() if 'class="best"' in line]
    assert "truth through the autoencoder" not in bold and len(bold) > 1
    assert table.count('class="best"') == len(METRICS)


def test_one_method_alone(tmp_path: Path) -> None:
    results, rows, groups = make_alone()
    write_report(tmp_path / "alone.html", results | {"metrics": METRICS[:1]}, rows, groups)
    text = (tmp_path / "alone.html").read_text("utf-8")
    assert "nothing to compare" in text and 'class="best"' not in text
    assert "<h2>Published</h2>" not in text and "<h2>Cost</h2>" not in text
    assert Outline(text).open == []


def test_without_a_truth(tmp_path: Path) -> None:
    write_report(tmp_path / "removal.html", *make_unpaired())
    text = (tmp_path / "removal.html").read_text("utf-8")
    assert "there is no truth" in text and "PSNR" not in text


def test_without_rows_pictures_and_differences(few: dict[str, Any], tmp_path: Path) -> None:
    results = few | {"differences": [], "cost": [], "published": [], "provenance": {}}
    results["protocol"] = results["protocol"] | {"open_points": [], "resolution": 512}
    write_report(tmp_path / "bare.html", results, [], [])
    text = (tmp_path / "bare.html").read_text("utf-8")
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["At a glance", "Results", "Plots"]
    assert "in 40 photos of 512 × 512 px." in text
    assert "No differences between methods" in text


def test_everything_from_data_is_escaped(tmp_path: Path) -> None:
    results, rows, groups = make_unpaired()
    evil: dict[str, Any] = results | {
        "protocol": {"name": EVIL, "title": EVIL, "about": EVIL, "open_points": [EVIL], "paired": False},
        "methods": [method | {"title": f"{EVIL} {method['id']}"} for method in results["methods"]],
        "metrics": [
            metric | {"title": f"{EVIL} {metric['name']}", "about": EVIL} for metric in results["metrics"]
        ],
        "published": [{"method": EVIL, "values": {EVIL: 1.0}, "copied": True}],
        "provenance": {EVIL: {EVIL: [EVIL]}},
        "cost": [one | {"machine": EVIL} for one in results["cost"]],
    }
    case = groups[0].cases[0]
    pictures = tuple(Picture(f'{EVIL}" onload="alert(1)', picture.pixels) for picture in case.pictures)
    shown = [ShownGroup(EVIL, EVIL, (ShownCase(f'"{EVIL}', EVIL, pictures),))]
    write_report(tmp_path / "evil.html", evil, rows, shown)
    text = (tmp_path / "evil.html").read_text("utf-8")
    assert "<script>alert" not in text and "alert(1)" in text
    assert 'onload="' not in text
    outline = Outline(text)
    assert outline.open == [] and outline.count["script"] == 1


def test_pictures_are_whole(page: str, rows: list[Row]) -> None:
    first = make_groups(rows)[0].cases[0].pictures[-1].pixels
    images = re.findall(
        r'<img src="data:image/webp;base64,([^"]+)" alt="([^"]+)" width="96" height="96"', page
    )
    kept = np.asarray(Image.open(io.BytesIO(base64.b64decode(images[7][0]))).convert("RGB"))
    assert images[7][1].endswith(", the truth")
    assert np.abs(kept.astype(int) - first).mean() < 4


def test_captions_have_numbers(page: str) -> None:
    telea = page[page.index("<figcaption><strong>Telea (OpenCV)</strong>") :].split("</figcaption>")[0]
    assert "PSNR, dB " in telea and "LPIPS-squeeze, crop 0." in telea


def test_a_caption_may_bring_its_own_numbers(few: dict[str, Any], tmp_path: Path) -> None:
    pictures = (Picture("Telea (OpenCV): LPIPS 0.1: fine", np.zeros((4, 6, 3), np.uint8)),)
    groups = [ShownGroup("a", "b", (ShownCase("photo00/thin", "", pictures),))]
    write_report(tmp_path / "report.html", few, [], groups)
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "<strong>Telea (OpenCV)</strong><span>LPIPS 0.1: fine</span>" in text
    assert 'width="6" height="4"' in text


def test_refusals(few: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format 2, got 1"):
        write_report(tmp_path / "report.html", few | {"format": 1}, [], [])
    grey = ShownGroup(
        "a", "b", (ShownCase("photo00/thin", "", (Picture("grey", np.zeros((4, 6), np.uint8)),)),)
    )
    with pytest.raises(ValueError, match=r"grey: expected \(H, W, 3\) uint8, got \(4, 6\)"):
        write_report(tmp_path / "report.html", few, [], [grey])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError):
        write_report(tmp_path / "nowhere" / "report.html", few | {"metrics": []}, [], [])


def one_metric(best: str, mine: tuple[float, float, float], other: tuple[float, float, float]) -> str:
    """The verdict on two estimates (mean, low, high), whose difference is known to 0.01."""
    cells = [
        {"method": method, "family": "all", "group": "all",
         "metrics": {"m": dict(zip(("mean", "low", "high"), numbers, strict=True))}}
        for method, numbers in (("a", mine), ("b", other))
    ]  # fmt: skip
    mean = mine[0] - other[0]
    difference = {"method": "a", "against": "b", "family": "all", "metric": "m", "mean": mean}
    return verdict(cells, {"name": "m", "best": best}, difference | {"low": mean - 0.01, "high": mean + 0.01})


@pytest.mark.parametrize(
    ("best", "mine", "other", "said"),
    [
        ("high", 0.9, 0.5, "better"),
        ("high", 0.5, 0.9, "worse"),
        ("low", 0.5, 0.9, "better"),
        ("low", 0.505, 0.5, "no difference"),
        ("one", 0.8, 0.5, "better"),  # both below
        ("one", 1.5, 1.2, "worse"),  # both above
        ("zero", 0.1, 0.5, "better"),
        ("half", 0.4, 0.1, "better"),
        ("one", 0.9, 1.8, "better"),  # on two sides, clearly nearer
        ("one", 0.2, 1.1, "worse"),
        ("one", 0.9, 1.12, "no difference"),  # on two sides, about as far
    ],
)
def test_verdict(best: str, mine: float, other: float, said: str) -> None:
    assert one_metric(best, (mine, mine - 0.05, mine + 0.05), (other, other - 0.05, other + 0.05)) == said


def test_choose_cases_takes_every_photo_once(rows: list[Row]) -> None:
    best, worst = choose_cases(rows, "nano", "psnr", 5, lower_is_better=False)
    numbers = {(row.photo, row.family): row.metrics["psnr"] for row in rows if row.method == "nano"}
    assert len(best) == len(worst) == 5
    assert len({photo for photo, _ in best + worst}) == 10
    assert numbers[best[0]] == max(numbers.values()) and numbers[worst[0]] == min(numbers.values())
    assert [numbers[key] for key in best] == sorted((numbers[key] for key in best), reverse=True)
    assert choose_cases(rows[::-1], "nano", "psnr", 5, lower_is_better=False) == (best, worst)
    low, high = choose_cases(rows, "nano", "psnr", 5, lower_is_better=True)
    assert (low[0], high[0]) == (worst[0], best[0])


def test_choose_cases_when_photos_run_short_or_are_equal() -> None:
    rows = [Row(photo, "", "", "thin", 0.1, "a", {"m": 1.0}) for photo in "cba"]
    rows += [Row("d", "", "", "thin", 0.1, "a", {"m": float("nan")}), Row("e", "", "", "thin", 0.1, "a", {})]
    assert choose_cases(rows, "a", "m", 2, lower_is_better=True) == (
        [("a", "thin"), ("c", "thin")],
        [("b", "thin")],
    )
    assert choose_cases([], "a", "m", 2, lower_is_better=True) == ([], [])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with system_browser() as opened:
        yield opened


@pytest.fixture
def troubles() -> list[str]:
    """What a browser complains about or asks for."""
    return []


@pytest.fixture
def tab(browser: Browser, report: Path, troubles: list[str]) -> Iterator[Page]:
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("requestfailed", lambda request: troubles.append(request.url))
    page.on(
        "request", lambda request: None if request.url.startswith("data:") else troubles.append(request.url)
    )
    page.goto(report.as_uri())
    yield page
    context.close()
    assert troubles == [report.as_uri()]


def test_switches(tab: Page) -> None:
    shown = tab.locator("#results [data-holes]:visible")
    assert shown.count() == 1 and shown.get_attribute("data-holes") == "all"
    tab.locator("#results").get_by_text("thick", exact=True).click()
    tab.locator("#results").get_by_text("portrait", exact=True).click()
    assert shown.count() == 1
    assert (shown.get_attribute("data-holes"), shown.get_attribute("data-photos")) == ("thick", "portrait")
    tab.locator("#results").get_by_label("thick").press("ArrowLeft")
    assert shown.get_attribute("data-holes") == "medium"
    tab.locator("#plots").get_by_text("seam", exact=True).first.click()
    assert tab.locator("#plots [data-metric]:visible svg").count() == 4


def test_flipping_pictures(tab: Page) -> None:
    dialog, strip = tab.locator("dialog"), tab.locator(".strip").nth(1)
    assert not dialog.is_visible()
    strip.locator("img").nth(1).click()
    assert dialog.is_visible() and "Telea" in dialog.inner_text() and "2 / 8" in dialog.inner_text()
    place = dialog.locator("img.shown").bounding_box()
    tab.keyboard.press("ArrowRight")
    assert "Navier-Stokes" in dialog.inner_text()
    assert dialog.locator("img.shown").bounding_box() == place
    for _ in range(3):
        tab.keyboard.press("ArrowLeft")  # around the end
    assert "the truth" in dialog.inner_text()
    assert dialog.locator("img.shown").bounding_box() == place
    assert dialog.locator("img.shown").get_attribute("src") == strip.locator("img").last.get_attribute("src")
    dialog.locator("img.shown").click()
    assert "with its hole" in dialog.inner_text()
    tab.keyboard.press("Escape")
    assert not dialog.is_visible()
    strip.locator("img").first.focus()
    tab.keyboard.press("Enter")
    assert "with its hole" in dialog.inner_text()
    dialog.get_by_text("close", exact=True).click()
    assert not dialog.is_visible()


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out(tab: Page, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 740})
    sizes = tab.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]")
    assert sizes == [width] * 3
    head = tab.locator("#results [data-holes]:visible th[scope=row]").first
    before = head.bounding_box()
    tab.locator("#results .scroll:visible").evaluate("box => box.scrollLeft = 200")
    assert head.bounding_box() == before  # it stays when the table is scrolled


def test_readable_without_script(browser: Browser, report: Path, page: str) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    tab = context.new_page()
    tab.goto(report.as_uri())
    assert tab.locator("table:visible").count() == page.count("<table>") == 4 + 12 + 2
    assert tab.locator("#plots svg:visible").count() == page.count("<svg")
    assert not tab.locator("dialog").is_visible()
    context.close()
