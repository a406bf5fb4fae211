"""Start latents: what the loop begins with, and what it may therefore know."""

from __future__ import annotations

from typing import Any, TypeVar

from moebius.errors import SettingsError
from moebius.sampling.solvers import SamplingPlan
from moebius.settings import STARTS, Start

Array = TypeVar("Array")


def start_latents(kind: Start, noise: Array, latents: Array | None, plan: SamplingPlan) -> Array:
    """The latents at the plan's first timestep.

        kind        takes the latents of                              starts from
        "noise"     nothing (None)                                    the noise alone
        "masked"    the photo with the hole emptied to mid-grey       alpha0 latents + sigma0 noise
        "prefill"   the photo with the hole filled smoothly           alpha0 latents + sigma0 noise
        "official"  the photo as it is, the hole's content included   alpha0 latents + sigma0 noise

    The first three never see a pixel from under the mask: whatever was there, the start is the same to the
    last bit. "official" is the published inference, and it leaks: at the published first timestep, 900, the
    object to be removed is in the start, scaled by alpha0 = 0.119. The noise averages out, the object does
    not (over patches of 64 pixels the two correlate to 0.64), and the fill is pulled back towards it. With
    fewer steps the first timestep is lower and the leak larger, until two steps give the photo back. It is
    here for parity with published numbers only.

    The kinds differ in what the caller encodes; that it is the right thing cannot be checked here.

    Args:
        kind: see the table.
        noise: standard normal, for example (B, 4, h, w), numpy or torch.
        latents: clean latents, scaled, of the same shape, dtype and device as `noise`; ignored for "noise".
        plan: gives the scales alpha0 and sigma0.

    Returns:
        A new array like `noise` (for "noise", `noise` itself).

    Raises:
        SettingsError: an unknown kind, latents missing or of another shape than the noise.
    """
    if kind not in STARTS:
        raise SettingsError(f"start: expected one of {', '.join(STARTS)}, got {kind!r}")
    if kind == "noise":
        return noise
    if latents is None:
        raise SettingsError(f'start "{kind}": expected latents to start from, got none')
    z: Any = latents
    n: Any = noise
    if tuple(z.shape) != tuple(n.shape):
        raise SettingsError(f"start latents: expected shape {tuple(n.shape)}, got {tuple(z.shape)}")
    start: Array = z * plan.alpha0 + n * plan.sigma0
    return start
