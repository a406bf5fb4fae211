"""Settings as ComfyUI's widgets. Defaults, ranges and tooltips are those of `moebius.settings`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moebius.settings import HELP, RANGES, Choice, Settings, Whole

Widget = tuple[str | list[str], dict[str, Any]]
"""What INPUT_TYPES says of one input: its type, or the words to choose from, and its options."""

UNSET: Mapping[str, tuple[Any, str]] = {
    "steps": (0, "0: the model's own."),
    "guidance": (-1.0, "-1: the model's own."),
    "grow": (-1, "-1: scaled to each object."),
    "solver": ("auto", "auto: the model's own."),
}
"""Settings whose default is None, which a widget cannot show: the value that stands for it, and what it means."""
_STEP = 0.05
"""By which the arrows of a widget change a number."""


def widget(name: str) -> Widget:
    """The widget of a setting, by the setting's name."""
    allowed, default, tip = RANGES[name], getattr(Settings(), name), HELP[name]
    if name in UNSET:
        default, meaning = UNSET[name]
        tip = f"{tip} {meaning}"
    options = {"default": default, "tooltip": tip}
    if isinstance(allowed, Choice):
        words = [*allowed.words] if default in allowed.words else [default, *allowed.words]
        return words, options
    low = min(allowed.low, default)
    if isinstance(allowed, Whole):
        return "INT", {**options, "min": low, "max": allowed.high, "step": 1}
    return "FLOAT", {**options, "min": low, "max": allowed.high, "step": _STEP}


def to_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings for the library from the widgets' values."""
    return {
        name: None if name in UNSET and value == UNSET[name][0] else value for name, value in values.items()
    }
