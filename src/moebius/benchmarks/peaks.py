"""What the machine's own library reaches: the roof that shares are taken of.

The better of a square matrix product and a dense 3 x 3 convolution, because on some processors one of the two is served
by a library that does not know them well. Measured in the same rounds as what is compared with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F

from moebius.benchmarks.rounds import Wait, measured
from moebius.benchmarks.subjects import DTYPES

_SIDES = {"full": (2048, 512, 64), "tiny": (128, 16, 16)}
"""Size -> side of the matrices, channels and side of the maps, on a CPU."""


class Peaks:
    """Probes in some number formats, made once.

    Args:
        dtypes: "float32", "bfloat16", "float16"; one that the device does not know raises RuntimeError when probed.
        size: "full" or "tiny"; on a GPU the probes are larger, or launching them would be all that is measured.
    """

    def __init__(self, dtypes: Iterable[str], device: torch.device, size: str, wait: Wait):
        self._wait = wait
        self._probes: dict[str, dict[str, tuple[float, Callable[[], object]]]] = {}
        side, channels, cells = _SIDES[size]
        rows = 1
        if device.type != "cpu" and size == "full":
            side, rows = 4 * side, 32
        for name in dtypes:
            kind = DTYPES[name]
            # Random numbers: a GPU multiplies ones faster, because switching bits is what its power goes to.
            draw = torch.Generator(device).manual_seed(3)
            a, x, kernel = (
                torch.randn(shape, generator=draw, device=device).mul_(0.02).to(kind)
                for shape in ((side, side), (rows, channels, cells, cells), (channels, channels, 3, 3))
            )
            x, kernel = (tensor.to(memory_format=torch.channels_last) for tensor in (x, kernel))
            self._probes[name] = {
                "matrix product": (2.0 * side**3, _product(a)),
                "convolution": (18.0 * rows * channels**2 * cells**2, _convolution(x, kernel)),
            }
        with torch.inference_mode():
            for probes in self._probes.values():
                for _, work in probes.values():
                    work()

    @torch.inference_mode()
    def measure(self) -> dict[str, dict[str, tuple[float, float, float]]]:
        """Number format -> probe -> FLOP, seconds, processor seconds."""
        return {
            name: {probe: (flops, *measured(work, self._wait, 2)) for probe, (flops, work) in probes.items()}
            for name, probes in self._probes.items()
        }


def _product(a: torch.Tensor) -> Callable[[], object]:
    return lambda: a @ a


def _convolution(x: torch.Tensor, kernel: torch.Tensor) -> Callable[[], object]:
    return lambda: F.conv2d(x, kernel, padding=1)
