"""Foreign checkpoints to ours: the one place where a `.bin` is ever read, and only as tensors. Needs torch.

A `.bin` is a pickle, and a pickle is a program. `weights_only=True` makes PyTorch read tensors and plain
containers and refuse everything else; PyTorch before 2.6 could be talked around that, so it is refused here.
"""

from __future__ import annotations

import importlib.util
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moebius.errors import CorruptWeightsError, WeightsError
from moebius.weights.spec import ModelSpec
from moebius.weights.store import read_json, tensor_names

if TYPE_CHECKING:
    from torch import Tensor

VAE_CONFIG: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "act_fn": "silu",
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 512,
    "scaling_factor": 0.13025,
    "force_upcast": False,
}
"""The published VAE, as a diffusers AutoencoderKL config: 83,653,863 parameters, the fields of SDXL's VAE."""

TINY_VAE_CONFIG: dict[str, Any] = {
    "_class_name": "AutoencoderTiny",
    "in_channels": 3,
    "out_channels": 3,
    "encoder_block_out_channels": [64, 64, 64, 64],
    "decoder_block_out_channels": [64, 64, 64, 64],
    "num_encoder_blocks": [1, 3, 3, 3],
    "num_decoder_blocks": [3, 3, 3, 1],
    "latent_channels": 4,
    "upsampling_scaling_factor": 2,
    "act_fn": "relu",
    "latent_magnitude": 3,
    "latent_shift": 0.5,
    "scaling_factor": 1.0,
    "force_upcast": False,
}
"""`taesdxl`, as a diffusers AutoencoderTiny config: 2,445,063 parameters. Its latents are the VAE's scaled ones."""

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of the attention layers in VAE files from before diffusers 0.17."""


def require_torch(purpose: str) -> None:
    """Check that what conversion needs is installed, before anything is downloaded for it. Imports nothing.

    Raises:
        WeightsError: PyTorch or diffusers is missing; says what to install.
    """
    for module in ("torch", "diffusers"):
        if importlib.util.find_spec(module) is None:
            raise WeightsError(f"{purpose} needs {module}: pip install 'moebius-inpaint[torch]'")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.bin` (or `.safetensors`) state dict, on the CPU.

    Raises:
        CorruptWeightsError: missing, truncated, no checkpoint, more than tensors in it (it may be a program),
            or an average (EMA) without the statistics that the network needs.
    """
    if not path.is_file():
        found = "a folder" if path.exists() else "nothing"
        raise CorruptWeightsError(f"{path}: expected a checkpoint file, found {found}")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        tensor_names(path)
        state: dict[str, Tensor] = load_file(path)
        return state
    loaded = _unpickle(path)
    if isinstance(loaded, dict) and {"ema_buffers", "ema_name_map"} <= loaded.keys():
        raise CorruptWeightsError(
            f"{path} is an EMA checkpoint: it averages parameters only and has no batch-norm statistics, "
            "without which the network paints noise; import the plain .bin of the same step"
        )
    return _tensors(loaded, path)


def convert_denoiser(state: Mapping[str, Tensor], spec: ModelSpec, where: Path) -> dict[str, Tensor]:
    """A published denoiser's state dict as "denoiser.*" of our own names; values and number formats stay.

    Raises:
        CorruptWeightsError: it is not the network that `spec` describes; names the first misfits.
    """
    from moebius.networks import denoiser_config
    from moebius.weights.adapter import architecture_of, from_official

    found = architecture_of(state)
    if found != spec.architecture:
        raise CorruptWeightsError(
            f"{where}: expected a {spec.architecture} checkpoint, as model {spec.name} is, got a {found} one"
        )
    try:
        config = denoiser_config(spec.architecture, spec.denoiser)
    except (TypeError, ValueError) as error:
        raise CorruptWeightsError(f"model {spec.name} describes no network: {error}") from error
    try:
        ours = from_official(state, config)
    except CorruptWeightsError as error:
        raise CorruptWeightsError(f"{where}: {error}") from error
    return {f"denoiser.{name}": tensor for name, tensor in ours.items()}


