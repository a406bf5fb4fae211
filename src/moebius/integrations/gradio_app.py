"""An app for Gradio and for Hugging Face Spaces: open a photo, paint over what should go, compare, download.

    from moebius.integrations.gradio_app import launch, make_app
    launch(make_app("nano"))

The photo that is filled is the file that was uploaded, never what the editor shows: Gradio's editor sends back a
picture that a browser decoded, without profile, depth or metadata. Only the painted layers are taken from it.
"""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moebius.errors import MoebiusError, OutputError
from moebius.imaging import Photo, read_mask, read_photo, resize_mask
from moebius.pipeline import Moebius, Result
from moebius.settings import DEFAULT_MODEL, HELP, RANGES, Number, Settings, Whole

EXAMPLES = Path(__file__).parent / "examples"
"""Photos with their masks beside them: `NAME.jpg` or `NAME.png`, and `NAME_mask.png`, white = what goes."""

MAX_UPLOAD = 64 * 2**20
"""Bytes of a photo."""
MAX_PIXELS = 100_000_000
"""Pixels of a photo; refused by its header, before it is decoded."""
MAX_WAITING = 32
"""Fills that wait; one more is told that the queue is full."""
KEEP_SECONDS = 3600
"""How long uploads and pictures stay on the server."""
TOLD_SECONDS = 0.5
"""Between two reports of progress: at each, Gradio's page sends what is painted once more."""
PAINTED_SIDE, COMPARED_SIDE = 1280, 2048
"""Longest sides of what the browser is shown, to paint on and to compare; what is filled and downloaded is not scaled.
The editor keeps copies at the screen's pixel ratio: on a phone with three, 1280 is near what its graphics take."""

_KINDS = ["image", ".heic", ".heif", ".avif", ".tif", ".tiff"]
_BRUSH = (235, 64, 96)
_OPACITY = 0.6
_HALF_PAINTED = round(255 * _OPACITY / 2)
_JS_WHOLE = 2**53 - 1  # the largest that a number field of a browser holds exactly

_TITLE = "# Take things out of photos\nPaint over what should go. Nothing else changes."
_HEIGHT = "min(420px, 92vw)"
_CSS = """
.main.fill_width { width: 100%; max-width: 1180px; margin: 0 auto; }
#title h1 { font-size: 1.5rem; margin: 0; }
#title p { margin: .1rem 0 0; color: var(--body-text-color); opacity: .7; }
#editor button[aria-label="Color"] { display: none; }  /* there is one */
@media (max-width: 640px) { .main.fill_width { padding: 16px !important; } #title h1 { font-size: 1.25rem; } }
"""


def make_app(
    model: Moebius | str | Path = DEFAULT_MODEL,
    *,
    device: str = "auto",
    examples: str | Path | None = EXAMPLES,
    concurrency: int = 1,
) -> gr.Blocks:
    """The app, not started yet; hand it to `launch`.

    Args:
        model: a loaded model, or the name or folder of one.
        device: where a model that is not loaded yet will run.
        examples: a folder of photos with their masks; None for no examples.
        concurrency: fills that run at once. Others wait in the queue, `MAX_WAITING` of them.

    Raises:
        WeightsError, DeviceError: the model cannot be loaded.
    """
    opened = model if isinstance(model, Moebius) else Moebius.from_pretrained(model, device=device)
    app: gr.Blocks = _Page(opened, _example_pairs(examples), concurrency).app
    return app


def launch(
    app: gr.Blocks,
    *,
    host: str | None = None,
    port: int | None = None,
    open_browser: bool = False,
    listening: Callable[[str], None] | None = None,
) -> None:
    """Serve the app until interrupted. Neither server nor page fetches anything from elsewhere or reports anything.

    Args:
        host: "0.0.0.0" to be reached from elsewhere; None for Gradio's own choice, which is this machine alone, and
            on a Space what the Space asks for.
        port: 0 for any free one; None for Gradio's own choice, the first free one from 7860.
        listening: called with the address as soon as it answers.

    Raises:
        OutputError: the port is taken.
    """
    fonts = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]  # the system's: nothing to fetch
    theme = gr.themes.Default(primary_hue="blue", neutral_hue="zinc", font=fonts[0], font_mono=fonts[1])
    if port == 0:
        with socket.socket() as probe:
            probe.bind((host or "127.0.0.1", 0))
            port = probe.getsockname()[1]
    try:
        _, address, _ = app.launch(
            server_name=host, server_port=port, inbrowser=open_browser, prevent_thread_lock=True, quiet=True,
            share=False, ssr_mode=False, pwa=False, mcp_server=False, run_history=False, enable_monitoring=False,
            max_file_size=MAX_UPLOAD, footer_links=[], theme=theme, css=_CSS,
        )  # fmt: skip
    except OSError as error:
        raise OutputError(f"port: expected a free one, got {port}, which is taken") from error
    try:
        if listening is not None:
            listening(address)
        threading.Event().wait()
    finally:
        app.close(verbose=False)


