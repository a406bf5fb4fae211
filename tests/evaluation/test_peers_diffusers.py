"""Pipelines of diffusers, with random weights, through the real library."""

from __future__ import annotations

import json
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_photos import disc
from peer_holes import assert_hidden_is_not_read, assert_repeats, make_hole
from peer_pipelines import SIDE, save_generator, save_inpainter, save_repaint, save_unmasked
from PIL import Image

from moebius.errors import DeviceError, InputError, MoebiusError, SettingsError
from moebius.evaluation.foreign_diffusers import seed_of, working_size
from moebius.evaluation.holes import Hole, Pixels
from moebius.evaluation.peers import diffusers_method, open_peer
from moebius.imaging import push_pull, resize, resize_mask
from moebius.sampling import normal

FAST = {"steps": "2"}


@pytest.fixture(scope="module", autouse=True)
def host() -> Iterator[None]:
    """diffusers and transformers, imported, and torch on one thread: networks this small only lose by more.

    A torchvision for another build of torch breaks transformers, which asks for it but does not need it: there it
    is taken for missing.
    """
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torchvision  # noqa: F401
        except (ImportError, RuntimeError):
            patch.setitem(sys.modules, "torchvision", None)
        import diffusers
        import torch
        import transformers

        assert diffusers.AutoPipelineForInpainting
        assert transformers.CLIPTextModel
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def inpainter(tmp_path_factory: pytest.TempPathFactory, host: None) -> Path:
    return save_inpainter(tmp_path_factory.mktemp("pipelines") / "tiny")


def by_hand(folder: Path, hole: Hole, sides: tuple[int, int] = (SIDE, SIDE), **settings: Any) -> Pixels:
    """The same fill, step by step, at these sides."""
    import diffusers
    import torch

    index = json.loads((folder / "model_index.json").read_text())
    pipeline = getattr(diffusers, index["_class_name"]).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    smooth = resize(push_pull(hole.pixels / np.float32(255), hole.mask), sides)
    answer = pipeline(
        image=Image.fromarray((smooth * 255 + 0.5).astype(np.uint8)), height=sides[0], width=sides[1],
        mask_image=Image.fromarray(resize_mask(hole.mask, sides)), prompt=settings.pop("prompt", ""),
        generator=torch.Generator().manual_seed(seed_of(0, hole.case.key)), output_type="np", **settings,
    ).images[0]  # fmt: skip
    return np.floor(resize(answer, hole.mask.shape).astype(np.float64) * 255 + 0.5).astype(np.uint8)


def test_equals_the_pipeline(inpainter: Path) -> None:
    hole = make_hole(SIDE, SIDE)
    filled = diffusers_method(inpainter, options=FAST).fill(hole)
    expected = by_hand(inpainter, hole, num_inference_steps=2)
    assert np.abs(filled.astype(int) - expected).max() <= 1
    assert (filled == expected).mean() > 0.99
    options = {"steps": "3", "guidance": "2.5", "strength": "0.7", "prompt": "a red ball"}
    filled = diffusers_method(inpainter, options=options).fill(hole)
    expected = by_hand(
        inpainter, hole, prompt="a red ball", num_inference_steps=3, guidance_scale=2.5, strength=0.7
    )
    assert np.abs(filled.astype(int) - expected).max() <= 1


def test_does_not_look_under_the_hole(inpainter: Path) -> None:
    for strength in ("1", "0.5"):
        method = diffusers_method(inpainter, options=FAST | {"strength": strength})
        assert_hidden_is_not_read(method, make_hole(SIDE, SIDE))


def test_repeats_in_any_order_and_from_any_thread(inpainter: Path) -> None:
    method = diffusers_method(inpainter, options={"steps": "3"})
    holes = [make_hole(SIDE, SIDE, photo=f"photo{i}", seed=i) for i in range(4)]
    assert_repeats(method, holes)
    assert_repeats(method, holes[::-1])
    assert (method.fill(holes[2]) == diffusers_method(inpainter, options={"steps": "3"}).fill(holes[2])).all()


def test_every_option_makes_a_difference(inpainter: Path) -> None:
    hole = make_hole(SIDE, SIDE)
    given = (
        {}, {"steps": "3"}, {"strength": "0.5"}, {"prompt": "a ball"}, {"prompt": "a ball", "guidance": "1"},
        {"seed": "1"}, {"mask": "known"}, {"size": "16"}, {"dtype": "bfloat16"},
    )  # fmt: skip
    methods = [diffusers_method(inpainter, options=FAST | options) for options in given]
    assert len({method.fill(hole).tobytes() for method in methods}) == len(methods)
    assert len({json.dumps(dict(method.identity), sort_keys=True) for method in methods}) == len(methods)
    assert len({method.id for method in methods}) == len(methods)


