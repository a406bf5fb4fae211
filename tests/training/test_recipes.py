"""Recipes: those that come with the package, changes to them, and what is told of wrong ones."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest

from moebius.errors import InputError, MoebiusError, SettingsError
from moebius.training.config import build, merge, nearest
from moebius.training.optimize import rate_at
from moebius.training.recipe import Recipe, load_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_load(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.title and json.loads(json.dumps(recipe.to_dict()))
    assert load_recipe(name) == recipe
    if recipe.feeding is not None:
        assert recipe.data.feed == recipe.feeding.feed


def test_which_recipes_there_are() -> None:
    named = {"full", "nano", "nano-fill", "finetune", "guidance", "tiny-test", "tiny-teacher", "steps-1", "steps-2",
             "steps-4", "ablation-teacher", "ablation-student", "nano-student"}  # fmt: skip
    assert named <= set(recipe_names())


def test_full_has_the_papers_numbers() -> None:
    """Moebius, sections 3.3 and 4.1."""
    recipe = load_recipe("full")
    assert (recipe.objective, recipe.architecture, recipe.teacher) == (
        "distillation",
        "moebius",
        "pixelhacker",
    )
    assert recipe.network == {}, "the published sizes"
    assert recipe.run.steps == 138_000
    assert 16 * recipe.run.batch * recipe.run.accumulate == 768
    assert recipe.data.sizes == (512,) and recipe.data.opposite == "foreground"
    assert (recipe.optimizer.name, recipe.optimizer.learning_rate) == ("muon", 2e-4)
    assert recipe.loss.form == "paper"
    rates = [rate_at(recipe, step) for step in (50_000, 110_999, 111_000, 128_999, 129_000, 137_999)]
    assert rates == pytest.approx([2e-4, 2e-4, 2e-5, 2e-5, 2e-6, 2e-6])
    assert recipe.feeding is not None and recipe.feeding.prediction == "epsilon"


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_few_step_recipes(steps: int) -> None:
    recipe = load_recipe(f"steps-{steps}")
    assert recipe.objective == "consistency" and recipe.few.steps == steps
    assert recipe.feeding is None and recipe.network == {}, "taken from the model that learns"


def test_changes() -> None:
    recipe = load_recipe(
        "tiny-test", ["run.batch=4", "optimizer.learning_rate=1", "data.sizes=[64, 128]", "title=mine", "seed = 7",
                      "data.masks={thin=1.0}", "loss.form=paper", "feeding.first_timestep=900"]
    )  # fmt: skip
    assert recipe.run.batch == 4 and recipe.seed == 7 and recipe.title == "mine"
    assert recipe.optimizer.learning_rate == 1.0 and isinstance(recipe.optimizer.learning_rate, float)
    assert recipe.data.sizes == (64, 128) and recipe.data.masks == {"thin": 1.0}
    assert recipe.loss.form == "paper"
    assert recipe.feeding is not None and recipe.feeding.first_timestep == 900
    others = replace(recipe, run=replace(recipe.run, batch=load_recipe("tiny-test").run.batch))
    assert others.run == load_recipe("tiny-test").run


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('title = "mine"\n[run]\nsteps = 5\n')
    assert load_recipe(path) == load_recipe(str(path)) == replace(
        Recipe(title="mine"), run=replace(Recipe().run, steps=5)
    )  # fmt: skip


WRONG = {
    "run.batchs=4": "recipe tiny-test: run: no field named 'batchs': did you mean batch?",
    "rnu.batch=4": "recipe tiny-test: no field named 'rnu': did you mean run?",
    "run.batch=0": "recipe tiny-test: run: batch: expected 1 or more, got 0",
    "run.batch=-1": "batch: expected 1 or more, got -1",
    "run.batch=many": "run: batch: expected a whole number, got 'many'",
    "run.batch=2.5": "run: batch: expected a whole number, got 2.5",
    "run.batch=true": "run: batch: expected a whole number, got True",
    "run.channels_last=1": "run: channels_last: expected true or false, got 1",
    "run.ema=1.0": "ema: expected a number from 0 to below 1, got 1",
    "run.ema=nan": "ema: expected a number from 0 to below 1, got nan",
    "run.precision=bfloat61": "got 'bfloat61' (did you mean bfloat16?)",
    "objective=distilation": "did you mean distillation?",
    "optimizer.learning_rate=0": "learning_rate: expected more than 0, got 0",
    "optimizer.learning_rate=nan": "learning_rate: expected a finite number, got nan",
    "optimizer.learning_rate=inf": "learning_rate: expected a finite number, got inf",
    "optimizer.betas=[0.9]": "betas: expected 2 values, got [0.9]",
    "optimizer.betas=[0.9, 1.0]": "betas: expected numbers from 0 to below 1, got 1",
    "optimizer.milestones=[[5]]": "milestones: expected 2 values, got [5]",
    "data.sizes=[60]": "sizes: expected multiples of 8 px, got 60",
    "data.sizes=64": "sizes: expected a list, got 64",
    "data.masks={thik=1.0}": "did you mean thick?",
    "data.hole=[0.5, 0.1]": "hole: expected two shares with 0 <= smallest < largest <= 1, got 0.5, 0.1",
    "data.feed=prefill": "data.feed follows from feeding.feed; set that one",
    "loss.form=papr": "did you mean paper?",
    "loss.smoothing=1.0": "smoothing: expected a number from 0 to below 1, got 1.0",
    "few.steps=5": "teacher_steps: expected a multiple of steps (5), got 48",
    "picture.share=0.5": "picture.share: expected objective diffusion, got distillation",
    "architecture=pixelhacker": "architecture: expected moebius (the student of a distillation), got pixelhacker",
    "noise.offset=2.0": "offset: expected a number from 0 to 1, got 2.0",
    "seed=-1": "seed: expected 0 or more, got -1",
    "run=5": "run: expected a table, got 5",
    "nonsense": "expected NAME=VALUE, as in run.batch=4, got 'nonsense'",
    "=4": "expected NAME=VALUE, as in run.batch=4, got '=4'",
    "run.=4": "expected NAME=VALUE, as in run.batch=4, got 'run.=4'",
    "seed.batch=4": "seed in 'seed.batch' is a value, not a table",
    "run.steps.more=4": "steps in 'run.steps.more' is a value, not a table",
}


@pytest.mark.parametrize("change", WRONG)
def test_wrong_changes_are_told(change: str) -> None:
    with pytest.raises(SettingsError) as error:
        load_recipe("tiny-test", [change])
    assert WRONG[change] in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("tiny-tset", "no recipe named 'tiny-tset': did you mean tiny-test?"),
        ("qqqqq", "no recipe named 'qqqqq': known are ablation-student"),
        ("nowhere.toml", "nowhere.toml: expected a recipe in TOML, found nothing"),
        ("folder.toml", "folder.toml: expected a recipe in TOML, found a folder"),
        ("broken.toml", "broken.toml: expected TOML, got:"),
        ("binary.toml", "binary.toml: expected a recipe in TOML, got:"),
        ("unknown.toml", "unknown.toml: no field named 'stpes'"),
        ("feed.toml", "feed.toml: data: expected a table, got 5"),
    ],
)
def test_recipes_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.toml").mkdir()
    Path("broken.toml").write_text("steps = = 4")
    Path("binary.toml").write_bytes(b"\xff\xfe\x00")
    Path("unknown.toml").write_text("stpes = 4")
    Path("feed.toml").write_text("data = 5")
    with pytest.raises(MoebiusError) as error:
        load_recipe(source)
    assert isinstance(error.value, InputError) and told in str(error.value)


# The reader itself


@dataclass(frozen=True)
class Inner:
    number: float = 1.0
    pair: tuple[int, int] = (1, 2)


@dataclass(frozen=True)
class Outer:
    name: str = ""
    kind: Literal["a", "b"] = "a"
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None
    sizes: tuple[float, ...] = ()


def test_tables_become_dataclasses() -> None:
    made = build(Outer, {"inner": {"number": 2, "pair": [3, 4]}, "maybe": {}, "sizes": [1, 2.5]}, "here")
    assert made == Outer(inner=Inner(2.0, (3, 4)), maybe=Inner(), sizes=(1.0, 2.5))


def test_merging_leaves_the_table_alone() -> None:
    table = {"inner": {"number": 1.0}}
    assert merge(table, ["inner.number=2", "new.deep.name=text"], "here") == {
        "inner": {"number": 2}, "new": {"deep": {"name": "text"}},
    }  # fmt: skip
    assert table == {"inner": {"number": 1.0}}


def test_nearest() -> None:
    assert nearest("bacth", ["batch", "steps"]) == "did you mean batch?"
    assert nearest("zzz", ["batch", "steps"]) == "known are batch, steps"
