"""Make a trained model's folder ready to ship: weights as float16, ONNX graphs that point into them.

python -m moebius.export --model runs/nano/model --name nano --size 512 --cascade 256 --out models/nano
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors.torch import load_file
from torch import Tensor

from moebius.errors import WeightsError
from moebius.export.onnx import export_graphs
from moebius.networks import AutoencoderConfig, MoebiusConfig, MoebiusUNet, NanoAutoencoder
from moebius.weights import Defaults, open_folder, save_folder, seal
from moebius.weights.cache import WEIGHTS_FILE
from moebius.weights.spec import Detail


def bundle(
    model: Path,
    out: Path,
    *,
    name: str | None = None,
    title: str | None = None,
    licence: str | None = None,
    size: int | None = None,
    cascade: tuple[int, ...] = (),
    steps: int | None = None,
    solver: str | None = None,
    detail: str | None = None,
) -> Path:
    """Write the model folder `out` from the one that `moebius train` left.

    Args:
        model: a model folder with an autoencoder of our own.
        out: folder to write; replaced if it is there, its README.md kept.
        name, title, licence, size, cascade, steps, solver, detail: of the registry entry, where they shall differ.

    Raises:
        WeightsError: its VAE is a published one (those models run in PyTorch), or a weight does not fit float16.
    """
    folder = open_folder(model)
    spec = folder.spec
    if spec.autoencoder is None or spec.architecture != "moebius":
        raise WeightsError(
            f"{model}: expected a Moebius with the small autoencoder, to be exported as graphs"
        )
    state: dict[str, Tensor] = load_file(folder.path / WEIGHTS_FILE)
    halves = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    overflowing = [k for k, v in halves.items() if not v.isfinite().all()]
    if overflowing:
        raise WeightsError(f"{overflowing[0]} does not fit float16")
    changed = {"name": name, "title": title, "licence": licence, "size": size, "detail": detail}
    defaults: dict[str, Any] = {"steps": steps, "solver": solver}
    spec = replace(
        spec,
        **{k: v for k, v in changed.items() if v is not None},  # type: ignore[arg-type]
        cascade=cascade or spec.cascade,
        sizes=() if size is not None else spec.sizes,
        defaults=_changed(spec.defaults, defaults),
    )
    card = out / "README.md"
    extra = {"README.md": card.read_bytes()} if card.exists() else None
    save_folder(out, spec, halves, extra=extra, overwrite=True)
    assert spec.autoencoder is not None
    net, coder = (
        MoebiusUNet(MoebiusConfig(**spec.denoiser)),
        NanoAutoencoder(AutoencoderConfig(**spec.autoencoder)),
    )
    net.load_state_dict(_full(halves, "denoiser."))
    coder.load_state_dict(_full(halves, "autoencoder."))
    export_graphs(net.eval(), coder.eval(), out)
    seal(out, spec)
    return out


def _changed(defaults: Defaults, changes: dict[str, Any]) -> Defaults:
    return replace(defaults, **{k: v for k, v in changes.items() if v is not None})


def _full(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    own = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
    return {name: t.float() if t.is_floating_point() else t for name, t in own.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m moebius.export", description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name")
    parser.add_argument("--title")
    parser.add_argument("--licence")
    parser.add_argument("--size", type=int)
    parser.add_argument("--cascade", type=int, nargs="*", default=[])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--solver")
    parser.add_argument("--detail", choices=get_args(Detail))
    options = vars(parser.parse_args())
    torch.set_num_threads(1)
    bundle(options.pop("model"), options.pop("out"), cascade=tuple(options.pop("cascade")), **options)


if __name__ == "__main__":
    main()
