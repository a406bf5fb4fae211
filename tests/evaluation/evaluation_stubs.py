"""A model without weights, LPIPS weights without training, and a small set of photos: everything but quality."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moebius.pipeline import Moebius
from moebius.weights.spec import Defaults, ModelSpec

Floats = NDArray[np.float32]

SPEC = ModelSpec(
    name="stub", title="", licence="", parameters=0, denoiser={}, latent_channels=3, latent_factor=8,
    latent_scale=1.0, feed="prefill", target="residual", prediction="v", first_timestep=999, size=64,
    cascade=(32,),    guidance_trained=False, defaults=Defaults(steps=2, guidance=1.0, solver="dpm++", start="noise"),
)  # fmt: skip


class StubEngine:
    """Latents are means over 8 x 8 pixels; the denoiser answers a hundredth of its input."""

    name, device, dtype = "stub", "cpu", "float32"

    def __init__(self) -> None:
        self.calls = 0

    def array(self, values: Floats) -> Floats:
        return values

    def numpy(self, values: Floats) -> Floats:
        return values

    def encode(self, image: Floats) -> Floats:
        batch, channels, height, width = image.shape
        cells: Floats = image.reshape(batch, channels, height // 8, 8, width // 8, 8).mean((3, 5))
        return cells

    def predict(
        self, noisy: Floats, timestep: int, mask: Floats, condition: Floats, guidance: float
    ) -> Floats:
        self.calls += 1
        return noisy * np.float32(0.01)

    def decode(self, latents: Floats) -> Floats:
        return latents.repeat(8, axis=2).repeat(8, axis=3)


def stub_model(model_hash: str = "0" * 64) -> Moebius:
    return Moebius(SPEC, StubEngine(), model_hash=model_hash)


def write_features(path: Path) -> Path:
    """LPIPS-squeeze with random trunk and heads, in the layout of the real file."""
    import torch
    from safetensors.torch import save_file

    from moebius.networks.perceptual import LPIPSSqueeze

    net, random = LPIPSSqueeze(), torch.Generator().manual_seed(0)
    shapes = {name: value.shape for name, value in net.state_dict().items() if name.startswith("features.")}
    tensors = {name: 0.1 * torch.randn(shape, generator=random) for name, shape in shapes.items()}
    for i, head in enumerate(net.heads):
        tensors[f"lpips.lin{i}"] = torch.rand(head.shape, generator=random)
    save_file(tensors, path)
    return path


def write_photos(folder: Path, count: int = 4, side: int = 64) -> Path:
    """A `photos` set: ramps with noise on them; a stroke, a square and a large square to fill."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    entries = []
    for i in range(count):
        ramps = np.stack([x, y, (x + i / count) % 1], axis=-1)
        pixels = np.clip(ramps + 0.05 * random.standard_normal((side, side, 3)), 0, 1)
        image = f"photo{i}.png"
        Image.fromarray((pixels * 255).astype(np.uint8)).save(folder / image)
        masks = {}
        for family, (height, width) in {"thin": (3, 40), "medium": (20, 20), "thick": (34, 34)}.items():
            mask = np.zeros((side, side), bool)
            mask[10 + i : 10 + i + height, 12 : 12 + width] = True
            masks[family] = f"mask{i}-{family}.png"
            Image.fromarray(mask).save(folder / masks[family])
        group = "portrait" if i % 2 else "natural"
        entries.append({"id": f"photo{i}", "group": group, "source": "ramps", "image": image, "masks": masks})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder
