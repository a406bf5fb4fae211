"""The whole of distillation on real photos, in about a minute: a teacher, a student, and what a run leaves behind."""

from __future__ import annotations

import json
import os
import resource
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from made_photos import disc
from PIL import Image
from tiny_runs import differences, lines, moebius, state, step_of

from moebius import Moebius
from moebius.engines.networks import load_denoiser
from moebius.training.loop import RunOptions, _Run
from moebius.training.recipe import load_recipe
from moebius.training.validate import HeldOut
from moebius.weights import open_model

REPOSITORY = Path(__file__).parents[2]
SHARD = REPOSITORY.parent / "shared" / "data" / "train" / "open-00.tar"
EXAMPLES = ("rocket.jpg", "shuttle.png", "spoon.png")


@dataclass(frozen=True)
class Runs:
    photos: Path
    teacher: Path
    student: Path
    seconds: float
    """Processor time of both runs."""
    told: dict[str, object]

    @property
    def model(self) -> Path:
        return self.student / "model"


def real_photos(folder: Path) -> Path:
    """MOEBIUS_TRAIN_DATA, or the shard beside the repository, or pieces of the photos that are always there."""
    if os.environ.get("MOEBIUS_TRAIN_DATA"):
        return Path(os.environ["MOEBIUS_TRAIN_DATA"])
    return SHARD if SHARD.is_file() else save_pieces(folder)


def save_pieces(folder: Path, side: int = 128) -> Path:
    """Square pieces of the example photos and of scikit-image's, as PNG files."""
    data = pytest.importorskip("skimage.data")
    folder.mkdir(parents=True)
    photos = {
        name: np.asarray(Image.open(REPOSITORY / "examples" / name).convert("RGB")) for name in EXAMPLES
    }
    photos |= {name: getattr(data, name)() for name in ("astronaut", "chelsea", "coffee")}
    for name, photo in photos.items():
        for top in range(0, photo.shape[0] - side + 1, side):
            for left in range(0, photo.shape[1] - side + 1, side):
                piece = photo[top : top + side, left : left + side]
                if piece.std() > 10:  # no empty sky
                    Image.fromarray(piece).save(folder / f"{Path(name).stem}-{top}-{left}.png")
    return folder


def test_there_are_always_photos(tmp_path: Path) -> None:
    pieces = list(save_pieces(tmp_path / "pieces").iterdir())
    assert len(pieces) > 40


def shorter(decay: int) -> list[str]:
    """Options of a run of 60 steps, which is half as many as the recipes have."""
    changes = ("run.steps=60", "optimizer.warmup=10", f"optimizer.decay={decay}")
    return [word for change in changes for word in ("--set", change)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, imported: None) -> Runs:
    folder = tmp_path_factory.mktemp("distillation")
    photos = real_photos(folder / "photos")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    common = ["--data", photos, "--device", "cpu", "--threads", 1, "--json"]
    teacher = moebius("train", "tiny-teacher", *common, *shorter(20), "--out", folder / "teacher")
    assert teacher.returncode == 0 and teacher.stderr == "", teacher.stderr
    student = moebius(
        "distill",
        "tiny-test",
        *common,
        *shorter(30),
        "--set",
        "run.validate_every=30",
        "--teacher",
        folder / "teacher" / "model",
        "--out",
        folder / "student",
    )
    assert student.returncode == 0 and student.stderr == "", student.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Runs(photos, folder / "teacher", folder / "student", seconds, json.loads(student.stdout))


def held_out(runs: Runs, out: Path, *, model: Path | None) -> dict[str, float]:
    """Losses on the held-out photos: of the released student, or of one that has learned nothing."""
    recipe = load_recipe("tiny-test", [f'teacher="{runs.teacher / "model"}"'])
    run = _Run(recipe, [runs.photos], out, RunOptions(device="cpu"))
    try:
        held = HeldOut(run.recipe, run.feeder, run._held_batches(), run.models.spec)
        net = run.plain if model is None else load_denoiser(open_model(str(model)))
        return held.losses(net, run.objective)
    finally:
        run.close()


