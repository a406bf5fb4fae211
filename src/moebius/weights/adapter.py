"""Published checkpoints to our names and back: `from_official` and `to_official` are exact inverses.

Two tensors a lambda block change shape, none changes value: the position convolution loses its depth axis of
one ((k, 1, 1, 15, 15) to (k, 1, 15, 15)), the position table its trailing one ((n, m, k, 1) to (n, m, k)).
The teacher, PixelHacker, has the same two prefixes and no other difference.
Source of the names: the published state dicts, 1203 entries and 753.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from moebius.errors import CorruptWeightsError

if TYPE_CHECKING:
    from torch import Tensor

    from moebius.networks import MoebiusConfig, PixelHackerConfig
    from moebius.weights.spec import Architecture

    Config = MoebiusConfig | PixelHackerConfig

# Ours -> official, applied in this order to each of our names.
_RENAMES: tuple[tuple[str, str], ...] = (
    (r"^category_embedding\.", "embedding_layer."),
    (r"^(?!embedding_layer\.)", "diff_model."),
    (r"\.context_proj\.", ".encoder_hid_proj."),
    (r"\.norm_out\.", ".conv_norm_out."),
    (r"\.down\.(\d+)\.resample\.", r".down_blocks.\1.downsamplers.0."),
    (r"\.up\.(\d+)\.resample\.", r".up_blocks.\1.upsamplers.0."),
    (r"\.(down|up)\.(\d+)\.", r".\1_blocks.\2."),
    (r"\.time_proj\.", ".time_emb_proj."),
    (r"\.shortcut\.", ".conv_shortcut."),
    (r"\.mixers\.(\d+)\.(norm[123]|local|interactive|ffn)\.", r".attentions.\1.transformer_blocks.0.\2."),
    (r"\.mixers\.", ".attentions."),
    (r"\.local\.position\.", ".attn1.pos_conv."),
    (r"\.local\.", ".attn1."),
    (r"\.interactive\.positions$", ".attn2.rel_pos_emb"),
    (r"\.interactive\.", ".attn2."),
    (r"\.ffn\.expand\.", ".ff.inverted_conv.conv."),
    (r"\.ffn\.depthwise\.", ".ff.depth_conv.conv."),
    (r"\.ffn\.project\.", ".ff.point_conv.conv."),
)


def architecture_of(names: Iterable[str]) -> Architecture:
    """Whose state dict these names belong to, published ones or ours.

    The teacher's self-attention has projections of its own names; everything else is taken for a student's, and
    it is for the check of its names to find that it is neither.
    """
    return "pixelhacker" if any(".attn1.q_proj." in name for name in names) else "moebius"


def official_name(name: str) -> str:
    """The published name of one of our parameters or buffers."""
    if name.startswith("unet."):
        return f"diff_model.{name.removeprefix('unet.')}"
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _official_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if name.endswith("interactive.positions"):
        return (*shape, 1)
    if name.endswith("local.position.weight"):
        return (shape[0], shape[1], 1, *shape[2:])
    return shape


@lru_cache(maxsize=8)
def _layout(config: Config) -> tuple[tuple[str, str, tuple[int, ...], tuple[int, ...]], ...]:
    """(our name, official name, our shape, official shape) of every entry, in the order of the network."""
    import torch

    from moebius.networks import MoebiusConfig, MoebiusUNet, PixelHackerUNet

    with torch.device("meta"):
        net = MoebiusUNet(config) if isinstance(config, MoebiusConfig) else PixelHackerUNet(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    return tuple((n, official_name(n), s, _official_shape(n, s)) for n, s in shapes.items())


def from_official(state: Mapping[str, Tensor], config: Config | None = None) -> dict[str, Tensor]:
    """A published state dict under our names, ready for the `load_state_dict` of `MoebiusUNet(config)`.

    Args:
        state: of a Moebius or PixelHacker checkpoint.
        config: `MoebiusConfig` or `PixelHackerConfig`; None takes the published network whose names they are.

    Raises:
        CorruptWeightsError: a key is missing, unknown or of another shape; the first few are named.
    """
    layout = _layout(config or _published(state))
    _check(state, {official: shape for _, official, _, shape in layout}, "a published checkpoint")
    return {ours: state[official].reshape(shape) for ours, official, shape, _ in layout}


def to_official(state: Mapping[str, Tensor], config: Config | None = None) -> dict[str, Tensor]:
    """One of our state dicts under the published names; inverse of `from_official`, same arguments.

    Raises:
        CorruptWeightsError: a key is missing, unknown or of another shape; the first few are named.
    """
    config = config or _published(state)
    layout = _layout(config)
    what = f"a {type(config).__name__.removesuffix('Config')}UNet state dict"
    _check(state, {ours: shape for ours, _, shape, _ in layout}, what)
    return {official: state[ours].reshape(shape) for ours, official, _, shape in layout}


def _published(names: Iterable[str]) -> Config:
    from moebius.networks import denoiser_config

    return denoiser_config(architecture_of(names), {})


def _check(state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], what: str) -> None:
    misfits = [f"{name} is missing" for name in expected if name not in state]
    misfits += [f"{name} is unknown" for name in state if name not in expected]
    misfits += [
        f"{name} should be {shape}, got {tuple(state[name].shape)}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    if misfits:
        more = f" and {len(misfits) - 3} more" if len(misfits) > 3 else ""
        told = "; ".join(misfits[:3])
        raise CorruptWeightsError(f"expected {what} of {len(expected)} tensors: {told}{more}")
