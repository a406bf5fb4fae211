"""Whatever goes wrong with a training: one line, an exit code, and nothing half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import Program
from made_photos import picture
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_runs import Finished, Tiny, command, environment, moebius, options, state, step_of

INPUT, WEIGHTS, DEVICE, OTHER = 2, 3, 4, 1
DIVERGES = ("run.steps=10", "optimizer.schedule=steps", "optimizer.milestones=[[3, 1e30]]")
"""From the fourth step on, the learning rate is beyond all reason."""


def assert_refused(done: Finished, code: int, told: str) -> None:
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
    assert done.stderr.startswith("moebius: error: ") and told in done.stderr, done.stderr
    assert done.stdout == "" and "Traceback" not in done.stderr


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture()
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of photos that are no good, and where the program is called."""
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "broken", "orphans", "objects"):
        Path(name).mkdir()
    Path("broken/a.jpg").touch()
    Path("broken/b.png").write_text("no image")
    Image.fromarray(picture(80, 72)).save("orphans/a.png")
    Image.fromarray(picture(80, 72)).save("orphans/b.mask.png")
    Path("text.txt").write_text("no photos")
    Path("list.jsonl").write_text('{"image": "a.png"}\n')
    return tmp_path


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("nowhere", "nowhere: expected a folder, a .jsonl list or a .tar shard of photos, got nothing there"),
        ("empty", "empty: expected images (.jpg"),
        ("broken", "broken: expected photos, got 2 files of which none of 2 can be read"),
        ("orphans", "orphans/b.mask.png: expected a photo b.* beside the mask, got none"),
        (
            "text.txt",
            "text.txt: expected a folder, a .jsonl list or a .tar shard of photos, got another file",
        ),
        ("list.jsonl", "list.jsonl:1: prompt: expected background or foreground, got None"),
    ],
)
def test_photos_that_cannot_be_used(program: Program, tiny: Tiny, work: Path, data: str, told: str) -> None:
    before = snapshot(work)
    done = program(
        "train", tiny.recipe, "--teacher", tiny.teacher, "--data", data, "--out", "run", "--device", "cpu"
    )
    assert_refused(done, INPUT, told)
    assert snapshot(work) == before and not Path("run").exists()


