"""Random holes for training: strokes, boxes and object-like blobs, as pure functions of a generator.

Sizes are given for a 512 px square and scale with the side. True = hole.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Family = Literal["thin", "medium", "thick", "object"]
Mask = NDArray[np.bool_]

MIXTURE: dict[Family, float] = {"thin": 0.15, "medium": 0.3, "thick": 0.2, "object": 0.35}
"""Share of each family in training."""
HOLE_RANGE: dict[Family, tuple[float, float]] = {
    "thin": (0.03, 0.25),
    "medium": (0.08, 0.40),
    "thick": (0.20, 0.60),
    "object": (0.04, 0.45),
}
"""Smallest and largest part of the square that a mask of the family covers."""


def random_mask(size: int, rng: np.random.Generator, family: Family | None = None) -> Mask:
    """(size, size) bool, True = hole. Draws again until the hole's share lies in the family's range."""
    if family is None:
        names = list(MIXTURE)
        family = names[int(rng.choice(len(names), p=list(MIXTURE.values())))]
    low, high = HOLE_RANGE[family]
    while True:
        image = Image.new("L", (size, size))
        draw = ImageDraw.Draw(image)
        unit = size / 512
        if family == "thin":
            _strokes(draw, size, rng, int(rng.integers(3, 11)), (6 * unit, 22 * unit), 120 * unit, 6)
        elif family == "medium":
            _strokes(draw, size, rng, int(rng.integers(2, 6)), (20 * unit, 60 * unit), 160 * unit, 5)
            _boxes(draw, size, rng, int(rng.integers(0, 3)), (40 * unit, 150 * unit))
        elif family == "thick":
            _strokes(draw, size, rng, int(rng.integers(1, 4)), (70 * unit, 150 * unit), 260 * unit, 4)
            _boxes(draw, size, rng, int(rng.integers(0, 3)), (110 * unit, 290 * unit))
        else:
            for _ in range(int(rng.integers(1, 3))):
                _blob(draw, size, rng)
        mask = np.asarray(image) > 0
        if low <= mask.mean() <= high:
            return mask


def _strokes(
    draw: ImageDraw.ImageDraw,
    size: int,
    rng: np.random.Generator,
    count: int,
    widths: tuple[float, float],
    longest: float,
    corners: int,
) -> None:
    """Brush strokes: polylines with round joints that wander from a random start."""
    for _ in range(count):
        x, y = rng.uniform(0, size, 2)
        angle = rng.uniform(0, 2 * math.pi)
        width = max(1, round(rng.uniform(*widths)))
        for _ in range(int(rng.integers(2, corners + 1))):
            angle += rng.normal(0, 1.1)
            length = rng.uniform(0.25, 1) * longest
            x2 = float(np.clip(x + length * math.cos(angle), 0, size - 1))
            y2 = float(np.clip(y + length * math.sin(angle), 0, size - 1))
            draw.line([(x, y), (x2, y2)], fill=255, width=width)
            for cx, cy in ((x, y), (x2, y2)):
                radius = width / 2
                draw.ellipse([cx - radius, cy - radius, cx + radius, cy + radius], fill=255)
            x, y = x2, y2


def _boxes(
    draw: ImageDraw.ImageDraw, size: int, rng: np.random.Generator, count: int, sides: tuple[float, float]
) -> None:
    for _ in range(count):
        width, height = rng.uniform(*sides, 2)
        x = rng.uniform(0, max(1.0, size - width))
        y = rng.uniform(0, max(1.0, size - height))
        draw.rectangle([x, y, x + width, y + height], fill=255)


def _blob(draw: ImageDraw.ImageDraw, size: int, rng: np.random.Generator) -> None:
    """A closed outline around a centre, its radius a random low-frequency wave: roughly an object's silhouette."""
    centre = rng.uniform(0.15 * size, 0.85 * size, 2)
    stretch = np.array([1.0, rng.uniform(0.35, 1.0)])
    turn = rng.uniform(0, math.pi)
    base = rng.uniform(0.12, 0.33) * size
    angles = np.linspace(0, 2 * math.pi, 72, endpoint=False)
    radius = np.ones_like(angles)
    for wave in range(2, 8):
        radius += rng.normal(0, 0.45 / wave) * np.cos(wave * angles + rng.uniform(0, 2 * math.pi))
    points = (
        np.stack([np.cos(angles), np.sin(angles)], 1) * stretch * (base * np.clip(radius, 0.2, 2))[:, None]
    )
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    outline = points @ rotation.T + centre
    draw.polygon([(float(px), float(py)) for px, py in outline], fill=255)
