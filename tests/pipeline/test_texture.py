"""Models whose detail is the photo's: the network gives a hole its colours, the photo its own texture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_photos import disc, noise, picture

from moebius import Moebius
from moebius.engines.base import FloatArray as Floats
from moebius.errors import CorruptWeightsError
from moebius.imaging import push_pull, textured
from moebius.testing import LIKE_NANO, FakeEngine
from moebius.weights import spec_from_json, spec_to_json

SPEC = replace(LIKE_NANO, cascade=(32,), detail="photo")
PHOTO = picture(64, 64)
MASK = disc(64, 64, (30, 34), 14)


class Grey(FakeEngine):
    """Paints every hole grey, and remembers the sides of what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.sides: list[int] = []

    def encode(self, image: Floats) -> Floats:
        self.sides.append(image.shape[-1])
        return super().encode(image)

    def decode(self, latents: Floats) -> Floats:
        decoded: Floats = np.zeros_like(super().decode(latents))
        return decoded


def test_the_network_fills_at_the_sides_of_the_cascade_alone() -> None:
    engine = Grey()
    events = list(Moebius(SPEC, engine, model_hash="0").stream(PHOTO, MASK, steps=2))
    assert engine.sides == [32]
    assert [(event.step, event.steps) for event in events[:-1]] == [(1, 2), (2, 2)]
    assert SPEC.sides == (32,)
    assert replace(SPEC, cascade=()).sides == (64,)
    assert replace(SPEC, detail="network").sides == (32, 64)


def test_the_fill_is_the_photos_texture_in_the_networks_colours() -> None:
    model = Moebius(SPEC, FakeEngine(), model_hash="0")
    coarse = Moebius(replace(SPEC, detail="network", size=32, cascade=()), FakeEngine(), model_hash="0")
    assert coarse.spec.sides == model.spec.sides
    filled = model(PHOTO, MASK, grow=0, feather=0).photo.pixels
    known = push_pull(PHOTO / np.float32(255), MASK)
    seen: list[Floats] = []

    def remember(fill: Floats, known: Floats, mask: np.ndarray) -> Floats:
        seen.append(fill)
        return textured(fill, known, mask)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moebius.pipeline.filling.textured", remember)
        model(PHOTO, MASK, grow=0, feather=0)
    expected = np.floor(textured(seen[0], known, MASK) * 255 + 0.5)
    assert np.abs(filled[MASK] - expected[MASK]).max() <= 1
    assert np.array_equal(filled[~MASK], PHOTO[~MASK])


def test_a_large_photo_gets_its_texture_at_its_own_resolution() -> None:
    """Noise of single pixels comes back as such, three model pixels wide as the hole's pixels are."""
    photo = noise((192, 192, 3))
    mask = disc(192, 192, (96, 96), 30)
    sharp, smooth = (
        Moebius(spec, Grey(), model_hash="0")(photo, mask, grow=0, strategy="whole").photo.pixels
        for spec in (SPEC, replace(SPEC, detail="network"))
    )

    def steps(pixels: np.ndarray) -> float:
        """Mean difference of neighbours inside the hole."""
        inner = disc(192, 192, (96, 96), 26)
        both = inner[:, 1:] & inner[:, :-1]
        return float(np.abs(np.diff(pixels.astype(float), axis=1))[both].mean())

    assert steps(sharp) > 0.5 * steps(photo)
    assert steps(smooth) < 0.1 * steps(photo)


def test_what_is_nearly_all_hole_gets_the_networks_fill() -> None:
    mask = np.ones((64, 64), bool)
    mask[:3, :3] = False
    filled = Moebius(SPEC, Grey(), model_hash="0")(PHOTO, mask, grow=0, feather=0).photo.pixels
    plain = Moebius(replace(SPEC, size=32, cascade=(), detail="network"), Grey(), model_hash="0")
    assert np.abs(filled.astype(int) - plain(PHOTO, mask, grow=0, feather=0).photo.pixels).mean() < 3


def test_detail_is_part_of_the_model() -> None:
    assert spec_from_json(spec_to_json(SPEC)) == SPEC
    with pytest.raises(CorruptWeightsError, match="detail: expected one of network, photo, got 'painter'"):
        spec_from_json({**spec_to_json(SPEC), "detail": "painter"})