@pytest.mark.parametrize(
    ("recipe", "more", "code", "told"),
    [
        ("tiny-tset", [], INPUT, "no recipe named 'tiny-tset': did you mean tiny-test?"),
        ("nowhere.toml", [], INPUT, "nowhere.toml: expected a recipe in TOML, found nothing"),
        (None, ["--set", "run.batchs=4"], INPUT, "run: no field named 'batchs': did you mean batch?"),
        (None, ["--set", "run.batch=none"], INPUT, "run: batch: expected a whole number, got 'none'"),
        (None, ["--set", "run.batch=0"], INPUT, "batch: expected 1 or more, got 0"),
        (None, ["--set", "nonsense"], INPUT, "expected NAME=VALUE, as in run.batch=4, got 'nonsense'"),
        (None, ["--set", "data.sizes=[40]"], INPUT, "data.sizes: expected multiples of 32 px for this network, got 40"),
        (None, ["--set", "network.latent_channels=8"], INPUT, "expected 4, as the autoencoder of tiny-teacher makes"),
        (None, ["--set", "network.chanels=[8]"], INPUT, "network: no field named 'chanels': did you mean channels?"),
        (None, ["--set", "data.holdout=1.0"], INPUT, "expected photos to train on, got 10, all of them held out"),
        (None, ["--set", "loss.student_tap=9"], INPUT, "loss.student_tap: expected 0 to 5, got 9"),
        (None, ["--set", "loss.perceptual_features=decoded"], INPUT, "expected --features LPIPS_WEIGHTS, got none"),
        (None, ["--autoencoder", "nanno"], WEIGHTS, "no model named 'nanno': did you mean nano?"),
        (None, ["--teacher", "plaecs"], WEIGHTS, "no model named 'plaecs': did you mean places2?"),
        (None, ["--teacher", "places2"], WEIGHTS, "HF_HUB_OFFLINE forbids downloading it"),
        (None, ["--teacher", "./nowhere"], WEIGHTS, "expected a model folder, found nothing"),
        (None, ["--start", "./empty"], WEIGHTS, "expected a model folder with model.json"),
        (None, ["--features", "nowhere"], WEIGHTS, "nowhere: expected LPIPS-squeeze as safetensors, got: "),
        (None, ["--features", "text.txt"], WEIGHTS, "text.txt: expected LPIPS-squeeze as safetensors, got: "),
        (None, ["--device", "abacus"], INPUT, "device: expected auto, cpu or cuda, got 'abacus'"),
        (None, ["--threads", "0"], INPUT, "'--threads': 0 is not in the range x>=1"),
        (None, ["--loaders", "-1"], INPUT, "'--loaders': -1 is not in the range x>=0"),
        (None, ["--minutes", "-1"], INPUT, "'--minutes': -1"),
        (None, ["--out", "text.txt"], INPUT, "text.txt: expected a folder for the run, got a file"),
        (None, ["--nonsense"], INPUT, "No such option"),
    ],
)  # fmt: skip
def test_wrong_recipes_and_options(
    program: Program, tiny: Tiny, work: Path, recipe: str | None, more: list[str], code: int, told: str
) -> None:
    before = snapshot(work)
    places = ["--teacher", tiny.teacher, "--data", tiny.photos, "--out", "run", "--device", "cpu"]
    assert_refused(program("train", recipe or tiny.recipe, *places, *more), code, told)
    assert snapshot(work) == before and not Path("run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_no_gpu(program: Program, tiny: Tiny, work: Path) -> None:
    done = program("distill", tiny.recipe, "--teacher", tiny.teacher, "--data", tiny.photos, "--out", "run",
                   "--device", "cuda")  # fmt: skip
    assert_refused(done, DEVICE, "device 'cuda' is not available here")


def test_no_teacher(program: Program, tiny: Tiny, work: Path) -> None:
    told = "objective distillation needs a teacher: give a model's name or folder"
    assert_refused(program("train", tiny.recipe, *options(tiny, Path("run"))), INPUT, told)
    assert_refused(
        program("distill", tiny.recipe, *options(tiny, Path("run"))), INPUT, "Missing option '--teacher'"
    )
    assert not Path("run").exists()


def test_no_such_variant(program: Program, tiny: Tiny, work: Path) -> None:
    done = program("train", "ablation", "--teacher", tiny.teacher, "--data", tiny.photos, "--out", "run",
                   "--variants", "alone,best")  # fmt: skip
    assert_refused(
        done, INPUT, "variants: expected some of alone, output, coarse, fixed, paper, released, got best"
    )
    assert not Path("run").exists()


@pytest.mark.slow
def test_variants_at_the_last_timestep(tiny: Tiny, work: Path) -> None:
    done = moebius("train", "ablation", "--teacher", tiny.teacher, "--data", tiny.photos, "--out", "run", "--recipe",
                   tiny.recipe, "--variants", "output,alone", "--seeds", "1", "--workers", "1",
                   "--set", "run.steps=2", "--set", "noise.timesteps=last")  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split(" |")[0] for line in done.stdout.splitlines() if line.startswith(("| task", "| + "))]
    assert rows == ["| task loss alone", "| + output distillation", "| + output distillation"]
    assert "latent error t=999" in done.stdout and "t=500" not in done.stdout


def test_no_recipe_no_photos(program: Program, work: Path) -> None:
    assert_refused(program("train", "tiny-test", "--out", "run"), INPUT, "Missing option '--data'")
    assert_refused(program("train", "tiny-test", "--data", "empty"), INPUT, "Missing option '--out'")


def test_a_damaged_teacher(program: Program, tiny: Tiny, work: Path) -> None:
    shutil.copytree(tiny.teacher, "teacher")
    weights = Path("teacher/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:5000])
    done = program("distill", tiny.recipe, *options(tiny, Path("run")), "--teacher", "./teacher")
    assert_refused(done, WEIGHTS, "weights.safetensors: expected")
    assert not Path("run").exists()


# Runs that cannot go on


def go_on(program: Program, tiny: Tiny, out: Path, *changes: str) -> Finished:
    return program("distill", tiny.recipe, *options(tiny, out, changes), "--teacher", tiny.teacher)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("run.batch=2", "holds a run with run.batch = 4, this one has 2: take another folder"),
        (
            "network.channels=[8, 16, 32]",
            "holds a run with network.channels = [8, 16, 16], this one has [8, 16, 32]",
        ),
        ("optimizer.name=muon", "holds a run with optimizer.name = 'adamw', this one has 'muon'"),
    ],
)
def test_a_folder_of_another_run(
    program: Program, tiny: Tiny, tmp_path: Path, change: str, told: str
) -> None:
    out = tmp_path / "run"
    tiny.train(out)
    before = snapshot(out)
    assert_refused(go_on(program, tiny, out, change), OTHER, told)
    assert snapshot(out) == before


