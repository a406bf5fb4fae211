"""The page in a browser, as a person uses it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from child_processes import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Download

OUR_OWN = "willReadFrequently"
"""Complaints that the tests cause: they read colours from the canvas."""


class OpenedPage:
    """A tab with the page in it.

    Args:
        troubles: parts of complaints that the test expects.
    """

    def __init__(self, context: BrowserContext, url: str, troubles: tuple[str, ...]):
        self.context = context
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE * 1000)
        self.troubles: list[str] = []
        self._expected = (*troubles, OUR_OWN)
        self._url = url
        self.page.on("console", lambda message: self.troubles.append(message.text))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", lambda request: self._heard(request.url))
        self.page.goto(url)
        self.page.locator("#privacy:not(:empty)").wait_for()

    def _heard(self, address: str) -> None:
        if not address.startswith((self._url, "blob:", "data:")):
            self.troubles.append(f"asked for {address}")

    def close(self) -> None:
        self.context.close()
        left = [text for text in self.troubles if not any(part in text for part in self._expected)]
        assert left == []

    # what a person does

    def open(self, photo: Path) -> None:
        self.page.set_input_files("#photo-file", photo)
        self.state("mask")

    def draw(self, *points: tuple[float, float]) -> None:
        """With the mouse, along points in fractions of the photo's width and height."""
        places = [self.place(*point) for point in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=6)
        self.page.mouse.up()

    def command(self, name: str) -> None:
        self.page.click(f"button[data-command={name}]")

    def run(self) -> None:
        self.command("run")
        self.state("fill")

    def download(self, selector: str = "button[data-command=download]") -> Download:
        with self.page.expect_download() as waiting:
            self.page.click(selector)
        return waiting.value

    def upload_mask(self, mask: Path) -> None:
        self.page.set_input_files("#mask-file", mask)

    # what a person sees

    def state(self, name: str) -> None:
        """Waits until the page shows "start", "mask" or "fill"."""
        self.page.locator(f"body[data-state={name}]").wait_for()

    def message(self) -> str:
        self.page.locator("#message:visible").wait_for()
        return self.page.locator("#message-text").inner_text()

    def tries(self) -> int:
        return self.page.locator("#tries button").count()

    def chosen(self) -> int:
        """Which of the gallery's pictures is shown; 0 is the mask."""
        pressed = self.page.locator("#tries button").evaluate_all(
            "all => all.map(one => one.getAttribute('aria-pressed'))"
        )
        return pressed.index("true")

    def enabled(self, command: str) -> bool:
        return self.page.locator(f"button[data-command={command}]").first.is_enabled()

    def place(self, x: float, y: float) -> tuple[float, float]:
        """A point of the photo, in fractions of its sides, on the screen."""
        left, top, zoom = self.view()
        width, height = self.size()
        return left + x * width * zoom, top + y * height * zoom

    def size(self) -> tuple[int, int]:
        width, height = self.page.locator("#name").text_content().split(" · ")[-1].split(" × ")  # type: ignore[union-attr]
        return int(width), int(height)

    def view(self) -> tuple[float, float, float]:
        """Where the photo's corner is on the screen, and CSS pixels a photo pixel."""
        left, top, zoom = self.page.evaluate(VIEW)
        return left, top, zoom

    def colour(self, x: float, y: float) -> list[int]:
        """What is drawn at a point of the photo: red, green, blue."""
        left, top = self.place(x, y)
        found: list[int] = self.page.evaluate(COLOUR, [left, top])
        return found


VIEW = """async () => {
  await new Promise(requestAnimationFrame);
  const canvas = document.querySelector('#stage'), { left, top } = canvas.getBoundingClientRect();
  const [zoom, x, y] = canvas.dataset.view.split(' ').map(Number);
  return [left + x, top + y, zoom];
}"""
COLOUR = """async ([x, y]) => {
  await new Promise(requestAnimationFrame);
  const canvas = document.querySelector('#stage'), { left, top } = canvas.getBoundingClientRect();
  const density = canvas.width / canvas.clientWidth;
  const at = [Math.floor((x - left) * density), Math.floor((y - top) * density)];
  return [...canvas.getContext('2d').getImageData(...at, 1, 1).data].slice(0, 3);
}"""
