"""`moebius train`: run a recipe, and what belongs around it (preview, recipes, ablation, bench, autoencoder)."""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from moebius.cli.group import DefaultGroup
from moebius.errors import DeviceError

F = TypeVar("F", bound=Callable[..., Any])


def run_options(function: F) -> F:
    """The options that every training command has."""
    options = [
        click.option(
            "--data", "data", type=click.Path(path_type=Path), multiple=True, required=True,
            help="Folder of photos, .jsonl list, .tar shard or folder of shards; repeatable.",
        ),
        click.option(
            "--out", type=click.Path(path_type=Path), required=True,
            help="Run folder; an unfinished run there goes on.",
        ),
        click.option(
            "--set", "changes", multiple=True, metavar="NAME=VALUE",
            help="Change the recipe, as in run.batch=4; repeatable.",
        ),
        click.option("--autoencoder", help="Model whose autoencoder is used."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda."),
        click.option(
            "--threads", type=click.IntRange(1), help="Threads of each process. [default: torch's]"
        ),
        click.option(
            "--loaders", type=click.IntRange(0), default=0,
            help="Processes that prepare photos. [default: 0, a thread]",
        ),
        click.option("--cache", type=click.Path(path_type=Path), help="Folder of encoded photos (data.views)."),
        click.option(
            "--features", type=click.Path(path_type=Path), help="LPIPS-squeeze weights (safetensors)."
        ),
        click.option(
            "--save-every", type=click.FloatRange(0), default=120.0, show_default=True,
            help="Seconds between checkpoints.",
        ),
        click.option(
            "--minutes", type=click.FloatRange(0), help="Stop after that long, with a checkpoint to go on from."
        ),
        click.option(
            "--release", type=click.Choice(["best", "last"]), default="best", show_default=True,
            help="Which averaged weights become the model.",
        ),
        click.option("--name", default="trained", show_default=True, help="The model's name."),
        click.option("--json", "as_json", is_flag=True, help="Print how it ended as JSON."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@click.group(
    cls=DefaultGroup, default="run", short_help="Train a network by a recipe.", invoke_without_command=True
)
@click.pass_context
def train(context: click.Context) -> None:
    """Train a network: `moebius train RECIPE --data PHOTOS --out FOLDER`.

    RECIPE is a shipped name (`moebius train recipes`) or a TOML file. On several processes:
    `torchrun --nproc-per-node N -m moebius train ...` or `accelerate launch -m moebius train ...`.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@train.command("run", hidden=True)
@click.argument("recipe")
@click.option("--teacher", help="Model (name or folder) that is distilled.")
@click.option("--start", help="Model (name or folder) whose weights training starts from.")
@run_options
def run(recipe: str, **options: Any) -> None:
    """Train by RECIPE."""
    run_recipe(recipe, **options)


@train.command("recipes")
def recipes() -> None:
    """List the shipped recipes, or nothing but their names when piped."""
    require_training()
    from moebius.training.recipe import load_recipe, recipe_names

    for name in recipe_names():
        click.echo(f"{name:16s} {load_recipe(name).title}" if sys.stdout.isatty() else name)


@train.command("preview")
@click.option("--data", "data", type=click.Path(path_type=Path), multiple=True, required=True)
@click.option("--recipe", default="full", show_default=True, help="Whose crops, masks and feeding.")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change the recipe.")
@click.option("--count", type=click.IntRange(1, 400), default=24, show_default=True, help="Samples.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Picture to write.")
@click.option("--overwrite", is_flag=True)
def preview_command(
    data: tuple[Path, ...],
    recipe: str,
    changes: tuple[str, ...],
    count: int,
    seed: int,
    out: Path,
    overwrite: bool,
) -> None:
    """Draw a contact sheet of photos with masks, as the network will see them."""
    require_training()
    from moebius.training.data.preview import preview
    from moebius.training.recipe import load_recipe

    chosen = load_recipe(recipe, changes)
    click.echo(preview(data, chosen.data, seed=seed, count=count, out=out, overwrite=overwrite))


@train.command("ablation")
@click.option("--data", "data", type=click.Path(path_type=Path), multiple=True, required=True)
@click.option("--teacher", required=True, help="Model (name or folder), as by recipe ablation-teacher.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the runs.")
@click.option("--features", type=click.Path(path_type=Path), help="LPIPS-squeeze weights (safetensors).")
@click.option("--recipe", default="ablation-student", show_default=True)
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change the recipe.")
@click.option("--variants", default="all", show_default=True, help="Which losses, as in alone,output,coarse.")
@click.option("--seeds", type=int, default=3, show_default=True)
@click.option("--workers", type=int, default=2, show_default=True, help="Runs at a time, one thread each.")
def ablation(data: tuple[Path, ...], out: Path, variants: str, **options: Any) -> None:
    """Train one small student in several ways, and print the table. Interrupted, the same command goes on."""
    require_training()
    from moebius.training.ablation import VARIANTS, Ablation, run_ablation

    options["variants"] = tuple(VARIANTS) if variants == "all" else tuple(variants.split(","))
    with watching() as watch:
        click.echo(run_ablation(Ablation(data=data, out=out, **options), watch), nl=False)


@train.command("autoencoder")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of .tar shards.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Run folder; an unfinished run goes on."
)
@click.option("--features", type=click.Path(path_type=Path), help="LPIPS-squeeze weights (safetensors).")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/cache"), help="Decoded photos.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="[default: torch's]")
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change the recipe, as in batch=4."
)
def autoencoder(data: Path, out: Path, threads: int | None, changes: tuple[str, ...], **options: Any) -> None:
    """Train the small autoencoder; writes autoencoder.safetensors."""
    require_training()
    from moebius.training.autoencoder import AutoencoderRecipe, save_autoencoder, train_autoencoder
    from moebius.training.config import build, merge
    from moebius.training.threads import use_threads

    use_threads(threads)
    recipe = build(AutoencoderRecipe, merge({}, changes, "autoencoder"), "autoencoder")
    net = train_autoencoder(recipe, shards=sorted(data.glob("*.tar")), out=out, **options)
    click.echo(save_autoencoder(net, out / "autoencoder.safetensors"))


@train.command("bench")
@click.option("--size", type=click.Choice(["tiny", "small", "full"]), default="small", show_default=True)
@click.option(
    "--batch", type=click.IntRange(1), help="Rows a step. [default: 16, 12; full: 16 on a GPU, else 1]"
)
@click.option("--rounds", type=click.IntRange(1), default=10, show_default=True, help="Turns of every step.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--threads", type=click.IntRange(1), help="[default: torch's]")
@click.option("--compile", is_flag=True, help="Measure torch.compile too.")
@click.option("--steps", default="", help="Which steps, as in published,ours. [default: all]")
@click.option("--minutes", type=click.FloatRange(0), help="Begin nothing more after that long.")
def bench(steps: str, **options: Any) -> None:
    """Measure a distillation step beside the published one: time, and memory. Interrupted, it goes on.

    Size full is the published networks at 512 px, small those of the miniature ablation
    at 128 px, tiny those of the recipe tiny-test.
    """
    require_training()
    from moebius.training.throughput import Plan, measure

    plan = Plan(steps=tuple(filter(None, steps.split(","))), **options)
    with watching() as watch:
        click.echo(measure(plan, watch), nl=False)


def run_recipe(
    recipe: str,
    *,
    data: tuple[Path, ...],
    out: Path,
    changes: tuple[str, ...],
    threads: int | None,
    as_json: bool,
    teacher: str | None = None,
    start: str | None = None,
    autoencoder: str | None = None,
    as_used: bool = False,
    **options: Any,
) -> None:
    """Load, change and run a recipe; says on standard output how it ended.

    Args:
        as_used: train at the sizes and for the steps that the model `start` has; `changes` come after that.
    """
    require_training()
    from moebius.training.loop import RunOptions
    from moebius.training.loop import train as train_run
    from moebius.training.recipe import as_used as changes_as_used
    from moebius.training.recipe import load_recipe
    from moebius.training.threads import use_threads
    from moebius.weights import open_model

    use_threads(threads)
    if as_used and start is not None:
        changes = (*changes_as_used(open_model(start).spec), *changes)
    models = {"teacher": teacher, "start": start, "autoencoder": autoencoder}
    named = [f"{role}={json.dumps(name)}" for role, name in models.items() if name is not None]
    chosen = load_recipe(recipe, [*changes, *named])
    with watching() as watch:
        outcome = train_run(chosen, data, out, RunOptions(watch=watch, **options))
    told = {
        "out": str(outcome.out), "step": outcome.step, "finished": outcome.finished,
        "model": None if outcome.model is None else str(outcome.model), "broken": outcome.broken,
        "held_out": outcome.held_out,
    }  # fmt: skip
    if as_json:
        click.echo(json.dumps(told))
    elif not outcome.finished:
        click.echo(f"stopped after step {outcome.step}; the same command goes on from there")
    elif outcome.model is not None:
        click.echo(f"{outcome.model}: try moebius inpaint PHOTO MASK -o OUT --model {outcome.model}")


def require_training() -> None:
    """Raises DeviceError where the extra [train] is not installed."""
    for module in ("torch", "diffusers", "accelerate"):
        if importlib.util.find_spec(module) is None:
            raise DeviceError(f"training needs {module}: pip install 'moebius-inpaint[train]'")


@contextmanager
def watching() -> Iterator[Callable[[int, int, str], None] | None]:
    """A bar for a person at a terminal; lines in the log for everything else."""
    if not sys.stderr.isatty():
        logging.getLogger("moebius.training").setLevel(logging.WARNING)
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, said: bar.update(task, completed=done, total=total, description=said)
