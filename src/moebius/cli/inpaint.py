"""`moebius inpaint`: the main job."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from moebius import settings as defaults
from moebius.cli.format_option import format_option
from moebius.cli.mask_options import (
    check_inputs,
    check_place,
    mask_options,
    read_frame_masks,
    read_photo_and_mask,
)

if TYPE_CHECKING:
    from moebius.pipeline import Moebius, Result


@click.command(short_help="Take something out of a photo, or fill a hole in it.")
@click.argument("photo")
@click.argument("mask", required=False)
@click.option("-o", "--output", required=True, help="Where the picture goes; - writes it to standard output.")
@click.option(
    "--model", default=defaults.DEFAULT_MODEL, show_default=True, help="A model's name, or a model folder."
)
@click.option("--steps", type=int, help="Solver steps. [default: the model's own]")
@click.option("--guidance", type=float, help="Category guidance scale, 1 = off. [default: the model's own]")
@click.option(
    "--seed",
    type=int,
    default=defaults.Settings.seed,
    show_default=True,
    help="The same seed gives the same picture.",
)
@click.option("--solver", type=click.Choice(defaults.SOLVERS), help="[default: the model's own]")
@click.option(
    "--start", type=click.Choice(defaults.STARTS), help="Start latents; only 'official' sees the hole."
)
@click.option("--grow", type=int, help="Grow the mask by this many pixels. [default: scaled to each object]")
@click.option(
    "--feather", type=int, default=defaults.Settings.feather, show_default=True, help="Outward fade, pixels."
)
@click.option(
    "--context",
    type=float,
    default=defaults.Settings.context,
    show_default=True,
    help="Crop side / hole side.",
)
@click.option(
    "--strategy",
    type=click.Choice(defaults.STRATEGIES),
    default=defaults.Settings.strategy,
    show_default=True,
    help="How a large hole meets the network; tiles: slower, at the photo's own resolution.",
)
@click.option(
    "--grain",
    type=float,
    default=defaults.Settings.grain,
    show_default=True,
    help="The photo's own noise in the fill, 0 to 1.",
)
@mask_options
@click.option("--engine", type=click.Choice(defaults.ENGINES), default="auto", show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps.")
@click.option("--dtype", default="auto", show_default=True, help="auto, float32, bfloat16, float16.")
@format_option("what OUTPUT's name says, else the photo's own")
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    help="Of JPEG, AVIF, HEIC, and of WebP, which it makes lossy. [default: the photo's own]",
)
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON report.")
def inpaint(
    photo: str, mask: str | None, output: str, model: str, engine: str, device: str, dtype: str, format_: str | None,
    quality: int | None, overwrite: bool, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Take out of PHOTO what is white in MASK, and write the picture to OUTPUT.

    MASK is an image of the photo's size, or annotations (COCO or LabelMe JSON). Instead, or with it, --box and the
    other options below say what is filled: the union of all. One file may be - for standard input. The picture
    comes back at the photo's own size and in its own format; pixels beyond the feather stay as they were. Of an
    animation (GIF, WebP, APNG) all frames are filled, one by one, if OUTPUT is of the same format.
    """
    known = {field.name for field in fields(defaults.Settings)}
    defaults.Settings(
        **{name: value for name, value in options.items() if name in known}
    )  # before anything is loaded
    check_inputs(photo, mask, options)
    check_place(output, overwrite, as_json)
    from moebius.cli.animated import animation_of, each_warning_once
    from moebius.cli.progress import transfer_bar
    from moebius.imaging import check_output, check_path
    from moebius.pipeline import Moebius
    from moebius.pipeline.animated import fill_frames
    from moebius.weights import open_model

    target: Path | BinaryIO = sys.stdout.buffer if output == "-" else Path(output)
    if isinstance(target, Path):
        check_path(target, overwrite)
    animation = animation_of(photo, target, format_)
    if animation is not None:
        first = next(iter(animation.frames))
        of_frame = read_frame_masks(photo, first, mask, options, grow=options["grow"])
    else:
        picture, hole = read_photo_and_mask(photo, mask, options, grow=options["grow"])
        check_output(picture, target, format=format_, overwrite=overwrite)
    with transfer_bar() as bar:
        open_model(model, progress=bar)
    with transfer_bar() as progress:
        opened = Moebius.from_pretrained(model, engine=engine, device=device, dtype=dtype, progress=progress)
    report: dict[str, Any] = {}
    if animation is not None:
        with each_warning_once():
            done = fill_frames(
                lambda frame, hole: opened(frame, hole, **options), animation, target, frame_hole=of_frame,
                compare=as_json, quality=quality, overwrite=overwrite,
            )  # fmt: skip
        result, written, changes = done.result, done.written, done.changes
        report["frames"] = len(animation)
    else:
        result = _run(opened, picture, hole, options)
        written = result.save(target, format=format_, quality=quality, overwrite=overwrite)
        changes = result.changes(picture) if as_json else None
    if changes is not None:
        report["changes"] = changes.to_dict()
    if as_json:
        click.echo(json.dumps({**result.to_dict(), **report, "written": written.to_dict()}))
    elif sys.stderr.isatty():
        seconds = result.timings["total"]
        click.echo(f"{output}: {result.steps} steps on {result.device}, {seconds:.1f} s", err=True)


def _run(model: Moebius, photo: Any, mask: Any, options: dict[str, Any]) -> Result:
    """The fill, with a progress bar when a person is watching."""
    if not sys.stderr.isatty():
        return model(photo, mask, **options)
    from rich.console import Console
    from rich.progress import Progress

    result = None
    events = model.stream(photo, mask, **options)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("filling", total=1.0)
        for event in events:
            progress.update(bar, completed=event.fraction)
            result = event.result
    assert result is not None
    return result
