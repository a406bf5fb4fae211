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
        self._denoiser = _load(MoebiusUNet(MoebiusConfig(**spec.denoiser)), state, "denoiser.", folder)
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
        return self._encode(self.array(image).to(self._encode_dtype)).float() * self._scale

    @torch.inference_mode()
    def predict(self, noisy: Tensor, timestep: int, mask: Tensor, condition: Tensor, guidance: float) -> Tensor:
        x = torch.cat([noisy, mask, condition], dim=1).to(self._dtype)
        t = torch.tensor([timestep], device=self._device)
        ids = self._ids.expand(len(x), -1)
        if guidance == 1.0:
            return self._denoiser(x, t, ids).float()
        both = self._denoiser(torch.cat([x, x]), t, torch.cat([ids + len(self._ids), ids])).float()
        opposite, wanted = both.chunk(2)
        return opposite + guidance * (wanted - opposite)

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
        torch.zeros(1, device=device)
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


def _load(net: M, state: dict[str, Tensor], prefix: str, folder: Path) -> M:
    own = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
    try:
        net.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in own.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CorruptWeightsError(f"{folder / 'weights.safetensors'} does not fit its model.json: {reason}") from error
    return net.eval().requires_grad_(False)


Coder = Callable[[Tensor], Tensor]


def _load_autoencoder(spec: ModelSpec, state: dict[str, Tensor], folder: Path) -> tuple[Coder, Coder, nn.Module]:
    if spec.autoencoder is not None:
        net = _load(NanoAutoencoder(AutoencoderConfig(**spec.autoencoder)), state, "autoencoder.", folder)
        return net.encode, net.decode, net
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_config(json.loads((folder / "vae.json").read_text()))
    try:
        vae.load_state_dict(load_file(folder / "vae.safetensors"))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CorruptWeightsError(f"{folder / 'vae.safetensors'} does not fit its vae.json: {reason}") from error
    vae.eval().requires_grad_(False)
    return (lambda x: vae.encode(x).latent_dist.mean), (lambda z: vae.decode(z).sample), vae
