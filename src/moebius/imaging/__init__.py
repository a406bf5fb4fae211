"""Photos and masks: everything around the network that is about pictures. numpy and Pillow only, never torch.

    reader.py, writer.py    a photo in any common format, and back into it with all that it carried
      decode.py               the header first, then pixels; one-line errors
      deep.py, png16.py, tiff.py    16-bit colour, which Pillow by itself cuts to 8 bits
      metadata.py, exif.py    EXIF, profile, resolution, text; orientation
      frames.py, frame_files.py, frame_headers.py, gif_palette.py    animations, frame by frame
      changes.py              what was done: how a photo was stored, what differs from another
      atomic.py               files that appear whole or not at all
    photo.py, colour.py     a photo in memory, in its own colours; crops of it as RGB, and blending into it
    mask.py                 masks of any kind, grown, and on the latent grid
      hole.py                 a mask with what it may not grow or fade into
      mask_sources.py         all places that a mask can come from, together
      mask_shapes.py, mask_pixels.py    rectangles, polygons, circles; alpha, a colour, a difference
      annotations.py, annotation_files.py    COCO and LabelMe files
      mask_cleaning.py, mask_preview.py    holes, specks and gaps; a mask painted over its photo
    components.py, distance.py    what connects, and how far away
    regions.py, box.py      where to fill: crops with context, in the model's shapes
    prefill.py, tone.py, grain.py, blend.py, resample.py    before, after and around the network
    texture.py              a fill in the photo's own texture
      exemplar.py, patches.py    a hole filled with patches from elsewhere in the photo

A mask is True where it is to be filled. What lies under it is never read by anything here that makes pixels.
"""

from moebius.imaging.annotations import read_annotations
from moebius.imaging.atomic import atomic_file, check_path
from moebius.imaging.blend import feather_weight
from moebius.imaging.box import Box, bounding_box
from moebius.imaging.changes import Changes, Written, describe_changes
from moebius.imaging.components import connected_boxes
from moebius.imaging.distance import distance_outside
from moebius.imaging.exemplar import exemplar_fill
from moebius.imaging.frames import Animation, is_animated, read_frames, write_frames
from moebius.imaging.grain import Grain, match_grain
from moebius.imaging.hole import Hole
from moebius.imaging.mask import default_growth, grow_mask, grow_objects, mask_to_latent, read_mask
from moebius.imaging.mask_cleaning import close_gaps, drop_specks, fill_holes
from moebius.imaging.mask_preview import preview_mask
from moebius.imaging.mask_sources import MaskSources
from moebius.imaging.metadata import Metadata
from moebius.imaging.photo import Photo
from moebius.imaging.prefill import push_pull
from moebius.imaging.reader import read_photo
from moebius.imaging.regions import Region, plan_regions
from moebius.imaging.resample import resample, resize, resize_mask, resize_part
from moebius.imaging.texture import textured
from moebius.imaging.tone import match_tone
from moebius.imaging.writer import check_format, check_output, output_formats, write_photo

__all__ = [
    "Animation",
    "Box",
    "Changes",
    "Grain",
    "Hole",
    "MaskSources",
    "Metadata",
    "Photo",
    "Region",
    "Written",
    "atomic_file",
    "bounding_box",
    "check_format",
    "check_output",
    "check_path",
    "close_gaps",
    "connected_boxes",
    "default_growth",
    "describe_changes",
    "distance_outside",
    "drop_specks",
    "exemplar_fill",
    "feather_weight",
    "fill_holes",
    "grow_mask",
    "grow_objects",
    "is_animated",
    "mask_to_latent",
    "match_grain",
    "match_tone",
    "output_formats",
    "plan_regions",
    "preview_mask",
    "push_pull",
    "read_annotations",
    "read_frames",
    "read_mask",
    "read_photo",
    "resample",
    "resize",
    "resize_mask",
    "resize_part",
    "textured",
    "write_frames",
    "write_photo",
]