class _Page:
    """The app's components, and what they do."""

    def __init__(self, model: Moebius, pairs: list[tuple[Path, Path]], concurrency: int):
        self.model, self.pairs = model, pairs
        aged = KEEP_SECONDS // 4, KEEP_SECONDS
        with gr.Blocks(title="Moebius", fill_width=True, analytics_enabled=False, delete_cache=aged) as app:
            self._lay_out()
            self._connect(concurrency)
            self._add_endpoint(concurrency)
        self.app = app.queue(max_size=MAX_WAITING, default_concurrency_limit=None)

    def _lay_out(self) -> None:
        gr.Markdown(_TITLE, elem_id="title")
        self.path, self.mask = gr.State(), gr.State()  # files on the server
        with gr.Row():
            with gr.Column():
                # Not an Image, which Pillow would open before us.
                self.intake = gr.File(label="Photo", file_types=_KINDS, height=_HEIGHT, elem_id="intake")
                self.editor = gr.ImageEditor(
                    label="Photo", visible=False, type="pil", format="png", sources=(), transforms=(),
                    brush=gr.Brush(colors=[(f"rgb{_BRUSH}", _OPACITY)], color_mode="fixed"), layers=False,
                    buttons=[], height=_HEIGHT, elem_id="editor",
                )  # fmt: skip
                with gr.Row():
                    self.other = _button("Other photo", visible=False)
                    self.remove = _button("Remove", variant="primary", interactive=False)
                    self.cancel = _button("Cancel", visible=False)
                if self.pairs:
                    self.examples = gr.Dataset(
                        label="Examples, with what goes painted already", type="index", layout="gallery",
                        components=[gr.Image(visible=False)], samples=[[str(photo)] for photo, _ in self.pairs],
                        elem_id="examples",
                    )  # fmt: skip
            with gr.Column():
                self.slider = gr.ImageSlider(
                    label="Before and after", type="filepath", format="png", interactive=False,
                    buttons=["fullscreen"], height=_HEIGHT, elem_id="slider",
                )  # fmt: skip
                with gr.Row():
                    self.another = _button("Another try", interactive=False)
                    self.download = _button("Download", gr.DownloadButton, interactive=False)
                defaults, own = Settings(), self.model.complete()
                with gr.Accordion("Settings", open=False, elem_id="settings"), gr.Row():
                    self.seed = _number("seed", defaults.seed)
                    self.steps = _number("steps", own.steps)
                    # Not a Number, which is 0 where it has no value.
                    self.grow = gr.Textbox(placeholder="automatic", **_described("grow"))
                    self.feather = _number("feather", defaults.feather)

    def _connect(self, concurrency: int) -> None:
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        at_once = {"queue": False, **quiet}
        buttons = [self.remove, self.cancel, self.another]
        fills = []
        another = self.another.click(_next_seed, self.seed, self.seed, **at_once)
        for begin in (self.remove.click, another.success):
            fill = begin(_begin, None, buttons, **at_once).success(
                self._fill,
                [self.path, self.editor, self.seed, self.steps, self.grow, self.feather],
                [self.slider, self.download],
                concurrency_limit=concurrency, concurrency_id="fill", api_visibility="private",
                show_progress_on=self.slider, trigger_mode="multiple",  # a cancelled one counts as there for a while
            )  # fmt: skip
            fill.then(_end, self.download, buttons, **at_once)
            fills.append(fill)
        self.cancel.click(_end, self.download, buttons, cancels=fills, **at_once)

        photo = [self.path, self.mask, self.intake, self.editor, self.other]
        page = [*photo, self.slider, self.download, *buttons]
        leaving: dict[str, Any] = {"cancels": fills, **quiet}
        opening = [
            self.intake.upload(_open, self.intake, page, **leaving),
            # The editor's own clearing takes the photo away too: it is shown again.
            self.editor.clear(
                lambda: (None, gr.update(visible=False, value=None)), None, [self.mask, self.editor], **quiet
            ),
        ]
        if self.pairs:
            opening.append(self.examples.click(self._open_example, self.examples, page, **leaving))
        for opened in opening:  # in a second step, because only an editor that is made anew takes a new size
            opened.success(
                _show, [self.path, self.mask], [self.path, self.intake, self.editor, self.other, self.remove],
                concurrency_limit=4, concurrency_id="show", **quiet,
            )  # fmt: skip
        self.other.click(lambda: _open(None), None, page, **leaving)

    def _add_endpoint(self, concurrency: int) -> None:
        """`/fill`, for programs: files in, a file out. Gradio checks whose the files are for components alone."""
        given = {"seed": 0, "steps": None, "grow": None, "feather": Settings().feather}
        with gr.Row(visible=False):
            photo, mask, filled = gr.File(label="photo"), gr.File(label="mask"), gr.File(label="filled")
            numbers = [gr.Number(value, label=name, precision=0) for name, value in given.items()]
            gr.Button().click(
                self._fill_files, [photo, mask, *numbers], filled, api_name="fill",
                concurrency_limit=concurrency, concurrency_id="fill",
            )  # fmt: skip

    def _open_example(self, index: int) -> tuple[Any, ...]:
        photo, mask = self.pairs[index]
        return _open(str(photo), str(mask))

    def _fill(
        self, path: str | None, drawn: dict[str, Any] | None, seed: int, steps: int | None, grow: str | None,
        feather: int, progress: gr.Progress = gr.Progress(),  # noqa: B008  (how Gradio hands one over)
    ) -> Iterator[Any]:  # fmt: skip
        """Fill what is painted: yields now and then, to be cancelled there, and last the pictures."""
        mask = _painted(drawn)
        if path is None or mask is None:
            gr.Warning("Nothing is painted yet: brush over what should go.")
            yield gr.skip()
            return
        grown = (grow or "").strip()
        pixels = int(grown) if grown.isdecimal() else grown or None
        settings: dict[str, Any] = {"seed": seed, "steps": steps, "grow": pixels, "feather": feather}
        try:
            photo = read_photo(path, max_pixels=MAX_PIXELS)
            mask = resize_mask(mask, (photo.height, photo.width))
            told = time.monotonic()
            progress(0, desc="Filling")
            for event in self.model.stream(photo, mask, **settings):
                if event.result is not None:
                    after = self._save(event.result, path)
                    pair = tuple(_shown(each, COMPARED_SIDE) for each in (photo, event.result.photo))
                    yield pair, gr.update(value=after, interactive=True)
                elif time.monotonic() - told > TOLD_SECONDS:
                    told = time.monotonic()
                    progress(event.fraction, desc="Filling")
                    yield gr.skip()
        except MoebiusError as error:
            raise gr.Error(_for_people(error, path), print_exception=False) from error

    def _fill_files(
        self, photo: str, mask: str, seed: int = Settings.seed, steps: int | None = None, grow: int | None = None,
        feather: int = Settings.feather,
    ) -> str:  # fmt: skip
        """Fill a photo where the mask is white; both are files, as is what comes back.

        Args:
            photo: any common format, up to 64 MiB.
            mask: an image of the photo's size, white = fill.
            seed: 0 to 2**64 - 1; the same seed gives the same picture.
            steps: solver steps; none for the model's own.
            grow: pixels by which the mask is grown; none for a margin scaled to each object.
            feather: pixels outside the mask over which the fill fades into the photo.
        """
        if photo is None or mask is None:
            raise gr.Error("expected a photo and a mask, got none", print_exception=False)
        try:
            read = read_photo(photo, max_pixels=MAX_PIXELS)
            result = self.model(read, mask, seed=seed, steps=steps, grow=grow, feather=feather)
            return self._save(result, photo)
        except MoebiusError as error:
            raise gr.Error(_for_people(error, photo, mask), print_exception=False) from error

    def _save(self, result: Result, path: str) -> str:
        """The whole picture in a lossless file: PNG, or TIFF for colours that PNG cannot hold."""
        suffix = "tif" if result.photo.mode in ("CMYK", "LAB") else "png"
        target = Path(self.download.GRADIO_CACHE, uuid.uuid4().hex, f"{Path(path).stem}-clean.{suffix}")
        target.parent.mkdir(parents=True)
        result.save(target)
        return str(target)


