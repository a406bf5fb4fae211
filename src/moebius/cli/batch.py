"""`moebius batch`: folders and tables of photos."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moebius import settings as defaults
from moebius.cli.batch_watching import interruptible, listed, quiet_items, tell, watch
from moebius.cli.format_option import format_option
from moebius.cli.mask_options import files_named, mask_options, take_sources
from moebius.errors import InputError, MoebiusError

if TYPE_CHECKING:
    from moebius.batch import Item, Options, Record
    from moebius.batch.gather import Found, Request
    from moebius.batch.ledger import Ledger
    from moebius.batch.summary import Summary
    from moebius.pipeline import Moebius

EPILOG = """\b
moebius batch photos/ masks/ clean/            masks have the photos' names
moebius batch photos/ clean/ --mask-suffix _mask     beach.jpg, beach_mask.png
moebius batch photos/ logo.png clean/          one mask for all
moebius batch photos/ clean/ --box 80%,90%,20%,10%   the same corner of all
moebius batch list.csv clean/                  columns photo, mask; output, seed, key, box if wanted
Stop it whenever you like: the same command goes on from there.
"""

_SETTINGS = (
    click.option("--steps", type=int, help="Solver steps. [default: the model's own]"),
    click.option("--guidance", type=float, help="Category guidance scale, 1 = off. [default: the model's own]"),
    click.option(
        "--seed", type=int, default=defaults.Settings.seed, show_default=True,
        help="The same seed gives the same pictures.",
    ),
    click.option("--solver", type=click.Choice(defaults.SOLVERS), help="[default: the model's own]"),
    click.option("--start", type=click.Choice(defaults.STARTS), help="Start latents; only 'official' sees the hole."),
    click.option("--grow", type=int, help="Grow masks by this many pixels. [default: scaled to each object]"),
    click.option(
        "--feather", type=int, default=defaults.Settings.feather, show_default=True, help="Outward fade, pixels."
    ),
    click.option(
        "--context", type=float, default=defaults.Settings.context, show_default=True, help="Crop side / hole side."
    ),
    click.option(
        "--strategy", type=click.Choice(defaults.STRATEGIES), default=defaults.Settings.strategy, show_default=True,
        help="How a large hole meets the network.",
    ),
    click.option(
        "--grain", type=float, default=defaults.Settings.grain, show_default=True,
        help="The photo's own noise in the fill, 0 to 1.",
    ),
)  # fmt: skip
"""Options that are fields of `Settings`, under the same names, besides those of `mask_options`."""


def _settings_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_SETTINGS):
        command = option(command)
    return command


@click.command(short_help="Fill folders of photos; can be stopped and gone on with.", epilog=EPILOG)
@click.argument("places", nargs=-1, metavar="PHOTOS [MASKS] OUT")
@click.option(
    "--mask-suffix", default="", help="Masks are called STEM + this; without MASKS, beside the photos."
)
@click.option("-r", "--recursive", is_flag=True, help="Folders below PHOTOS and MASKS too.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and write nothing.")
@click.option("--strict", is_flag=True, help="Photos without mask, or masks without photo, are an error.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first photo that fails.")
@click.option(
    "--model",
    "model_name",
    default=defaults.DEFAULT_MODEL,
    show_default=True,
    help="A model's name, or a model folder.",
)
@_settings_options
@mask_options
@click.option(
    "--engine", type=click.Choice([*defaults.ENGINES, "ray"]), default="auto", show_default=True,
    help="ray: on a Ray cluster, see docs/scale.md.",
)  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps.")
@click.option("--dtype", default="auto", show_default=True, help="auto, float32, bfloat16, float16.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Photos at a time. [default: 4; ray: as many as there is room for]",
)
@click.option(
    "--rows", type=click.IntRange(1), default=1, show_default=True,
    help="Regions that go through the network at once; it pays on GPUs, with as many --workers.",
)  # fmt: skip
@format_option("each photo's own")
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    help="Of JPEG, AVIF, HEIC, and of WebP, which it makes lossy. [default: each photo's own]",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace outputs that are not of this batch, or made otherwise."
)
@click.option("--verify", is_flag=True, help="Tell finished photos by all their bytes, not by size and time.")
@click.option("--manifest", type=click.Path(path_type=Path), help="Folder of manifest.jsonl. [default: OUT]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def batch(places: tuple[str, ...], **options: Any) -> None:
    """Take out of all photos in PHOTOS what is white in their masks, and write the pictures to OUT.

    PHOTOS is a folder, or a table: CSV with a header, JSON lines, or Parquet. MASKS is a folder of masks with the
    photos' names, or one for all: images or annotations. Instead, or with it, the options say what is filled.
    OUT/manifest.jsonl has a line for every photo. Several processes may share OUT, but not with --engine ray.

    Leaves with exit code 1 if photos failed, and with 130 if it was stopped.
    """
    request = _request(places, options)
    common = _common(request, options)
    from moebius.batch.gather import gather

    found = gather(request)
    _tell_orphans(found, options["strict"])
    state = options["manifest"] or _state_folder(request.out)
    if options["dry_run"]:
        _dry_run(found, state, common, options)
    else:
        _run(found, state, common, request, options)


def _request(places: tuple[str, ...], options: dict[str, Any]) -> Request:
    if len(places) not in (2, 3):
        raise InputError(f"expected PHOTOS [MASKS] OUT, got {len(places)} places")
    if "-" in (*places, *options["masks"], *options["keep"]):
        raise InputError("expected files and folders, got - for standard input")
    if options["engine"] == "ray" and options["rows"] > 1:
        raise InputError("--rows: expected 1 with --engine ray, where every actor fills one photo at a time")
    from moebius.batch.gather import Request

    sources = ("masks", "boxes", "polygons", "circles", "mask_from", "key", "differs_from")
    return Request(
        photos=places[0], masks=places[1] if len(places) == 3 else None, out=places[-1],
        mask_suffix=options["mask_suffix"], recursive=options["recursive"], format=options["format_"],
        other_masks=any(options[name] for name in sources), no_photos=tuple(files_named(options)),
    )  # fmt: skip


def _common(request: Request, options: dict[str, Any]) -> Options:
    """What all photos have in common; wrong settings are told here, before anything is loaded."""
    names = {each.name for each in fields(defaults.Settings)}
    settings = {name: value for name, value in options.items() if name in names}
    defaults.Settings(**settings)
    from moebius.batch import Options
    from moebius.batch.table import is_table

    # MASKS, a suffix or a table give every photo a mask of its own, in whose place "" stands in the checks.
    own = request.masks is not None or bool(request.mask_suffix) or is_table(request.photos)
    if not own and not request.other_masks:
        raise InputError("masks: expected MASKS, --mask-suffix, --box or another source, got none")
    sources, allow_large = take_sources("" if own else None, options, grow=options["grow"])
    shared = {each.name: getattr(sources, each.name) for each in fields(sources)}
    shared["files"] = tuple(_read(each) for each in (sources.files[1:] if own else sources.files))
    shared["keep"] = tuple(_read(each) for each in sources.keep)
    for name in ("invert", "fit", "grow"):  # settings say them
        del shared[name]
    common = Options(settings, options["quality"], shared, allow_large, options["rows"])
    _ = common.mask_told  # what cannot be read is told before anything is loaded
    return common


def _read(source: str | bytes) -> bytes:
    """A mask file that all photos share: it is read once, so that a change meanwhile cannot divide the batch."""
    from moebius.batch.files import read_bytes

    return source if isinstance(source, bytes) else read_bytes(source)


def _state_folder(out: str) -> Path:
    from moebius.batch.files import is_url

    if is_url(out):
        raise InputError("--manifest: expected a local folder for the manifest when OUT is a URL, got none")
    return Path(out)


def _tell_orphans(found: Found, strict: bool) -> None:
    for names, one, many in (
        (found.photos_alone, "photo has no mask", "photos have no mask"),
        (found.masks_alone, "mask has no photo", "masks have no photo"),
    ):
        if names:
            line = f"{len(names)} {one if len(names) == 1 else many}: {listed(names)}"
            if strict:
                raise InputError(f"--strict: {line}")
            click.echo(f"moebius: warning: {line}", err=True)
    if not found.items:
        raise InputError("expected photos with masks, found none")


def _dry_run(found: Found, state: Path, common: Options, options: dict[str, Any]) -> None:
    """Print the plan. A model that is not on this machine is not fetched for that."""
    from moebius.batch.files import shown
    from moebius.batch.ledger import Ledger
    from moebius.batch.plan import Plan, make_plan
    from moebius.batch.summary import describe_items, describe_plan

    model = _open(options) if _is_here(options["model_name"]) else None
    if model is None:
        click.echo(
            "moebius: warning: the model is not here yet, so what is finished is not looked at", err=True
        )
        plan = Plan(found.items)
    else:
        ledger = Ledger(state, model, common, verify=options["verify"])
        plan = make_plan(found.items, ledger, overwrite=options["overwrite"])
    if options["as_json"]:
        click.echo(json.dumps({**describe_plan(found, plan), "plan": describe_items(plan.todo)}))
    else:
        for item in plan.todo:
            masks = "" if item.mask is None else f" + {shown(item.mask)}"
            click.echo(f"{shown(item.photo)}{masks} -> {shown(item.output)}")
        click.echo(f"{len(plan.todo)} to do, {len(plan.finished)} finished")
    plan.check(options["overwrite"])


def _is_here(name: str) -> bool:
    from moebius.weights import find
    from moebius.weights.cache import state

    return Path(name).is_dir() or state(find(name)) != "available"


def _open(options: dict[str, Any]) -> Moebius:
    from moebius.cli.progress import transfer_bar
    from moebius.pipeline import Moebius

    chosen = {name: options[name] for name in ("engine", "device", "dtype")}
    if options["engine"] == "ray":  # the workers compute: this machine need not have their device
        chosen = {"engine": "auto", "device": "cpu", "dtype": "auto"}
    with transfer_bar() as progress:
        return Moebius.from_pretrained(options["model_name"], progress=progress, **chosen)


def _run(found: Found, state: Path, common: Options, request: Request, options: dict[str, Any]) -> None:
    from moebius.batch.ledger import Ledger
    from moebius.batch.plan import make_plan
    from moebius.batch.summary import Summary, describe_plan

    model = _open(options)
    ledger = Ledger(state, model, common, verify=options["verify"])
    plan = make_plan(found.items, ledger, overwrite=options["overwrite"])
    plan.check(options["overwrite"])
    summary = Summary(len(plan.todo))
    with ledger, quiet_items():
        work = _on_ray if options["engine"] == "ray" else _in_threads
        told = work(model, plan.todo, common, ledger, summary, options)
    interrupted, failed = told.pop("interrupted"), summary.failed + told["failed_elsewhere"]
    report = {
        **describe_plan(found, plan), **summary.to_dict(), **told, "out": request.out,
        "manifest": str(ledger.manifest.path),
    }  # fmt: skip
    tell(report, options["as_json"])
    if interrupted:
        raise click.Abort
    if failed:
        raise MoebiusError(f"{failed} of {len(found.items)} failed, see {ledger.manifest.path}")


def _in_threads(
    model: Moebius, items: Sequence[Item], common: Options, ledger: Ledger, summary: Summary, options: dict[str, Any]
) -> dict[str, Any]:  # fmt: skip
    """The work on this machine; what else there is to tell of it."""
    from moebius.batch.local import WORKERS, LocalRun

    run = LocalRun(model, items, common, ledger, workers=options["workers"] or WORKERS)
    with interruptible(run), closing(run.records()) as records:
        watch(records, summary, options["fail_fast"])
        interrupted = run.stopped
    return {
        "done_elsewhere": run.done_elsewhere, "failed_elsewhere": run.failed_elsewhere, "interrupted": interrupted,
        "stopped": run.stopped, "network_busy": round(run.busy_share, 4), "network_calls": run.calls,
        "network_rows": run.rows,
    }  # fmt: skip


def _on_ray(
    model: Moebius, items: Sequence[Item], common: Options, ledger: Ledger, summary: Summary, options: dict[str, Any]
) -> dict[str, Any]:  # fmt: skip
    """The work on a Ray cluster, whose actors make outputs before their records come back to the manifest."""
    from moebius.batch.ray_engine import run_ray

    ledger.note_started(items)
    run = run_ray(
        items, common, options["model_name"], workers=(1, options["workers"] or 0), device=options["device"],
        dtype=options["dtype"],
    )  # fmt: skip
    with closing(run) as records:
        watch(_noted(records, ledger), summary, options["fail_fast"])
    stopped = summary.done + summary.failed < len(items)
    return {"done_elsewhere": 0, "failed_elsewhere": 0, "interrupted": False, "stopped": stopped}


def _noted(records: Iterator[Record], ledger: Ledger) -> Iterator[Record]:
    for record in records:
        ledger.note(record)
        yield record
