"""The page in a real browser: over the real server with nano, and over a stand-in that waits for a test's word."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from child_processes import wait_until
from page.conftest import Opener
from page.fake_server import Fake
from page.opened_page import OpenedPage
from PIL import Image

from moebius.imaging import grow_objects, read_mask

PhotoFile = Callable[..., Path]
FEATHER = 6
PHONE = {"size": (390, 844), "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


def pixels(file: Path | io.BytesIO) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(file).convert("RGB")).astype(int)


def test_something_is_taken_out(
    server: str, open_page: Opener, photo_file: PhotoFile, tmp_path: Path
) -> None:
    """Open, draw, run, compare, undo, redo, download: and only what was painted has changed."""
    photo = photo_file(size=(320, 240))
    page = open_page(server)
    page.open(photo)
    assert not page.enabled("run") and not page.enabled("download")
    page.draw((0.4, 0.4), (0.55, 0.5))
    page.page.click("[popovertarget=mask-menu]")
    mask = read_mask(page.download("button[data-command=download-mask]").path(), size=(320, 240))
    assert 200 < mask.sum() < 20_000
    page.run()
    before, after = pixels(photo), pixels(page.download().path())
    assert after.shape == before.shape
    near = grow_objects(grow_objects(mask, None), FEATHER)
    assert (after[~near] == before[~near]).all(), "outside, nothing changes"
    assert (after[mask] != before[mask]).any()

    page.command("compare")
    slider = page.page.locator("#split")
    slider.focus()
    for key in ("ArrowRight", "Home", "End"):
        page.page.keyboard.press(key)
    assert slider.get_attribute("aria-valuenow") == "100"
    page.command("compare")
    assert slider.is_hidden()

    page.command("undo")
    page.state("mask")
    page.command("undo")
    assert not page.enabled("run") and not page.enabled("undo")
    page.command("redo")
    page.command("redo")
    page.state("fill")
    assert (pixels(page.download().path()) == after).all()


def test_a_phone(server: str, open_page: Opener, photo_file: PhotoFile) -> None:
    """One finger draws, two zoom and pan and draw nothing; everything is on the screen and large enough to hit."""
    page = open_page(server, **PHONE)
    page.open(photo_file(size=(300, 400)))
    width, height = 390, 844
    buttons = page.page.locator("button:visible")
    for box in buttons.evaluate_all("all => all.map(one => one.getBoundingClientRect().toJSON())"):
        assert box["left"] >= 0 and box["right"] <= width and box["top"] >= 0 and box["bottom"] <= height, box
        assert box["height"] >= 40 and box["width"] >= 32, box

    fingers = page.context.new_cdp_session(page.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        given = [{"x": x, "y": y, "id": index} for index, (x, y) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": given})

    first = page.view()
    (ax, ay), (bx, by) = page.place(0.3, 0.3), page.place(0.7, 0.7)
    touch("touchStart", (ax, ay))
    touch("touchStart", (ax, ay), (bx, by))
    for step in range(1, 6):
        touch("touchMove", (ax - 10 * step, ay), (bx + 10 * step, by))
    touch("touchEnd")
    assert page.view()[2] > first[2] * 1.2
    assert not page.enabled("undo"), "two fingers draw nothing"

    page.command("fit")
    start, end = page.place(0.4, 0.4), page.place(0.6, 0.6)
    touch("touchStart", start)
    for step in range(1, 6):
        touch(
            "touchMove",
            (start[0] + (end[0] - start[0]) * step / 5, start[1] + (end[1] - start[1]) * step / 5),
        )
    touch("touchEnd")
    assert page.enabled("run")
    page.run()
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("another", "compare", "keep", "download"):
        page.page.locator(f"button[data-command={name}]").click(trial=True)


def test_keys_alone(server: str, open_page: Opener, photo_file: PhotoFile) -> None:
    page = open_page(server)
    keyboard = page.page.keyboard
    focused = "document.activeElement.id || document.activeElement.dataset.command"
    for _ in range(12):
        keyboard.press("Tab")
        if page.page.evaluate(focused) == "example":
            break
    keyboard.press("Enter")
    page.state("mask")
    assert page.page.evaluate(focused) == "stage"
    for key in ("ArrowDown", "]", "]"):
        keyboard.press(key)
    keyboard.down(" ")
    for _ in range(4):
        keyboard.press("ArrowDown")
    keyboard.up(" ")
    assert page.enabled("run")
    keyboard.press("Control+z")
    assert not page.enabled("run")
    keyboard.press("Control+Shift+z")
    keyboard.press("Enter")
    page.state("fill")
    keyboard.press("t")
    page.page.locator("#tries button").nth(2).wait_for()
    keyboard.press(",")
    assert page.chosen() == 1
    with page.page.expect_download() as waiting:
        keyboard.press("Control+s")
    assert waiting.value.suggested_filename == "rocket-clean.jpg"
    keyboard.press("s")
    assert page.page.locator("#split").is_visible()
    keyboard.press("Escape")
    assert page.page.locator("#split").is_hidden()
    keyboard.press("?")
    assert page.page.locator("#help").is_visible()
    keyboard.press("Escape")
    assert page.page.locator("#help").is_hidden()


def test_masks_go_in_and_out_unchanged(
    fake: Fake, open_page: Opener, photo_file: PhotoFile, tmp_path: Path
) -> None:
    page = open_page(fake.url)
    page.open(photo_file(size=(203, 151)))
    mask = np.random.default_rng(5).random((151, 203)) < 0.2
    Image.fromarray(mask * np.uint8(255)).save(tmp_path / "mask.png")
    page.upload_mask(tmp_path / "mask.png")
    page.page.locator("button[data-command=run]:enabled").wait_for()
    page.page.click("[popovertarget=mask-menu]")
    got = page.download("button[data-command=download-mask]")
    assert got.suggested_filename == "house-mask.png"
    assert (read_mask(got.path(), size=(203, 151)) == mask).all()
    page.run()
    assert (fake.mask() == mask).all()


def test_masks_of_other_kinds(fake: Fake, open_page: Opener, photo_file: PhotoFile, tmp_path: Path) -> None:
    """As the library reads them: a painted layer is filled where it is opaque; half a photo's size is brought to it."""
    page = open_page(fake.url)
    page.open(photo_file(size=(200, 150)))
    layer = np.zeros((150, 200, 4), np.uint8)
    layer[30:60, 40:90] = (200, 0, 0, 255)
    Image.fromarray(layer).save(tmp_path / "layer.png")
    page.upload_mask(tmp_path / "layer.png")
    page.page.locator("button[data-command=run]:enabled").wait_for()
    page.run()
    assert (fake.mask() == read_mask(tmp_path / "layer.png", size=(200, 150))).all()
    small = np.zeros((75, 100), np.uint8)
    small[10:20, 30:50] = 255
    Image.fromarray(small).save(tmp_path / "small.png")
    page.upload_mask(tmp_path / "small.png")
    page.state("mask")
    page.run()
    assert (fake.mask() == np.kron(small > 0, np.ones((2, 2), bool))).all()
    Image.fromarray(small[:, :60]).save(tmp_path / "other.png")
    page.upload_mask(tmp_path / "other.png")
    assert page.message() == "Mask: expected the photo's size, 200 x 150, got 60 x 75."


