"""One step of other people's networks, at random weights from their public configurations, beside ours.

Where a network does not fit into memory, its blocks share one set of weights: every block still runs, so operations and
traffic of activations are those of the whole, and each block's weights are read as often (they exceed the caches). The
table says so. A step is what its pipeline does for one photo of 512 x 512: with the guidance pair where it uses one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from moebius.benchmarks.cases import Case, Entry, Peer, Setting
from moebius.benchmarks.denoiser import Shelf, counted, step
from moebius.benchmarks.lama import LamaGenerator
from moebius.benchmarks.subjects import DTYPES, SHORT, available_mib, diffusers_class, realise
from moebius.errors import DeviceError

SD15: Mapping[str, Any] = MappingProxyType(
    {
        "sample_size": 64, "in_channels": 9, "out_channels": 4, "layers_per_block": 2,
        "block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 768, "attention_head_dim": 8,
        "norm_num_groups": 32,
    }
)  # fmt: skip
"""Stable Diffusion 1.5, inpainting: 859.5 M parameters."""
FLUX_FILL: Mapping[str, Any] = MappingProxyType(
    {
        "patch_size": 1, "in_channels": 384, "out_channels": 64, "num_layers": 19, "num_single_layers": 38,
        "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 4096,
        "pooled_projection_dim": 768, "guidance_embeds": True, "axes_dims_rope": (16, 56, 56),
    }
)  # fmt: skip
"""FLUX.1 Fill: 11.9 B parameters, guidance distilled in."""
SD35_LARGE: Mapping[str, Any] = MappingProxyType(
    {
        "sample_size": 128, "patch_size": 2, "in_channels": 16, "out_channels": 16, "num_layers": 38,
        "attention_head_dim": 64, "num_attention_heads": 38, "joint_attention_dim": 4096,
        "caption_projection_dim": 2432, "pooled_projection_dim": 2048, "pos_embed_max_size": 192,
        "qk_norm": "rms_norm",
    }
)  # fmt: skip
"""Stable Diffusion 3.5 large: 8.1 B parameters."""
_SMALL: Mapping[Peer, Mapping[str, Any]] = MappingProxyType(
    {
        "sd15": {"block_out_channels": (32, 32, 64, 64), "cross_attention_dim": 16, "norm_num_groups": 8},
        "flux-fill": {
            "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
            "joint_attention_dim": 24, "pooled_projection_dim": 16, "axes_dims_rope": (4, 6, 6),
        },
        "sd35-large": {
            "num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 2, "joint_attention_dim": 24,
            "caption_projection_dim": 16, "pooled_projection_dim": 16,
        },
        "lama": {"width": 8, "blocks": 2},
    }
)  # fmt: skip
"""What is changed for size "tiny"."""
TITLES: Mapping[Peer, str] = MappingProxyType(
    {
        "sd15": "Stable Diffusion 1.5 inpainting, guided step",
        "flux-fill": "FLUX.1 Fill, step",
        "sd35-large": "Stable Diffusion 3.5 large, guided step",
        "lama": "big LaMa, all of it (one pass)",
    }
)
BLOCKS: Mapping[Peer, tuple[str, ...]] = MappingProxyType(
    {
        "flux-fill": ("transformer_blocks", "single_transformer_blocks"),
        "sd35-large": ("transformer_blocks",),
    }
)
"""Lists of equal blocks, which may share weights."""


def entries(case: Case, setting: Setting) -> list[Entry]:
    """Our guided step (published graph, plain, deployed), and one step of each network that was asked for."""
    shelf = Shelf(setting)
    found = []
    if setting.reference:
        make: Callable[[], nn.Module] = shelf.reference
        found.append(
            step(
                shelf, "reference", "Moebius, published graph fp32, guided step", make, "float32", guided=True
            )
        )
    found.append(
        step(shelf, "plain", "Moebius, plain fp32, guided step", shelf.plain, "float32", guided=True)
    )
    for dtype in ("float32", "bfloat16"):
        title = f"Moebius, deployed {SHORT[dtype]}, guided step"
        make = partial(shelf.deployed, dtype)
        found.append(step(shelf, f"deployed-{SHORT[dtype]}", title, make, dtype, guided=True))
    for peer in setting.peers:
        for dtype in ("float32", "bfloat16"):
            found.append(peer_entry(peer, dtype, setting))
    return found


def peer_entry(peer: Peer, dtype: str, setting: Setting) -> Entry:
    """One network of somebody else in a number format."""
    shared = ties(peer, dtype, setting)
    title = f"{TITLES[peer]}, {SHORT[dtype]}" + (", shared weights" if shared else "")
    note = f"{TITLES[peer].partition(',')[0]} does not fit into memory: its blocks share one set of weights"
    return counted(
        Entry(
            name=f"{peer}-{SHORT[dtype]}", title=title, make=lambda: _work(peer, dtype, setting, shared), dtype=dtype,
            note=note if shared else "",
        )
    )  # fmt: skip


def ties(peer: Peer, dtype: str, setting: Setting) -> bool:
    """Whether a network's blocks have to share weights to fit into the memory that is free now."""
    if peer not in BLOCKS:
        return False
    with torch.device("meta"):
        try:
            net = build(peer, setting)
        except DeviceError:  # told when it is opened
            return False
    wanted = sum(p.numel() for p in net.parameters()) * DTYPES[dtype].itemsize / 2**20
    free = available_mib(torch.device(setting.device))
    return free is not None and 1.3 * wanted > free


