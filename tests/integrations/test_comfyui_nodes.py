"""What the ComfyUI nodes make of tensors, and of bad ones. No host: the nodes are called as plain Python."""

from __future__ import annotations

import re
import runpy
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from moebius import MaskError, PhotoError, SettingsError, __version__
from moebius.integrations.comfyui import NODE_CLASS_MAPPINGS, MoebiusGrowMask, MoebiusInpaint
from moebius.integrations.comfyui_host import model_folders
from moebius.testing import fake_model

PACK = Path(__file__).parents[2] / "comfyui"


def photo(count: int = 1, channels: int = 3) -> torch.Tensor:
    """(count, 72, 88, channels) of values that no 8-bit picture has."""
    return torch.rand(count, 72, 88, channels, generator=torch.Generator().manual_seed(2))


def hole(count: int = 1) -> torch.Tensor:
    mask = torch.zeros(count, 72, 88)
    mask[:, 30:42, 40:60] = 1
    return mask


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_nothing_outside_changes_by_a_bit(channels: int, dtype: torch.dtype) -> None:
    image, mask = photo(2, channels).to(dtype), hole(2)
    image[0, 0, 0, 0] = 1.5  # as arithmetic of other nodes may leave it
    filled, grown = MoebiusInpaint().inpaint(fake_model(), image, mask, grow=3, feather=0)
    assert filled.shape == image.shape and filled.dtype == dtype
    assert grown.shape == mask.shape and set(grown.unique().tolist()) == {0, 1}
    assert (grown[mask == 1] == 1).all() and grown.sum() > mask.sum()
    assert torch.equal(filled[grown == 0], image[grown == 0])
    colours = slice(None, 3)
    assert (filled[grown == 1][:, colours] != image[grown == 1][:, colours]).any(dim=-1).float().mean() > 0.9
    if channels == 4:
        assert torch.equal(filled[..., 3], image[..., 3])


def test_a_deep_image_is_filled_in_16_bits() -> None:
    """Levels between those of 8 bits come out of a smooth fill only where they went in."""
    deep = photo()
    eight = torch.round(deep * 255) / 255
    for image, steps in ((deep, 65535), (eight, 255)):
        filled, grown = MoebiusInpaint().inpaint(fake_model(), image, hole())
        inside = filled[grown == 1].double() * steps
        assert (inside - inside.round()).abs().max() < 0.01
        off = (filled[grown == 1] * 255 - (filled[grown == 1] * 255).round()).abs().max()
        assert (off > 0.1) == (steps == 65535)


def test_the_seed_is_the_picture() -> None:
    image = photo()
    first, second, other = (
        MoebiusInpaint().inpaint(fake_model(), image, hole(), seed=seed)[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_soft_masks_are_cut_at_half() -> None:
    soft = torch.full((72, 88), 0.49)
    soft[30:42, 40:60] = 0.5
    soft[0, 0] = -0.2
    _, grown = MoebiusInpaint().inpaint(fake_model(), photo(), soft, grow=0)
    assert torch.equal(grown, hole())


def test_an_empty_mask_changes_nothing() -> None:
    image = photo()
    filled, grown = MoebiusInpaint().inpaint(fake_model(), image, torch.zeros(1, 72, 88))
    assert torch.equal(filled, image) and not grown.any()


@pytest.mark.parametrize("grow", [-1, 0, 5])
def test_the_mask_can_be_seen_before(grow: int) -> None:
    (seen,) = MoebiusGrowMask().grow_mask(hole(), grow)
    _, filled = MoebiusInpaint().inpaint(fake_model(), photo(), hole(), grow=grow)
    assert torch.equal(seen, filled) and (torch.equal(seen, hole()) == (grow == 0))
    (turned,) = MoebiusGrowMask().grow_mask(1 - hole(), grow, invert=True)
    assert torch.equal(turned, seen)


@pytest.mark.parametrize(
    ("image", "mask", "error", "message"),
    [
        (photo(), torch.zeros(1, 36, 88), MaskError, "mask: expected the image's size, 88 x 72, got 88 x 36"),
        (
            photo(),
            torch.zeros(1, 64, 64),
            MaskError,
            "got 64 x 64: it is what ComfyUI gives for a picture without",
        ),
        (photo(), hole(2), MaskError, "mask: expected 1 mask, got 2"),
        (photo(3), hole(2), MaskError, "mask: expected 1 mask or 3, one for each image, got 2"),
        (photo(), torch.zeros(88), MaskError, "mask: expected a batch (B, H, W), got (88,)"),
        (photo(), hole() * torch.nan, MaskError, "mask: expected floats in [0, 1], got nan"),
        (photo()[0], hole(), PhotoError, "image: expected a batch (B, H, W, C), got (72, 88, 3)"),
        (photo()[:0], hole(), PhotoError, "image: expected a batch (B, H, W, C), got (0, 72, 88, 3)"),
        (photo() / 0, hole(), PhotoError, "image: expected numbers in [0, 1], got one that is not finite"),
        (photo(1, 2), hole(), PhotoError, "photo: expected"),
    ],
)
def test_bad_tensors(image: torch.Tensor, mask: torch.Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        MoebiusInpaint().inpaint(fake_model(), image, mask)


def test_bad_settings() -> None:
    """What the widgets do not let through, but a program may send."""
    with pytest.raises(SettingsError, match=r"guidance: expected a number from 0 to 20, got -0\.5"):
        MoebiusInpaint().inpaint(fake_model(), photo(), hole(), guidance=-0.5)
    with pytest.raises(SettingsError, match="grow: expected a whole number from 0 to 512, got -2"):
        MoebiusGrowMask().grow_mask(hole(), -2)


def test_without_comfyui_there_are_no_folders() -> None:
    assert model_folders() == {}


def test_the_packs_own_papers() -> None:
    """Names and versions as ComfyUI's registry wants them, and the same needs in both places."""
    papers = tomllib.loads((PACK / "pyproject.toml").read_text(encoding="utf-8"))
    project = papers["project"]
    assert (
        re.fullmatch(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*", project["name"]) and "comfy" not in project["name"]
    )
    assert project["version"] == __version__
    assert {"PublisherId", "DisplayName"} <= set(papers["tool"]["comfy"])
    assert (PACK / "requirements.txt").read_text(encoding="utf-8").split() == project["dependencies"]
    readme = (PACK / "README.md").read_text(encoding="utf-8")
    assert all(name in readme for name in NODE_CLASS_MAPPINGS)


def test_a_pack_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moebius.integrations.comfyui", None)
    with pytest.raises(ImportError, match=r"pip install -r requirements\.txt"):
        runpy.run_path(str(PACK / "__init__.py"))


def test_a_nan_is_not_black() -> None:
    image = photo()
    image[0, 5, 5, 1] = np.nan
    with pytest.raises(PhotoError, match="not finite"):
        MoebiusInpaint().inpaint(fake_model(), image, hole())
