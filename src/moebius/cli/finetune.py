"""`moebius finetune`: a model goes on learning, on a person's own photos."""

from __future__ import annotations

from typing import Any

import click

from moebius.cli.train import run_options, run_recipe

SHIPPED = "finetune"
"""The recipe that takes the model's sizes and steps. One's own says these itself."""


@click.command(short_help="Go on training a model on your own photos.")
@click.argument("model")
@click.option("--recipe", default=SHIPPED, show_default=True, help="A shipped recipe or a TOML file.")
@run_options
def finetune(model: str, recipe: str, **options: Any) -> None:
    """Go on training MODEL (a name or a folder) on the photos in --data.

    Any folder of photos will do. Feeding, network, autoencoder, sizes and steps are the model's own.
    """
    run_recipe(recipe, start=model, as_used=recipe == SHIPPED, **options)