def build(peer: Peer, setting: Setting) -> nn.Module:
    """A network of somebody else, on the current default device.

    Raises:
        DeviceError: diffusers is not there, or too old to know it.
    """
    small = _SMALL[peer] if setting.size == "tiny" else {}
    made: nn.Module
    if peer == "lama":
        return LamaGenerator(**small)
    name, config = {
        "sd15": ("UNet2DConditionModel", SD15),
        "flux-fill": ("FluxTransformer2DModel", FLUX_FILL),
        "sd35-large": ("SD3Transformer2DModel", SD35_LARGE),
    }[peer]
    made = diffusers_class(name)(**{**config, **small})
    return made


def tie(net: nn.Module, lists: tuple[str, ...]) -> nn.Module:
    """Let all blocks of each list be its first but one (the last of a list may lack an output); same depth, one set of
    weights."""
    for name in lists:
        blocks = getattr(net, name)
        setattr(net, name, nn.ModuleList([blocks[0]] * (len(blocks) - 1) + [blocks[-1]]))
    return net


def _work(peer: Peer, dtype: str, setting: Setting, shared: bool) -> Callable[[], object]:
    device, kind = torch.device(setting.device), DTYPES[dtype]
    make = (lambda: tie(build(peer, setting), BLOCKS[peer])) if shared else (lambda: build(peer, setting))
    net: Any = realise(make, device, kind)
    inputs = made_up(peer, net, setting)
    inputs = {
        name: value.to(
            device, kind if value.is_floating_point() and name not in ("txt_ids", "img_ids") else None
        )
        for name, value in inputs.items()
    }
    return lambda: net(**inputs)


def made_up(peer: Peer, net: Any, setting: Setting) -> dict[str, Tensor]:
    """What one step of a photo of 512 x 512 gives a network, by argument; smaller for size "tiny"."""
    side = 512 if setting.size == "full" else 64
    cells = side // 8
    if peer == "lama":
        return {"x": torch.rand(1, 4, side, side)}
    if peer == "sd15":
        return {
            "sample": torch.randn(2, 9, cells, cells), "timestep": torch.tensor([501]),
            "encoder_hidden_states": torch.randn(2, 77, net.config.cross_attention_dim),
        }  # fmt: skip
    text = torch.randn(1, 512 if peer == "flux-fill" else 333, net.config.joint_attention_dim)
    pooled = torch.randn(1, net.config.pooled_projection_dim)
    if peer == "sd35-large":
        return {
            "hidden_states": torch.randn(2, 16, cells, cells), "encoder_hidden_states": text.repeat(2, 1, 1),
            "pooled_projections": pooled.repeat(2, 1), "timestep": torch.tensor([501.0, 501.0]),
        }  # fmt: skip
    tokens = (cells // 2) ** 2
    places = torch.cartesian_prod(torch.arange(cells // 2), torch.arange(cells // 2)).float()
    return {
        "hidden_states": torch.randn(1, tokens, net.config.in_channels), "encoder_hidden_states": text,
        "pooled_projections": pooled, "timestep": torch.tensor([0.5]), "guidance": torch.tensor([30.0]),
        "img_ids": torch.cat([torch.zeros(tokens, 1), places], dim=1), "txt_ids": torch.zeros(text.shape[1], 3),
    }  # fmt: skip