def test_tries_and_going_on(fake: Fake, open_page: Opener, photo_file: PhotoFile) -> None:
    page = open_page(fake.url)
    page.open(photo_file())
    page.draw((0.2, 0.3), (0.3, 0.3))
    page.run()
    green = page.colour(0.25, 0.3)[1]
    page.command("another")
    page.page.locator("#tries button").nth(2).wait_for()
    assert page.page.locator("#spoken").text_content() == "Try 2 of 2, seed 1"
    assert page.chosen() == 2 and [form["seed"] for form in fake.forms] == [b"0", b"1"]
    assert (fake.forms[0]["mask"], fake.forms[0]["image"]) == (fake.forms[1]["mask"], fake.forms[1]["image"])
    assert page.colour(0.25, 0.3)[1] == green + 40
    page.page.locator("#tries button").nth(1).click()
    assert page.colour(0.25, 0.3) == [0, 40, 0]
    page.page.locator("#tries button").nth(0).click()
    page.state("mask")
    page.page.locator("#tries button").nth(1).click()

    page.page.keyboard.down("c")
    held = page.colour(0.25, 0.3)
    page.page.keyboard.up("c")
    assert held != [0, 40, 0] == page.colour(0.25, 0.3)

    page.draw((0.7, 0.7), (0.8, 0.7))  # on the fill: it is kept, and a new mask begins
    page.state("mask")
    assert page.tries() == 0
    page.run()
    assert fake.forms[2]["image"] == fake.picture(0)
    assert page.colour(0.25, 0.3) == [0, 40, 0] == page.colour(0.75, 0.7)
    for _ in range(2):
        page.command("undo")
    assert page.tries() == 3 and page.chosen() == 1, "undo goes back to the tries before"
    page.command("keep")
    page.state("mask")
    assert page.tries() == 0 and not page.enabled("run")
    assert page.download().suggested_filename == "house-clean.png"


