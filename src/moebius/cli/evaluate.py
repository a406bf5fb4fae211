"""`moebius evaluate`: how good a model is, by the field's protocols or by our own."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moebius import settings as defaults
from moebius.errors import InputError
from moebius.processors import processor_count

if TYPE_CHECKING:
    from moebius.evaluation.run import Finished

EPILOG = """\b
Peers: telea, navier-stokes, biharmonic, patchmatch, push-pull, exemplar, onnx:FILE, diffusers:DIR; NAME=... renames.
Models take options of their own: nano:steps=4,solver=dpm++ or runs/mine:dtype=bfloat16.
Interrupt it whenever you like: the same command goes on from there.
"""


@click.command(short_help="Measure quality: one report, beside other methods.", epilog=EPILOG)
@click.option(
    "--protocol", "name", default="photos", show_default=True, help="Its name, or a .toml file of your own."
)
@click.option("--protocols", "listing", is_flag=True, help="List the protocols, and leave.")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder of the data set. [default: $MOEBIUS_EVAL_DATA]"
)
@click.option("--masks", type=click.Path(path_type=Path), help="Folder of masks, by the pictures' names.")
@click.option("--invert-masks", is_flag=True, help="In --masks, black is to be filled.")
@click.option(
    "--list", "list_file", type=click.Path(path_type=Path), help="File with the pictures' names, one a line."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of this run. [default: evaluation/PROTOCOL]"
)
@click.option(
    "--model", "models", multiple=True, help="Name or folder, or none; repeatable. [default: the protocol's]"
)
@click.option(
    "--peer", "peers", multiple=True, help="What it is compared with; repeatable. [default: all classical]"
)
@click.option("--no-peers", is_flag=True, help="Models alone.")
@click.option("--ceiling", is_flag=True, help="Also the truth through each model's autoencoder: its bound.")
@click.option(
    "--results", multiple=True, metavar="[NAME=]DIR", help="Somebody's pictures to score; repeatable."
)
@click.option("--steps", type=int, help="Of every model. [default: the protocol's, or the model's own]")
@click.option("--guidance", type=float, help="Of every model.")
@click.option("--solver", type=click.Choice(defaults.SOLVERS), help="Of every model.")
@click.option("--start", type=click.Choice(defaults.STARTS), help="Of every model.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of every model.")
@click.option(
    "--features", type=click.Path(path_type=Path), help="Folder of feature networks. [$MOEBIUS_FEATURES]"
)
@click.option("--download", is_flag=True, help="Fetch the feature networks that the protocol wants.")
@click.option("--family", "families", multiple=True, help="Only masks of this family; repeatable.")
@click.option("--limit", type=int, help="Photos, evenly spread over the set. [default: all]")
@click.option(
    "--seeds", type=click.IntRange(1), default=3, show_default=True, help="Fills a hole, for diversity."
)
@click.option("--workers", type=int, help="Holes at a time. [default: one a core]")
@click.option("--no-cost", is_flag=True, help="Do not measure time and memory.")
@click.option("--no-report", is_flag=True, help="Numbers only, no report.html.")
@click.option("--json", "as_json", is_flag=True, help="Print results.json instead of tables.")
def evaluate(listing: bool, as_json: bool, **options: Any) -> None:
    """Fill the holes of a data set by models and other methods, and measure all of them alike.

    The tables are printed; rows.csv, rows.parquet, results.json, results.md and report.html are in the run's folder.
    """
    from moebius.evaluation.protocol import open_protocol, protocol_names

    if listing:
        for each in protocol_names():
            click.echo(f"{each:15s} {open_protocol(each).title}")
        return
    require_extra()
    from moebius.evaluation.evaluate import Request, evaluate_request

    options["protocol"] = options.pop("name")
    options["out"] = options["out"] or Path("evaluation") / Path(options["protocol"]).stem
    options["workers"] = processor_count() if options["workers"] is None else options["workers"]
    if options["no_peers"] and options["peers"]:
        raise InputError("--peer and --no-peers: expected one of them, got both")
    request = Request(**options)
    one_thread_each()
    with watching("measuring") as watch:
        evaluate_request(request, watch)
    click.echo((request.out / ("results.json" if as_json else "results.md")).read_text(), nl=False)
    if sys.stderr.isatty():
        click.echo(f"{request.out}: all of it", err=True)


def require_extra() -> None:
    """Say what is missing before anything that needs it is imported."""
    from moebius.evaluation.provenance import require_extra as check

    check()


def one_thread_each() -> None:
    """Workers share out the cores, and sums come out the same to the last bit on any number of them."""
    from moebius.evaluation.threads import one_thread

    one_thread()


@contextmanager
def watching(what: str) -> Iterator[Any]:
    """Passes finished holes on, with a bar for a person at a terminal."""
    if not sys.stderr.isatty():
        yield lambda pieces, count: pieces
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def watch(pieces: Iterable[Finished], count: int) -> Iterator[Finished]:
            task = bar.add_task(what, total=count)
            for piece in pieces:
                yield piece
                bar.advance(task)

        yield watch
