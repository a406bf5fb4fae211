"""Which engine runs a model on this machine."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from moebius.engines.base import Engine
from moebius.errors import DeviceError
from moebius.settings import ENGINES

if TYPE_CHECKING:
    from moebius.weights import ModelSpec


def open_engine(
    spec: ModelSpec,
    folder: Path,
    *,
    engine: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
) -> Engine:
    """The engine for the model in `folder`.

    "auto" takes ONNX Runtime for a model that has graphs, unless a GPU is asked for or PyTorch is installed
    and sees one; a model without graphs runs in PyTorch. Asking for a GPU or for another number format than
    float32 means PyTorch. A folder that `moebius export` made runs in the runtime that it was made for.

    Args:
        threads: of ONNX Runtime or OpenVINO, for callers that run several fills at once; None = all the processor's.
            (The number of PyTorch's threads belongs to the process: `torch.set_num_threads`.)

    Raises:
        DeviceError: the engine, device or number format is not available here; says what to install.
    """
    if engine not in ENGINES:
        raise DeviceError(f"engine: expected one of {', '.join(ENGINES)}, got {engine!r}")
    made = spec.exported
    if engine == "auto" and made is not None:
        engine = made.runtime
    if engine == "auto":
        engine = "onnx" if _onnx_serves(folder, device, dtype) else "torch"
    if made is not None and engine not in (made.runtime, "openvino"):
        raise DeviceError(f"{folder} holds graphs for {made.runtime} alone, got engine {engine!r}")
    if engine == "openvino":
        if device not in ("auto", "cpu"):
            raise DeviceError(f"the openvino engine runs on cpu, got device {device!r}")
        from moebius.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(spec, folder, dtype=dtype, threads=threads)
    if engine == "onnx":
        if device not in ("auto", "cpu") or dtype not in ("auto", "float32"):
            raise DeviceError(
                f"the onnx engine runs on cpu in float32, got device {device!r}, dtype {dtype!r}"
            )
        from moebius.engines.onnx import OnnxEngine

        return OnnxEngine(spec, folder, threads=threads)
    if importlib.util.find_spec("torch") is None:
        raise DeviceError(
            f"model {spec.name} on engine torch (device {device}, dtype {dtype}) needs PyTorch, which is not "
            "installed: pip install 'moebius-inpaint[torch]'"
        )
    from moebius.engines.torch import TorchEngine

    return TorchEngine(spec, folder, device=device, dtype=dtype)


def _onnx_serves(folder: Path, device: str, dtype: str) -> bool:
    if not (folder / "denoiser.onnx").is_file():
        return False
    if device not in ("auto", "cpu") or dtype not in ("auto", "float32"):
        return False
    return device == "cpu" or not _gpu_in_torch()


def _gpu_in_torch() -> bool:
    """Whether PyTorch is installed and sees a GPU. Looks for a driver first: importing torch is slow."""
    if importlib.util.find_spec("torch") is None or not (_cuda_driver() or _apple()):
        return False
    import torch

    return bool(torch.cuda.is_available() or torch.backends.mps.is_available())


def _cuda_driver() -> bool:
    return Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists() or Path("/dev/dxg").exists()


def _apple() -> bool:
    import platform

    return platform.system() == "Darwin" and platform.machine() == "arm64"
