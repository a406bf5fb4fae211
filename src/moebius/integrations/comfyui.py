"""Nodes for ComfyUI. The pack in the folder `comfyui` of the repository hands them over.

    MoebiusLoadModel    a model's name or folder -> MOEBIUS_MODEL
    MoebiusInpaint      model, IMAGE, MASK -> IMAGE with its holes filled, MASK that was filled
    MoebiusGrowMask     MASK -> MASK as it is grown before a fill

Names of nodes, inputs and outputs are an interface: saved workflows hold them.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from moebius.engines.torch import DTYPES
from moebius.imaging import grow_objects
from moebius.integrations.comfyui_host import (
    download_bar,
    model_folders,
    model_names,
    progress_bar,
    stop_if_interrupted,
)
from moebius.integrations.comfyui_tensors import as_masks, from_mask, pair_up, put, to_mask, to_samples
from moebius.integrations.comfyui_widgets import to_settings, widget
from moebius.pipeline import Moebius, Result
from moebius.settings import DEFAULT_MODEL, ENGINES, HELP, Settings

CATEGORY = "Moebius"
MODEL = "MOEBIUS_MODEL"
"""The type of the wire between loader and fill: a `Moebius`, not one of ComfyUI's own models."""
DEVICES = ("auto", "cpu", "cuda", "mps")

InputTypes = dict[str, dict[str, Any]]


class MoebiusLoadModel:
    """Opens a model: one known by name, or a folder in ComfyUI's models/moebius."""

    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Opens a Moebius model. nano comes with the package; published models are downloaded when they are "
        "first used. Folders in models/moebius are listed as moebius/NAME."
    )
    FUNCTION = "load"
    RETURN_TYPES = (MODEL,)
    RETURN_NAMES = ("model",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        return {
            "required": {
                "model": (model_names(), {"default": DEFAULT_MODEL, "tooltip": "A model's name or folder."}),
            },
            "optional": {
                "engine": (
                    list(ENGINES),
                    {"default": ENGINES[0], "tooltip": "What runs the networks; auto suits the machine."},
                ),
                "device": (
                    list(DEVICES),
                    {"default": DEVICES[0], "tooltip": "Where they run; others than the cpu need torch."},
                ),
                "dtype": (
                    ["auto", *DTYPES],
                    {"default": "auto", "tooltip": "Number format of the denoiser; torch only."},
                ),
            },
        }

    def load(
        self, model: str, engine: str = "auto", device: str = "auto", dtype: str = "auto"
    ) -> tuple[Moebius]:
        """Raises: WeightsError or DeviceError, as `Moebius.from_pretrained`."""
        source = model_folders().get(model, model)
        opened = Moebius.from_pretrained(
            source, engine=engine, device=device, dtype=dtype, progress=download_bar()
        )
        return (opened,)


class MoebiusInpaint:
    """Fills what is white in the mask, each hole in a crop at the photo's own resolution, pasted back in place."""

    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Fills what is white in the mask. Each hole is cropped with its surroundings, filled and stitched back: "
        "outside the grown and feathered mask no pixel changes. The same seed gives the same picture, alone or in "
        "a batch."
    )
    FUNCTION = "inpaint"
    RETURN_TYPES = ("IMAGE", "MASK")
    RETURN_NAMES = ("image", "filled")
    OUTPUT_TOOLTIPS = ("The image with its holes filled.", "What was filled: the mask after its growth.")

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        kind, options = widget("seed")
        return {
            "required": {
                "model": (MODEL, {"tooltip": "From Load Moebius Model."}),
                "image": ("IMAGE", {"tooltip": "One image or a batch, of any size."}),
                "mask": (
                    "MASK",
                    {"tooltip": "White = fill; of the image's size. One, or one for each image."},
                ),
                "seed": (kind, {**options, "control_after_generate": True}),
                "steps": widget("steps"),
            },
            "optional": {
                name: widget(name)
                for name in ("guidance", "grow", "feather", "strategy", "context", "grain", "solver")
            },
        }

    def inpaint(self, model: Moebius, image: Tensor, mask: Tensor, **widgets: Any) -> tuple[Tensor, Tensor]:
        """Fill a batch.

        Args:
            image: (B, H, W, C) in [0, 1]; C is 1, 3, or 4 with alpha last.
            mask: (B, H, W) or (1, H, W) in [0, 1]; what is at least 0.5 is filled.
            **widgets: values of the other inputs.

        Returns:
            (B, H, W, C), the same floats where nothing was filled; (B, H, W), 1 = filled.

        Raises:
            InputError: image, mask or a setting cannot be used.
        """
        settings = to_settings(widgets)
        pairs = pair_up(image, mask)
        show = progress_bar(len(pairs))
        filled, holes = image.clone(), []
        for index, (one, hole) in enumerate(pairs):
            stop_if_interrupted()
            result: Result | None = None
            with closing(model.stream(to_samples(one), to_mask(hole), **settings)) as events:
                for event in events:
                    show(index + event.fraction)
                    stop_if_interrupted()
                    result = event.result
            assert result is not None
            changed = result.hole.touched(result.settings.feather)
            put(result.photo.pixels, changed, filled[index])  # not its alpha, which no fill changes
            holes.append(from_mask(result.hole.mask, one))
        return filled, torch.stack(holes)


class MoebiusGrowMask:
    """Grows a mask as a fill would, to be looked at or changed before it."""

    CATEGORY = CATEGORY
    DESCRIPTION = "The mask as a fill grows it, to be looked at first. A fill of what comes out takes grow 0."
    FUNCTION = "grow_mask"
    RETURN_TYPES = ("MASK",)
    RETURN_NAMES = ("mask",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        return {
            "required": {"mask": ("MASK", {"tooltip": "White = fill."}), "grow": widget("grow")},
            "optional": {"invert": ("BOOLEAN", {"default": False, "tooltip": HELP["invert"]})},
        }

    def grow_mask(self, mask: Tensor, grow: int, invert: bool = False) -> tuple[Tensor]:
        """(B, H, W) in [0, 1] -> (B, H, W), 1 = fill.

        Raises:
            MaskError: a value is not a number.
            SettingsError: grow is out of its range.
        """
        pixels = Settings(**to_settings({"grow": grow})).grow
        grown = []
        for one in as_masks(mask):
            hole = to_mask(one)
            grown.append(from_mask(grow_objects(~hole if invert else hole, pixels), one))
        return (torch.stack(grown),)


NODE_CLASS_MAPPINGS: dict[str, type] = {
    kind.__name__: kind for kind in (MoebiusLoadModel, MoebiusInpaint, MoebiusGrowMask)
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "MoebiusLoadModel": "Load Moebius Model",
    "MoebiusInpaint": "Moebius Inpaint",
    "MoebiusGrowMask": "Moebius Grow Mask",
}
