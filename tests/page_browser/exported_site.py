"""An exported site on a server that can be told to misbehave, and its engine called from Python."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moebius.imaging.arrays import Mask

if TYPE_CHECKING:
    from playwright.sync_api import Page

OPEN = """async ({device}) => {
  const { createBrowserEngine } = await import(new URL("page/browser_engine.js", document.baseURI).href);
  const loads = [];
  window.engine = createBrowserEngine({ device });
  try {
    const info = await window.engine.open((progress) => loads.push(progress));
    return { info, loads };
  } catch (error) {
    return { error: { name: error.name, type: error.type, message: error.message }, loads };
  }
}"""
FILL = """async ({photo, mask, width, height, settings, format, quality, abortAfter}) => {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const request = { file: new Blob([bytes(photo)]), name: "photo", mask: { width, height, data: bytes(mask) },
    settings, format, quality };
  const progress = [], controller = new AbortController();
  const onProgress = ({ fraction, state, box, preview }) => {
    progress.push({ fraction, state, box, preview: preview ? [preview.width, preview.height] : null });
    if (progress.length === abortAfter) controller.abort();
  };
  try {
    const { file, ...answer } = await window.engine.fill(request, { signal: controller.signal, onProgress });
    const reader = new FileReader();
    const loaded = new Promise((resolve) => { reader.onload = () => resolve(reader.result); });
    reader.readAsDataURL(file);
    const url = await loaded;
    return { ...answer, type: file.type, file: url.split(",")[1], progress };
  } catch (error) {
    return { error: { name: error.name, type: error.type, message: error.message }, progress };
  }
}"""


@dataclass
class Host:
    """A web server over a folder of folders."""

    address: str
    """Of the site, at a path of its own: "http://127.0.0.1:PORT/deep/site/"."""
    asked: list[str] = field(default_factory=list)
    """Paths that were asked for, in order."""
    spoiled: str | None = None
    """Files with this in their path come damaged."""


@contextmanager
def hosted(site: Path, name: str = "127.0.0.1") -> Iterator[Host]:
    """Serve `site` at /deep/site/, as any static server would."""
    host = Host("")

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def translate_path(self, path: str) -> str:
            return super().translate_path(path.removeprefix("/deep/site"))

        def do_GET(self) -> None:
            path = self.path.removeprefix("/deep/site/")
            host.asked.append(path)
            if host.spoiled is None or host.spoiled not in path:
                super().do_GET()
                return
            content = bytearray((site / path).read_bytes())
            content[len(content) // 2] ^= 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    host.address = f"http://{name}:{server.server_port}/deep/site/"
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def open_engine(page: Page, device: str | None = "wasm") -> dict[str, Any]:
    """What `engine.open` gave, or its error, and the progress that it told."""
    opened: dict[str, Any] = page.evaluate(OPEN, {"device": device})
    return opened


def fill(
    page: Page, photo: bytes, mask: Mask, *, format: str | None = None, quality: int | None = None,
    abort_after: int | None = None, **settings: Any,
) -> dict[str, Any]:  # fmt: skip
    """What `engine.fill` gave, its file as bytes; or its error."""
    encoded = [base64.b64encode(each).decode() for each in (photo, mask.astype(np.uint8).tobytes())]
    given = {"photo": encoded[0], "mask": encoded[1], "height": mask.shape[0], "width": mask.shape[1]}
    given |= {"settings": settings, "format": format, "quality": quality, "abortAfter": abort_after}
    answer: dict[str, Any] = page.evaluate(FILL, given)
    if "file" in answer:
        answer["file"] = base64.b64decode(answer["file"])
    return answer


def quick_model(nano: Path, folder: Path) -> Path:
    """nano at small sides: the same weights, fills that take a tenth of a second."""
    folder.mkdir()
    for path in nano.iterdir():
        if path.suffix in (".onnx", ".safetensors"):
            (folder / path.name).symlink_to(path)
    spec = json.loads((nano / "model.json").read_text("utf-8"))
    spec |= {"name": "quick", "size": 128, "cascade": [64]}
    (folder / "model.json").write_text(json.dumps(spec))
    return folder