def _open(path: str | None, mask: str | None = None) -> tuple[Any, ...]:
    """Updates for `page`: the photo's file is known, or None is; the editor is gone until `_show`."""
    there = path is not None
    return (
        path,
        mask,
        gr.update(visible=not there, value=None),
        gr.update(visible=False, value=None),
        gr.update(visible=there),
        None,
        gr.update(interactive=False, value=None),
        gr.update(visible=True, interactive=there),
        gr.update(visible=False),
        gr.update(interactive=False),
    )


def _show(path: str | None, mask: str | None) -> tuple[Any, ...]:
    """Updates for path, intake, editor, other and remove: the photo in the editor, its mask painted already."""
    if path is None:
        return (gr.skip(),) * 5
    try:
        photo = read_photo(path, max_pixels=MAX_PIXELS)
        layers = [] if mask is None else [_layer(read_mask(mask, size=photo.size))]
    except MoebiusError as error:
        gr.Warning(_for_people(error, path))
        hidden, off = gr.update(visible=False), gr.update(interactive=False)
        return None, gr.update(visible=True), hidden, hidden, off
    background = _shown(photo, PAINTED_SIDE)
    layers = [layer.resize(background.size, Image.Resampling.NEAREST) for layer in layers]
    editor = gr.update(
        visible=True,
        canvas_size=background.size,  # without it the editor puts layers where its old canvas was
        value={"background": background, "layers": layers, "composite": None},
    )
    return gr.skip(), gr.skip(), editor, gr.skip(), gr.skip()