def test_the_noise_is_the_holes_own(inpainter: Path) -> None:
    method = diffusers_method(inpainter, options=FAST)
    holes = [make_hole(SIDE, SIDE, photo=photo, family=family) for photo, family in ("ab", "ac", "db")]
    assert len({method.fill(hole).tobytes() for hole in holes}) == 3


def test_sizes(inpainter: Path) -> None:
    assert [diffusers_method(inpainter, options=o).identity["size"] for o in ({}, {"size": "48"})] == [
        SIDE,
        48,
    ]
    hole = make_hole(50, 36)
    for options, sides in (({}, (32, 48)), ({"size": "picture"}, (40, 48)), ({"size": "24"}, (24, 32))):
        filled = diffusers_method(inpainter, options=FAST | options).fill(hole)
        expected = by_hand(inpainter, hole, sides, num_inference_steps=2)
        assert np.abs(filled.astype(int) - expected).max() <= 1
    assert working_size((512, 512), 512, 8) == (512, 512)
    assert working_size((1000, 1500), 512, 8) == (512, 768)
    assert working_size((1500, 1000), 512, 16) == (768, 512)
    assert working_size((333, 500), None, 8) == (336, 504)
    assert working_size((3, 499), None, 8) == (8, 496)


@pytest.mark.filterwarnings("ignore:The preprocess method is deprecated:FutureWarning")
def test_pictures_are_brought_to_the_size_and_back(tmp_path: Path) -> None:
    """RePaint keeps the known pixels, so a mask or a size taken wrongly shows in them."""
    method = diffusers_method(save_repaint(tmp_path / "repaint"), options={"steps": "10"})
    assert method.identity["white"] == "known"
    for width, height in ((32, 32), (48, 48)):
        hole = make_hole(width, height, disc(width, height, (width / 3, height / 2), height / 6))
        filled = method.fill(hole).astype(int)
        outside = np.abs(filled - hole.pixels)[~hole.mask].mean()
        turned = np.abs(filled[::-1] - hole.pixels)[~hole.mask].mean()
        assert outside < 12
        assert turned > 20
        assert np.abs(filled - hole.pixels)[hole.mask].mean() > 20
    hole = make_hole(32, 32)
    wrong = diffusers_method(tmp_path / "repaint", options={"steps": "10", "mask": "hole"}).fill(hole)
    assert np.abs(wrong.astype(int) - hole.pixels)[~hole.mask].mean() > 20
    with pytest.raises(
        SettingsError, match=r"^guidance: expected an option that RePaintPipeline takes; it has no guid"
    ):
        diffusers_method(tmp_path / "repaint", options={"guidance": "2"})
    with pytest.raises(SettingsError, match=r"^prompt: expected none, RePaintPipeline takes no prompt$"):
        diffusers_method(tmp_path / "repaint", options={"prompt": "a ball"})


def test_a_pipeline_that_makes_pictures_is_used_for_inpainting(tmp_path: Path) -> None:
    method = diffusers_method(save_generator(tmp_path / "maker"), options=FAST)
    assert method.identity["pipeline"] == "StableDiffusionInpaintPipeline"
    assert_hidden_is_not_read(method, make_hole(SIDE, SIDE))


def test_names_and_identity(inpainter: Path, tmp_path: Path) -> None:
    method = open_peer(f"diffusers:{inpainter},prompt=a red, round ball,steps=2")
    assert method.identity["settings"] == {"num_inference_steps": 2, "prompt": "a red, round ball"}
    assert method.title == "tiny (diffusers, prompt=a red, round ball, steps=2)"
    assert diffusers_method(inpainter).title == "tiny (diffusers)"
    assert diffusers_method(inpainter, title="SD", options=FAST).title == "SD"
    assert re.fullmatch(r"diffusers:tiny,prompt=a-red,-round-ball,steps=2@[0-9a-f]{8}", method.id)
    assert (open_peer(f"sd=diffusers:{inpainter},steps=2").id) == "sd"
    copy = shutil.copytree(inpainter, tmp_path / "tiny")
    (copy / ".cache").mkdir()
    (copy / ".cache" / "x").touch()
    before = diffusers_method(copy).identity
    assert before == diffusers_method(inpainter).identity
    assert {"diffusers", "transformers", "torch"} <= before.keys()
    config = copy / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("scaled_linear", "linear"))
    assert diffusers_method(copy).identity["sha256"] != before["sha256"]


def test_seeds_are_the_first_words_of_the_noise() -> None:
    """One block of Philox makes four normal numbers; the first two come from the two words that make the seed."""
    for seed, key in ((0, "a/thin"), (2**64 - 1, "b/thick")):
        number = seed_of(seed, key)
        low, high = (number & 0xFFFFFFFF) + 1, number >> 32
        radius, angle = np.sqrt(-2 * np.log(low / 2**32)), 2 * np.pi * high / 2**32
        expected = normal((2,), seed=seed, key=key)
        assert np.allclose([radius * np.cos(angle), radius * np.sin(angle)], expected, rtol=1e-5)
    assert len({seed_of(seed, key) for seed in range(20) for key in "abcdefgh"}) == 160


