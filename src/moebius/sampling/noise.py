"""Gaussian noise that is the same everywhere: Philox 4x32-10 counters through Box-Muller.

A draw is a pure function of `(seed, key)`, never of what was drawn before it, so a picture's noise depends on
neither the batch, the order of the work, the device nor the language. The whole specification:

    Philox key      low and high 32 bits of the seed (modulo 2**64)
    counter         words 0 and 1: number of the block, little end first, from 0
                    words 2 and 3: BLAKE2b of the UTF-8 key with an 8-byte digest, read little-endian
    block           four 32-bit words w0..w3 = Philox-4x32-10(counter, Philox key)
    normals         u = (w0 + 1) / 2**32, v = w1 / 2**32, r = sqrt(-2 ln u):  r cos(2 pi v), r sin(2 pi v)
                    and the same for w2, w3, all in float64, then rounded to float32
    array           filled in C order; what is left of the last block is thrown away

Philox test vectors (the known answers published with Random123), all words hexadecimal:

    counter                              key                  block
    00000000 00000000 00000000 00000000  00000000 00000000    6627e8d5 e169c58d bc57ac4c 9b00dbd8
    ffffffff ffffffff ffffffff ffffffff  ffffffff ffffffff    408f276d 41c83b0e a20bc7c6 6d5451fd
    243f6a88 85a308d3 13198a2e 03707344  a4093822 299f31d0    d16cfe09 94fdcceb 5001e420 24126ea1

Normal test vectors (first four of the draw; BLAKE2b-64 of the empty key is e4a6a0577479b2b4):

    seed 0, key ""                  1.2521868  -0.20009905   1.8983288  -0.94671237
    seed 2**64 - 1, key "a/0"       0.60031587  0.54514343  -1.7528868  -0.41865787

Sources: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (SC 2011), section 3.3; Box and Muller, A
Note on the Generation of Random Normal Deviates (1958).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
"""Added to the two key words after every round: the golden ratio and sqrt(3) - 1."""
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


def philox(counters: NDArray[np.uint64], key: tuple[int, int]) -> NDArray[np.uint64]:
    """Philox 4x32-10: a bijection of 128-bit counters under a 64-bit key.

    Args:
        counters: (n, 4) uint64, four 32-bit words a row, word 0 first.
        key: two 32-bit words.

    Returns:
        (n, 4) uint64, four 32-bit random words a row.
    """
    c0, c1, c2, c3 = (counters[:, word] for word in range(4))
    k0, k1 = key
    for _ in range(_ROUNDS):
        left, right = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]  # 32 x 32 bits fit in 64
        c0, c1, c2, c3 = (
            (right >> _32) ^ c1 ^ np.uint64(k0),
            right & _LOW,
            (left >> _32) ^ c3 ^ np.uint64(k1),
            left & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1)


def normal(shape: Sequence[int], *, seed: int, key: str = "") -> NDArray[np.float32]:
    """Independent standard normal numbers, the same on every machine.

    Give every picture (or region of one) its own `key` and stack the results: each then keeps its noise in
    any batch and any order. A longer draw begins with the shorter one.

    Args:
        shape: shape of the array, for example (4, 64, 64).
        seed: any whole number; taken modulo 2**64.
        key: what the noise is for, for example a file name and the number of a region.

    Returns:
        float32 array of `shape`, mean 0, variance 1, magnitude at most sqrt(64 ln 2) = 6.66.
        (Another platform's sine may round differently in float64: the float32 values agree to one unit in the
        last place, and nearly always exactly.)
    """
    size = math.prod(shape)
    blocks = np.arange(-(-size // 4), dtype=np.uint64)
    digest = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
    counters = np.empty((len(blocks), 4), np.uint64)
    counters[:, 0], counters[:, 1] = blocks & _LOW, blocks >> _32
    counters[:, 2], counters[:, 3] = _halves(digest)
    words = philox(counters, _halves(seed % 2**64)).astype(np.float64)

    radius = np.sqrt(-2.0 * np.log((words[:, 0::2] + 1.0) / 2**32))  # (n, 2): one a pair
    angle = 2.0 * np.pi * (words[:, 1::2] / 2**32)
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)  # (n, 2, 2)
    return pairs.reshape(-1)[:size].astype(np.float32).reshape(tuple(shape))


def _halves(value: int) -> tuple[int, int]:
    """Low and high 32 bits of a 64-bit number."""
    return value & 0xFFFFFFFF, value >> 32
