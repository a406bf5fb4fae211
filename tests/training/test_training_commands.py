"""`moebius train`, `distill` and `finetune` as a person calls them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from conftest import Program
from made_photos import disc, picture
from PIL import Image
from tiny_runs import Tiny, lines, moebius, options

from moebius import Moebius
from moebius.networks import NanoAutoencoder
from moebius.testing import LIKE_PUBLISHED
from moebius.training.models import open_models
from moebius.training.recipe import as_used, load_recipe, recipe_names
from moebius.weights import open_model


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train"], ["moebius train RECIPE", "preview", "recipes", "ablation", "autoencoder"]),
        (["train", "--help"], ["torchrun --nproc-per-node", "preview", "recipes"]),
        (["train", "tiny-test", "--help"], ["--data", "--out", "--set", "--teacher", "--minutes"]),
        (["train", "preview", "--help"], ["--recipe", "--count", "--overwrite"]),
        (["train", "autoencoder", "--help"], ["--features", "--cache"]),
        (["distill", "--help"], ["--teacher", "full", "--release"]),
        (["finetune", "--help"], ["MODEL", "--recipe", "--save-every"]),
    ],
)
def test_help(program: Program, words: list[str], told: list[str]) -> None:
    done = program(*words)
    assert done.returncode == 0 and done.stderr == ""
    assert all(word in done.stdout for word in told)


def test_recipes_are_listed(program: Program) -> None:
    assert program("train", "recipes").stdout.split() == recipe_names()


def test_preview(program: Program, tiny: Tiny, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    arguments = ["train", "preview", "--data", tiny.photos, "--recipe", tiny.recipe, "--count", 6, "-o", out]
    done = program(*arguments)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    with Image.open(out) as sheet:
        assert sheet.width > 128 and np.asarray(sheet.convert("RGB")).std() > 20
    before = out.read_bytes()
    refused = program(*arguments)
    assert refused.returncode == 2 and "exists already" in refused.stderr and out.read_bytes() == before
    assert program(*arguments, "--overwrite", "--set", "data.masks={thin=1.0}").returncode == 0
    assert out.read_bytes() != before


def test_a_run_from_beginning_to_end(tiny: Tiny, tmp_path: Path) -> None:
    """A real process; what it says, and what it leaves."""
    out = tmp_path / "run"
    more = ["--teacher", tiny.teacher, "--json", "--name", "mine"]
    done = moebius("distill", tiny.recipe, *options(tiny, out, ["run.pictures=2", "run.settle=2"]), *more)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    told = json.loads(done.stdout)
    assert (told["step"], told["finished"], told["broken"]) == (3, True, 0)
    assert told["model"] == str(out / "model") and told["held_out"]["task"] > 0
    left = {path.name for path in out.iterdir()}
    assert left == {
        "best.safetensors",
        "checkpoint.safetensors",
        "log.jsonl",
        "model",
        "samples",
        "tensorboard",
    }
    assert Moebius.from_pretrained(out / "model", engine="torch").spec.name == "mine"


def test_what_it_says_without_json(program: Program, tiny: Tiny, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["train", tiny.recipe, *options(tiny, out), "--teacher", tiny.teacher]
    done = program(*arguments, "--minutes", 0)
    assert (done.returncode, done.stdout) == (
        0,
        "stopped after step 1; the same command goes on from there\n",
    )
    done = program(*arguments)
    model = out / "model"
    assert done.stdout == f"{model}: try moebius inpaint PHOTO MASK -o OUT --model {model}\n"
    assert done.stderr == ""


def test_broken_photos_are_skipped_and_named(program: Program, tiny: Tiny, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(4):
        Image.fromarray(picture(80, 72, seed=i)).save(photos / f"good{i}.png")
    (photos / "bad.jpg").write_bytes(b"\xff\xd8 torn")
    arguments = [
        "--teacher",
        tiny.teacher,
        "--data",
        photos,
        "--out",
        tmp_path / "run",
        "--device",
        "cpu",
        "--json",
    ]
    done = program("train", tiny.recipe, *arguments)
    assert done.returncode == 0
    told = done.stderr.splitlines()
    assert told and all(line.startswith("moebius: warning: skipped bad.jpg: ") for line in told)
    assert json.loads(done.stdout)["broken"] == len(told) == lines(tmp_path / "run")[-1]["broken"]


@pytest.mark.slow
def test_finetune_the_bundled_model_on_a_folder(program: Program, tmp_path: Path) -> None:
    photos, out = tmp_path / "my photos", tmp_path / "run"
    (photos / "holiday").mkdir(parents=True)
    for i in range(5):
        Image.fromarray(picture(120 + 9 * i, 100, seed=i)).save(photos / "holiday" / f"IMG {i}.JPG", "JPEG")
    changes = ["data.sizes=[64]", "run.steps=3", "run.batch=2", "run.accumulate=2", "run.held_out=2",
               "run.pictures=1", "run.sample_steps=1", "run.settle=2"]  # fmt: skip
    given = [word for change in changes for word in ("--set", change)]
    done = program("finetune", "nano", "--data", photos, "--out", out, "--device", "cpu", *given)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    model = Moebius.from_pretrained(out / "model", engine="torch", device="cpu")
    nano = Moebius.from_pretrained("nano", engine="torch", device="cpu")
    assert model.spec.denoiser == nano.spec.denoiser and model.spec.target == nano.spec.target == "residual"
    photo = Image.fromarray(picture(96, 80))
    hole = disc(96, 80, (40, 30), 12)
    filled = np.asarray(model(photo, hole).image)
    assert filled.shape == (80, 96, 3)
    assert (filled != np.asarray(photo))[hole].any()


def test_finetune_takes_what_the_model_is(program: Program, tiny: Tiny, tmp_path: Path) -> None:
    changes = ["data.sizes=[64]", "run.steps=2", "run.accumulate=1", "run.pictures=0", "run.settle=0"]
    done = program("finetune", tiny.student, *options(tiny, tmp_path / "run", changes))
    assert done.returncode == 0, done.stderr
    assert load_recipe("finetune").network == {}
    model = json.loads((tmp_path / "run" / "model" / "model.json").read_text())
    start = json.loads((tiny.student / "model.json").read_text())
    for field in (
        "architecture",
        "denoiser",
        "autoencoder",
        "prediction",
        "first_timestep",
        "feed",
        "target",
    ):
        assert model[field] == start[field]


def test_finetune_trains_a_model_as_it_is_used() -> None:
    """nano fills in one step at 256 px, with the photo's texture; so does what it becomes."""
    changes = as_used(open_model("nano").spec)
    recipe = load_recipe("finetune", [*changes, "start=nano"])
    assert recipe.data.sizes == (256,) and recipe.data.opposite == "none"
    assert recipe.run.sample_steps == 1 and recipe.picture.share > 0.5
    _, models = open_models(recipe)
    nano = open_model("nano").spec
    for field in ("size", "sizes", "aspects", "cascade", "detail", "defaults", "guidance_trained"):
        assert getattr(models.spec, field) == getattr(nano, field), field
    assert as_used(LIKE_PUBLISHED) == ["data.sizes=[64]", "run.sample_steps=3"]


