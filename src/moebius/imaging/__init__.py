"""Photos and masks. numpy and Pillow only, never torch."""

from moebius.imaging.blend import feather_weight
from moebius.imaging.box import Box, bounding_box
from moebius.imaging.components import connected_boxes
from moebius.imaging.distance import distance_outside
from moebius.imaging.prefill import push_pull
from moebius.imaging.regions import Region, plan_regions
from moebius.imaging.resample import resize, resize_mask
from moebius.imaging.tone import match_tone

__all__ = [
    "Box",
    "Region",
    "bounding_box",
    "connected_boxes",
    "distance_outside",
    "feather_weight",
    "match_tone",
    "plan_regions",
    "push_pull",
    "resize",
    "resize_mask",
]