def test_drawing_tools(fake: Fake, open_page: Opener, photo_file: PhotoFile) -> None:
    """Rectangle, eraser and lasso, at the photo's own size, whatever the zoom."""
    page = open_page(fake.url)
    page.open(photo_file(size=(400, 300)))
    page.command("rectangle")
    page.draw((0.25, 0.2), (0.75, 0.8))
    page.command("lasso")
    page.draw((0.1, 0.1), (0.2, 0.1), (0.2, 0.2), (0.1, 0.2))
    page.run()
    mask = fake.mask()
    assert mask[65:235, 105:295].all() and mask[33:57, 43:77].all()
    assert not mask[:55, 100:].any() and not mask[245:].any()
    page.command("undo")
    for name in ("undo", "eraser", "zoom-in", "larger"):
        if name == "larger":
            page.page.keyboard.press("]")
        else:
            page.command(name)
    page.draw((0.3, 0.5), (0.7, 0.5))
    page.page.keyboard.press("Enter")
    page.state("fill")
    mask = fake.mask()
    assert not mask[150, 130:270].any() and mask[65:100, 105:295].all() and not mask[33:57, 43:77].any()


def test_wheel(fake: Fake, open_page: Opener, photo_file: PhotoFile) -> None:
    """With Ctrl it zooms where it is, with Alt it sizes the brush, alone it pans; and nothing resets the view."""
    page = open_page(fake.url)
    page.open(photo_file())
    mouse, keyboard = page.page.mouse, page.page.keyboard
    start = page.view()
    at = page.place(0.25, 0.5)
    mouse.move(*at)
    keyboard.down("Control")
    mouse.wheel(0, -100)
    keyboard.up("Control")
    zoomed = page.view()
    assert zoomed[2] > start[2] * 1.1
    assert np.allclose(page.place(0.25, 0.5), at, atol=1.5)
    mouse.wheel(0, 60)
    assert abs(page.view()[1] - zoomed[1] + 60) <= 1
    keyboard.down("Alt")
    mouse.wheel(0, -100)
    keyboard.up("Alt")
    assert page.page.locator("#size").input_value() == "45"
    assert page.page.locator("#ring").bounding_box()["width"] == 45  # type: ignore[index]
    view = page.view()
    page.draw((0.4, 0.4), (0.5, 0.5))
    page.run()
    assert page.view() == view
    page.command("actual")
    assert page.view()[2] == 1
    page.command("fit")
    assert page.view() == start


def test_progress_preview_and_cancel(fake: Fake, open_page: Opener, photo_file: PhotoFile) -> None:
    fake.go.clear()
    page = open_page(fake.url)
    page.open(photo_file())
    page.draw((0.4, 0.5), (0.6, 0.5))
    page.command("run")
    page.page.get_by_text("Removing, 50 %").wait_for()
    assert page.page.locator("#progress").get_attribute("aria-valuenow") == "50"
    wait_until(lambda: page.colour(0.5, 0.5) == [0, 0, 255], "the preview is drawn where the mask is")
    assert page.colour(0.5, 0.1) != [0, 0, 255]
    assert not page.enabled("undo") and not page.enabled("brush")
    page.draw((0.1, 0.1), (0.2, 0.2))  # pans
    page.page.keyboard.press("Escape")
    assert page.message() == "Cancelled."
    assert fake.forgotten.wait(20) and fake.deleted == ["0"]
    fake.go.set()
    assert page.enabled("run") and page.page.locator("#running").is_hidden()
    page.run()
    assert fake.forms[1]["mask"] == fake.forms[0]["mask"]


