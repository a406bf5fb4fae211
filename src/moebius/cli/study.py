"""`moebius study`: one thing of a model varied, everything else held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from moebius.processors import processor_count


@click.command(short_help="Vary one thing of a model, and measure what it does.")
@click.argument("name", required=False)
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder of the data set. [default: $MOEBIUS_EVAL_DATA]"
)
@click.option(
    "--features", type=click.Path(path_type=Path), help="Folder of feature networks. [$MOEBIUS_FEATURES]"
)
@click.option("--model", "models", multiple=True, help="Name or folder; repeatable. [default: nano]")
@click.option("--limit", type=int, help="Photos, evenly spread over the set. [default: the study's]")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of this run. [default: evaluation/study-NAME]"
)
@click.option("--workers", type=int, help="Holes at a time. [default: one a core]")
def study(name: str | None, models: tuple[str, ...], **options: Any) -> None:
    """Run study NAME and print its table; without a name, list the studies.

    study.md and the usual tables are in the run's folder. Interrupted, the same command goes on from there.
    """
    from moebius.cli.evaluate import one_thread_each, require_extra, watching

    require_extra()
    from moebius.evaluation.study import StudyRequest, open_study, run_study, study_names

    if name is None:
        for each in study_names():
            click.echo(f"{each:15s} {open_study(each).question}")
        return
    options["out"] = options["out"] or Path("evaluation") / f"study-{name}"
    options["workers"] = processor_count() if options["workers"] is None else options["workers"]
    one_thread_each()
    with watching("measuring") as watch:
        click.echo(
            run_study(StudyRequest(study=name, models=models or ("nano",), **options), watch), nl=False
        )
