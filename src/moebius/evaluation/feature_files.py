"""Where the weights of the feature networks come from: on this machine, or from those who publish them.

None is part of Moebius, and none can be mistaken for another: each has one file name, and is looked for under it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from moebius.errors import InputError
from moebius.evaluation.feature_download import fetch
from moebius.weights.cache import cache_home
from moebius.weights.transfer import offline

ENVIRONMENT = "MOEBIUS_FEATURES"
"""Names a folder with such files, or the file of LPIPS-squeeze."""


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A file that holds a network's weights."""

    name: str
    sha256: str
    """Its first digits."""
    origin: str
    """Who publishes it, for people."""
    url: str | None = None
    """Where the very file can be downloaded, if it can."""
    needs: tuple[str, ...] = ()
    """Modules without which the file is of no use."""


@dataclass(frozen=True, kw_only=True)
class FeatureNetwork:
    """A network of somebody else's that looks at pictures."""

    name: str
    metrics: tuple[str, ...]
    """Names of the metrics that need it."""
    about: str
    files: tuple[WeightsFile, ...]
    """Any one of them will do; the first is preferred."""


_TORCHVISION = "https://download.pytorch.org/models/"
_FIDELITY = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"

NETWORKS = {
    network.name: network
    for network in (
        FeatureNetwork(
            name="lpips-squeeze",
            metrics=("lpips", "lpips_crop", "diversity"),
            about="LPIPS v0.1 on SqueezeNet 1.1: small and quick, what cards state; not the published LPIPS",
            files=(
                WeightsFile(
                    name="squeezenet11_lpips.safetensors",
                    sha256="2ff078767585",
                    origin="SqueezeNet 1.1 of torchvision and the LPIPS v0.1 heads in one file",
                ),
                WeightsFile(
                    name="squeezenet1_1-b8a52dc0.pth",
                    sha256="b8a52dc0",
                    origin="torchvision",
                    url=_TORCHVISION + "squeezenet1_1-b8a52dc0.pth",
                    needs=("torchmetrics",),
                ),
            ),
        ),
        FeatureNetwork(
            name="mobilenetv2",
            metrics=("fd_mobilenetv2", "kid_mobilenetv2", "object_left"),
            about="MobileNetV2 1.0: a small stand-in for Inception, and a classifier",
            files=(
                WeightsFile(
                    name="mobilenetv2_int8.safetensors",
                    sha256="28a73d78e064",
                    origin="converted to safetensors from tf2_mobilenet_v2_1.0_224_ptq.tflite (sha256 5d3137241276) "
                    "of https://github.com/google-coral/test_data",
                ),
            ),
        ),
        FeatureNetwork(
            name="inception",
            metrics=("fid", "kid", "uids", "pids"),
            about="Inception v3 of 2015, through torch-fidelity: what published FID and KID mean",
            files=(
                WeightsFile(
                    name="weights-inception-2015-12-05-6726825d.pth",
                    sha256="6726825d",
                    origin="torch-fidelity",
                    url=_FIDELITY + "weights-inception-2015-12-05-6726825d.pth",
                    needs=("torch_fidelity", "torchvision"),
                ),
            ),
        ),
        FeatureNetwork(
            name="lpips-alex",
            metrics=("lpips_alex",),
            about="LPIPS v0.1 on AlexNet, through torchmetrics: the most published variant",
            files=(
                WeightsFile(
                    name="alexnet-owt-7be5be79.pth",
                    sha256="7be5be79",
                    origin="torchvision",
                    url=_TORCHVISION + "alexnet-owt-7be5be79.pth",
                    needs=("torchmetrics", "torchvision"),
                ),
            ),
        ),
        FeatureNetwork(
            name="lpips-vgg",
            metrics=("lpips_vgg",),
            about="LPIPS v0.1 on VGG-16, through torchmetrics",
            files=(
                WeightsFile(
                    name="vgg16-397923af.pth",
                    sha256="397923af",
                    origin="torchvision",
                    url=_TORCHVISION + "vgg16-397923af.pth",
                    needs=("torchmetrics", "torchvision"),
                ),
            ),
        ),
    )
}
"""All that is known, by name."""

_NAMES = {file.name for network in NETWORKS.values() for file in network.files}


def find_networks(
    folder: Path | None = None, wanted: Sequence[str] | None = None, *, download: bool = False
) -> dict[str, Path]:
    """The weights files of feature networks, by network, in the order of `NETWORKS`.

    Looked for in the folder given, in the one that `MOEBIUS_FEATURES` names, in the cache's `features`, and where
    torch.hub keeps what it has downloaded.

    Args:
        folder: a folder, or a file in it. A safetensors file of an unknown name counts as LPIPS-squeeze.
        wanted: networks that must be found; None takes whatever is here and can be used, which may be nothing.
        download: get a wanted network that is not here from its publisher, into the cache.

    Raises:
        InputError: a folder is not there; a wanted network is unknown, or neither here nor to be had.
        DownloadError: a download failed or was not what it should be.
    """
    if folder is not None and not folder.exists():
        raise InputError(f"{folder}: expected a folder with weights of feature networks, found nothing")
    unknown = next((name for name in wanted or () if name not in NETWORKS), None)
    if unknown is not None:
        raise InputError(f"feature network: expected one of {', '.join(NETWORKS)}, got {unknown!r}")
    places = list(_places(folder))
    found = {}
    for name, network in NETWORKS.items():
        if wanted is None or name in wanted:
            each = (_here(network, place, usable=wanted is None) for place in places)
            path = next((path for path in each if path is not None), None)
            if path is None and wanted is not None:
                path = _elsewhere(network, places, download)
            if path is not None:
                found[name] = path
    return found


def _places(folder: Path | None) -> Iterator[Path]:
    """Where to look, in order: folders, or files in them."""
    import torch.hub

    if folder is not None:
        yield folder
    if os.environ.get(ENVIRONMENT):
        named = Path(os.environ[ENVIRONMENT]).expanduser()
        if not named.exists():
            raise InputError(
                f"{ENVIRONMENT}: expected a folder with weights of feature networks, got {named}"
            )
        yield named
    yield cache_home() / "features"
    yield Path(torch.hub.get_dir()) / "checkpoints"


def _here(network: FeatureNetwork, place: Path, usable: bool) -> Path | None:
    """The network's file in one place; with `usable`, only one for which the modules are installed too."""
    if place.is_file():
        if network.name == "lpips-squeeze" and place.suffix == ".safetensors" and place.name not in _NAMES:
            return place
        place = place.parent
    for file in network.files:
        if (place / file.name).is_file() and not (usable and _lacks(file)):
            return place / file.name
    return None


def _lacks(file: WeightsFile) -> bool:
    return any(importlib.util.find_spec(module) is None for module in file.needs)


def _elsewhere(network: FeatureNetwork, places: Sequence[Path], download: bool) -> Path:
    """Download the network's file, or say where it was looked for and who has it."""
    forbidden = offline()
    file = next((file for file in network.files if file.url is not None), None)
    if download and not forbidden and file is not None and file.url is not None:
        target = cache_home() / "features" / file.name
        fetch(file.url, target, file.sha256)
        return target
    names = " or ".join(file.name for file in network.files)
    folders = ", ".join(str(place.parent if place.is_file() else place) for place in places)
    origins = "; ".join(
        f"{file.name}: {file.origin}{', ' + file.url if file.url else ''}" for file in network.files
    )
    why = f"; {forbidden} forbids downloading it" if download and forbidden and file is not None else ""
    raise InputError(f"{network.name}: expected {names} in one of {folders}{why} ({origins})")