@pytest.mark.slow
def test_it_takes_minutes(runs: Runs) -> None:
    assert runs.seconds < 300, "of one core's time, on a slow machine; a third of it is usual"
    assert runs.told["finished"] is True and runs.told["broken"] == 0


@pytest.mark.slow
def test_the_student_learns(runs: Runs, one_thread: None, tmp_path: Path) -> None:
    """Measured on the shard: task falls by a factor of 1.14, output (the distance to the teacher) by one of 1.67.

    A student that has learned nothing predicts next to 0. What is left of task is mostly beyond the teacher, too.
    """
    untrained = held_out(runs, tmp_path, model=None)
    trained = held_out(runs, tmp_path, model=runs.model)
    assert untrained["task"] / trained["task"] > 1.09
    assert untrained["output"] / trained["output"] > 1.4
    assert untrained["perceptual"] / trained["perceptual"] > 1.05
    assert untrained["t900"] / trained["t900"] > 1.13
    teacher = lines(runs.teacher, "held-out")[-1]
    assert trained["task"] - teacher["task"] < 0.65 * (untrained["task"] - teacher["task"])


@pytest.mark.slow
def test_statistics_are_released_with_the_averages(runs: Runs, one_thread: None, tmp_path: Path) -> None:
    (settled,) = lines(runs.student, "settled")
    values = lines(runs.student, "held-out")
    best = min(values, key=lambda line: float(line["held_out"]))
    assert step_of(runs.student / "best.safetensors") == best["step"]
    released = state(runs.model, "weights.safetensors")
    average = {
        name.replace("ema.", "denoiser."): tensor
        for name, tensor in state(runs.student, "best.safetensors").items()
        if name.startswith("ema.")
    }
    others = {name: tensor for name, tensor in released.items() if name.startswith("denoiser.")}
    changed = set(differences(average, others))
    statistics = {name for name in average if name.endswith(("running_mean", "running_var"))}
    counts = {name for name in average if name.endswith("num_batches_tracked")}
    assert statistics and changed == (statistics | counts if settled["kept"] else set())
    measured = held_out(runs, tmp_path, model=runs.model)["held_out"]
    assert measured == pytest.approx(min(settled["held_out_before"], settled["held_out_after"]), rel=1e-3)


@pytest.mark.slow
def test_the_model_fills_a_photo(runs: Runs) -> None:
    model = Moebius.from_pretrained(runs.model, engine="torch", device="cpu")
    photo = Image.open(REPOSITORY / "examples" / "spoon.png").convert("RGB").resize((120, 96))
    hole = disc(120, 96, (60, 48), 14)
    pixels, filled = np.asarray(photo), np.asarray(model(photo, hole, grow=0, feather=0).image)
    assert np.array_equal(pixels[~hole], filled[~hole])
    assert (pixels != filled)[hole].any()


@pytest.mark.slow
def test_samples_and_curves(runs: Runs) -> None:
    """Rows of photo with its hole, fill, photo: 64 px each, framed by 4."""
    sheets = sorted((runs.student / "samples").iterdir())
    assert [sheet.name for sheet in sheets] == ["step-0000030.png", "step-0000060.png"]
    for path in sheets:
        sheet = np.asarray(Image.open(path))
        assert sheet.shape == (72, 2 * 3 * 72, 3)
        for first in (0, 216):
            tinted, fill, photo = (sheet[4:68, first + 72 * i + 4 : first + 72 * i + 68] for i in range(3))
            hole = (tinted != photo).any(axis=2)
            assert 0.03 < hole.mean() < 0.6
            assert np.array_equal(fill[~hole], photo[~hole]) and (fill[hole] != photo[hole]).any()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(runs.student / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "train/task", "train/ratio_task", "train/lr", "held-out/task"} <= set(
        tags["scalars"]
    )
    assert tags["images"] == ["samples"]
    assert [event.step for event in events.Scalars("train/loss")] == [20, 40, 60]
    assert [line["step"] for line in lines(runs.student)] == [20, 40, 60]
    for line in lines(runs.student):
        assert {
            "loss",
            "output",
            "task",
            "perceptual",
            "coarse",
            "ratio_task",
            "images_per_second",
        } <= line.keys()
