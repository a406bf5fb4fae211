"""`moebius finetune`: a model goes on learning, on a person's own photos."""

from __future__ import annotations

from typing import Any

import click

from moebius.cli.train import run_options, run_recipe


@click.command(short_help="Go on training a model on your own photos.")
@click.argument("model")
@click.option("--recipe", default="finetune", show_default=True, help="A shipped recipe or a TOML file.")
@run_options
def finetune(model: str, recipe: str, **options: Any) -> None:
    """Go on training MODEL (a name or a folder) on the photos in --data.

    Any folder of photos will do. Feeding, network and autoencoder are the model's own.
    """
    run_recipe(recipe, start=model, **options)
