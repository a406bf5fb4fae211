"""Weights file -> network, with what the libraries need to be talked into.

torchmetrics and torch-fidelity are used as they are, so that numbers mean what they mean elsewhere.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from moebius.errors import CorruptWeightsError, InputError, MoebiusError
from moebius.evaluation.feature_files import NETWORKS
from moebius.weights.convert import read_checkpoint

if TYPE_CHECKING:
    import torch

    from moebius.networks.perceptual import LPIPSSqueeze

_building = threading.Lock()
"""Held while a library is imported or built: warnings are off and torch.hub's folder is another for that long."""


def load_squeeze(path: Path) -> LPIPSSqueeze:
    """Ours, from our own file, or from torchvision's trunk and the heads in torchmetrics."""
    from moebius.networks.perceptual import TAPS, LPIPSSqueeze, load_lpips

    if path.suffix == ".safetensors":
        return load_lpips(path)
    trunk = read_checkpoint(path)
    heads = read_checkpoint(_heads("squeeze"))
    state = {name: tensor for name, tensor in trunk.items() if name.startswith("features.")}
    state |= {f"heads.{i}": heads[f"lin{i}.model.1.weight"] for i in range(len(TAPS))}
    net = LPIPSSqueeze()
    net.load_state_dict(state, strict=True)
    frozen: LPIPSSqueeze = net.eval().requires_grad_(False)
    return frozen


def _heads(trunk: str) -> Path:
    """The LPIPS v0.1 heads that ship with torchmetrics; it is not imported for them."""
    spec = importlib.util.find_spec("torchmetrics")
    if spec is None or not spec.submodule_search_locations:
        raise MoebiusError("the heads of LPIPS need torchmetrics: pip install 'moebius-inpaint[eval]'")
    return Path(spec.submodule_search_locations[0]) / "functional" / "image" / "lpips_models" / f"{trunk}.pth"


def load_torchmetrics(name: str, path: Path) -> torch.nn.Module:
    """torchmetrics' LPIPS. It takes weights from torch.hub's folder alone, so that is where they are for a moment."""
    import torch.hub

    read_checkpoint(path)  # refuses a file that holds more than tensors; the libraries would run it
    with _building, _importing(name, "torchmetrics and torchvision"):
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    with _building, tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "checkpoints" / NETWORKS[name].files[0].name
        place.parent.mkdir()
        try:
            place.symlink_to(path.resolve())
        except OSError:  # not for everybody on Windows
            shutil.copyfile(path, place)
        hub = torch.hub.get_dir()
        torch.hub.set_dir(folder)
        try:
            with _quiet():
                metric = LearnedPerceptualImagePatchSimilarity(
                    net_type=name.removeprefix("lpips-"), normalize=True
                )
        finally:
            torch.hub.set_dir(hub)
    net: torch.nn.Module = metric.net  # the metric itself keeps every score it has computed
    return net.eval().requires_grad_(False)


def load_inception(path: Path) -> torch.nn.Module:
    """torch-fidelity's Inception v3: uint8 (B, 3, H, W) to a tuple with (B, 2048) in it."""
    read_checkpoint(path)  # as above
    with _building, _importing("inception", "torch-fidelity and torchvision"):
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with _building, _quiet():
        net: torch.nn.Module = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
        )
    return net.eval().requires_grad_(False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of libraries that build their networks with what others have deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _importing(name: str, libraries: str) -> Iterator[None]:
    try:
        with _quiet():
            yield
    except (ImportError, RuntimeError) as error:  # a torchvision for another torch ends in a RuntimeError
        reason = str(error).splitlines()[0]
        raise MoebiusError(f"{name} needs {libraries}, which cannot be imported: {reason}") from error


@contextlib.contextmanager
def reading(name: str, path: Path) -> Iterator[None]:
    """Turns what can be wrong with a weights file into an InputError of one line."""
    from safetensors import SafetensorError

    if not path.is_file():
        found = "a folder" if path.exists() else "nothing"
        raise InputError(f"{path}: expected the weights of {name}, found {found}")
    try:
        yield
    except (OSError, SafetensorError, KeyError, RuntimeError, CorruptWeightsError) as error:
        said = str(error).removeprefix(str(path)).lstrip(": ").splitlines()
        reason = " ".join(line.strip() for line in said[:2])[:200] or type(error).__name__
        raise InputError(f"{path}: expected the weights of {name}, got: {reason}") from error
