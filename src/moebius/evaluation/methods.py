"""What is compared: a `Method` fills the same holes as every other.

No method reads what a hole hides, but for those that say so (`sees_all`): the autoencoder's ceiling, for example.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from moebius.evaluation.holes import Hole, Pixels


@dataclass(frozen=True)
class Method:
    """A way to fill a hole. `fill` may be called from several threads at once."""

    id: str
    """Stable name in tables and files: letters, digits and `-_.:=,@`."""
    title: str
    """For people."""
    fill: Callable[[Hole], Pixels] = field(repr=False)
    """The whole picture (H, W, 3) with its hole filled, exactly as the method gives it."""
    identity: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Plain values (JSON) of what its pictures depend on besides the hole: library versions, weights, settings."""
    sees_all: bool = False
    """Whether it is shown what the hole hides: a bound, not a competitor."""
