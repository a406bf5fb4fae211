"""Other people's inference over their networks, from array to array: what a whole picture of theirs takes.

Photo in, encoded with its hole emptied, as many network calls as the public pipeline makes by default, decoded. Text
encoders and safety checkers are left out: embeddings are random. Each network is fed as its pipeline feeds it (the
guidance pair, the mask and the condition joined or packed); the solver is a weighted sum, as cheap as theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moebius.benchmarks.cases import Peer, Setting
from moebius.benchmarks.denoiser import Shelf
from moebius.benchmarks.others import peer_inputs, peer_network
from moebius.benchmarks.subjects import DTYPES, make_autoencoder, make_wide_autoencoder, spec_of
from moebius.engines.base import FloatArray
from moebius.engines.networks import Autoencoder
from moebius.pipeline.official import STEPS as PUBLISHED_STEPS

PEER_STEPS: Mapping[Peer, int] = MappingProxyType(
    {"pixelhacker": 20, "sd15": 50, "sd35-large": 28, "flux-fill": 50, "lama": 1}
)
"""Network calls of a picture: defaults of diffusers' pipelines (StableDiffusionInpaintPipeline,
StableDiffusion3Pipeline, FluxFillPipeline) and of the release. StableDiffusion3InpaintPipeline would make 30 (50 steps
at strength 0.6)."""
NAMES: Mapping[Peer, str] = MappingProxyType(
    {
        "pixelhacker": "PixelHacker (the teacher)", "sd15": "Stable Diffusion 1.5 inpainting",
        "sd35-large": "Stable Diffusion 3.5 large", "flux-fill": "FLUX.1 Fill", "lama": "big LaMa",
    }
)  # fmt: skip
CODER_ROWS = 8
"""Photos that an autoencoder takes at a time: more gain nothing, and a batch of 64 would need tens of GB."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A network and its autoencoder at work; everything is made when first asked for."""

    name: str
    title: str
    steps: int
    """Network calls of a picture by default."""
    dtype: str
    step: Callable[[], Callable[[], Tensor]]
    """Makes one network call of all rows, on inputs of its own."""
    answer: Callable[[], Callable[[Tensor, Tensor, Tensor], Tensor]]
    """Makes (noisy, condition, mask) -> what the solver is given, as noisy."""
    coder: Callable[[], Autoencoder] | None
    """None: it works on pixels, and `answer` is given the emptied photo for both."""
    coder_name: str = ""
    """Pipelines with one name have one autoencoder."""
    encodes: int = 1
    note: str = ""


