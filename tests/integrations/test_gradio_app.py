"""The Gradio app as `moebius demo` starts it, used by a person's browser and by Gradio's own client."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from child_processes import PATIENCE, child, wait_until
from made_photos import Mask, Pixels, disc, picture
from PIL import Image, ImageOps
from system_browser import system_browser

from moebius import Moebius

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.skipif(find_spec("gradio") is None, reason="gradio is not installed"),
    pytest.mark.slow,
]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "src" / "moebius" / "integrations" / "examples"
DEMO = "from moebius.cli import main; main()", "demo", "--port", "0", "--no-browser", "--device", "cpu"


@dataclass(frozen=True)
class App:
    """A running app, and what it has said."""

    address: str
    log: Path


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("gradio")
    log = folder / "log"
    environment = {
        **os.environ,
        "GRADIO_TEMP_DIR": str(folder / "cache"),
        "GRADIO_ANALYTICS_ENABLED": "False",
    }

    def address() -> str:
        found = re.search(r"moebius: demo of nano on (http://127\.0\.0\.1:\d+)", log.read_text())
        return found[1] if found else ""

    with (
        log.open("w") as said,
        child([sys.executable, "-c", *DEMO], stdout=said, stderr=said, env=environment) as process,
    ):
        yield App(wait_until(address, "the app answers", process, log.read_text), log)


@pytest.fixture(scope="module")
def nano() -> Moebius:
    return Moebius.from_pretrained("nano", device="cpu")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with system_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, app: App) -> Iterator[Page]:
    """The app's page in a browser that has nothing of it; it may ask nobody else for anything, nor fail."""
    troubles: list[str] = []
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE * 1000)
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    own = app.address, "blob:", "data:"
    opened.on("request", lambda r: None if r.url.startswith(own) else troubles.append(r.url))
    opened.goto(app.address)
    opened.locator("#remove").wait_for()
    yield opened
    context.close()
    assert troubles == []
    said = app.log.read_text()
    assert "gradio_app.py" not in said, said  # in no traceback; Gradio has some for pages that leave


def choose_example(page: Page, number: int) -> None:
    page.locator("#examples .gallery-item").nth(number).click()
    wait_for_the_editor(page)


def wait_for_the_editor(page: Page) -> None:
    page.locator("#editor canvas").first.wait_for()
    page.wait_for_function("window.editor?.background_image_sprite")
    page.wait_for_timeout(1000)  # it loads things twice, and nothing tells that it has done so


def painted_in_the_editor(page: Page) -> Mask:
    """What a person sees painted on the photo."""
    layers = page.evaluate(
        """async () => {
            const {layers} = await window.editor.get_blobs();
            return Promise.all(layers.map(async (layer) => [...new Uint8Array(await layer.arrayBuffer())]));
        }"""
    )
    painted = [np.asarray(Image.open(io.BytesIO(bytes(layer))))[..., 3] > 0 for layer in layers]
    return np.logical_or.reduce(painted)


def download(page: Page) -> tuple[str, Path]:
    """The finished picture's name and file."""
    page.locator("#download:not([disabled])").wait_for()
    with page.expect_download() as started:
        page.locator("#download").click()
    return started.value.suggested_filename, Path(started.value.path())


def pixels(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image)


def test_an_example_is_filled_as_by_the_library(page: Page, nano: Moebius) -> None:
    choose_example(page, 0)
    photo, mask = EXAMPLES / "rocket.webp", EXAMPLES / "rocket_mask.png"
    assert np.array_equal(painted_in_the_editor(page), pixels(mask))
    page.get_by_role("button", name="Settings").click()
    page.locator("#setting-grow").wait_for()
    page.locator("#remove").click()
    name, first = download(page)
    assert name == "rocket-clean.png"
    assert np.array_equal(pixels(first), np.asarray(nano(photo, mask).image))
    assert page.locator("#slider img").count() == 2
    page.locator("#setting-grow textarea, #setting-grow input").fill("3")
    page.locator("#another:not([disabled])").click()
    page.locator("#cancel").wait_for(state="visible")
    page.locator("#another:not([disabled])").wait_for()
    _, second = download(page)
    assert np.array_equal(pixels(second), np.asarray(nano(photo, mask, seed=1, grow=3).image))


