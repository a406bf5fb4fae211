"""Feature networks at work: perceptual distances of two pictures, and descriptors for the metrics of whole sets.

Pictures are (H, W, 3) float32 in [0, 1], sides of at least 32. Everything here is computed in float32, gives the same
numbers every time, and may be shared between threads. Beside it:

    feature_files.py      what networks there are, and where their weights lie
    feature_download.py   getting a file from its publisher
    feature_loading.py    weights file -> network
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from moebius.errors import InputError
from moebius.evaluation.feature_files import NETWORKS, FeatureNetwork, WeightsFile, find_networks
from moebius.evaluation.feature_loading import load_inception, load_squeeze, load_torchmetrics, reading

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = [
    "NETWORKS",
    "Descriptor",
    "FeatureNetwork",
    "PerceptualDistance",
    "WeightsFile",
    "find_networks",
    "identity",
    "open_descriptor",
    "open_perceptual",
]

Picture = NDArray[np.float32]
Vector = NDArray[np.float32]
Net = TypeVar("Net", bound="nn.Module")

LEAST = 32
"""Smallest side of a picture, px: below it, nothing is left behind the last pooling of SqueezeNet."""

_LIBRARIES = {
    "lpips-squeeze": ("torch",),
    "mobilenetv2": ("torch",),
    "inception": ("torch", "torch-fidelity"),
    "lpips-alex": ("torch", "torchmetrics", "torchvision"),
    "lpips-vgg": ("torch", "torchmetrics", "torchvision"),
}
"""Distributions whose code a network's numbers depend on."""


class PerceptualDistance:
    """LPIPS v0.1 (Zhang et al., The Unreasonable Effectiveness of Deep Features, 2018); see `open_perceptual`.

    Args:
        name: of the network.
        prepare: what is computed of a reference (1, 3, H, W) in [0, 1].
        compare: the distance (1,) of a picture from a reference, prepared.
        device: where both run.
    """

    def __init__(
        self,
        name: str,
        prepare: Callable[[Tensor], Any],
        compare: Callable[[Tensor, Any], Tensor],
        device: torch.device,
    ):
        self.name, self.device = name, device
        self._prepare, self._compare = prepare, compare

    def prepare(self, image: Picture) -> Any:
        """What is needed of a picture, to compare many with it."""
        with _running(self.device):
            return self._prepare(_tensor(image, self.device))

    def distance(self, image: Picture, prepared: Any) -> float:
        """LPIPS between a picture and the one that was prepared, of equal size; 0 = equal."""
        with _running(self.device):
            return float(self._compare(_tensor(image, self.device), prepared))


class Descriptor:
    """A picture as one vector (D,); see `open_descriptor`.

    Args:
        name: of the network.
        size: D.
        describe: descriptors (1, D) of a picture (1, 3, H, W) in [0, 1].
        classify: logits (1, classes) of descriptors, if the network has classes worth the name.
        device: where both run.
    """

    def __init__(
        self,
        name: str,
        size: int,
        describe: Callable[[Tensor], Tensor],
        classify: Callable[[Tensor], Tensor] | None,
        device: torch.device,
    ):
        self.name, self.size, self.device = name, size, device
        self._describe, self._classify = describe, classify

    def __call__(self, image: Picture) -> Vector:
        with _running(self.device):
            return _vector(self._describe(_tensor(image, self.device)))

    def classes(self, image: Picture) -> Vector:
        """Probabilities (1001,) of MobileNetV2's classes: 0 is background, ImageNet's class c is c + 1.

        Raises:
            ValueError: the network is another.
        """
        if self._classify is None:
            raise ValueError(f"classes: expected mobilenetv2, got {self.name}")
        with _running(self.device):
            return _vector(self._classify(self._describe(_tensor(image, self.device))).softmax(1))


