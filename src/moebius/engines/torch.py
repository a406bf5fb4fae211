"""The PyTorch engine: any model, on CPU, CUDA, ROCm or MPS. Needs the extra `[torch]`.

The denoiser runs in the chosen number format, rewritten for inference (`moebius.engines.fuse`). Time embeddings and
softmax stay in float32; which format each half of the autoencoder has, `fused_autoencoder.ready` says. On NVIDIA's GPUs
each of the three networks runs as CUDA graphs (`moebius.engines.captured`), everywhere else operator by operator.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from moebius.engines.base import FloatArray
from moebius.engines.captured import Captured, is_nvidia, recorder_of
from moebius.engines.fuse import FusedUNet
from moebius.engines.fused_autoencoder import in_slices, rows_at_once
from moebius.engines.fused_autoencoder import ready as ready
from moebius.engines.fused_loading import load_fused
from moebius.engines.fused_onednn import prepare_for_cpu
from moebius.engines.networks import Autoencoder, load_autoencoder, load_denoiser
from moebius.errors import DeviceError
from moebius.sampling import SamplingPlan, sample
from moebius.weights import ModelFolder, ModelSpec

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
COMPILER = "inductor"
"""Backend of `torch.compile`."""

log = logging.getLogger(__name__)


class TorchEngine:
    """A model folder's networks in PyTorch.

    Args:
        spec: the model's registry entry.
        folder: where weights.safetensors (and vae.safetensors for a published model) lie.
        device: "auto" takes CUDA, then MPS, then the CPU.
        dtype: "auto" takes bfloat16 on CUDA where it is fast, float32 elsewhere. On a CPU, bfloat16 is for
            processors that compute in it (avx512_bf16, AMX); elsewhere it is slow.
        fused: False runs the denoiser as it is trained. The same function, but for rounding.
        graphs: run the networks as CUDA graphs, one for each size of picture and batch, captured when that first comes
            (seconds, told to the log "moebius" at INFO). None: on NVIDIA's GPUs and nowhere else.
        compiled: the fused denoiser through `torch.compile`, which takes a minute for each size.

    Raises:
        DeviceError: the device or number format is not available, diffusers is not where it is needed, graphs are
            asked for without an NVIDIA GPU, or compiling is without `fused`.
        CorruptWeightsError: the weights do not fit the network that the registry entry describes.
    """

    name = "torch"
    rows = 1
    """Convolution libraries choose algorithms by batch size, and those differ in the last bits."""
    calls = 1

    def __init__(
        self, spec: ModelSpec, folder: Path, *, device: str = "auto", dtype: str = "auto", fused: bool = True,
        graphs: bool | None = None, compiled: bool = False,
    ):  # fmt: skip
        where = choose_device(device)
        number = choose_dtype(dtype, where)
        model = ModelFolder(folder, spec)
        denoiser: nn.Module
        if fused and spec.architecture == "moebius":
            denoiser = prepare_for_cpu(load_fused(model, number).to(where), where, number)
        else:
            denoiser = load_denoiser(model).to(where, number)
        coder = ready(load_autoencoder(model), where, number)
        self._hold(spec, denoiser, coder, where, number, graphs=graphs, compiled=compiled)
        how = "CUDA graphs" if self._captured else "no graphs"
        log.info("torch engine on %s, %s, %s", device_title(where), self.dtype, how)

    @classmethod
    def over(
        cls, spec: ModelSpec, denoiser: nn.Module, autoencoder: Autoencoder, device: torch.device
    ) -> TorchEngine:
        """An engine over networks that are in memory on `device` already, such as one in training; in float32.

        Without graphs, which would go on with weights that have been replaced.
        """
        engine = cls.__new__(cls)
        engine._hold(spec, denoiser, autoencoder, device, torch.float32)
        return engine

    def _hold(
        self, spec: ModelSpec, denoiser: nn.Module, autoencoder: Autoencoder, device: torch.device,
        dtype: torch.dtype, *, graphs: bool | None = False, compiled: bool = False,
    ) -> None:  # fmt: skip
        if graphs and not is_nvidia(device):
            raise DeviceError(f"graphs: expected an NVIDIA GPU, got {device_title(device)}")
        self._device, self._dtype = device, dtype
        self.device, self.dtype = device_name(device), str(dtype).removeprefix("torch.")
        self._denoiser, self._autoencoder = denoiser, autoencoder
        self._ids = torch.arange(spec.tokens, device=device)
        recorder = recorder_of(device) if graphs or graphs is None else None
        self._captured = None if recorder is None else Captured(recorder)
        self._compiled: Callable[..., Tensor] | None = None
        if compiled:
            if not isinstance(denoiser, FusedUNet):
                raise DeviceError("compiled: expected a fused denoiser, got one as it is trained")
            self._compiled = torch.compile(denoiser.step, fullgraph=True, dynamic=False, backend=COMPILER)

    @property
    def captured(self) -> Captured | None:
        """The graphs, with how many were made and how long that took; None where there are none."""
        return self._captured

    def array(self, values: FloatArray) -> Tensor:
        if self._device.type != "cuda":
            return torch.from_numpy(values.copy()).float().to(self._device)
        pinned = torch.empty(values.shape, dtype=torch.float32, pin_memory=True)
        pinned.numpy()[...] = values  # the allocator keeps it until the copy from it is done
        return pinned.to(self._device, non_blocking=True)

    def numpy(self, values: Tensor) -> FloatArray:
        values = values.detach().float()
        if values.device.type == "cuda":
            pinned = torch.empty_like(values, device="cpu", pin_memory=True)
            pinned.copy_(values, non_blocking=True)
            torch.cuda.current_stream(values.device).synchronize()
            values = pinned
        result: FloatArray = values.cpu().numpy()
        return result

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts))

    @torch.inference_mode()
    def encode(self, image: FloatArray) -> Tensor:
        most = rows_at_once(self._autoencoder, image.shape[2] * image.shape[3])[0]
        return in_slices(partial(self._run_one, "encode", self._encoded), self.array(image), most)

    @torch.inference_mode()
    def predict(
        self, noisy: Tensor, timestep: int, mask: Tensor, condition: Tensor, guidance: float
    ) -> Tensor:
        tensors = (noisy, mask, condition, self._told(timestep), self._number(guidance))
        return self._run("predict", self._predicted, tensors, (guidance != 1.0,))

    @torch.inference_mode()
    def denoise(
        self, noisy: Tensor, mask: Tensor, condition: Tensor, plan: SamplingPlan, guidance: float
    ) -> Tensor:
        """All steps of a plan in one call; with graphs, in one graph for each plan. No progress, and no way to stop.

        Args:
            noisy: (B, c, h, w) latents at the plan's first timestep.
            mask, condition, guidance: as in `predict`.

        Returns:
            (B, c, h, w), what `sampling.sample` over `predict` ends with.
        """
        told = torch.cat([self._told(timestep) for timestep in plan.timesteps])
        tensors = (noisy, mask, condition, told, self._number(guidance))
        return self._run("denoise", self._denoised, tensors, (guidance != 1.0, plan))

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> FloatArray:
        pixels = latents.shape[2] * latents.shape[3] * self._autoencoder.factor**2
        most = rows_at_once(self._autoencoder, pixels)[1]
        return self.numpy(
            in_slices(partial(self._run_one, "decode", self._autoencoder.decode), latents, most)
        )

    def _run(
        self,
        name: str,
        function: Callable[..., Tensor],
        tensors: Sequence[Tensor],
        constants: tuple[Hashable, ...] = (),
    ) -> Tensor:
        """A function of tensors, as a graph where there are graphs."""
        if self._captured is None:
            return function(*tensors, *constants)
        return self._captured(name, function, tensors, constants)

    def _run_one(self, name: str, function: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
        return self._run(name, function, (tensor,))

    # What follows is what graphs hold: functions of tensors on the device, which do not wait for it.

    def _encoded(self, image: Tensor) -> Tensor:
        return self._autoencoder.encode_moments(image)[0]

    def _predicted(
        self, noisy: Tensor, mask: Tensor, condition: Tensor, told: Tensor, guidance: Tensor, guided: bool
    ) -> Tensor:
        x = torch.cat([noisy, mask, condition], dim=1).to(self._dtype)
        answer = self._answer(x, told, guided).float()
        if not guided:
            return answer
        opposite, wanted = answer.chunk(2)
        return opposite + guidance * (wanted - opposite)

    def _denoised(
        self, noisy: Tensor, mask: Tensor, condition: Tensor, told: Tensor, guidance: Tensor, guided: bool,
        plan: SamplingPlan,
    ) -> Tensor:  # fmt: skip
        rows = iter(torch.split(told, 1))

        def predict(x: Tensor, timestep: int) -> Tensor:
            return self._predicted(x, mask, condition, next(rows), guidance, guided)

        *_, last = sample(predict, noisy, plan)
        return last.x

    def _answer(self, x: Tensor, told: Tensor, guided: bool) -> Tensor:
        """The condition's answers (B, c, h, w); guided, the opposite's before them."""
        if isinstance(self._denoiser, FusedUNet):
            if self._compiled is None:
                return self._denoiser.step(x, told, guided=guided)
            self._denoiser.prepare(*x.shape[2:])
            return self._compiled(x, told, guided=guided)
        ids = self._ids.expand(len(x), -1)
        if guided:
            x, ids = torch.cat([x, x]), torch.cat([ids + len(self._ids), ids])
        out: Tensor = self._denoiser(x, told, ids)
        return out

    def _told(self, timestep: int) -> Tensor:
        """What `_answer` is told of a timestep, one row."""
        if isinstance(self._denoiser, FusedUNet):
            return self._denoiser.at(timestep)
        return torch.full((1,), timestep, device=self._device)

    def _number(self, value: float) -> Tensor:
        """A number on the device; filled there, because a copy would wait."""
        return torch.full((), value, dtype=torch.float32, device=self._device)


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


def device_name(device: torch.device) -> str:
    """ "cpu", "mps", "cuda:0": with its number, also where that was not named."""
    if device.type == "cuda" and device.index is None and torch.cuda.is_available():
        device = torch.device("cuda", torch.cuda.current_device())
    return str(device)


def device_title(device: torch.device) -> str:
    """For the log: "cuda:0 (NVIDIA H200)", "cuda:0 (AMD Instinct MI300X, ROCm)", "cpu"."""
    name = device_name(device)
    if device.type != "cuda" or not torch.cuda.is_available():
        return name
    maker = "" if torch.version.hip is None else ", ROCm"
    return f"{name} ({torch.cuda.get_device_name(device)}{maker})"
