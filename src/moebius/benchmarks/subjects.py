"""The networks that are measured: built without memory, filled with random weights, if there is room for them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from moebius.benchmarks.cases import Setting
from moebius.engines.fused_autoencoder import ready
from moebius.engines.networks import Autoencoder
from moebius.errors import DeviceError
from moebius.networks import AutoencoderConfig, MoebiusConfig, MoebiusUNet, NanoAutoencoder
from moebius.weights.convert import TINY_VAE_CONFIG, VAE_CONFIG, vae_kind
from moebius.weights.registry import find
from moebius.weights.spec import ModelSpec

M = TypeVar("M", bound=nn.Module)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
TINY = MoebiusConfig(
    latent_size=8, channels=(16, 32, 48), category_channels=12, context_channels=20, heads=4, norm_groups=4
)
TINY_AUTOENCODER = AutoencoderConfig(
    latent_channels=4, widths=(8, 12, 16), encoder_blocks=(0, 0, 0), decoder_blocks=(0, 0, 0)
)
SPARE_MIB = 512
"""Memory that is left to everybody else."""


def denoiser_config(setting: Setting) -> MoebiusConfig:
    """The published sizes, or tiny ones."""
    return MoebiusConfig() if setting.size == "full" else TINY


def make_denoiser(setting: Setting) -> MoebiusUNet:
    """The denoiser on the run's device, float32, with random weights and batch-norm statistics that are not trivial."""
    config = denoiser_config(setting)
    return realise(lambda: MoebiusUNet(config), torch.device(setting.device))


def make_autoencoder(setting: Setting, *, taesdxl: bool = False) -> Autoencoder:
    """The published autoencoder at random weights, on the run's device, float32; one of a few layers for size "tiny".

    Args:
        taesdxl: the tiny published one that may stand in for it.

    Raises:
        DeviceError: diffusers is missing, or there is not enough memory.
    """
    spec = spec_of(setting)
    build: Callable[[], nn.Module]
    if setting.size == "tiny":
        build = lambda: NanoAutoencoder(TINY_AUTOENCODER)  # noqa: E731
    else:
        config = TINY_VAE_CONFIG if taesdxl else VAE_CONFIG
        kind = diffusers_class(vae_kind(config))
        build = lambda: kind.from_config(config)  # noqa: E731
    scale = 1.0 if taesdxl else spec.latent_scale
    return Autoencoder(realise(build, torch.device(setting.device)), replace(spec, latent_scale=scale))


def ready_autoencoder(setting: Setting, dtype: str, *, taesdxl: bool = False) -> Autoencoder:
    """The published autoencoder (or the tiny one) as it runs beside a denoiser of that number format."""
    return ready(make_autoencoder(setting, taesdxl=taesdxl), torch.device(setting.device), DTYPES[dtype])


def make_wide_autoencoder(setting: Setting, dtype: str) -> Autoencoder:
    """The autoencoder of Stable Diffusion 3.5 and FLUX.1 at random weights: 16 channels of latents."""
    spec = spec_of(setting)
    build: Callable[[], nn.Module]
    if setting.size == "tiny":
        build = lambda: NanoAutoencoder(replace(TINY_AUTOENCODER, latent_channels=16))  # noqa: E731
    else:
        config = {**VAE_CONFIG, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
        kind = diffusers_class(vae_kind(config))
        build = lambda: kind.from_config(config)  # noqa: E731
    found = Autoencoder(
        realise(build, torch.device(setting.device), DTYPES[dtype]), replace(spec, latent_scale=1.0)
    )
    found.channels = 16
    return found


def spec_of(setting: Setting) -> ModelSpec:
    """How the measured model is fed and sampled: as published."""
    published = find("pretrained")
    if setting.size == "full":
        return published
    return ModelSpec(
        name="tiny", title="tiny", licence="none", parameters=0, denoiser=TINY.to_dict(), size=64,
        latent_scale=published.latent_scale, defaults=published.defaults,
    )  # fmt: skip


def realise(build: Callable[[], M], device: torch.device, dtype: torch.dtype = torch.float32) -> M:
    """A network with random weights on `device`, ready for inference.

    Built on the meta device, so that nothing is allocated twice and torch's global generator stays as it was. Weights
    are drawn per tensor, scaled to keep activations of order one.

    Raises:
        DeviceError: there is not enough memory; says how much is wanted.
    """
    with torch.device("meta"):
        net = nn.Module.to(build(), dtype)  # diffusers' own warns of what does not matter here
    wanted = sum(t.numel() * t.element_size() for t in (*net.parameters(), *net.buffers())) / 2**20
    check_memory(wanted, device)
    net = net.to_empty(device=device)
    draw = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for name, tensor in sorted((*net.named_parameters(), *net.named_buffers())):
            _fill(name, tensor, draw)
    return net.eval().requires_grad_(False)


def _fill(name: str, tensor: Tensor, draw: torch.Generator) -> None:
    """Random values of a size that fits the tensor's part."""
    if not tensor.is_floating_point():
        tensor.zero_()
        return
    tensor.normal_(generator=draw)
    if name.endswith("running_var"):
        tensor.square_().mul_(0.25).add_(0.5)
    elif name.endswith("positions"):
        tensor.div_((tensor.shape[1] * tensor.shape[2]) ** 0.5)
    elif tensor.ndim > 1:
        tensor.div_(tensor[0].numel() ** 0.5)
    elif name.endswith(".weight"):
        tensor.mul_(0.1).add_(1)
    else:
        tensor.mul_(0.05)


def check_memory(wanted: float, device: torch.device) -> None:
    """Refuse what would not fit beside what is there already.

    Args:
        wanted: MiB.

    Raises:
        DeviceError: less is available, with `SPARE_MIB` left.
    """
    gc.collect()  # cases before may have left circles of references behind
    free = available_mib(device)
    if free is not None and wanted + SPARE_MIB > free:
        raise DeviceError(
            f"needs {wanted / 1024:.1f} GiB of memory beside {SPARE_MIB} MiB for everybody else, "
            f"{free / 1024:.1f} GiB are free"
        )


def available_mib(device: torch.device) -> float | None:
    """Memory that can still be taken, MiB; None where that cannot be told."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return float(torch.cuda.mem_get_info(device)[0] / 2**20)
    path = Path("/proc/meminfo")
    if not path.exists():
        return None
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    return float(lines["MemAvailable"].split()[0]) / 1024


def diffusers_class(name: str) -> Any:
    """That class of diffusers.

    Raises:
        DeviceError: it is not installed, or broken.
    """
    try:
        import diffusers

        return getattr(diffusers, name)
    except (ImportError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[-200:]
        raise DeviceError(f"needs diffusers ({reason}): pip install 'moebius-inpaint[torch]'") from error


def made_up_inputs(config: MoebiusConfig, rows: int, setting: Setting, *, guided: bool) -> tuple[Tensor, ...]:
    """What the denoiser is called with: x, timesteps and category ids.

    Args:
        rows: photos.
        guided: each photo twice, the opposite's rows first.
    """
    device, side, tokens = torch.device(setting.device), config.latent_size, config.tokens
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(rows, 2 * config.latent_channels + 1, side, side, generator=draw)
    x[:, config.latent_channels] = (x[:, config.latent_channels] > 0).float()
    ids = torch.arange(tokens).expand(rows, -1)
    if guided:
        x, ids = torch.cat([x, x]), torch.cat([ids + tokens, ids])
    return x.to(device), torch.tensor([501], device=device), ids.to(device)