def open_perceptual(name: str, path: Path, *, device: str = "cpu") -> PerceptualDistance:
    """One of lpips-squeeze (ours, or torchvision's weights with torchmetrics' heads), lpips-alex and lpips-vgg.

    Raises:
        InputError: no such network, or the file is missing, damaged or of another network.
        MoebiusError: a library that it needs is missing or cannot be imported.
    """
    import torch

    place = torch.device(device)
    if name == "lpips-squeeze":
        with reading(name, path):
            squeeze = _placed(load_squeeze(path), place)
        return PerceptualDistance(
            name,
            lambda image: squeeze.taps(2 * image - 1),
            lambda image, taps: squeeze.compare(squeeze.taps(2 * image - 1), taps),
            place,
        )
    if name not in ("lpips-alex", "lpips-vgg"):
        raise InputError(f"feature network: expected lpips-squeeze, lpips-alex or lpips-vgg, got {name!r}")
    with reading(name, path):
        net = _placed(load_torchmetrics(name, path), place)
    return PerceptualDistance(
        name,
        lambda image: image,
        lambda image, reference: net(image, reference, normalize=True).flatten(),
        place,
    )


def open_descriptor(name: str, path: Path, *, device: str = "cpu") -> Descriptor:
    """One of mobilenetv2 (1280 numbers, of the picture at its own size) and inception (2048).

    Inception rounds to 8 bits and resizes to 299 x 299 itself, as in published FID.

    Raises:
        InputError: no such network, or the file is missing, damaged or of another network.
        MoebiusError: a library that it needs is missing or cannot be imported.
    """
    import torch

    place = torch.device(device)
    if name == "mobilenetv2":
        from moebius.networks.mobilenet import DESCRIPTOR, load_mobilenet

        with reading(name, path):
            mobilenet = _placed(load_mobilenet(path), place)
        return Descriptor(name, DESCRIPTOR, lambda image: mobilenet(2 * image - 1), mobilenet.classify, place)
    if name != "inception":
        raise InputError(f"feature network: expected mobilenetv2 or inception, got {name!r}")
    with reading(name, path):
        inception = _placed(load_inception(path), place)
    return Descriptor(
        name, 2048, lambda image: inception((image * 255).round().to(torch.uint8))[0], None, place
    )


def identity(name: str, path: Path) -> dict[str, str]:
    """What the network's numbers depend on: its weights, and the versions of the libraries that compute them.

    Raises:
        InputError: no such network, or the file cannot be read.
    """
    if name not in NETWORKS:
        raise InputError(f"feature network: expected one of {', '.join(NETWORKS)}, got {name!r}")
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: expected the weights of {name} ({error.strerror})") from error
    libraries = _LIBRARIES[name]
    if name == "lpips-squeeze" and path.suffix != ".safetensors":
        libraries = (*libraries, "torchmetrics")
    return {"file": path.name, "sha256": digest} | {library: _version(library) for library in libraries}


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


_gpu = threading.Lock()


@contextlib.contextmanager
def _running(device: torch.device) -> Iterator[None]:
    """Inference; on a GPU in full float32 and with the same algorithms every time, one thread after the other."""
    import torch

    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        if device.type == "cuda":
            stack.enter_context(_gpu)
            flags = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
            stack.enter_context(flags)
        yield


def _placed(net: Net, device: torch.device) -> Net:
    """Channels last halves the time of the convolutions on a CPU."""
    import torch

    return net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _tensor(image: Picture, device: torch.device) -> Tensor:
    """(H, W, 3) -> (1, 3, H, W), channels last as it lies."""
    import torch

    if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < LEAST:
        raise ValueError(f"expected a picture (H, W, 3) with sides of at least {LEAST}, got {image.shape}")
    return torch.from_numpy(np.array(image, np.float32, order="C")).to(device).permute(2, 0, 1)[None]


def _vector(batch: Tensor) -> Vector:
    values: Vector = batch[0].float().cpu().numpy()
    return values