def test_a_photo_stays_upright(page: Page, tmp_path: Path) -> None:
    """It lies on its side as stored. What is painted on the upright photo is what changes, and nothing else."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(300, 420, seed=3)).save(tmp_path / "lying.png", exif=exif)
    with Image.open(tmp_path / "lying.png") as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored))
    page.locator("#intake input[type=file]").set_input_files(tmp_path / "lying.png")
    wait_for_the_editor(page)
    place = page.locator("#editor canvas").first.bounding_box()
    assert place is not None
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 80, y, steps=5)  # to the right of the middle
    page.mouse.up()
    page.wait_for_timeout(500)
    page.locator("#remove").click()
    name, saved = download(page)
    after = pixels(saved)
    assert name == "lying-clean.png" and after.shape == upright.shape == (300, 420, 3)
    rows, columns = np.nonzero((after != upright).any(-1))
    assert rows.min() > 75 and rows.max() < 225
    assert columns.min() > 150 and 250 < columns.max() < 400


IN_THE_EDITOR = """
import json, sys
from PIL import Image
from moebius import Moebius
from moebius.integrations import gradio_app
photo, painted = sys.argv[1:]
page = gradio_app._Page(Moebius.from_pretrained("nano", device="cpu"), [], 1)
shown = gradio_app._show(photo, None)[2]
*_, (pair, saved) = page._fill(photo, {"layers": [Image.open(painted)]}, 0, None, "0", 0)
sizes = shown["value"]["background"].size, shown["canvas_size"], *(each.size for each in pair)
print("FOUND", json.dumps([sizes, saved["value"]]))
"""


def test_a_large_photo_is_painted_small_and_filled_whole(tmp_path: Path) -> None:
    before, layer = picture(1400, 600), np.zeros((549, 1280, 4), np.uint8)
    layer[disc(1280, 549, (640, 300), 20)] = 200
    Image.fromarray(before).save(tmp_path / "large.png")
    Image.fromarray(layer).save(tmp_path / "painted.png")
    arguments = [sys.executable, "-c", IN_THE_EDITOR, tmp_path / "large.png", tmp_path / "painted.png"]
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path)}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=True)
    assert "WARNING" not in done.stderr and "stretched" not in done.stderr
    sizes, saved = json.loads(done.stdout.rpartition("FOUND ")[2])
    assert sizes == [[1280, 549], [1280, 549], [1400, 600], [1400, 600]]
    changed = (pixels(Path(saved)) != before).any(-1)
    assert changed[disc(1400, 600, (700, 328), 20)].mean() > 0.9
    assert not (changed & ~disc(1400, 600, (700, 328), 25)).any()


def test_nothing_painted(page: Page) -> None:
    """The editor's own clearing takes what is painted, and leaves the photo."""
    choose_example(page, 2)
    page.get_by_label("Clear canvas").click()
    page.locator("#editor canvas").first.wait_for(state="detached")
    wait_for_the_editor(page)
    page.locator("#remove").click()
    page.get_by_text("Nothing is painted yet: brush over what should go.").wait_for()
    page.locator("#remove").wait_for(state="visible")
    assert page.locator("#download").is_disabled()


def set_steps(page: Page, value: str) -> None:
    """The field is made anew while its accordion opens, and forgets what was typed until then."""
    field = page.locator("#setting-steps input")
    for _ in range(20):
        if field.input_value() == value:
            return
        field.fill(value)
        field.press("Tab")
        page.wait_for_timeout(700)
    raise AssertionError(f"expected {value} steps to stay, got {field.input_value()}")


def test_cancelling_frees_the_queue(page: Page) -> None:
    """One fill runs at a time, so that a second one ends only if the first has really stopped."""
    choose_example(page, 0)
    page.get_by_role("button", name="Settings").click()
    set_steps(page, "1000")
    page.locator("#remove").click()
    page.get_by_text(re.compile(r"Filling - [1-9]\d?\.\d%")).wait_for()
    page.locator("#cancel").click()
    page.locator("#remove").wait_for(state="visible")
    assert page.locator("#download").is_disabled()
    set_steps(page, "1")
    page.locator("#remove").click()
    download(page)


