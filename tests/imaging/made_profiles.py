"""ICC profiles made by hand, with any tone curve."""

from __future__ import annotations

import struct
from collections.abc import Sequence


def fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def curv(*values: int) -> bytes:
    """A curve of samples; of one number it is 256 times the exponent."""
    return b"curv" + bytes(4) + struct.pack(f">I{len(values)}H", len(values), *values)


def power(exponent: float) -> bytes:
    return curv(round(exponent * 256))


def para(kind: int, *values: float) -> bytes:
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + b"".join(map(fixed, values))


SRGB = para(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def profile(curves: Sequence[bytes], space: bytes = b"RGB ") -> bytes:
    """A display profile with sRGB's primaries and three curves, or a grey one with one."""
    white = b"XYZ " + bytes(4) + fixed(0.9642) + fixed(1) + fixed(0.8249)
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"made\0" + bytes(78), b"wtpt": white}
    if space == b"GRAY":
        tags[b"kTRC"] = curves[0]
    else:
        primaries = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141))
        for name, curve, xyz in zip((b"r", b"g", b"b"), curves, primaries, strict=True):
            tags[name + b"TRC"] = curve
            tags[name + b"XYZ"] = b"XYZ " + bytes(4) + b"".join(map(fixed, xyz))
    position, index, body = 128 + 4 + 12 * len(tags), b"", b""
    for key, data in tags.items():
        data += bytes(-len(data) % 4)
        index += key + struct.pack(">II", position + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", position + len(body), bytes(4), 0x04000000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642) + fixed(1) + fixed(0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + index + body


def rgb_profile(curve: bytes) -> bytes:
    return profile([curve] * 3)


def grey_profile(curve: bytes) -> bytes:
    return profile([curve], b"GRAY")
