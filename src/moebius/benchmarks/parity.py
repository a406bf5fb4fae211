"""What a number format costs the finished picture on this device, at random weights: PSNR in the hole, dB.

Against a fill of the plain network in true float32 (no TF32), with the same seeds. Networks are those of the other
cases: random weights let rounding grow more than trained ones do, so this errs on the strict side.
`scripts/picture_psnr` is for trained weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from moebius.benchmarks.cases import Setting
from moebius.benchmarks.denoiser import Shelf, number_formats
from moebius.benchmarks.photos import disc_photo
from moebius.benchmarks.subjects import spec_of
from moebius.benchmarks.variants import FormatEngine
from moebius.evaluation.metrics import masked_psnr, to_picture
from moebius.pipeline import Moebius
from moebius.pipeline.official import GUIDANCE, STEPS

SEEDS = (0, 1, 2)


def parity_report(setting: Setting, tell: Callable[[str], object] = lambda words: None) -> str:
    """A Markdown table: engine and number format, mean and lowest over the seeds."""
    shelf = Shelf(setting)
    photo, hole = disc_photo(spec_of(setting).size)

    def pictures(engine: FormatEngine) -> list[NDArray[np.float32]]:
        model = Moebius(spec_of(setting), engine, model_hash="random")
        made = []
        for seed in SEEDS:
            result = model(photo, hole, steps=STEPS, guidance=GUIDANCE, seed=seed, grow=0, feather=0)
            made.append(to_picture(np.asarray(result.image.convert("RGB"))))
        return made

    def engine(dtype: str, *, plain: bool = False) -> FormatEngine:
        denoiser = shelf.plain() if plain else shelf.deployed(dtype)
        graphs = False if plain else None
        return FormatEngine.holding(setting, denoiser, shelf.coder(dtype), dtype, graphs=graphs)

    tell("plain float32")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        wanted = pictures(engine("float32", plain=True))
    lines = [
        f"Picture of {STEPS} steps beside the plain network in float32, random weights, {len(SEEDS)} seeds; PSNR in "
        "the hole, dB.",
        "",
        "| engine, format | mean | lowest |",
        "| --- | ---: | ---: |",
    ]  # fmt: skip
    for dtype in number_formats(shelf.device):
        tell(dtype)
        found = [
            masked_psnr(got, want, hole) for got, want in zip(pictures(engine(dtype)), wanted, strict=True)
        ]
        lines.append(f"| torch {dtype} | {np.mean(found):.1f} | {min(found):.1f} |")
    return "\n".join([*lines, ""])
