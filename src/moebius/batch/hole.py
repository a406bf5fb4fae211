"""What is to be filled in a photo of a batch: by its own mask file and boxes, and by what the options say for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from moebius.batch.item import Item, Options
from moebius.imaging import Hole, MaskSources, Photo


def hole_of(
    photo: Photo, photo_data: bytes, mask_data: bytes | None, item: Item, options: Options
) -> tuple[Photo, Hole]:
    """The photo as it is to be filled, and its hole: all that any of its sources says.

    Args:
        photo_data: the photo's file, for the orientation that annotations may follow.
        mask_data: the mask file, if the item has one: an image, or annotations.

    Raises:
        MaskError: a source cannot be read or does not fit the photo, there is none, or the mask looks inverted.
    """
    shared = dict(options.mask)
    own = () if mask_data is None else (mask_data,)
    settings = options.settings
    fields = {
        "files": (*own, *shared.pop("files", ())),
        "boxes": (*shared.pop("boxes", ()), *item.boxes),
        "invert": bool(settings.get("invert", False)),
        "fit": bool(settings.get("fit_mask", False)),
        "grow": settings.get("grow"),
    }
    return MaskSources(**{**shared, **fields}).hole_in(
        photo, photo_data, item.photo, allow_large=options.allow_large, cache=options.shared.annotations
    )


def frame_hole_of(
    hole: Hole, photo_data: bytes, mask_data: bytes | None, item: Item, options: Options
) -> Callable[[Photo], tuple[Photo, Hole]]:
    """What `hole_of` gives for each frame of an animation whose first one has this hole.

    All frames have the first one's hole; only transparency is looked for, and made opaque, in each.
    """
    if not options.mask.get("alpha"):
        return lambda frame: (frame, hole)
    any_share = replace(options, allow_large=True)
    return lambda frame: hole_of(frame, photo_data, mask_data, item, any_share)
