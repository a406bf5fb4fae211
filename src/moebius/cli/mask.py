"""`moebius mask`: make a mask from whatever tells what is to go, and look at what it will do."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from moebius import settings as defaults
from moebius.cli.mask_options import check_inputs, check_place, mask_options, read_photo_and_mask
from moebius.errors import OutputError

if TYPE_CHECKING:
    from moebius.imaging import Region
    from moebius.imaging.arrays import Mask

log = logging.getLogger(__name__)


@click.group(short_help="Make a mask, or look at what it will do.")
def mask() -> None:
    """Make a mask, or look at what it will do."""


@mask.command(short_help="Write a mask as a PNG file.")
@click.argument("photo")
@click.argument("mask_file", metavar="[MASK]", required=False)
@click.option("-o", "--output", required=True, help="A PNG file; - writes it to standard output.")
@mask_options
@click.option(
    "--bits",
    type=click.Choice(["1", "8"]),
    default="8",
    show_default=True,
    help="Bits a pixel; white is filled.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON report.")
def make(
    photo: str, mask_file: str | None, output: str, bits: str, overwrite: bool, as_json: bool, **options: Any
) -> None:
    """Write what MASK and the other sources say about PHOTO as one mask: a PNG, white where it is to be filled.

    The mask is not grown: `moebius inpaint` does that, and wants the same --keep, or it grows over what is kept.
    """
    check_inputs(photo, mask_file, options)
    _check_output(output, overwrite, as_json)
    keeps = bool(options["keep"])
    _, read = read_photo_and_mask(photo, mask_file, options, grow=0)
    hole = read.mask
    if keeps:
        log.warning("a mask file cannot tell what --keep keeps: give --keep to `moebius inpaint` too")
    from PIL import Image

    image = Image.fromarray(hole).convert("1" if bits == "1" else "L")
    report = _describe(hole)
    _save(image, output, overwrite)
    _tell({"output": output, **report}, as_json, f"{output}: {_summary(report)}")


@mask.command(short_help="Paint a mask over its photo, with crops and margins.")
@click.argument("photo")
@click.argument("mask_file", metavar="[MASK]", required=False)
@click.option("-o", "--output", required=True, help="A PNG file; - writes it to standard output.")
@mask_options
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
    help="How a large hole meets the network.",
)
@click.option(
    "--model",
    default=defaults.DEFAULT_MODEL,
    show_default=True,
    help="Whose crops: a name, or a model folder.",
)
@click.option(
    "--max-side",
    type=click.IntRange(64, 20_000),
    default=2000,
    show_default=True,
    help="Of the picture, pixels.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON report.")
def preview(
    photo: str, mask_file: str | None, output: str, grow: int | None, feather: int, context: float, strategy: str,
    model: str, max_side: int, overwrite: bool, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Paint the mask over PHOTO: what is filled, what it grows to, where it fades, and the crops that are filled."""
    settings = defaults.Settings(grow=grow, feather=feather, context=context, strategy=strategy)  # type: ignore[arg-type]
    check_inputs(photo, mask_file, options)
    _check_output(output, overwrite, as_json)
    picture, read = read_photo_and_mask(photo, mask_file, options, grow=grow)
    from moebius.imaging.mask_preview import preview_mask
    from moebius.pipeline.filling import is_refined

    hole, grown = read.mask, read.grown(grow).mask
    regions = _regions(grown, settings, model)
    refined = [region for region in regions if is_refined(region, settings)]
    report = _describe(hole)
    margin = int(grown.sum()) - report["pixels"]
    caption = (
        f"mask: {_summary(report)}",
        f"margin: {margin:,} px more" if margin else "not grown",
        f"feather {feather} px",
        f"{len(regions)} crop{'s' * (len(regions) != 1)}",
    )
    sheet = preview_mask(
        picture, hole, grown, regions, feather=feather, kept=read.kept, refined=refined, caption=caption,
        max_side=max_side,
    )  # fmt: skip
    _save(sheet, output, overwrite)
    report |= {
        "grown": int(grown.sum()),
        "feather": feather,
        "regions": [_region(each, refined) for each in regions],
    }
    _tell({"output": output, **report}, as_json, f"{output}: {_summary(report)}, {caption[-1]}")


def _regions(grown: Mask, settings: defaults.Settings, model: str) -> list[Region]:
    """The crops that the model would be shown. Nothing is downloaded for that."""
    from moebius.imaging import plan_regions
    from moebius.weights import find, open_folder

    spec = open_folder(model, verify=False).spec if Path(model).is_dir() else find(model)
    return plan_regions(
        grown, shapes=spec.shapes(spec.size), context=settings.context, whole=settings.strategy == "whole"
    )


def _describe(hole: Mask) -> dict[str, Any]:
    """The mask in numbers."""
    from moebius.imaging import connected_boxes

    height, width = hole.shape
    return {
        "width": width, "height": height, "pixels": int(hole.sum()), "share": float(hole.mean()),
        "objects": len(connected_boxes(hole)),
    }  # fmt: skip


def _summary(report: dict[str, Any]) -> str:
    share = f"{report['share']:.2%}" if report["share"] < 0.1 else f"{report['share']:.0%}"
    objects = report["objects"]
    return f"{report['pixels']:,} px ({share}) in {objects:,} object{'s' * (objects != 1)}"


def _region(region: Region, refined: list[Region]) -> dict[str, Any]:
    def corners(box: Any) -> list[int]:
        return [box.left, box.top, box.width, box.height]

    return {
        "box": corners(region.box), "hole": corners(region.hole), "pixels": region.masked,
        "model_size": [region.shape[1], region.shape[0]], "scale": round(region.scale, 4), "tiles": region in refined,
    }  # fmt: skip


def _check_output(output: str, overwrite: bool, as_json: bool) -> None:
    if output != "-" and Path(output).suffix.lower() != ".png":
        raise OutputError(f"{output}: expected a name that ends in .png")
    check_place(output, overwrite, as_json)


def _save(image: Any, output: str, overwrite: bool) -> None:
    from moebius.imaging import atomic_file

    if output == "-":
        stream: BinaryIO = sys.stdout.buffer
        image.save(stream, "PNG")
        return
    with atomic_file(output, overwrite) as file:
        image.save(file, "PNG")


def _tell(report: dict[str, Any], as_json: bool, line: str) -> None:
    if as_json:
        click.echo(json.dumps(report))
    elif sys.stderr.isatty():
        click.echo(line, err=True)