def test_what_is_no_photo(page: Page, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    page.locator("#intake input[type=file]").set_input_files(tmp_path / "broken.png")
    page.get_by_text("photo broken.png: damaged or truncated PNG").wait_for()
    page.locator("#intake input[type=file]").wait_for(state="attached")
    assert page.locator("#remove").is_disabled()


@pytest.fixture(scope="module")
def client(app: App) -> Any:
    api = pytest.importorskip("gradio_client", reason="gradio_client is not installed")
    return api.Client(app.address, verbose=False, analytics_enabled=False)


def given(path: Path) -> Any:
    from gradio_client import handle_file

    return handle_file(path)


def saved_mask(mask: Mask, path: Path) -> Path:
    Image.fromarray(mask).save(path)
    return path


def test_a_program_fills_16_bits(client: Any, nano: Moebius, tmp_path: Path) -> None:
    photo = nano(picture(120, 90, dtype=np.uint16), np.zeros((90, 120), bool)).photo  # copied as it is
    from moebius.imaging import read_photo, write_photo

    write_photo(photo, tmp_path / "deep.png")
    mask = saved_mask(disc(120, 90, (60, 45), 12), tmp_path / "mask.png")
    filled = client.predict(
        photo=given(tmp_path / "deep.png"), mask=given(mask), seed=2**60 + 1, grow=3, api_name="/fill"
    )
    expected = nano(tmp_path / "deep.png", mask, seed=2**60 + 1, grow=3).photo
    assert Path(filled).name == "deep-clean.png"
    assert expected.bits == 16 and np.array_equal(read_photo(Path(filled)).pixels, expected.pixels)


def test_a_program_is_told_what_is_wrong(client: Any, tmp_path: Path) -> None:
    from gradio_client.exceptions import AppError

    mask = saved_mask(disc(64, 64, (32, 32), 9), tmp_path / "mask.png")
    with pytest.raises(
        AppError, match=r"^mask: expected the photo's size, got 64 x 64 for a photo of 320 x 214"
    ):
        client.predict(photo=given(EXAMPLES / "rocket.webp"), mask=given(mask), api_name="/fill")
    with pytest.raises(AppError, match=r"^grow: expected a whole number from 0 to 512, got 513"):
        client.predict(photo=given(mask), mask=given(mask), grow=513, api_name="/fill")


def test_programs_get_nothing_else(app: App, client: Any) -> None:
    """Neither the page's own steps nor files that were not uploaded."""
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {"/fill"}
    photo = {"path": str(ROOT / "examples" / "rocket.jpg"), "meta": {"_type": "gradio.FileData"}}
    mask = {**photo, "path": str(ROOT / "examples" / "rocket_mask.png")}
    call = f"{app.address}/gradio_api/call/fill"
    body = json.dumps({"data": [photo, mask, 0, None, None, 6]}).encode()
    request = urllib.request.Request(call, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{call}/{event}") as answer:
        said = answer.read().decode()
    assert "event: error" in said and "event: complete" not in said


def test_examples_are_those_of_the_repository() -> None:
    """Smaller, so that the wheel stays small."""
    masks = sorted(path.name for path in (ROOT / "examples").glob("*_mask.png"))
    assert sorted(path.name for path in EXAMPLES.glob("*_mask.png")) == masks and len(masks) == 3
    for name in masks:
        whole, small = pixels(ROOT / "examples" / name), pixels(EXAMPLES / name)
        assert small.shape[:2] == pixels(EXAMPLES / name.replace("_mask.png", ".webp")).shape[:2]
        assert small.shape[0] / small.shape[1] == pytest.approx(whole.shape[0] / whole.shape[1], rel=0.01)
        assert (small > 0).mean() == pytest.approx((whole > 0).mean(), rel=0.1)


def test_the_space_starts(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here = {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(tmp_path)}

    def config() -> Any:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/config") as answer,
        ):
            return json.load(answer)

    script = ROOT / "spaces" / "app.py"
    with child([sys.executable, script], cwd=script.parent, env={**os.environ, **here}) as process:
        found = wait_until(config, "the Space answers", process)
    assert found["title"] == "Moebius" and found["analytics_enabled"] is False


def test_a_port_that_is_taken() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        arguments = [argument if argument != "0" else str(port) for argument in DEMO]
        done = subprocess.run([sys.executable, "-c", *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"moebius: error: port: expected a free one, got {port}, which is taken\n"