@pytest.mark.parametrize(
    "how", ["truncated", "emptied", "text", "other network", "other optimizer", "no run"]
)
def test_a_damaged_checkpoint(program: Program, tiny: Tiny, tmp_path: Path, how: str) -> None:
    out = tmp_path / "run"
    tiny.train(out)
    path = out / "checkpoint.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = state(out)
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("no tensors")
    elif how == "other network":
        save_file(tensors | {"net.conv_out.conv_pw.weight": torch.zeros(3, 2)}, path, metadata)
    elif how == "other optimizer":
        save_file(tensors | {"optimizer.99999.exp_avg": torch.zeros(3)}, path, metadata)
    else:
        save_file(tensors, path, {"format": "pt"})
    before = snapshot(out)
    assert_refused(go_on(program, tiny, out), WEIGHTS, "checkpoint.safetensors: expected a checkpoint of")
    assert snapshot(out) == before


def test_numbers_that_are_none(program: Program, tiny: Tiny, tmp_path: Path) -> None:
    """The state before is kept, and what was lost is said."""
    out = tmp_path / "run"
    assert go_on(program, tiny, out, *DIVERGES, "run.steps=3").returncode == 0
    before = (out / "checkpoint.safetensors").read_bytes()
    done = go_on(program, tiny, out, *DIVERGES)
    assert_refused(done, OTHER, "expected a finite loss and gradient, got loss ")
    assert "step 5: " in done.stderr or "step 6: " in done.stderr
    assert " in the batch photo" in done.stderr
    assert f"the last good state is in {out / 'checkpoint.safetensors'}" in done.stderr
    assert (out / "checkpoint.safetensors").read_bytes() == before
    assert step_of(out / "checkpoint.safetensors") == 3


def test_numbers_that_are_none_from_the_start(program: Program, tiny: Tiny, tmp_path: Path) -> None:
    done = go_on(program, tiny, tmp_path / "run", "optimizer.learning_rate=1e30", "run.steps=9")
    assert_refused(done, OTHER, "no checkpoint was written yet")
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.fixture()
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("file systems can be mounted by root only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("left", [400_000])
def test_a_full_disk(program: Program, tiny: Tiny, small_disk: Path, left: int) -> None:
    """Room for the log and not for a checkpoint, or for nothing at all."""
    out = small_disk / "run"
    tiny.train(out)
    before = (out / "checkpoint.safetensors").read_bytes()
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    ballast.write_bytes(b"\0" * max(0, free - left))
    done = program("distill", tiny.recipe, *options(tiny, out, ["run.steps=5"]), "--teacher", tiny.teacher,
                   "--save-every", 0)  # fmt: skip
    assert_refused(done, INPUT, "No space left on device")
    assert (out / "checkpoint.safetensors").read_bytes() == before
    assert not list(out.glob(".*.partial"))
    ballast.unlink()
    assert tiny.train(out, "run.steps=5").finished


@pytest.mark.slow
def test_a_file_size_limit(tiny: Tiny, tmp_path: Path) -> None:
    """As on a full disk, for those who may not mount one."""
    out = tmp_path / "run"
    tiny.train(out)
    arguments = [*options(tiny, out, ["run.steps=5"]), "--teacher", tiny.teacher, "--save-every", 0]
    call = subprocess.list2cmdline(command("distill", tiny.recipe, *arguments))
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 256; {call}"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert_refused(done, INPUT, "checkpoint of step 4: ")
    assert "the checkpoint before it is still there" in done.stderr
    assert step_of(out / "checkpoint.safetensors") == 3
    assert tiny.train(out, "run.steps=5").finished


def test_without_the_extra(tiny: Tiny, tmp_path: Path) -> None:
    code = "import sys; sys.modules['accelerate'] = None; from moebius.cli import main; main()"
    for start in (["train", "tiny-test"], ["distill", "--teacher", "nano"], ["finetune", "nano"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *start, "--data", str(tiny.photos), "--out", str(tmp_path / "run")],
            env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert_refused(done, DEVICE, "training needs accelerate: pip install 'moebius-inpaint[train]'")
    assert not (tmp_path / "run").exists()


def test_one_line_from_the_real_program(tiny: Tiny, work: Path) -> None:
    done = moebius(
        "train", tiny.recipe, *options(tiny, Path("run"), ["data.sizes=[40]"]), "--teacher", tiny.teacher
    )
    assert_refused(done, INPUT, "data.sizes: expected multiples of 32 px for this network, got 40")
    assert not Path("run").exists()
