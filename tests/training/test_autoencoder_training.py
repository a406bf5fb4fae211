"""Training the autoencoder on a handful of made-up photos: decoded photos, masks, resuming, learning."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from moebius.errors import InputError
from moebius.networks import AutoencoderConfig
from moebius.training.autoencoder import AutoencoderRecipe, train_autoencoder
from moebius.training.masks import HOLE_RANGE, random_mask
from moebius.training.photos import epoch_index, open_photos, random_crop
from moebius.training.schedule import update_average, warmup_stable_decay

TINY_AE = AutoencoderConfig(
    latent_channels=4, widths=(8, 12, 16), encoder_blocks=(0, 0, 1), decoder_blocks=(0, 0, 1)
)
AE_RECIPE = AutoencoderRecipe(network=TINY_AE, steps=6, batch=2, size=32, warmup=2, decay=2)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One shard of six photos (smooth colour fields) and one broken member."""
    path = tmp_path_factory.mktemp("shards") / "photos.tar"
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for index in range(6):
            coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
            stream = io.BytesIO()
            Image.fromarray(coarse).resize((60, 48), Image.Resampling.BICUBIC).save(
                stream, "WEBP", lossless=True
            )
            add(tar, f"photo{index}.webp", stream.getvalue())
        add(tar, "broken.webp", b"RIFF....not a picture")
    return [path]


def add(tar: tarfile.TarFile, name: str, contents: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(contents)
    tar.addfile(info, io.BytesIO(contents))


def test_photos_are_decoded_once_and_broken_ones_left_out(shards: list[Path], tmp_path: Path) -> None:
    photos = open_photos(shards, tmp_path)
    assert len(photos) == 6 and photos.keys == [f"photo{i}" for i in range(6)]
    with tarfile.open(shards[0]) as tar:
        stream = tar.extractfile("photo3.webp")
        assert stream is not None
        assert np.array_equal(photos[3], np.asarray(Image.open(stream).convert("RGB")))
    stamp = next(tmp_path.glob("*/photos.u8")).stat().st_mtime_ns
    open_photos(shards, tmp_path)
    assert next(tmp_path.glob("*/photos.u8")).stat().st_mtime_ns == stamp


def test_no_photos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got none"):
        open_photos([], tmp_path)
    empty = tmp_path / "empty.tar"
    with tarfile.open(empty, "w") as tar:
        add(tar, "a.webp", b"nothing")
    with pytest.raises(InputError, match="found none that can be read"):
        open_photos([empty], tmp_path)
    assert not list(tmp_path.glob("*/photos*"))


def test_every_photo_once_an_epoch() -> None:
    for epoch in range(3):
        assert sorted(epoch_index(7, epoch * 7 + i, seed=1) for i in range(7)) == list(range(7))


@pytest.mark.parametrize("size", [16, 48, 64])
def test_crops_have_the_size_asked_for(size: int) -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (48, 60, 3), dtype=np.uint8)
    for _ in range(20):
        crop = random_crop(photo, size, rng)
        assert crop.shape == (size, size, 3) and crop.dtype == np.uint8


@pytest.mark.parametrize("family", list(HOLE_RANGE))
def test_masks_keep_their_range_and_their_seed(family: str) -> None:
    low, high = HOLE_RANGE[family]  # type: ignore[index]
    for seed in range(10):
        mask = random_mask(64, np.random.default_rng(seed), family)  # type: ignore[arg-type]
        assert low <= mask.mean() <= high
        assert np.array_equal(mask, random_mask(64, np.random.default_rng(seed), family))  # type: ignore[arg-type]


def test_learning_rate_schedule() -> None:
    rate = lambda step: warmup_stable_decay(step, peak=1.0, warmup=10, total=100, decay=20)  # noqa: E731
    assert [rate(0), rate(9), rate(10), rate(79), rate(80), rate(90)] == [0.1, 1.0, 1.0, 1.0, 1.0, 0.5]
    assert rate(99) == pytest.approx(0.05)


def test_average_is_the_textbook_one() -> None:
    net, ema = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(1.0)
        ema.weight.fill_(0.0)
    update_average(ema, net, decay=0.9, step=0)
    assert ema.weight.item() == pytest.approx(0.9)  # warm-up: d = 1/10
    update_average(ema, net, decay=0.9, step=1000)
    assert ema.weight.item() == pytest.approx(0.91)


def same(a: Path, b: Path) -> bool:
    left, right = load_file(a), load_file(b)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_autoencoder_resumes_bit_exactly(shards: list[Path], tmp_path: Path) -> None:
    from dataclasses import replace

    common = {"shards": shards, "features": None, "cache": tmp_path / "cache"}
    recipe = replace(AE_RECIPE, decay=1)  # no decay, so that the first half does not depend on the total
    train_autoencoder(recipe, out=tmp_path / "straight", **common)
    half = tmp_path / "halves"
    train_autoencoder(replace(recipe, steps=3), out=half, **common)
    train_autoencoder(recipe, out=half, **common)
    assert same(tmp_path / "straight/checkpoint.safetensors", half / "checkpoint.safetensors")


def test_autoencoder_learns(shards: list[Path], tmp_path: Path) -> None:
    """250 steps on six smooth pictures: the error falls well below that of a flat picture's."""
    from dataclasses import replace

    recipe = replace(AE_RECIPE, steps=250, batch=8, warmup=10, learning_rate=5e-3, decay=60, ema=0.9)
    net = train_autoencoder(
        recipe, shards=shards, features=None, out=tmp_path / "run", cache=tmp_path / "cache"
    )
    photos = open_photos(shards, tmp_path / "cache")
    image = (
        torch.from_numpy(np.stack([photos[i][:48, :48] for i in range(6)])).permute(0, 3, 1, 2) / 127.5 - 1
    )
    with torch.no_grad():
        error = (net(image) - image).abs().mean()
    grey = (image - image.mean((2, 3), keepdim=True)).abs().mean()
    assert error < 0.65 * grey
