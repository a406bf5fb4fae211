"""The PyTorch engine: any model, on CPU, CUDA, ROCm or MPS. Needs the extra `[torch]`.

The denoiser runs in the chosen number format; the encoder always in float32 or bfloat16, because published
autoencoders overflow in float16 there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from moebius.engines.base import FloatArray
from moebius.errors import CorruptWeightsError, DeviceError
from moebius.networks import AutoencoderConfig, MoebiusConfig, MoebiusUNet, NanoAutoencoder

if TYPE_CHECKING:
    from moebius.weights import ModelSpec

M = TypeVar("M", bound=nn.Module)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchEngine:
    """A model folder's networks in eager PyTorch.

    Args:
        spec: the model's registry entry.
        folder: where weights.safetensors (and vae.safetensors for a published model) lie.
        device: "auto" takes CUDA, then MPS, then the CPU.
        dtype: "auto" takes bfloat16 on CUDA where it is fast, float32 elsewhere.

    Raises:
        DeviceError: the device or number format is not available.
        CorruptWeightsError: the weights do not fit the network that the registry entry describes.
    """

    name = "torch"

    def __init__(self, spec: ModelSpec, folder: Path, *, device: str = "auto", dtype: str = "auto"):
        self._device = choose_device(device)
        self._dtype = choose_dtype(dtype, self._device)
        self.device, self.dtype = str(self._device), str(self._dtype).removeprefix("torch.")
        state = load_file(folder / "weights.safetensors")
        self._denoiser = _load(
            lambda: MoebiusUNet(MoebiusConfig(**spec.denoiser)), state, "denoiser.", folder
        )
        self._denoiser.to(self._device, self._dtype)
        encode, decode, autoencoder = _load_autoencoder(spec, state, folder)
        # float16 overflows in published encoders; bfloat16 does not.
        self._encode_dtype = torch.float32 if self._dtype is torch.float16 else self._dtype
        autoencoder.to(self._device, self._encode_dtype)
        self._encode, self._decode = encode, decode
        self._ids = torch.arange(spec.tokens, device=self._device)
        self._scale = spec.latent_scale

    def array(self, values: FloatArray) -> Tensor:
        return torch.from_numpy(values.copy()).float().to(self._device)

    def numpy(self, values: Tensor) -> FloatArray:
        result: FloatArray = values.detach().float().cpu().numpy()
        return result

    @torch.inference_mode()
    def encode(self, image: FloatArray) -> Tensor:
        latents: Tensor = self._encode(self.array(image).to(self._encode_dtype)).float() * self._scale
        return latents

    @torch.inference_mode()
    def predict(
        self, noisy: Tensor, timestep: int, mask: Tensor, condition: Tensor, guidance: float
    ) -> Tensor:
        x = torch.cat([noisy, mask, condition], dim=1).to(self._dtype)
        t = torch.tensor([timestep], device=self._device)
        ids = self._ids.expand(len(x), -1)
        if guidance == 1.0:
            wanted: Tensor = self._denoiser(x, t, ids).float()
            return wanted
        both = self._denoiser(torch.cat([x, x]), t, torch.cat([ids + len(self._ids), ids])).float()
        opposite, wanted = both.chunk(2)
        guided: Tensor = opposite + guidance * (wanted - opposite)
        return guided

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> FloatArray:
        return self.numpy(self._decode((latents / self._scale).to(self._encode_dtype)))


def choose_device(name: str) -> torch.device:
    """The torch device of that name; "auto" takes CUDA (or ROCm), then MPS, then the CPU."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # "meta" makes tensors, but has no numbers in them
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise DeviceError(f"device {name!r} is not available here: {str(error).splitlines()[0]}") from error
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format of that name; "auto" is bfloat16 on a CUDA device that has it, float32 elsewhere."""
    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float32
    if name not in DTYPES:
        raise DeviceError(f"dtype: expected auto, {', '.join(DTYPES)}, got {name!r}")
    if name == "float16" and device.type == "cpu":
        raise DeviceError("dtype float16 is for GPUs; on a CPU use float32 or bfloat16")
    return DTYPES[name]


def _load(build: Callable[[], M], state: dict[str, Tensor], prefix: str, folder: Path) -> M:
    """A network with the tensors whose names begin with `prefix`, in float32, ready for inference.

    Built on the meta device: no numbers are drawn for weights that are replaced at once, so torch's global
    generator stays as it was, and no memory is taken twice.
    """
    own = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
    own = {name: t.float() if t.is_floating_point() else t for name, t in own.items()}
    try:
        with torch.device("meta"):
            net = build()
        net.load_state_dict(own, assign=True)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CorruptWeightsError(
            f"{folder}: the weights do not fit what its JSON describes: {reason}"
        ) from error
    return net.eval().requires_grad_(False)


Coder = Callable[[Tensor], Tensor]


def _load_autoencoder(
    spec: ModelSpec, state: dict[str, Tensor], folder: Path
) -> tuple[Coder, Coder, nn.Module]:
    config = spec.autoencoder
    if config is not None:
        net = _load(lambda: NanoAutoencoder(AutoencoderConfig(**config)), state, "autoencoder.", folder)
        return net.encode, net.decode, net
    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        raise DeviceError(
            f"model {spec.name} has a published VAE and needs diffusers: pip install 'moebius-inpaint[torch]'"
        ) from error

    published = json.loads((folder / "vae.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "vae.safetensors")
    vae = _load(lambda: AutoencoderKL.from_config(published), tensors, "", folder)
    return (lambda x: vae.encode(x).latent_dist.mean), (lambda z: vae.decode(z).sample), vae