class Kitchen:
    """Pipelines of some rows, whose networks and autoencoders are shared where they are the same."""

    def __init__(self, setting: Setting, rows: int, shelf: Shelf):
        self.setting, self.rows, self.device = setting, rows, torch.device(setting.device)
        self._shelf = shelf
        self.side = spec_of(setting).size
        self.narrow = cache(lambda dtype: make_autoencoder(setting).to(dtype=DTYPES[dtype]))
        self.wide = cache(lambda dtype: make_wide_autoencoder(setting, dtype))

    def published(self) -> Pipeline:
        """The released inference: float32 and eager, 19 guided steps, the photo encoded as it is, too."""

        def answer() -> Callable[[Tensor, Tensor, Tensor], Tensor]:
            net, tokens = self._shelf.reference(), torch.arange(spec_of(self.setting).tokens)
            ids = tokens.expand(self.rows, -1)
            pair = torch.cat([ids + len(tokens), ids]).to(self.device)
            timestep = torch.tensor([501], device=self.device)

            def call(noisy: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
                x = torch.cat([noisy, mask, condition], dim=1)
                return _guided(net(torch.cat([x, x]), timestep, pair))

            return call

        return Pipeline(
            name="reference", title="published inference fp32", steps=PUBLISHED_STEPS - 1, dtype="float32",
            step=lambda: self._of_latents(answer(), 4, torch.float32), answer=answer,
            coder=partial(self.narrow, "float32"), coder_name="fp32", encodes=2,
        )  # fmt: skip

    def peer(self, peer: Peer) -> Pipeline:
        """A network of somebody else in bfloat16, as its pipeline feeds it."""
        make, note = peer_network(peer, "bfloat16", self.setting)
        made = cache(make)

        def step() -> Callable[[], Tensor]:
            net = made()
            inputs = peer_inputs(peer, net, "bfloat16", self.setting, self.rows)
            return lambda: net(**inputs)

        wide = peer in ("sd35-large", "flux-fill")
        coder = partial(self.wide if wide else self.narrow, "bfloat16")
        return Pipeline(
            name=peer, title=f"{NAMES[peer]} bf16", steps=PEER_STEPS[peer], dtype="bfloat16", step=step,
            answer=lambda: _answer(peer, made(), self.setting, self.rows), coder=None if peer == "lama" else coder,
            coder_name="wide" if wide else "bf16", note=note,
        )  # fmt: skip

    def whole(self, pipeline: Pipeline, steps: int) -> Callable[[], FloatArray]:
        """All of a picture: photos (rows, 3, H, W) in, pictures out."""
        call, number = pipeline.answer(), DTYPES[pipeline.dtype]
        coder = None if pipeline.coder is None else pipeline.coder()
        photos = self.photos()
        factor = 1 if coder is None else coder.factor
        mask = self.mask(self.side // factor).to(number)

        def work() -> FloatArray:
            image = torch.from_numpy(photos).to(self.device, number)
            if coder is None:
                return _fetched(call(image, image, mask))
            for _ in range(pipeline.encodes):
                condition = encoded(coder, image).to(number)
            noisy = torch.randn_like(condition)
            for _ in range(steps):
                noisy = 0.99 * noisy - 0.01 * call(noisy, condition, mask)
            return _fetched(decoded(coder, noisy))

        return work

    def photos(self) -> FloatArray:
        """(rows, 3, H, W) in [-1, 1]."""
        draw = np.random.default_rng(4)
        return draw.uniform(-1, 1, (self.rows, 3, self.side, self.side)).astype(np.float32)

    def mask(self, cells: int) -> Tensor:
        """(rows, 1, h, w): a square in the middle is to be filled."""
        mask = torch.zeros(self.rows, 1, cells, cells, device=self.device)
        mask[:, :, cells // 3 : 2 * cells // 3, cells // 3 : 2 * cells // 3] = 1
        return mask

    def _of_latents(
        self, call: Callable[[Tensor, Tensor, Tensor], Tensor], channels: int, number: torch.dtype
    ) -> Callable[[], Tensor]:
        cells = self.side // 8
        noisy = torch.randn(self.rows, channels, cells, cells, device=self.device, dtype=number)
        mask = self.mask(cells).to(number)
        return lambda: call(noisy, noisy, mask)


def encoded(coder: Autoencoder, image: Tensor) -> Tensor:
    """Latents of an image (B, 3, H, W), a few rows at a time."""
    return torch.cat([coder.encode_moments(part)[0] for part in torch.split(image, CODER_ROWS)])


def decoded(coder: Autoencoder, latents: Tensor) -> Tensor:
    """The image of latents (B, c, h, w), a few rows at a time."""
    return torch.cat([coder.decode(part) for part in torch.split(latents, CODER_ROWS)])


def _fetched(image: Tensor) -> FloatArray:
    found: FloatArray = image.float().cpu().numpy()
    return found


def _guided(both: Tensor) -> Tensor:
    opposite, wanted = both.chunk(2)
    return opposite + 2.0 * (wanted - opposite)


def _answer(peer: Peer, net: Any, setting: Setting, rows: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A network between latents and latents; its text, timestep and places stay the same."""
    fixed = peer_inputs(peer, net, "bfloat16", setting, rows)
    fed = next(iter(fixed))  # the argument that the latents are given as

    def call(noisy: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        if peer == "flux-fill":
            packed = (_packed(noisy), _packed(condition), _mask_tokens(mask))
            x = torch.cat(packed, dim=-1)
        elif peer == "lama":
            x = torch.cat([condition * (1 - mask), mask], dim=1)
        else:
            one = noisy if peer == "sd35-large" else torch.cat([noisy, mask, condition], dim=1)
            x = torch.cat([one, one])
        out: Any = net(**{**fixed, fed: x})
        out = out if isinstance(out, Tensor) else out.sample
        if peer == "lama":
            return out  # type: ignore[no-any-return]
        return _unpacked(out, noisy) if peer == "flux-fill" else _guided(out)

    return call


def _packed(latents: Tensor) -> Tensor:
    """(B, c, h, w) -> tokens of 2 x 2 cells (B, hw / 4, 4 c)."""
    rows, channels, height, width = latents.shape
    blocks = latents.reshape(rows, channels, height // 2, 2, width // 2, 2)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(rows, height * width // 4, 4 * channels)


def _unpacked(tokens: Tensor, like: Tensor) -> Tensor:
    """Tokens back to the shape of `like`."""
    rows, channels, height, width = like.shape
    blocks = tokens.reshape(rows, height // 2, width // 2, channels, 2, 2)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(like.shape)


def _mask_tokens(mask: Tensor) -> Tensor:
    """(B, 1, h, w) of cells -> (B, hw / 4, 256): the mask's 8 x 8 pixels of each cell as channels, packed."""
    return _packed(mask.expand(-1, 64, -1, -1))