def test_what_goes_wrong_is_said(fake: Fake, open_page: Opener, photo_file: PhotoFile) -> None:
    fake.fail = {"type": "deadline", "message": "the fill took longer than 60 s"}
    fake.busy = 1
    page = open_page(fake.url, troubles=("429",))
    page.open(photo_file())
    page.draw((0.4, 0.5), (0.6, 0.5))
    page.command("run")
    assert page.message() == "The fill took longer than 60 s. It took too long; try a smaller mask or photo."
    assert page.page.locator("#message-text").get_attribute("role") == "alert"
    assert fake.busy == 0 and page.enabled("run")
    fake.fail = None
    page.run()
    assert page.page.locator("#message").is_hidden()


def test_a_token_is_asked_for(fake: Fake, open_page: Opener, photo_file: PhotoFile) -> None:
    fake.token = "open sesame"
    page = open_page(fake.url, troubles=("401",))
    page.open(photo_file())
    page.draw((0.4, 0.5), (0.6, 0.5))
    page.command("run")
    page.page.fill("#token-text", "please")
    page.page.keyboard.press("Enter")
    page.page.locator("#token-wrong:visible").wait_for()
    page.page.fill("#token-text", "open sesame")
    page.page.keyboard.press("Enter")
    page.state("fill")
    assert page.page.evaluate("sessionStorage.getItem('moebius-token')") == "open sesame"
    page.command("another")
    page.page.locator("#tries button").nth(2).wait_for()


