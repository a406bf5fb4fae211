"""python -m moebius.training {autoencoder,denoiser} --data DIR --out DIR [--set name=value ...]"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m moebius.training", description=__doc__)
    parser.add_argument("stage", choices=["autoencoder", "denoiser"])
    parser.add_argument("--data", type=Path, required=True, help="folder of .tar shards")
    parser.add_argument("--features", type=Path, help="LPIPS-squeeze weights (safetensors)")
    parser.add_argument("--autoencoder", type=Path, help="autoencoder.safetensors, for the denoiser")
    parser.add_argument("--initial", type=Path, help="checkpoint of another run to start the denoiser from")
    parser.add_argument("--out", type=Path, required=True, help="run folder; an unfinished run there goes on")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="decoded photos")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--loaders", type=int, default=0, help="processes that prepare the denoiser's batches"
    )
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="recipe fields, JSON values"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.threads:
        torch.set_num_threads(options.threads)
    shards = sorted(options.data.glob("*.tar"))
    common: dict[str, Any] = {
        "shards": shards,
        "out": options.out,
        "cache": options.cache,
        "device": options.device,
    }
    changes = dict(item.split("=", 1) for item in options.set)
    if options.stage == "autoencoder":
        from moebius.training.autoencoder import AutoencoderRecipe, train_autoencoder

        net = train_autoencoder(
            AutoencoderRecipe(**_parse(AutoencoderRecipe, changes)), features=options.features, **common
        )
        state = {name: tensor.contiguous() for name, tensor in net.cpu().state_dict().items()}
        save_file(state, options.out / "autoencoder.safetensors", {"config": json.dumps(asdict(net.config))})
    else:
        from moebius.training.denoiser import DenoiserRecipe, train_denoiser

        train_denoiser(
            DenoiserRecipe(**_parse(DenoiserRecipe, changes)),
            autoencoder=options.autoencoder,
            features=options.features,
            initial=options.initial,
            loaders=options.loaders,
            **common,
        )


def _parse(recipe: type, changes: dict[str, str]) -> dict[str, Any]:
    known = {field.name for field in fields(recipe)}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise SystemExit(f"unknown recipe field {unknown[0]!r}; expected one of {', '.join(sorted(known))}")
    return {name: json.loads(value) for name, value in changes.items()}


if __name__ == "__main__":
    main()
