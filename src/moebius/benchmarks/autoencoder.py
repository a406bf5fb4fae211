"""Cases of the autoencoder: the published one at random weights, and the bundled model's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from moebius.benchmarks.cases import Case, Entry, Setting
from moebius.benchmarks.denoiser import counted, number_formats
from moebius.benchmarks.subjects import DTYPES, SHORT, check_memory, make_autoencoder, spec_of
from moebius.engines.fused_upsample import fuse_upsamplers
from moebius.engines.networks import Autoencoder, load_autoencoder
from moebius.weights import open_model

CALL_MIB = {"full": 1200.0, "tiny": 4.0}
"""Memory that a float32 call takes besides the weights, MiB, by size."""
LAYOUTS = {
    "as built": torch.contiguous_format,
    "channels last": torch.channels_last,
    "as it runs": torch.channels_last,
}
"""Memory orders; "as it runs", the decoder's upsamplers are rewritten, too (`moebius.engines.fused_upsample`)."""


def entries(case: Case, setting: Setting) -> list[Entry]:
    """The variants of "encode" and "decode"; the first is float32 as published."""
    made = cache(lambda dtype, layout: coder(setting, dtype, layout))
    found = []
    for dtype in number_formats(torch.device(setting.device)):
        if dtype == "float16":  # the published encoder overflows in it
            continue
        for layout in LAYOUTS if dtype == "float32" else ("channels last", "as it runs"):
            name = f"{SHORT[dtype]}-{layout.replace(' ', '-')}"
            title = f"published size, {SHORT[dtype]}, {layout}"
            found.append(_entry(case, setting, name, title, dtype, lambda d=dtype, m=layout: made(d, m)))  # type: ignore[misc]
        title = f"taesdxl, {SHORT[dtype]}, channels last"
        make = partial(tiny_coder, setting, dtype)
        found.append(_entry(case, setting, f"taesdxl-{SHORT[dtype]}", title, dtype, make))
    own = cache(lambda: load_autoencoder(open_model("nano")).to(setting.device))
    return [*found, _entry(case, setting, "nano", "nano's own, fp32", "float32", own)]


def coder(setting: Setting, dtype: str, layout: str) -> Autoencoder:
    """The published autoencoder at random weights, in a number format and memory layout."""
    found = make_autoencoder(setting).to(dtype=DTYPES[dtype])
    if layout == "as it runs":
        fuse_upsamplers(found.network.decoder)
    found.network.to(memory_format=LAYOUTS[layout])
    return found


def tiny_coder(setting: Setting, dtype: str) -> Autoencoder:
    """The tiny published autoencoder at random weights, in a number format, as it runs."""
    found = make_autoencoder(setting, taesdxl=True).to(dtype=DTYPES[dtype])
    found.network.to(memory_format=torch.channels_last)
    return found


def _entry(case: Case, setting: Setting, name: str, title: str, dtype: str, make: Callable[[], Any]) -> Entry:
    def work() -> Callable[[], object]:
        check_memory(CALL_MIB[setting.size], torch.device(setting.device))
        found: Autoencoder = make()
        image, latents = made_up_pair(setting, found)
        if case.name == "encode":
            return lambda: found.encode_moments(image)
        return lambda: found.decode(latents)

    return counted(Entry(name=name, title=title, make=work, dtype=dtype))


def made_up_pair(setting: Setting, coder: Autoencoder) -> tuple[Tensor, Tensor]:
    """A photo (1, 3, H, W) in [-1, 1] and latents (1, c, h, w) of the size that they would have."""
    side = spec_of(setting).size
    draw = torch.Generator().manual_seed(2)
    image = torch.rand(1, 3, side, side, generator=draw) * 2 - 1
    cells = side // coder.factor
    latents = torch.randn(1, coder.channels, cells, cells, generator=draw)
    return image.to(setting.device), latents.to(setting.device)
