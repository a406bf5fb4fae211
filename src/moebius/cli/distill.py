"""`moebius distill`: a student by a recipe, a teacher by name."""

from __future__ import annotations

from typing import Any

import click

from moebius.cli.train import run_options, run_recipe


@click.command(short_help="Train a compact student to reach a teacher.")
@click.argument("recipe", default="full")
@click.option("--teacher", required=True, help="Model (name or folder) that is distilled.")
@click.option("--start", help="Model (name or folder) whose weights the student starts from.")
@run_options
def distill(recipe: str, **options: Any) -> None:
    """Distil TEACHER into the student that RECIPE describes (by default the published one, `full`)."""
    run_recipe(recipe, **options)
