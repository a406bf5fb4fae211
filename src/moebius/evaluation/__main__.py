"""python -m moebius.evaluation --data DIR --features FILE [--model nano] [--steps 4 8] [--out results.json]

Measures a model beside OpenCV's inpainting on the same holes, and prints the tables of its card as Markdown.
Interrupt it whenever you like: started again with the same --out, it goes on.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from moebius.errors import InputError, MoebiusError
from moebius.evaluation.photos import FAMILIES
from moebius.settings import DEFAULT_MODEL, ENGINES, SOLVERS

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        _measure(options)
    except MoebiusError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: the same command goes on from here\n")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    assert __doc__
    parser = argparse.ArgumentParser(
        prog="python -m moebius.evaluation", description=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    add = parser.add_argument
    add("--data", type=Path, help="folder of the photos set (default: $MOEBIUS_EVAL_DATA)")
    add("--features", type=Path, help="LPIPS-squeeze weights, safetensors (default: $MOEBIUS_FEATURES)")
    add("--model", default=DEFAULT_MODEL, help="name or folder (default: %(default)s)")
    add("--engine", choices=ENGINES, default="auto")
    add("--device", default="auto")
    add("--steps", type=int, nargs="+", default=[], help="of the model (default: its own number)")
    add("--solvers", choices=SOLVERS, nargs="+", default=[], help="of the model (default: its own)")
    add("--families", choices=FAMILIES, nargs="+", default=list(FAMILIES), help="of masks (default: all)")
    add("--limit", type=int, help="photos, evenly spaced over the set (default: all)")
    add("--workers", type=int, default=cores, help="holes at a time (default: %(default)s, one a core)")
    add("--out", type=Path, default=Path("results.json"), help="a CSV and the rows appear beside it")
    add(
        "--sheet",
        type=Path,
        help="also draw a contact sheet (PNG), to look at, not to publish",
    )
    add("--sheet-photos", type=int, default=6, help="pictures on it (default: %(default)s)")
    return parser


def _measure(options: argparse.Namespace) -> None:
    from moebius.evaluation.card import Card, draw_sheet, measure
    from moebius.evaluation.provenance import require_extra
    from moebius.evaluation.summary import markdown
    from moebius.pipeline import Moebius

    card = Card(
        data=_given(options.data, "data", "MOEBIUS_EVAL_DATA"),
        features=_given(options.features, "features", "MOEBIUS_FEATURES"),
        out=options.out,
        steps=tuple(options.steps),
        solvers=tuple(options.solvers),
        families=tuple(options.families),
        limit=options.limit,
        workers=options.workers,
    )
    require_extra()
    _one_thread_each()
    model = Moebius.from_pretrained(options.model, engine=options.engine, device=options.device)
    report = measure(card, model, _watch)
    if report.measured:
        parts = ", ".join(f"{part} {spent / report.measured:.2f}" for part, spent in report.seconds.items())
        log.info("seconds a hole, one worker's: %s", parts)
    if options.sheet:
        draw_sheet(card, model, options.sheet, options.sheet_photos)
    sys.stdout.write(markdown(report.cells, report.titles))


def _given(value: Path | None, name: str, variable: str) -> Path:
    if value is None and not os.environ.get(variable):
        raise InputError(f"--{name}: expected a path, here or in {variable}, got none")
    return value or Path(os.environ[variable])


def _one_thread_each() -> None:
    """Workers share out the cores, and sums come out the same to the last bit on any machine of this kind."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _watch(pieces: Iterable[Any], count: int) -> Iterable[Any]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(pieces, "measuring", count, console=console, disable=not sys.stderr.isatty(), transient=True)


if __name__ == "__main__":
    sys.exit(main())
