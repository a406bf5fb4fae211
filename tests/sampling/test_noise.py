"""The noise: published Philox answers, a second implementation, the moments, independence of the batch."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from moebius.sampling import normal, philox

KNOWN_ANSWERS = [  # Random123, kat_vectors: counter, key, block
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def slow_philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox 4x32-10 with Python's whole numbers, written from the paper's figure and nothing else."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        hi0, lo0 = divmod(0xD2511F53 * c0, 1 << 32)
        hi1, lo1 = divmod(0xCD9E8D57 * c2, 1 << 32)
        c0, c1, c2, c3 = hi1 ^ c1 ^ k0, lo1, hi0 ^ c3 ^ k1, lo0
        k0, k1 = (k0 + 0x9E3779B9) % (1 << 32), (k1 + 0xBB67AE85) % (1 << 32)
    return [c0, c1, c2, c3]


def slow_normal(size: int, seed: int, key: str) -> list[float]:
    """The module's specification, one number at a time."""
    digest = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
    seed %= 1 << 64
    out: list[float] = []
    for block in range((size + 3) // 4):
        counter = [block % (1 << 32), block >> 32, digest % (1 << 32), digest >> 32]
        w = slow_philox(counter, [seed % (1 << 32), seed >> 32])
        for u, v in ((w[0], w[1]), (w[2], w[3])):
            r = math.sqrt(-2 * math.log((u + 1) / 2**32))
            out += [r * math.cos(2 * math.pi * v / 2**32), r * math.sin(2 * math.pi * v / 2**32)]
    return out[:size]


@pytest.mark.parametrize(("counter", "key", "block"), KNOWN_ANSWERS)
def test_philox_known_answers(counter: str, key: str, block: str) -> None:
    got = philox(np.array([words(counter)], np.uint64), (words(key)[0], words(key)[1]))
    assert got.tolist() == [words(block)]
    assert slow_philox(words(counter), words(key)) == words(block)


def test_philox_agrees_with_slow_implementation() -> None:
    rng = np.random.default_rng(0)
    counters = rng.integers(0, 2**32, (50, 4), dtype=np.uint64)
    before = counters.copy()
    got = philox(counters, (0x12345678, 0x9ABCDEF0))
    assert got.tolist() == [slow_philox(row, [0x12345678, 0x9ABCDEF0]) for row in counters.tolist()]
    assert (counters == before).all()


@pytest.mark.parametrize(("seed", "key"), [(0, ""), (2**64 - 1, "a/0"), (-1, "фото.jpg/3"), (2**64 + 5, "x")])
def test_normal_agrees_with_slow_implementation(seed: int, key: str) -> None:
    got = normal((3, 7), seed=seed, key=key)
    assert got.dtype == np.float32
    assert got.shape == (3, 7)
    np.testing.assert_allclose(got.reshape(-1), slow_normal(21, seed, key), rtol=2e-7, atol=1e-9)


def test_documented_vectors() -> None:
    a = [1.2521868, -0.20009905, 1.8983288, -0.94671237]
    b = [0.60031587, 0.54514343, -1.7528868, -0.41865787]
    np.testing.assert_allclose(normal((4,), seed=0), a, rtol=2e-7)
    np.testing.assert_allclose(normal((4,), seed=2**64 - 1, key="a/0"), b, rtol=2e-7)


def test_moments_and_distribution() -> None:
    x = np.sort(normal((400_000,), seed=3, key="moments").astype(np.float64))
    n = len(x)
    assert abs(x.mean()) < 4 / math.sqrt(n)
    assert abs(x.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((x**3).mean()) < 4 * math.sqrt(15 / n)
    assert abs((x**4).mean() - 3) < 4 * math.sqrt(96 / n)
    at = np.arange(0, n, 400)  # Kolmogorov-Smirnov distance at a thousand places
    cdf = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x[at]])
    assert np.abs(cdf - at / n).max() < 1.63 / math.sqrt(n)
    assert np.isfinite(x).all()
    assert np.abs(x).max() <= math.sqrt(64 * math.log(2))


def test_neighbours_are_independent() -> None:
    x = normal((200_000,), seed=1).astype(np.float64)
    for lag in (1, 2, 3, 4, 8, 64):
        assert abs((x[:-lag] * x[lag:]).mean()) < 4.5 / math.sqrt(len(x))
    for other in (normal((200_000,), seed=2), normal((200_000,), seed=1, key="b")):
        assert abs((x * other).mean()) < 4.5 / math.sqrt(len(x))


def test_same_noise_in_any_batch_and_order() -> None:
    shape = (4, 8, 8)
    keys = ["c.png", "a.png", "b.png"]
    batch = {key: normal(shape, seed=9, key=key) for key in keys}
    normal((1000,), seed=1)  # nothing drawn in between matters
    for key in sorted(keys):
        assert (normal(shape, seed=9, key=key) == batch[key]).all()
    assert not (batch["a.png"] == batch["b.png"]).any()


def test_longer_draw_begins_with_shorter() -> None:
    long = normal((4, 5, 6), seed=4).reshape(-1)
    for size in (0, 1, 2, 3, 4, 5, 119):
        assert (normal((size,), seed=4) == long[:size]).all()


def test_seed_is_taken_modulo_two_to_the_64() -> None:
    assert (normal((9,), seed=5) == normal((9,), seed=5 + 2**64)).all()
    assert not (normal((9,), seed=5) == normal((9,), seed=5 + 2**32)).any()
