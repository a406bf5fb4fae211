"""The PyTorch engine: any model, on CPU, CUDA, ROCm or MPS. Needs the extra `[torch]`.

The denoiser runs in the chosen number format, rewritten for inference (`moebius.engines.fuse`). Time embeddings,
softmax and, on a CPU, the published VAE's encoder stay in float32; on a GPU the encoder is in float32 or bfloat16,
because published autoencoders overflow in float16 there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from moebius.engines.base import FloatArray
from moebius.engines.fuse import FusedUNet
from moebius.engines.fused_loading import load_fused
from moebius.engines.fused_onednn import prepare_for_cpu
from moebius.engines.fused_upsample import fuse_upsamplers
from moebius.engines.networks import Autoencoder, load_autoencoder, load_denoiser
from moebius.errors import DeviceError
from moebius.networks import NanoAutoencoder
from moebius.weights import ModelFolder, ModelSpec

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchEngine:
    """A model folder's networks in eager PyTorch.

    Args:
        spec: the model's registry entry.
        folder: where weights.safetensors (and vae.safetensors for a published model) lie.
        device: "auto" takes CUDA, then MPS, then the CPU.
        dtype: "auto" takes bfloat16 on CUDA where it is fast, float32 elsewhere. On a CPU, bfloat16 is for
            processors that compute in it (avx512_bf16, AMX); elsewhere it is slow.
        fused: False runs the denoiser as it is trained. The same function, but for rounding.

    Raises:
        DeviceError: the device or number format is not available, or diffusers is not where it is needed.
        CorruptWeightsError: the weights do not fit the network that the registry entry describes.
    """

    name = "torch"
    rows = 1
    """Convolution libraries choose algorithms by batch size, and those differ in the last bits."""
    calls = 1

    def __init__(
        self, spec: ModelSpec, folder: Path, *, device: str = "auto", dtype: str = "auto", fused: bool = True
    ):
        where = choose_device(device)
        number = choose_dtype(dtype, where)
        model = ModelFolder(folder, spec)
        denoiser: nn.Module
        if fused and spec.architecture == "moebius":
            denoiser = prepare_for_cpu(load_fused(model, number).to(where), where, number)
        else:
            denoiser = load_denoiser(model).to(where, number)
        self._hold(spec, denoiser, ready(load_autoencoder(model), where, number), where, number)

    @classmethod
    def over(
        cls, spec: ModelSpec, denoiser: nn.Module, autoencoder: Autoencoder, device: torch.device
    ) -> TorchEngine:
        """An engine over networks that are in memory on `device` already, such as one in training; in float32."""
        engine = cls.__new__(cls)
        engine._hold(spec, denoiser, autoencoder, device, torch.float32)
        return engine

    def _hold(
        self,
        spec: ModelSpec,
        denoiser: nn.Module,
        autoencoder: Autoencoder,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._device, self._dtype = device, dtype
        self.device, self.dtype = str(device), str(dtype).removeprefix("torch.")
        self._denoiser, self._autoencoder = denoiser, autoencoder
        self._ids = torch.arange(spec.tokens)

    def array(self, values: FloatArray) -> Tensor:
        return torch.from_numpy(values.copy()).float().to(self._device)

    def numpy(self, values: Tensor) -> FloatArray:
        result: FloatArray = values.detach().float().cpu().numpy()
        return result

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts))

    @torch.inference_mode()
    def encode(self, image: FloatArray) -> Tensor:
        return self._autoencoder.encode_moments(self.array(image))[0]

    @torch.inference_mode()
    def predict(
        self, noisy: Tensor, timestep: int, mask: Tensor, condition: Tensor, guidance: float
    ) -> Tensor:
        x = torch.cat([noisy, mask, condition], dim=1).to(self._dtype)
        t, ids = torch.tensor([timestep]), self._ids.expand(len(x), -1)
        if guidance == 1.0:
            wanted: Tensor = self._answer(x, t, ids).float()
            return wanted
        if isinstance(self._denoiser, FusedUNet):
            opposite, wanted = (half.float() for half in self._denoiser.guided(x, t))
        else:
            both = self._answer(torch.cat([x, x]), t, torch.cat([ids + len(self._ids), ids])).float()
            opposite, wanted = both.chunk(2)
        guided: Tensor = opposite + guidance * (wanted - opposite)
        return guided

    def _answer(self, x: Tensor, timesteps: Tensor, ids: Tensor) -> Tensor:
        if not isinstance(
            self._denoiser, FusedUNet
        ):  # which reads both where they are, and waits for no device
            timesteps, ids = timesteps.to(self._device), ids.to(self._device)
        out: Tensor = self._denoiser(x, timesteps, ids)
        return out

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> FloatArray:
        return self.numpy(self._autoencoder.decode(latents))


class _Mixed(Autoencoder):
    """An autoencoder whose decoder computes in bfloat16, and whose encoder does not."""

    def __init__(self, plain: Autoencoder):
        self.network, self.channels, self.factor = plain.network, plain.channels, plain.factor
        self._scale = plain._scale

    def decode(self, latents: Tensor) -> Tensor:
        scaled = (latents / self._scale).to(torch.bfloat16)
        image: Tensor = self.network.decode(scaled).sample
        return image


def ready(autoencoder: Autoencoder, device: torch.device, dtype: torch.dtype) -> Autoencoder:
    """The autoencoder, changed in place, as it runs beside a denoiser of that number format."""
    # float16 overflows in published encoders; bfloat16 does not.
    number = torch.float32 if dtype is torch.float16 else dtype
    if isinstance(autoencoder.network, NanoAutoencoder):
        return autoencoder.to(device, number)
    fuse_upsamplers(autoencoder.network.decoder)
    network = autoencoder.network.to(memory_format=torch.channels_last)
    tiny = not hasattr(
        network, "post_quant_conv"
    )  # AutoencoderTiny: off by more than bfloat16 rounds, and in a hurry
    if device.type != "cpu" or number is not torch.bfloat16 or tiny:
        return autoencoder.to(device, number)
    for part in (network.decoder, network.post_quant_conv):
        if part is not None:
            part.to(torch.bfloat16)
    return _Mixed(autoencoder)


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
