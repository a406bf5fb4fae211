"""The work on one request, inside a worker process: decode, fill, encode."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from moebius.errors import MaskError, PhotoError
from moebius.imaging import (
    Hole,
    MaskSources,
    Photo,
    check_format,
    check_output,
    read_photo,
    write_photo,
)
from moebius.imaging.decode import ImageSource
from moebius.imaging.mask_pixels import alpha_mask, opaque_under
from moebius.imaging.writer import asked_name
from moebius.pipeline import Moebius, Progress
from moebius.pipeline.warned import warned
from moebius.serve.adjusting import AdjustRequest, adjust_mask
from moebius.serve.request import FillAnswer, FillRequest

PREVIEW_QUALITY = 75
"""JPEG quality of pictures on the way."""

Tell = Callable[[dict[str, Any]], None]


class GivenUpError(Exception):
    """The fill was cancelled half way."""


def pixels_of(request: FillRequest, limit: int) -> int:
    """A photo's number of pixels, by its header.

    Raises:
        PhotoError: no image, or more than `limit`. MaskError where the request is about a mask alone.
    """
    noun, error = ("mask", MaskError) if isinstance(request, AdjustRequest) else ("photo", PhotoError)
    with ImageSource(request.image, noun=noun, error=error, max_pixels=limit) as source:
        width, height = source.open().size
    return width * height


def fill(
    model: Moebius, request: FillRequest, *, max_pixels: int, tell: Tell, given_up: Callable[[], bool]
) -> FillAnswer:
    """Fill one photo, or do what else a request asks for.

    Args:
        max_pixels: larger photos are refused.
        tell: called with "progress" events as they go to the client.
        given_up: asked before each network step.

    Raises:
        InputError: photo, mask, settings or format cannot be used.
        GivenUpError: `given_up` said so.
    """
    if isinstance(request, AdjustRequest):
        return adjust_mask(request, max_pixels=max_pixels)
    with warned() as warnings:
        photo = read_photo(request.image, max_pixels=max_pixels)
        photo, hole = _hole(photo, request)  # which is opaque now where it is filled
        name = check_output(photo, io.BytesIO(), format=request.format)
        settings = {**request.settings, "invert": False, "fit_mask": False}  # the hole has its final form
        events = model.stream(photo, hole, key=request.key, **settings)
        result = None
        for event in events:
            result = event.result
            if result is None:
                if given_up():
                    events.close()
                    raise GivenUpError
                tell(_progress(event, request.previews))
        assert result is not None
        buffer = io.BytesIO()
        written = write_photo(result.photo, buffer, format=name, quality=request.quality)
    report = {**result.to_dict(), "written": written.to_dict()}
    report["warnings"] = list(dict.fromkeys((*report["warnings"], *warnings)))
    if request.report:
        report["changes"] = result.changes(photo).to_dict()
    format = asked_name(name)
    return FillAnswer(buffer.getvalue(), format, media_type(format), result.seed, report)


def media_type(format: str) -> str:
    """The Internet media type of a format's files."""
    return {"jpeg": "image/jpeg", "heic": "image/heic"}.get(format, f"image/{check_format(format).lower()}")


def _hole(photo: Photo, request: FillRequest) -> tuple[Photo, Hole]:
    """The photo as it is to be filled, and what is filled of it."""
    grow = request.settings.get("grow")
    invert, fit = (bool(request.settings.get(name, False)) for name in ("invert", "fit_mask"))
    if request.mask is None:
        if photo.alpha is None:
            raise MaskError("mask: expected a mask, or a photo with transparency, got neither")
        return MaskSources(alpha=True, grow=grow).hole_of(photo)
    mask = request.mask
    if request.mask_kind == "transparent":
        mask = _transparent(mask)
    sources = MaskSources(files=(mask,), invert=invert, fit=fit, grow=grow)
    photo, hole = sources.hole_in(photo, request.image, allow_large=True)
    if request.opaque:
        photo = opaque_under(photo, hole.grown(grow).mask)
    return photo, hole


def _transparent(mask: bytes) -> bytes:
    """The mask as an image of its own that is white where this one is transparent."""
    try:
        hole = alpha_mask(read_photo(mask))
    except PhotoError as error:
        raise MaskError(str(error).replace("photo", "mask", 1)) from error
    except MaskError as error:
        raise MaskError("mask: expected an image with transparency, got one without") from error
    buffer = io.BytesIO()
    Image.fromarray(hole.astype(np.uint8) * 255).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _progress(event: Progress, with_preview: bool) -> dict[str, Any]:
    box = event.box
    preview = None
    if with_preview and box is not None:
        buffer = io.BytesIO()
        event.preview().save(buffer, "JPEG", quality=PREVIEW_QUALITY)
        preview = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {
        "fraction": round(event.fraction, 4),
        "step": event.step,
        "steps": event.steps,
        "region": event.region,
        "regions": event.regions,
        "box": None if box is None else [box.left, box.top, box.right, box.bottom],
        "preview": preview,
    }
