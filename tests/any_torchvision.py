"""torchvision, whatever torch it was built for."""

from __future__ import annotations

import importlib

import torch

_libraries: list[torch.library.Library] = []


def torchvision_anyhow() -> None:
    """Make torchvision importable where its operators are for another build of torch: no network here uses them.

    (PyPI's torchvision beside a CPU build of torch ends in "operator torchvision::nms does not exist".)
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _libraries.append(library)  # its operators live as long as it does
        importlib.import_module("torchvision")
