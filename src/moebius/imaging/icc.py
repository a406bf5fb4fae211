"""The tone curves of an ICC profile: how stored values of a channel stand to light.

Only matrix and grey profiles have them (ICC.1:2022, sections 8.4.3 and 8.10.2); tables for several colours at once
(A2B0) and primaries are not read here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Curve = Callable[[Numbers], Numbers]
"""Stored values in [0, 1] -> light in [0, 1]."""

_PARAMETERS = (1, 3, 4, 5, 7)
"""Numbers of a parametric curve, by its type (ICC.1:2022, table 68)."""


def tone_curves(icc: bytes, channels: int) -> list[Curve] | None:
    """The profile's curves from stored values to light: `channels` of them, 1 for grey or 3 for RGB.

    A grey photo may carry an RGB profile, as programs write them; its green curve is taken then.

    Returns:
        None if the profile has no such curves: it is for other colours, or works by tables.

    Raises:
        ValueError: the profile is damaged; the message says where.
    """
    if len(icc) < 132 or icc[36:40] != b"acsp":
        raise ValueError(f"expected an ICC profile, got {len(icc)} bytes without its signature")
    tags = _tags(icc)
    space = icc[16:20]
    if space == b"RGB ":
        names = [b"rTRC", b"gTRC", b"bTRC"] if channels == 3 else [b"gTRC"]
    elif space == b"GRAY":
        names = [b"kTRC"] * channels
    else:
        return None
    if not all(name in tags for name in names):
        return None
    return [_curve(tags[name]) for name in names]


def _tags(icc: bytes) -> dict[bytes, bytes]:
    """Tag data by signature: ICC.1:2022, section 7.3."""
    (count,) = struct.unpack_from(">I", icc, 128)
    if 132 + 12 * count > len(icc):
        raise ValueError(f"ICC profile: expected {count} tags, got {len(icc)} bytes")
    tags = {}
    for index in range(count):
        name, start, size = struct.unpack_from(">4sII", icc, 132 + 12 * index)
        if start + size > len(icc):
            raise ValueError(f"ICC profile: expected tag {name!r} to end by {len(icc)}, got {start + size}")
        tags[name] = icc[start : start + size]
    return tags


def _curve(data: bytes) -> Curve:
    kind = data[:4]
    try:
        if kind == b"curv":
            return _sampled(data)
        if kind == b"para":
            return _parametric(data)
    except struct.error as error:
        raise ValueError(f"ICC tone curve: expected more than {len(data)} bytes") from error
    raise ValueError(f"ICC tone curve: expected 'curv' or 'para', got {kind!r}")


def _sampled(data: bytes) -> Curve:
    """curveType, ICC.1:2022, section 10.6: the identity, one exponent, or samples at even distances."""
    (count,) = struct.unpack_from(">I", data, 8)
    if count == 0:
        return lambda values: values
    if count == 1:
        return _power(struct.unpack_from(">H", data, 12)[0] / 256)
    if 12 + 2 * count > len(data):
        raise ValueError(f"ICC tone curve: expected {count} samples, got {len(data)} bytes")
    samples = np.frombuffer(data, ">u2", count, 12) / 65535
    places = np.linspace(0, 1, count)
    return lambda values: np.asarray(np.interp(values, places, samples))


def _parametric(data: bytes) -> Curve:
    """parametricCurveType, ICC.1:2022, section 10.18: Y = (a X + b)^g + e from X = d on, c X + f below."""
    (kind,) = struct.unpack_from(">H", data, 8)
    if kind >= len(_PARAMETERS):
        raise ValueError(f"ICC tone curve: expected a function type from 0 to 4, got {kind}")
    given = [value / 65536 for value in struct.unpack_from(f">{_PARAMETERS[kind]}i", data, 12)]
    if kind == 0:
        return _power(given[0])
    g, a, b = given[:3]
    if a == 0:
        raise ValueError("ICC tone curve: expected a slope a, got 0")
    c = d = e = f = 0.0
    if kind <= 2:  # types 1 and 2 begin where the base of the power is 0
        d = -b / a
        e = f = given[3] if kind == 2 else 0.0
    else:
        c, d = given[3:5]
        e, f = given[5:] if kind == 4 else (0.0, 0.0)

    def curve(values: Numbers) -> Numbers:
        power = np.maximum(a * values + b, 0) ** g + e
        return np.clip(np.where(values >= d, power, c * values + f), 0, 1)

    return curve


def _power(exponent: float) -> Curve:
    if exponent <= 0:
        raise ValueError(f"ICC tone curve: expected an exponent above 0, got {exponent:g}")
    return lambda values: np.asarray(values**exponent)