def _begin() -> tuple[Any, ...]:
    """Updates for `buttons` while a fill goes on."""
    return gr.update(visible=False), gr.update(visible=True), gr.update(interactive=False)


def _end(filled: str | None) -> tuple[Any, ...]:
    """Updates for `buttons` when none does."""
    return gr.update(visible=True), gr.update(visible=False), gr.update(interactive=bool(filled))


def _button(label: str, kind: Any = gr.Button, **how: Any) -> Any:
    return kind(label, min_width=80, elem_id=label.split()[0].lower(), **how)


def _example_pairs(folder: str | Path | None) -> list[tuple[Path, Path]]:
    if folder is None:
        return []
    masks = {path.stem.removesuffix("_mask"): path for path in Path(folder).glob("*_mask.png")}
    photos = (path for path in sorted(Path(folder).iterdir()) if path.suffix in (".jpg", ".png", ".webp"))
    return [(photo, masks[photo.stem]) for photo in photos if photo.stem in masks]


def _number(name: str, value: int | None) -> gr.Number:
    allowed = RANGES[name]
    assert isinstance(allowed, Whole | Number)
    bounds = {"minimum": allowed.low, "maximum": min(allowed.high, _JS_WHOLE)}
    return gr.Number(value, precision=0, **bounds, **_described(name))


def _described(name: str) -> dict[str, Any]:
    look = {"min_width": 200, "elem_id": f"setting-{name}"}
    return {"label": name.capitalize(), "info": HELP[name], **look}


def _next_seed(seed: int | None) -> int:
    return 0 if seed is None or seed >= _JS_WHOLE else seed + 1


def _shown(photo: Photo, side: int) -> Image.Image:
    """The photo for a browser: upright, 8 bits, at most `side` long, mode L, LA, RGB or RGBA, profile kept."""
    image = photo.in_8_bits().to_pil()
    profile = image.info.get("icc_profile")
    # Lab's a* and b* wrap around: they cannot be averaged as they are.
    filter = Image.Resampling.NEAREST if photo.mode == "LAB" else Image.Resampling.BICUBIC
    image.thumbnail((side, side), filter)
    if photo.mode in ("CMYK", "LAB"):
        image, profile = image.convert("RGB"), None
    image.info = {} if profile is None else {"icc_profile": profile}
    return image


def _layer(mask: NDArray[np.bool_]) -> Image.Image:
    """A mask (H, W) as the brush would have painted it: RGBA."""
    layer = np.zeros((*mask.shape, 4), np.uint8)
    layer[mask] = (*_BRUSH, round(255 * _OPACITY))
    return Image.fromarray(layer)


def _painted(drawn: dict[str, Any] | None) -> NDArray[np.bool_] | None:
    """What is painted on any layer: (H, W) bool of the editor's size; None where nothing is."""
    layers = [np.asarray(layer.convert("RGBA"))[..., 3] for layer in (drawn or {}).get("layers", ())]
    painted = [layer >= _HALF_PAINTED for layer in layers]
    return np.logical_or.reduce(painted) if painted and any(layer.any() for layer in painted) else None


def _for_people(error: MoebiusError, *paths: str) -> str:
    """The error's line, with files called by their names: where the server keeps them is nobody's business."""
    text = str(error)
    for path in paths:
        text = text.replace(path, Path(path).name)
    return text