def read_vae(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the config of a VAE checkpoint, under the names of today's diffusers.

    A config.json beside the checkpoint is heeded; without one it has to be the published VAE (`AutoencoderKL`) or
    taesdxl (`AutoencoderTiny`); their tensors' names tell which.

    Raises:
        CorruptWeightsError: it cannot be read or does not fit its config; names the first misfits.
    """
    import diffusers
    import torch

    ours = {_modern_name(name): tensor for name, tensor in read_checkpoint(path).items()}
    beside = path.with_name("config.json")
    tiny = any(name.startswith("decoder.layers.") for name in ours)
    config = read_json(beside) if beside.is_file() else TINY_VAE_CONFIG if tiny else VAE_CONFIG
    kind = vae_kind(config, beside)
    try:
        with torch.device("meta"):
            expected = getattr(diffusers, kind).from_config(config).state_dict()
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptWeightsError(f"{beside} describes no {kind}: {error}") from error
    misfits = [f"{name} is missing" for name in expected if name not in ours]
    misfits += [f"{name} is unknown" for name in ours if name not in expected]
    for name in (name for name in expected if name in ours):
        want, got = tuple(expected[name].shape), tuple(ours[name].shape)
        if want != got:
            misfits.append(f"{name} should be {want}, got {got}")
    if misfits:
        more = f" and {len(misfits) - 3} more" if len(misfits) > 3 else ""
        raise CorruptWeightsError(
            f"{path}: expected a VAE of {len(expected)} tensors: {'; '.join(misfits[:3])}{more}"
        )
    return ours, config


def vae_kind(config: Mapping[str, Any], where: Path | str = "config") -> str:
    """The class of diffusers that a VAE's config describes.

    Raises:
        CorruptWeightsError: neither of those known here.
    """
    kind = config.get("_class_name", "AutoencoderKL")
    if kind not in ("AutoencoderKL", "AutoencoderTiny"):
        raise CorruptWeightsError(f"{where}: expected an AutoencoderKL or AutoencoderTiny, got {kind!r}")
    return str(kind)


def _modern_name(name: str) -> str:
    return re.sub(
        r"(mid_block\.attentions\.\d+)\.(query|key|value|proj_attn)\.",
        lambda found: f"{found[1]}.{_OLD_ATTENTION[found[2]]}.",
        name,
    )


def _unpickle(path: Path) -> Any:
    import torch

    if _release(torch.__version__) < (2, 6):
        raise WeightsError(f"reading {path.name} safely needs PyTorch 2.6 or newer, got {torch.__version__}")
    try:
        mapped = zipfile.is_zipfile(path)  # the older format and damaged files cannot be mapped, only read
        with warnings.catch_warnings():  # of pickle protocols: what matters is whether it loads
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped or None)
    except Exception as error:  # a damaged or hostile pickle can end in any exception at all
        text = " ".join(str(error).split())
        blocked = re.search(r"(?:GLOBAL|global|class|import) `?([A-Za-z_]\w*(?:\.\w+)+)", text)
        if "eights only load failed" in text or "weights_only" in text:
            got = f"{blocked[1]}, which could run code" if blocked else "something else"
            raise CorruptWeightsError(f"{path} refused: expected nothing but tensors, got {got}") from error
        reason = text.split(". ")[0][:150] or type(error).__name__
        raise CorruptWeightsError(f"{path}: expected a whole PyTorch checkpoint, got: {reason}") from error


def _release(version: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _tensors(state: object, path: Path) -> dict[str, Tensor]:
    import torch

    if not isinstance(state, Mapping) or not state:
        raise CorruptWeightsError(f"{path}: expected tensors by name, got {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            got = f"{name!r}: {type(value).__name__}"
            raise CorruptWeightsError(f"{path}: expected tensors by name, got {got}")
    return dict(state)
