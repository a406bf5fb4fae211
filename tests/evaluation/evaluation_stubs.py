"""Feature networks without training, and a small set of photos: everything but quality."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image


def write_features(folder: Path) -> Path:
    """LPIPS-squeeze and MobileNetV2 with random weights, in the layout of the real files."""
    import torch
    from safetensors.torch import save_file

    from moebius.networks.mobilenet import MobileNetV2
    from moebius.networks.perceptual import LPIPSSqueeze

    net, random = LPIPSSqueeze(), torch.Generator().manual_seed(0)
    shapes = {name: value.shape for name, value in net.state_dict().items() if name.startswith("features.")}
    tensors = {name: 0.1 * torch.randn(shape, generator=random) for name, shape in shapes.items()}
    for i, head in enumerate(net.heads):
        tensors[f"lpips.lin{i}"] = torch.rand(head.shape, generator=random)
    save_file(tensors, folder / "squeezenet11_lpips.safetensors")
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in MobileNetV2().state_dict().items()}
    tensors = {}
    for name, shape in shapes.items():
        if name.endswith(".weight"):
            tensors[name] = torch.randint(-127, 128, shape, generator=random, dtype=torch.int8)
            inputs = int(np.prod(shape[1:]))
            tensors[f"{name}.scale"] = torch.full((shape[0],), float(np.sqrt(2 / inputs) / 73))
        else:
            tensors[name] = 0.1 * torch.rand(shape, generator=random)
    save_file(tensors, folder / "mobilenetv2_int8.safetensors")
    return folder


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


def write_removals(folder: Path, count: int = 2) -> Path:
    """Photos with a dark disc on noise, and masks of the discs, as pairs."""
    random = np.random.default_rng(1)
    y, x = np.mgrid[:96, :128]
    for i in range(count):
        disc = np.hypot(x - 50 - 10 * i, y - 48) < 16
        pixels = np.clip(0.6 + 0.05 * random.standard_normal((96, 128, 3)) - 0.5 * disc[..., None], 0, 1)
        Image.fromarray((pixels * 255).astype(np.uint8)).save(folder / f"scene{i}.png")
        Image.fromarray(disc).save(folder / f"scene{i}_mask.png")
    return folder
