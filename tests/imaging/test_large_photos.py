"""A small object in a 12-megapixel photo costs what the crop around it costs."""

from __future__ import annotations

import tracemalloc

import numpy as np

from moebius.imaging import (
    Photo,
    default_growth,
    feather_weight,
    grow_mask,
    plan_regions,
    push_pull,
)

MEGABYTE = 1 << 20


def test_memory_around_a_small_object() -> None:
    photo = Photo(np.zeros((3000, 4000, 3), dtype=np.uint8), "RGB")
    mask = np.zeros((3000, 4000), dtype=bool)
    mask[1500:1600, 2000:2200] = True
    tracemalloc.start()
    grown = grow_mask(mask, default_growth(200, 100, 20_000))
    (region,) = plan_regions(grown, shapes=[(512, 512)], context=2)
    part = grown[region.box.slices]
    photo.blend_rgb(region.box, push_pull(photo.crop_rgb(region.box), part), feather_weight(part, 6))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60 * MEGABYTE  # two masks of 12 MB, what finding their pieces takes, and some crops