@pytest.mark.slow
def test_the_autoencoder(program: Program, tmp_path: Path) -> None:
    shards, out = tmp_path / "shards", tmp_path / "run"
    shards.mkdir()
    with tarfile.open(shards / "photos.tar", "w") as tar:
        for i in range(3):
            stream = io.BytesIO()
            Image.fromarray(picture(60, 48, seed=i)).save(stream, "WEBP", lossless=True)
            info = tarfile.TarInfo(f"{i}.webp")
            info.size = stream.tell()
            stream.seek(0)
            tar.addfile(info, stream)
    changes = ["steps=2", "batch=2", "size=32", "warmup=1", "decay=1", "network.latent_channels=4",
               "network.widths=[8, 12, 16]", "network.encoder_blocks=[0, 0, 1]",
               "network.decoder_blocks=[0, 0, 1]"]  # fmt: skip
    given = [word for change in changes for word in ("--set", change)]
    arguments = ["train", "autoencoder", "--data", shards, "--out", out, "--cache", tmp_path / "cache"]
    done = program(*arguments, *given)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{out / 'autoencoder.safetensors'}\n", "")
    from safetensors.torch import load_file

    from moebius.networks import AutoencoderConfig

    sizes = AutoencoderConfig(
        latent_channels=4, widths=(8, 12, 16), encoder_blocks=(0, 0, 1), decoder_blocks=(0, 0, 1)
    )
    NanoAutoencoder(sizes).load_state_dict(load_file(out / "autoencoder.safetensors"))
    wrong = program(*arguments, "--set", "steeps=2")
    assert wrong.returncode == 2 and "no field named 'steeps': did you mean steps?" in wrong.stderr
