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
from moebius.networks import PixelHackerConfig, PixelHackerUNet

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
        "pixelhacker": {
            "latent_size": 8, "channels": (16, 32), "heads": 4, "category_channels": 12, "context_channels": 20,
            "norm_groups": 4,
        },
    }
)  # fmt: skip
"""What is changed for size "tiny"."""
TITLES: Mapping[Peer, str] = MappingProxyType(
    {
        "pixelhacker": "PixelHacker, guided step",
        "sd15": "Stable Diffusion 1.5 inpainting, guided step",
        "sd35-large": "Stable Diffusion 3.5 large, guided step",
        "flux-fill": "FLUX.1 Fill, step",
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
    net, note = peer_network(peer, dtype, setting)
    title = f"{TITLES[peer]}, {SHORT[dtype]}" + (", shared weights" if note else "")

    def work() -> Callable[[], object]:
        made = net()
        inputs = peer_inputs(peer, made, dtype, setting)
        return lambda: made(**inputs)

    return counted(Entry(name=f"{peer}-{SHORT[dtype]}", title=title, make=work, dtype=dtype, note=note))


def peer_network(peer: Peer, dtype: str, setting: Setting) -> tuple[Callable[[], Any], str]:
    """What makes a network of somebody else, on the run's device, and what a reader has to know of it."""
    device, shared = torch.device(setting.device), ties(peer, dtype, setting)

    def make() -> nn.Module:
        return tie(build(peer, setting), BLOCKS[peer]) if shared else build(peer, setting)

    note = f"{TITLES[peer].partition(',')[0]} does not fit into memory: its blocks share one set of weights"
    return lambda: realise(make, device, DTYPES[dtype]), note if shared else ""


def peer_inputs(peer: Peer, net: Any, dtype: str, setting: Setting, rows: int = 1) -> dict[str, Tensor]:
    """What one step of `rows` photos gives a network, by argument, on the run's device."""
    device, exact = torch.device(setting.device), ("txt_ids", "img_ids")
    return {
        name: value.to(device, DTYPES[dtype] if value.is_floating_point() and name not in exact else None)
        for name, value in made_up(peer, net, setting, rows).items()
    }


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
    if peer == "pixelhacker":
        diffusers_class("UNet2DConditionModel")
        return PixelHackerUNet(PixelHackerConfig(**small))
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


def made_up(peer: Peer, net: Any, setting: Setting, rows: int = 1) -> dict[str, Tensor]:
    """What one step of photos of 512 x 512 gives a network, by argument; smaller for size "tiny"."""
    side = 512 if setting.size == "full" else 64
    cells, pair = side // 8, 2 * rows
    if peer == "lama":
        return {"x": torch.rand(rows, 4, side, side)}
    if peer == "pixelhacker":
        ids = torch.arange(net.config.tokens).expand(rows, -1)
        return {
            "x": torch.randn(pair, 9, cells, cells), "timesteps": torch.tensor([501]),
            "category_ids": torch.cat([ids + net.config.tokens, ids]),
        }  # fmt: skip
    if peer == "sd15":
        return {
            "sample": torch.randn(pair, 9, cells, cells), "timestep": torch.tensor([501]),
            "encoder_hidden_states": torch.randn(pair, 77, net.config.cross_attention_dim),
        }  # fmt: skip
    text = torch.randn(1, 512 if peer == "flux-fill" else 333, net.config.joint_attention_dim)
    pooled = torch.randn(1, net.config.pooled_projection_dim)
    if peer == "sd35-large":
        return {
            "hidden_states": torch.randn(pair, 16, cells, cells), "encoder_hidden_states": text.repeat(pair, 1, 1),
            "pooled_projections": pooled.repeat(pair, 1), "timestep": torch.full((pair,), 501.0),
        }  # fmt: skip
    tokens = (cells // 2) ** 2
    places = torch.cartesian_prod(torch.arange(cells // 2), torch.arange(cells // 2)).float()
    return {
        "hidden_states": torch.randn(rows, tokens, net.config.in_channels),
        "encoder_hidden_states": text.repeat(rows, 1, 1), "pooled_projections": pooled.repeat(rows, 1),
        "timestep": torch.full((rows,), 0.5), "guidance": torch.full((rows,), 30.0),
        "img_ids": torch.cat([torch.zeros(tokens, 1), places], dim=1), "txt_ids": torch.zeros(text.shape[1], 3),
    }  # fmt: skip
