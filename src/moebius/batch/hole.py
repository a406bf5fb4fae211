"""What is to be filled in a photo of a batch: by its own mask file and boxes, and by what the options say for all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moebius.batch.item import Item, Options
from moebius.imaging import Photo
from moebius.imaging.mask_sources import MaskSources, check_share, stored_orientation


def hole_of(
    photo: Photo, photo_data: bytes, mask_data: bytes | None, item: Item, options: Options
) -> tuple[Photo, NDArray[np.bool_]]:
    """The photo as it is to be filled, and its mask (H, W), True = fill: all that any of its sources says.

    Args:
        photo_data: the photo's file, for the orientation that annotations may follow.
        mask_data: the mask file, if the item has one: an image, or annotations.

    Raises:
        MaskError: a source cannot be read or does not fit the photo, there is none, or the mask looks inverted.
    """
    shared = dict(options.mask)
    own = () if mask_data is None else (mask_data,)
    files = (*own, *shared.pop("files", ()))
    settings = options.settings
    invert = bool(settings.get("invert", False))
    fields = {
        "boxes": (*shared.pop("boxes", ()), *item.boxes),
        "invert": invert,
        "fit": bool(settings.get("fit_mask", False)),
        "grow": settings.get("grow"),
    }
    sources = MaskSources(files=files, **{**shared, **fields})
    orientation = stored_orientation(photo_data) if files or sources.keep else 1
    photo, hole = sources.mask_of(photo, item.photo, orientation)
    if not options.allow_large:
        check_share(hole, inverted=invert, from_file=bool(files))
    return photo, hole