def test_nothing_is_printed(inpainter: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging as of_transformers

    before = of_transformers.is_progress_bar_enabled()
    diffusers_method(inpainter, options=FAST).fill(make_hole(SIDE, SIDE))
    out, err = capfd.readouterr()
    assert out == ""
    assert "%|" not in err
    assert of_transformers.is_progress_bar_enabled() == before


def test_a_safety_checker_is_left_out(inpainter: Path, tmp_path: Path) -> None:
    """Its weights need not even be there."""
    copy = shutil.copytree(inpainter, tmp_path / "checked")
    index = json.loads((copy / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["requires_safety_checker"] = True
    (copy / "model_index.json").write_text(json.dumps(index))
    hole = make_hole(SIDE, SIDE)
    expected = diffusers_method(inpainter, options=FAST).fill(hole)
    assert (diffusers_method(copy, options=FAST).fill(hole) == expected).all()


def test_a_pipeline_that_fails_is_told(inpainter: Path) -> None:
    method = diffusers_method(inpainter, options={"steps": "1", "strength": "0.5"})
    with pytest.raises(
        MoebiusError, match=rf"^{re.escape(str(inpainter))}: fails at a/all: .*num_inference_steps.*$"
    ):
        method.fill(make_hole(SIDE, SIDE))


def _told(error: type[MoebiusError], message: str, path: Path, **options: str) -> None:
    with pytest.raises(error) as caught:
        diffusers_method(path, options=options)
    assert re.fullmatch(message, str(caught.value).removeprefix(f"{path}: ")), str(caught.value)


def test_folders_that_are_no_inpainters(inpainter: Path, tmp_path: Path) -> None:
    missing = "expected a diffusers pipeline, found no model_index.json to read"
    _told(InputError, missing, tmp_path / "nowhere")
    _told(InputError, missing, tmp_path)
    index = tmp_path / "model_index.json"
    index.write_text("{")
    _told(InputError, missing, tmp_path)
    index.write_text("{}")
    _told(InputError, "expected model_index.json to name a pipeline of diffusers, it does not", tmp_path)
    index.write_text('{"_class_name": "SomePipeline"}')
    _told(InputError, r"expected a pipeline of diffusers [\d.]+, got SomePipeline", tmp_path)
    unmasked = save_unmasked(tmp_path / "unmasked")
    _told(InputError, "expected a pipeline that takes image and mask_image, got DDPMPipeline", unmasked)
    copy = shutil.copytree(inpainter, tmp_path / "damaged")
    shutil.rmtree(copy / "unet")
    _told(InputError, "StableDiffusionInpaintPipeline cannot be loaded: .+", copy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": "2"}, "expected options prompt, steps, .*, dtype, got 'step'"),
        ({"steps": "0"}, "steps: expected a whole number from 1 to 10000, got '0'"),
        ({"strength": "2"}, "strength: expected a number from 0 to 1, got '2'"),
        ({"guidance": "nan"}, "guidance: expected a number from 0 to 1000, got 'nan'"),
        ({"size": "big"}, "size: expected a whole number from 8 to 8192, got 'big'"),
        ({"seed": "-1"}, "seed: expected a whole number from 0 to 18446744073709551615, got '-1'"),
        ({"dtype": "int8"}, "dtype: expected float32 or float16 or bfloat16, got 'int8'"),
    ],
    ids=str,
)
def test_options_that_cannot_be(options: dict[str, str], message: str, inpainter: Path) -> None:
    _told(SettingsError, message, inpainter, **options)


def test_a_device_that_is_not_there(inpainter: Path) -> None:
    _told(
        DeviceError, "device: expected one that torch can use here, got 'abacus'", inpainter, device="abacus"
    )


@pytest.mark.parametrize("name", ["diffusers", "transformers"])
def test_missing_libraries(name: str, inpainter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    _told(MoebiusError, f"pipelines need diffusers and transformers: pip install {name}", inpainter)


def test_libraries_that_do_not_import(inpainter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when torchvision was built for another torch."""

    class Broken(MetaPathFinder):
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            if name == "transformers":
                try:
                    raise RuntimeError("operator torchvision::nms does not exist\nand more")
                except RuntimeError as error:
                    raise ModuleNotFoundError("Could not import module 'X'", name="X") from error

    monkeypatch.delitem(sys.modules, "transformers")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    reason = "operator torchvision::nms does not exist"
    _told(MoebiusError, f"diffusers and transformers cannot be imported: {reason}", inpainter)
