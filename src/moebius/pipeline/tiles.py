"""Holes larger than the network's field: from a coarse fill to the photo's own resolution, tile by tile.

The coarse fill gives the structure. It is enlarged and refined at twice the resolution, and again, until the pixels
are the photo's own. At each resolution the sampler runs once over the whole hole: the network answers for overlapping
tiles, their answers are averaged in latent space before the solver's step (as in MultiDiffusion, Bar-Tal et al., ICML
2023), and the decoder's tiles are averaged where they overlap. So no tile is finished before its neighbours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import numpy as np

from moebius.engines.base import Engine, FloatArray
from moebius.imaging import Box, Photo, mask_to_latent, resize
from moebius.pipeline.canvas import Canvas, Picture, Place, tile_step, tile_window
from moebius.pipeline.frame import MID_GREY, Mask
from moebius.pipeline.region import Timer, from_network, to_network
from moebius.sampling import SamplingPlan, normal, solve, start_latents
from moebius.weights import ModelSpec

CELL = 8
"""Side of the squares over which tone is compared, px."""

Paste = Callable[[Box, FloatArray], None]
"""Takes a finished part of the photo: its box, and its pixels (box.height, box.width, 3) in [0, 1]."""


def refinements(scale: float) -> list[int]:
    """Photo pixels a canvas pixel, from coarse to 1, for a coarse fill of `scale` photo pixels a pixel."""
    factors = [1]
    while factors[-1] * 2 <= scale / 1.5:
        factors.append(factors[-1] * 2)
    return factors[::-1]


@dataclass
class Refiner:
    """What refining needs besides the photo.

    Args:
        plan: solver steps of each refinement.
    """

    engine: Engine
    spec: ModelSpec
    plan: SamplingPlan
    guidance: float
    seed: int
    timer: Timer

    def run(
        self, photo: Photo, mask: Mask, region: Box, hole: Box, coarse: Picture, *, scale: float, reach: int, key: str,
        paste: Paste,
    ) -> Generator[tuple[float, Picture], None, None]:  # fmt: skip
        """Refine a region's coarse fill up to the photo's own pixels, and hand those to `paste`, a strip at a time.

        Args:
            photo, mask, region, hole, reach: see `Canvas`.
            coarse: the fill to begin with, of the whole region.
            scale: its photo pixels a pixel.
            key: of the noise.

        Yields:
            The part that is done, 0 to 1, and the last finished fill, after each network call.
        """
        before = coarse
        factors = refinements(scale)
        share = [4.0**-index for index in range(len(factors))][::-1]
        done = 0.0
        for factor, part in zip(factors, share, strict=True):
            canvas = self._canvas(photo, mask, region, hole, reach, factor, before)
            level = _Level(self, canvas, f"{key}/tiles/{factor}")
            for fraction in level.denoise():
                yield (done + part * fraction) / sum(share), before
            if factor == 1:
                for box, pixels in level.strips():
                    paste(box, pixels)
            else:
                before = level.picture()
            done += part

    def _canvas(
        self, photo: Photo, mask: Mask, region: Box, hole: Box, reach: int, factor: int, before: Picture
    ) -> Canvas:
        return Canvas(
            photo, mask, region, hole, reach=reach, factor=factor, side=self.spec.size,
            grid=self.spec.latent_factor, before=before,
        )  # fmt: skip


class _Level:
    """One resolution: latents of the whole window, the network's answers tile by tile."""

    def __init__(self, run: Refiner, canvas: Canvas, key: str):
        self._run, self._canvas, self._key = run, canvas, key
        self._cells = canvas.side // run.spec.latent_factor
        shape = canvas.window.height // run.spec.latent_factor, canvas.window.width // run.spec.latent_factor
        self._shape = (run.spec.latent_channels, *shape)
        self._weight = tile_window(self._cells, tile_step(self._cells))
        self._latents = np.zeros((1, *self._shape), np.float32)

    def denoise(self) -> Iterator[float]:
        """Run the sampler; yields the part of the network calls that are made."""
        run, spec = self._run, self._run.spec
        batches = list(self._batches())
        calls = len(batches) * (1 + len(run.plan))
        condition, mask = (
            np.zeros((1, *self._shape), np.float32),
            np.zeros((1, 1, *self._shape[1:]), np.float32),
        )
        total = self._total_weight()
        known = None if spec.feed == "prefill" else np.zeros_like(condition)
        began = time.perf_counter()
        for index, places in enumerate(batches):
            tiles = [self._canvas.tile(place) for place in places]
            for (_, hole), place in zip(tiles, places, strict=True):
                at = self._at(place)
                cells = mask_to_latent(hole, spec.latent_factor, spec.mask_mode)
                mask[0, 0][at] = np.maximum(mask[0, 0][at], cells)
            filled = [picture for picture, _ in tiles]
            if known is None:
                self._add(condition, places, run.engine.encode(to_network(filled)))
            else:
                emptied = [np.where(hole[..., None], MID_GREY, picture) for picture, hole in tiles]
                self._add(condition, places, run.engine.encode(to_network(emptied)))
                self._add(known, places, run.engine.encode(to_network(filled)))
            run.timer.add("encode", began)
            yield (index + 1) / calls
            began = time.perf_counter()
        condition /= total
        noise = normal((1, *self._shape), seed=run.seed, key=self._key)
        if known is None:  # the fill so far is what the network is shown
            x = noise
        else:  # the fill so far is where the sampler starts
            known /= total
            shift = (known - condition) * spec.residual_scale if spec.target == "residual" else known
            x = start_latents("prefill", noise, shift.astype(np.float32), run.plan)
        solver = solve(x, run.plan)
        state = next(solver)
        for number, step in enumerate(run.plan.steps):
            answer = np.zeros_like(condition)
            for index, places in enumerate(batches):
                began = time.perf_counter()
                rows = [np.concatenate([each[(0, slice(None), *self._at(p))][None] for p in places])
                        for each in (state.x, mask, condition)]  # fmt: skip
                noisy, cells, shown = (run.engine.array(np.ascontiguousarray(row)) for row in rows)
                out = run.engine.predict(noisy, step.timestep, cells, shown, run.guidance)
                self._add(answer, places, out)
                run.timer.add("denoise", began)
                yield (len(batches) * (1 + number) + index + 1) / calls
            state = solver.send(answer / total)
        self._latents = state.x
        if spec.target == "residual":
            self._latents = condition + mask * state.x * np.float32(1.0 / spec.residual_scale)

    def strips(self) -> Iterator[tuple[Box, FloatArray]]:
        """The decoded window from top to bottom: photo boxes, and pixels at the canvas's resolution.

        Where no tile was needed the pixels are the fill so far.
        """
        canvas, side = self._canvas, self._canvas.side
        weight = tile_window(side, tile_step(side))[..., None]
        width = canvas.window.width
        total, weights = np.zeros((side, width, 3), np.float32), np.zeros((side, width, 1), np.float32)
        rows = sorted({y for y, _ in canvas.places})
        for index, y in enumerate(rows):
            columns = [place for place in canvas.places if place[0] == y]
            for place, pixels in self._decoded(columns):
                across = slice(place[1], place[1] + side)
                total[:, across] += weight * pixels
                weights[:, across] += weight
            following = rows[index + 1] if index + 1 < len(rows) else y + side
            ready = min(side, following - y)
            box = canvas.photo_box(y, y + ready)
            if box.height:
                yield box, self._finished(box, total[:ready], weights[:ready])
            for each in (total, weights):
                each[: side - ready] = each[ready:].copy()
                each[side - ready :] = 0

    def picture(self) -> Picture:
        """The whole region as it is filled now, the hole's surroundings at the canvas's resolution."""
        canvas, window = self._canvas, self._canvas.window
        box = canvas.photo_box(0, window.height)
        shape = (-(-box.height // canvas.factor), -(-box.width // canvas.factor))
        pixels = canvas.before.at(box, shape)
        for part, strip in self.strips():
            top = (part.top - box.top) // canvas.factor
            pixels[top : top + len(strip)] = strip
        edges = (
            box.left, box.top, box.left + shape[1] * canvas.factor, box.top + shape[0] * canvas.factor,
        )  # fmt: skip
        return Picture(pixels, edges)

    def _finished(self, box: Box, total: FloatArray, weights: FloatArray) -> FloatArray:
        """Averaged pixels of a strip, cut to the photo's box; at the canvas's resolution."""
        factor = self._canvas.factor
        height, width = -(-box.height // factor), -(-box.width // factor)
        total, weights = total[:height, :width], weights[:height, :width]
        if (weights > 0).all():
            return total / weights
        before = self._canvas.before.at(box, (height, width))
        return np.where(weights > 0, total / np.maximum(weights, 1e-12), before)

    def _decoded(self, places: list[Place]) -> Iterator[tuple[Place, FloatArray]]:
        """Tiles of one row with their pixels (S, S, 3) in [0, 1], in the tone of the photo around them."""
        run = self._run
        for start in range(0, len(places), run.engine.rows):
            group = places[start : start + run.engine.rows]
            began = time.perf_counter()
            latents = np.concatenate(
                [self._latents[(0, slice(None), *self._at(each))][None] for each in group]
            )
            pictures = from_network(run.engine.decode(run.engine.array(latents)))
            for place, pixels in zip(group, pictures, strict=True):
                picture, _ = self._canvas.tile(place)
                yield place, keep_tone(pixels, picture)
            run.timer.add("decode", began)

    def _batches(self) -> Iterator[list[Place]]:
        places, rows = self._canvas.places, self._run.engine.rows
        for start in range(0, len(places), rows):
            yield places[start : start + rows]

    def _at(self, place: Place) -> tuple[slice, slice]:
        factor = self._run.spec.latent_factor
        y, x = place[0] // factor, place[1] // factor
        return slice(y, y + self._cells), slice(x, x + self._cells)

    def _add(self, canvas: FloatArray, places: list[Place], answers: object) -> None:
        """Add tiles' latents to the canvas, weighted."""
        for place, answer in zip(places, self._run.engine.numpy(answers), strict=True):
            canvas[(0, slice(None), *self._at(place))] += self._weight * answer

    def _total_weight(self) -> FloatArray:
        """(h, w): the sum of weights in each cell; 1 where no tile is."""
        total = np.zeros(self._shape[1:], np.float32)
        for place in self._canvas.places:
            total[self._at(place)] += self._weight
        total[total == 0] = 1
        return total


def keep_tone(pixels: FloatArray, before: FloatArray) -> FloatArray:
    """A refined tile (S, S, 3) with the slow colours of what it was refined from: detail is all that it may add.

    Refining again and again would otherwise add up the network's and the autoencoder's errors of tone and contrast.
    """
    side = len(pixels)
    cells = (before - pixels).reshape(side // CELL, CELL, side // CELL, CELL, 3).mean(axis=(1, 3))
    toned: FloatArray = np.clip(pixels + 2 * resize(cells / 2 + 0.5, (side, side)) - 1, 0, 1)
    return toned
