"""Weights that nobody trained, under the names and in the layouts of those who publish the trained ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ALEXNET = ((0, 3, 64, 11), (3, 64, 192, 5), (6, 192, 384, 3), (8, 384, 256, 3), (10, 256, 256, 3))
"""Number in `features`, channels in and out, kernel."""
VGG16 = (
    (0, 3, 64, 3), (2, 64, 64, 3), (5, 64, 128, 3), (7, 128, 128, 3), (10, 128, 256, 3), (12, 256, 256, 3),
    (14, 256, 256, 3), (17, 256, 512, 3), (19, 512, 512, 3), (21, 512, 512, 3), (24, 512, 512, 3),
    (26, 512, 512, 3), (28, 512, 512, 3),
)  # fmt: skip
CLASSIFIERS = {
    "alexnet-owt-7be5be79.pth": ((1, 9216, 4096), (4, 4096, 4096), (6, 4096, 1000)),
    "vgg16-397923af.pth": ((0, 25088, 4096), (3, 4096, 4096), (6, 4096, 1000)),
}


def write_trunk(path: Path) -> dict[str, Tensor]:
    """AlexNet or VGG-16, by the file's name. The classifiers are of zeros that take no room."""
    layers = ALEXNET if "alexnet" in path.name else VGG16
    random = torch.Generator().manual_seed(len(layers))
    state = {}
    for number, channels, out, kernel in layers:
        spread = (2 / (channels * kernel * kernel)) ** 0.5
        state[f"features.{number}.weight"] = spread * torch.randn(
            out, channels, kernel, kernel, generator=random
        )
        state[f"features.{number}.bias"] = 0.1 * torch.randn(out, generator=random)
    for number, inputs, outputs in CLASSIFIERS[path.name]:
        state[f"classifier.{number}.weight"] = torch.zeros(1, 1).expand(outputs, inputs)
        state[f"classifier.{number}.bias"] = torch.zeros(1).expand(outputs)
    torch.save(state, path)
    return state


def write_squeezenet(path: Path) -> dict[str, Tensor]:
    """torchvision's SqueezeNet 1.1."""
    from moebius.networks.perceptual import LPIPSSqueeze

    random = torch.Generator().manual_seed(7)
    state = {
        name: (2 / max(tensor[0].numel(), 8)) ** 0.5 * torch.randn(tensor.shape, generator=random)
        for name, tensor in LPIPSSqueeze().state_dict().items()
        if name.startswith("features.")
    }
    state |= {"classifier.1.weight": torch.zeros(1000, 512, 1, 1), "classifier.1.bias": torch.zeros(1000)}
    torch.save(state, path)
    return state


@contextmanager
def untrained_inception() -> Iterator[Any]:
    """torch-fidelity's Inception as it is made, before weights would be downloaded for it."""
    import torch_fidelity.feature_extractor_inceptionv3 as module

    kind = module.FeatureExtractorInceptionV3
    download, kind_load = module.load_state_dict_from_url, kind.load_state_dict
    module.load_state_dict_from_url = lambda *_, **__: {}
    kind.load_state_dict = lambda *_, **__: None
    try:
        torch.manual_seed(0)
        yield kind("untrained", ["2048"], verbose=False)
    finally:
        module.load_state_dict_from_url, kind.load_state_dict = download, kind_load