def test_files_that_are_no_photos(
    fake: Fake, open_page: Opener, photo_file: PhotoFile, tmp_path: Path
) -> None:
    page = open_page(fake.url)
    (tmp_path / "notes.png").write_text("no photo at all")
    (tmp_path / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")
    (tmp_path / "half.png").write_bytes(photo_file().read_bytes()[:30])
    said = {
        photo_file(
            "scan.tif"
        ): "This TIFF file cannot be shown by this browser; save it as JPEG or PNG, or use the "
        "command line: moebius inpaint.",
        tmp_path / "notes.png": "Photo: expected an image, a JPEG or PNG for example.",
        tmp_path / "drawing.svg": "Photo: expected pixels, got SVG; export it as PNG first.",
        tmp_path / "half.png": "This PNG file is damaged.",
    }
    for path, words in said.items():
        page.page.set_input_files("#photo-file", path)
        page.page.get_by_text(words, exact=True).wait_for()
        assert page.page.evaluate("document.body.dataset.state") == "start"


def test_drop_and_paste(fake: Fake, open_page: Opener, photo_file: PhotoFile) -> None:
    give = """([bytes, kind, name]) => {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from(bytes)], name, { type: "image/png" }));
      const event = kind === "paste" ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true })
        : new DragEvent(kind, { dataTransfer: data, bubbles: true });
      document.body.dispatchEvent(event);
    }"""
    data = list(photo_file(size=(60, 40)).read_bytes())
    for kind, name in (("paste", "image.png"), ("drop", "cat.png")):
        page = open_page(fake.url)
        page.page.evaluate(give, [data, kind, name])
        page.state("mask")
        shown = "pasted.png" if kind == "paste" else name
        assert page.page.locator("#name").text_content() == f"{shown} · 60 × 40"


def test_turned_photos_are_upright(server: str, open_page: Opener, photo_file: PhotoFile) -> None:
    """A photo that its EXIF turns: drawn, masked and filled as it is seen, and the file goes out as it was."""
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    photo = photo_file("turned.jpg", size=(320, 200), exif=exif, quality=95)
    page = open_page(server)
    page.open(photo)
    assert page.size() == (200, 320)
    page.command("rectangle")
    page.draw((0.6, 0.1), (0.9, 0.3))
    page.run()
    assert page.size() == (200, 320)
    done = Image.open(page.download().path())
    assert done.format == "JPEG"
    from PIL import ImageOps

    before, after = (
        np.asarray(ImageOps.exif_transpose(picture)).astype(int) for picture in (Image.open(photo), done)
    )
    changed = np.abs(after - before).max(axis=-1) > 24
    rows, columns = np.nonzero(changed)
    assert rows.min() >= 20 and rows.max() <= 110 and columns.min() >= 100


def test_another_format(server: str, open_page: Opener, photo_file: PhotoFile) -> None:
    """The same fill in a format that is chosen: made from the photo, not from the JPEG that was shown."""
    photo = photo_file("house.jpg", quality=90)
    page = open_page(server)
    page.open(photo)
    page.draw((0.4, 0.4), (0.5, 0.5))
    page.run()
    page.page.click("[popovertarget=formats]")
    assert page.page.locator("#format-list").inner_text().split("\n")[:2] == ["JPEG, as the photo", "PNG"]
    got = page.download("#format-list button:has-text('PNG')")
    assert got.suggested_filename == "house-clean.png"
    picture = Image.open(got.path())
    assert picture.format == "PNG"
    same = (np.asarray(picture).astype(int) == pixels(photo)).all(axis=-1)
    assert same[:40].all() and not same.all()


def test_leaving_is_asked_about(fake: Fake, open_page: Opener, photo_file: PhotoFile) -> None:
    page = open_page(fake.url)
    page.open(photo_file())
    asked: list[str] = []

    def answer(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.page.on("dialog", answer)
    page.draw((0.4, 0.4), (0.5, 0.5))
    page.page.set_input_files("#photo-file", photo_file("other.png"))
    wait_until(lambda: asked == ["confirm"], "another photo would lose the mask")
    page.run()
    page.page.evaluate("location.reload()")
    wait_until(lambda: asked == ["confirm", "beforeunload"], "leaving would lose the fill")
    page.download()
    page.page.set_input_files("#photo-file", photo_file("other.png", size=(50, 50)))
    page.page.get_by_text("other.png · 50 × 50").wait_for()
    assert len(asked) == 2


def test_settings(fake: Fake, open_page: Opener, photo_file: PhotoFile) -> None:
    """Made from what the server says; only what is changed is sent; growth is shown as it is set."""
    page = open_page(fake.url)
    page.open(photo_file(size=(300, 200)))
    page.command("rectangle")
    page.draw((0.4, 0.4), (0.6, 0.6))
    narrow = outlined(page)
    page.page.click("[popovertarget=settings]")
    assert page.page.locator("#fields label").all_inner_texts()[:3] == ["Seed", "Grow", "Feather"]
    page.page.fill("#setting-grow", "30")
    page.page.keyboard.press("Tab")
    wait_until(lambda: outlined(page) > narrow + 20, "the outline follows")
    page.page.fill("#setting-seed", "18446744073709551615")
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Escape")
    page.run()
    form = {name: value for name, value in fake.forms[0].items() if name not in ("image", "mask")}
    assert form == {"grow": b"30", "seed": b"18446744073709551615"}
    page.command("another")
    page.page.locator("#tries button").nth(2).wait_for()
    assert fake.forms[1]["seed"] == b"0", "after the last seed comes the first"
    page.page.click("[popovertarget=settings]")
    page.page.click("#reset")
    assert page.page.input_value("#setting-grow") == ""


def test_light_and_dark(fake: Fake, open_page: Opener) -> None:
    page = open_page(fake.url, color_scheme="dark")
    brightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)[0]"
    assert page.page.evaluate(brightness) < 60
    page.page.click("#theme")
    assert page.page.evaluate(brightness) > 200
    page.page.reload()
    assert page.page.evaluate(brightness) > 200
    page.page.click("#theme")
    assert page.page.evaluate(brightness) < 60


LOOKS = {
    "desktop-light": ((1440, 900), "light", "mask"),
    "desktop-dark": ((1440, 900), "dark", "compare"),
    "phone-light": ((390, 844), "light", "fill"),
    "phone-dark": ((390, 844), "dark", "start"),
}


@pytest.mark.parametrize("name", LOOKS)
def test_screenshots(server: str, open_page: Opener, tmp_path: Path, name: str) -> None:
    """Pictures for docs/serve.md, into $MOEBIUS_SCREENSHOTS if it is set. Here: that nothing lies on something else."""
    size, scheme, moment = LOOKS[name]
    phone = size[0] < 500
    page = open_page(server, size=size, color_scheme=scheme, has_touch=phone, is_mobile=phone)
    if moment != "start":
        page.page.click("#example")
        page.state("mask")
        page.page.locator("#size").evaluate(
            "(slider, width) => { slider.value = width; slider.dispatchEvent(new Event('input')); }",
            0.085 * (page.place(1, 0)[0] - page.place(0, 0)[0]),
        )
        page.draw((0.503, 0.3), (0.503, 0.92))
        wait_until(lambda: outlined(page) > 0, "the outline is drawn")
    if moment in ("fill", "compare"):
        page.run()
        page.command("another")
        page.page.locator("#tries button").nth(2).wait_for()
    if moment == "compare":
        page.command("compare")
        page.draw((0.5, 0.5), (0.507, 0.5))  # the slider
        page.page.locator("#tries").hover()
    for place in ("html", "#start", "#tools", "#tray"):
        assert page.page.locator(place).evaluate("one => one.scrollWidth <= one.clientWidth"), place
    folder = Path(os.environ.get("MOEBIUS_SCREENSHOTS", tmp_path))
    page.page.screenshot(path=folder / f"page-{name}.jpg", type="jpeg", quality=82)
    for button in page.page.locator(
        "body > header button:visible:enabled, .below button:visible:enabled"
    ).all():
        button.click(trial=True)


@pytest.mark.slow
def test_a_photo_of_a_hundred_megapixels(
    fake: Fake, open_page: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shown scaled, looked at closely in part, and masked at its own size."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    photo = tmp_path / "large.png"
    Image.new("RGB", (12_000, 8_000), (90, 120, 150)).save(photo, compress_level=1)
    page = open_page(fake.url)
    page.open(photo)
    assert page.size() == (12_000, 8_000)
    wait_until(lambda: page.colour(0.9, 0.9) == [90, 120, 150], "it is drawn")
    page.command("rectangle")
    page.draw((0.25, 0.25), (0.5, 0.5))
    page.command("actual")
    left, top, zoom = page.view()
    middle = (640 - left) / zoom / 12_000, (400 - top) / zoom / 8_000
    assert zoom == 1 and page.colour(*middle) == [90, 120, 150]
    page.command("run")
    wait_until(lambda: len(fake.forms) == 1, "it is sent")
    mask = fake.mask()
    assert mask.shape == (8_000, 12_000) and mask[2_100:3_900, 3_100:5_900].all() and not mask[:1_900].any()
    assert fake.forms[0]["image"] == photo.read_bytes(), "the file goes out as it came"
    assert len(fake.forms[0]["mask"]) < 100_000
    page.state("fill")


@pytest.mark.slow
def test_details_of_large_turned_photos_are_in_their_place(
    fake: Fake, open_page: Opener, tmp_path: Path
) -> None:
    rows, columns = np.mgrid[0:4000:8, 0:7000:8]
    ramps = np.stack([columns // 28, rows // 16, np.full_like(rows, 90)], axis=-1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = tmp_path / "large.jpg"
    Image.fromarray(ramps).resize((7000, 4000)).save(photo, quality=95, exif=exif)
    page = open_page(fake.url)
    page.open(photo)
    assert page.size() == (4000, 7000)
    wait_until(lambda: page.colour(0.5, 0.5) != [0, 0, 0], "it is drawn")
    page.command("actual")
    left, top, _ = page.view()
    places = [((x - left) / 4000, (y - top) / 7000) for x in (200, 900) for y in (200, 500)]
    far = [page.colour(*place) for place in places]
    expected = [[255 * y * 7000 / 7140, 255 * (1 - x) * 4000 / 4080, 90] for x, y in places]
    assert np.abs(np.array(far) - expected).max() < 4
    page.page.locator("#stage[data-detail]").wait_for()
    near = [page.colour(*place) for place in places]
    assert np.abs(np.array(near) - expected).max() < 4


def outlined(page: OpenedPage) -> float:
    """Photo pixels from left to right of what is shown to be filled; 0 before it is."""
    found: list[int] = page.page.evaluate(
        """async () => {
          await new Promise(requestAnimationFrame);
          const canvas = document.querySelector('#stage');
          const { data, width, height } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          const columns = [];
          for (let i = 0; i < data.length; i += 4) {
            if (data[i] + data[i + 1] + data[i + 2] > 750) columns.push((i / 4) % width);
          }
          columns.sort((a, b) => a - b);
          return columns.length ? [columns[0], columns[columns.length - 1]] : [0, 0];
        }"""
    )
    return (found[1] - found[0]) / page.view()[2]
