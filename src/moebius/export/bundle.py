"""Make a model folder from training runs: weights as float16 safetensors, ONNX graphs that point into them.

    python -m moebius.export --autoencoder runs/autoencoder/autoencoder.safetensors \\
        --denoiser runs/denoiser/checkpoint.safetensors --name nano --out models/nano
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from moebius.export.onnx import export_graphs
from moebius.networks import AutoencoderConfig, MoebiusConfig, MoebiusUNet, NanoAutoencoder
from moebius.weights import Defaults, ModelSpec, save_folder, seal


def bundle(
    autoencoder: Path,
    denoiser: Path,
    out: Path,
    *,
    name: str,
    title: str,
    size: int,
    cascade: list[int],
    steps: int,
    solver: str,
) -> Path:
    """Write the model folder `out` from an autoencoder file and a denoiser checkpoint (its averaged weights).

    Args:
        autoencoder: `autoencoder.safetensors` of a finished run.
        denoiser: `checkpoint.safetensors` of a denoiser run.
        out: folder to write; replaced if it is there.
        name, title, size, cascade, steps, solver: of the model's registry entry.
    """
    ae_config, ae_state = _read(autoencoder, "")
    recipe, ema_state = _read(denoiser, "ema.")
    config = MoebiusConfig(**recipe["network"])
    state = {f"denoiser.{k}": v for k, v in ema_state.items()} | {
        f"autoencoder.{k}": v for k, v in ae_state.items()
    }
    halves = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    overflowing = [k for k, v in halves.items() if not v.isfinite().all()]
    if overflowing:
        raise ValueError(f"{overflowing[0]} does not fit float16")
    spec = ModelSpec(
        name=name,
        title=title,
        licence="research demonstration, see card",
        parameters=sum(p.numel() for p in MoebiusUNet(config).parameters()),
        denoiser=config.to_dict(),
        autoencoder=asdict(AutoencoderConfig(**ae_config)),
        latent_channels=config.latent_channels,
        latent_scale=1.0,
        feed="prefill",
        target="residual",
        residual_scale=recipe["residual_scale"],
        prediction="v",
        first_timestep=999,
        size=size,
        cascade=tuple(cascade),
        guidance_trained=False,
        defaults=Defaults(steps=steps, guidance=1.0, solver=solver, start="noise"),  # type: ignore[arg-type]
    )
    card = out / "README.md"
    extra = {"README.md": card.read_bytes()} if card.exists() else None
    save_folder(out, spec, halves, extra=extra, overwrite=True)
    net, coder = MoebiusUNet(config), NanoAutoencoder(AutoencoderConfig(**ae_config))
    net.load_state_dict({k: _full(halves[f"denoiser.{k}"]) for k in ema_state})
    coder.load_state_dict({k: _full(halves[f"autoencoder.{k}"]) for k in ae_state})
    export_graphs(net.eval(), coder.eval(), out)
    seal(out, spec)
    return out


def _read(path: Path, prefix: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The recipe or config in a training file's metadata, and its tensors under `prefix`."""
    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - not a dict
        state = {name.removeprefix(prefix): file.get_tensor(name) for name in names}
        metadata = file.metadata()
    return json.loads(metadata.get("recipe") or metadata["config"]), state


def _full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m moebius.export", description=__doc__)
    parser.add_argument("--autoencoder", type=Path, required=True)
    parser.add_argument("--denoiser", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", default="nano")
    parser.add_argument("--title", default="small and quick")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--cascade", type=int, nargs="*", default=[256])
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--solver", default="ddim")
    options = vars(parser.parse_args())
    torch.set_num_threads(1)
    bundle(options.pop("autoencoder"), options.pop("denoiser"), options.pop("out"), **options)


if __name__ == "__main__":
    main()
