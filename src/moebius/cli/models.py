"""`moebius models`: what there is, what is here, and getting the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moebius.errors import CorruptWeightsError

if TYPE_CHECKING:
    from moebius.weights import ModelSpec

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


@click.group(invoke_without_command=True, short_help="List, download and import models.")
@AS_JSON
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List, download and import models. Without a command: list them.

    A model is bundled (shipped with the program), cached (on this machine), incomplete (its VAE is missing),
    or available (to be downloaded). The cache is the folder in MOEBIUS_HOME, else ~/.cache/moebius.
    """
    if context.invoked_subcommand is None:
        show(as_json)


@models.command("list")
@AS_JSON
def list_models(as_json: bool) -> None:
    """List the models this program knows, and where they are."""
    show(as_json)


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@AS_JSON
def pull(names: tuple[str, ...], as_json: bool) -> None:
    """Download models, check them, and convert them once to safetensors.

    An interrupted download goes on where it stopped. Needs the extra [torch], for the conversion.
    HF_ENDPOINT and HF_HUB_OFFLINE are honoured.
    """
    from moebius.cli.progress import transfer_bar
    from moebius.weights import find
    from moebius.weights import pull as fetch_model

    specs = [find(name) for name in names]  # a wrong name is told before anything is downloaded
    for spec in specs:
        with transfer_bar() as progress:
            folder = fetch_model(spec, progress)
        _tell(_describe(spec), f"{spec.name}: {folder.path}", as_json)


@models.command("import")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--name", help="The model's name. [default: made from the file's name]")
@click.option("--like", help="Model or folder whose network and defaults it has. [default: pretrained]")
@click.option(
    "--vae", type=click.Path(path_type=Path), help="Checkpoint of its VAE. [default: one that is here]"
)
@click.option("--overwrite", is_flag=True, help="Replace a model of that name.")
@AS_JSON
def import_model(
    checkpoint: Path, name: str | None, like: str | None, vae: Path | None, overwrite: bool, as_json: bool
) -> None:
    """Convert CHECKPOINT, a .bin under the published names, into a model of the cache.

    It is read as tensors only: a file that could run code is refused. No network is used.
    """
    from moebius.weights.importing import import_checkpoint

    spec = None if like is None else _like(like)
    imported = import_checkpoint(checkpoint, name=name, like=spec, vae=vae, overwrite=overwrite)
    entry = _describe(imported.spec)
    if entry["state"] == "incomplete":
        note = (
            f"its VAE is not here yet: moebius models pull {imported.spec.name} (or import again with --vae)"
        )
        click.echo(f"moebius: warning: {note}", err=True)
    _tell(entry, f"{imported.spec.name}: {imported.path}", as_json)


def show(as_json: bool) -> None:
    """Print every model known, as a table or as JSON."""
    from moebius.weights.cache import imported_names
    from moebius.weights.registry import MODELS, find

    names = [*MODELS, *(name for name in imported_names() if name not in MODELS)]
    entries = []
    for name in names:
        try:
            entries.append(_describe(find(name)))
        except CorruptWeightsError as error:  # one damaged folder should not hide the others
            click.echo(f"moebius: warning: {error}", err=True)
    if as_json:
        click.echo(json.dumps(entries, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("name", "for", "state", "size", "licence", "steps", "guidance", "start", "where"):
        table.add_column(title, no_wrap=title not in ("for", "licence", "where"), overflow="fold")
    for entry in entries:
        chosen = entry["defaults"]
        row = [entry["name"], entry["title"], entry["state"], _size(entry), entry["licence"]]
        row += [str(chosen["steps"]), f"{chosen['guidance']:g}", chosen["start"]]
        table.add_row(*row, entry["folder"] or entry["sources"][0].rsplit("/", 2)[0])
    watched = Console().is_terminal
    Console(width=None if watched else 1000, soft_wrap=not watched).print(table)


def _like(source: str) -> ModelSpec:
    from moebius.weights import find
    from moebius.weights.store import read_spec

    return read_spec(Path(source)) if Path(source).is_dir() else find(source)


def _describe(spec: ModelSpec) -> dict[str, Any]:
    """One model for the list: JSON values only."""
    from dataclasses import asdict

    from moebius.weights.cache import model_folder, state

    there = state(spec)
    folder = None if there == "available" else model_folder(spec.name)
    if folder is None:
        sizes = [file.bytes for file in spec.files.values()]
        total = None if None in sizes else sum(size or 0 for size in sizes)
    else:
        total = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return {
        "name": spec.name,
        "title": spec.title,
        "state": there,
        "bytes": total,
        "parameters": spec.parameters,
        "licence": spec.licence,
        "size": spec.size,
        "defaults": asdict(spec.defaults),
        "folder": None if folder is None else str(folder),
        "sources": [f"{file.repository}/{file.path}" for file in spec.files.values()],
    }


def _size(entry: dict[str, Any]) -> str:
    """On disk, or to be downloaded; estimated from the parameters where nobody has published it."""
    size, about = entry["bytes"], ""
    if size is None:
        size, about = 4 * entry["parameters"] + 167_394_306, "~"
    return f"{about}{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


def _tell(entry: dict[str, Any], line: str, as_json: bool) -> None:
    click.echo(json.dumps(entry) if as_json else line)
