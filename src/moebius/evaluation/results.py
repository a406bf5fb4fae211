"""What a run leaves behind for people and programs: tables, results.json, and the report with its pictures.

rows.csv, rows.parquet   every fill of every hole, every metric
results.json             means, intervals, differences, and what they depend on
results.md               the tables of a model's card
report.html              all of it on one page, with plots and the best and worst fills
cost.json                time and memory; apart, because no two runs agree on them
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from moebius.evaluation.holes import Case, Hole, Pixels, open_case
from moebius.evaluation.judge import Judge, Networks
from moebius.evaluation.methods import Method
from moebius.evaluation.metrics import BY_NAME, METRICS, square_around
from moebius.evaluation.protocol import Published, list_sha256
from moebius.evaluation.report import Picture, ShownCase, ShownGroup, choose_cases, write_report
from moebius.evaluation.rows import Row, write_csv, write_parquet
from moebius.evaluation.run import Measurements, Run
from moebius.evaluation.sets import SetStatistics
from moebius.evaluation.summary import differences, summarise
from moebius.evaluation.tables import differences_markdown, markdown
from moebius.imaging import Box, atomic_file

FORMAT = 2
HOLE_COLOUR = (255, 0, 255)
SHOWN = 2
"""Best and as many worst cases of each mask family in the report."""
SMALL = 240
"""Longer side of a picture on a contact sheet, px."""
KEY_METRICS = ("mae", "lpips_crop", "fd_mobilenetv2", "ring_tone", "returns", "object_left")
"""Which differences are told in Markdown."""


def build_results(run: Run, measured: Measurements, main: str, kinds: Mapping[str, str]) -> dict[str, Any]:
    """The contents of results.json, which depend on the inputs alone: not on interruptions, workers or the clock.

    Args:
        main: id of the method that differences are taken from.
        kinds: by method id: "model", "peer" or "reference".
    """
    sets = SetStatistics.of_methods(measured, run.cases, [method.id for method in run.methods])
    cells = summarise(measured.rows, sets)
    present = {name for cell in cells for name in cell.metrics}
    protocol = run.protocol
    return {
        "format": FORMAT,
        "protocol": {
            "name": protocol.name,
            "title": protocol.title,
            "about": " ".join(protocol.about.split()),
            "open_points": list(protocol.open_points),
            "paired": run.paired,
        },
        "cases": list_sha256(run.cases),
        "photos": len({case.photo for case in run.cases}),
        "holes": len(run.cases),
        "methods": [_method(method, kinds[method.id]) for method in run.methods],
        "main": main,
        "metrics": [
            {key: value for key, value in asdict(metric).items() if key != "card"}
            for metric in METRICS
            if metric.name in present
        ],
        "cells": [asdict(cell) for cell in cells],
        "differences": [asdict(one) for one in differences(measured.rows, main, sets)],
        "published": [_published(row) for row in protocol.published],
        "provenance": {
            **run.measuring(),
            "methods": {method.id: dict(method.identity) for method in run.methods},
        },
    }


def write_results(run: Run, results: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """rows.csv, rows.parquet, results.json and results.md.

    Raises:
        OutputError: a file cannot be written.
    """
    write_csv(run.out / "rows.csv", rows)
    write_parquet(run.out / "rows.parquet", rows)
    write_json(run.out / "results.json", results)
    text = markdown(results)
    if results["differences"]:
        main = next(method["title"] for method in results["methods"] if method["id"] == results["main"])
        text += f"\n**{main}, minus each of the others**\n\n{differences_markdown(results, KEY_METRICS)}"
    write_text(run.out / "results.md", text)


def write_json(path: Path, values: Any) -> None:
    """JSON for people and programs; replaces the file at once.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(path, json.dumps(values, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """A file of text; replaces it at once.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_file(path, overwrite=True) as file:
        file.write(text.encode())


def draw_report(
    run: Run, results: Mapping[str, Any], rows: Sequence[Row], cost: Sequence[Mapping[str, Any]]
) -> Path:
    """report.html: the numbers, plots, and pictures, which are made again for it.

    Raises:
        OutputError: it cannot be written.
    """
    path = run.out / "report.html"
    groups = _paired_groups(run, results, rows) if run.paired else _every_case(run, rows)
    write_report(path, {**results, "cost": list(cost)}, rows, groups)
    return path


def _method(method: Method, kind: str) -> dict[str, Any]:
    values: dict[str, Any] = {"id": method.id, "title": method.title, "kind": kind}
    if kind == "model" and "settings" in method.identity:
        values |= {"model": method.identity["model"], "steps": method.identity["settings"]["steps"]}
    return values


def _published(row: Published) -> dict[str, Any]:
    values = {"fid": row.fid, "lpips": row.lpips}
    values = {name: value for name, value in values.items() if value is not None}
    return {"method": row.method, "values": values, "copied": row.copied}


def _paired_groups(run: Run, results: Mapping[str, Any], rows: Sequence[Row]) -> list[ShownGroup]:
    metric = BY_NAME["lpips_crop" if any("lpips_crop" in row.metrics for row in rows) else "mae"]
    main = results["main"]
    cases = {case.key: case for case in run.cases}
    chosen: dict[str, list[Case]] = {}
    for family in dict.fromkeys(case.family for case in run.cases):
        part = [row for row in rows if row.family == family]
        best, worst = choose_cases(part, main, metric.name, SHOWN, lower_is_better=metric.best == "low")
        for what, keys in (("best", best), ("worst", worst)):
            chosen[f"{family} holes, {what}"] = [cases[f"{photo}/{kind}"] for photo, kind in keys]
    flat = [case for group in chosen.values() for case in group]
    with ThreadPoolExecutor(run.workers) as pool:
        drawn = dict(
            zip(
                (case.key for case in flat), pool.map(lambda case: _shown(run, case, rows), flat), strict=True
            )
        )
    about = f"By {metric.title} of {main}; pictures at full size, known pixels pasted back."
    return [
        ShownGroup(title[0].upper() + title[1:], about, tuple(drawn[case.key] for case in group))
        for title, group in chosen.items()
    ]


def _every_case(run: Run, rows: Sequence[Row]) -> list[ShownGroup]:
    with ThreadPoolExecutor(run.workers) as pool:
        shown = tuple(pool.map(lambda case: _shown(run, case, rows), run.cases))
    small = tuple(
        ShownCase(case.key, case.note, tuple(Picture(_title(p), _reduced(p.pixels)) for p in case.pictures))
        for case in shown
    )
    return [
        ShownGroup("Contact sheet", "All of them small, to be seen together.", small),
        ShownGroup("Every photo", "The surroundings of each object, at the photo's own resolution.", shown),
    ]


def _title(picture: Picture) -> str:
    return picture.caption.split(": ", 1)[0]


def _reduced(pixels: Pixels) -> Pixels:
    image = Image.fromarray(pixels)
    image.thumbnail((SMALL, SMALL), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _shown(run: Run, case: Case, rows: Sequence[Row]) -> ShownCase:
    hole = open_case(case)
    judge = Judge(hole, Networks(), paired=run.paired, fade=run.fade)
    window = Box(0, 0, hole.mask.shape[1], hole.mask.shape[0]) if run.paired else _surroundings(hole)
    numbers = {
        row.method: row.metrics for row in rows if (row.photo, row.family) == (case.photo, case.family)
    }

    def cut(pixels: Pixels) -> Pixels:
        return np.ascontiguousarray(pixels[window.slices])

    pictures = [Picture("with its hole", cut(painted(hole)))]
    for method in run.methods:
        caption = f"{method.title}: {_numbers(numbers.get(method.id, {}))}"
        pictures.append(Picture(caption, cut(judge.paste(method.fill(hole)))))
    pictures.append(Picture("the truth" if run.paired else "the photo", cut(hole.pixels)))
    height, width = hole.mask.shape
    note = f"{hole.mask.mean():.0%} of {width} x {height} px hidden"
    return ShownCase(case.key, note, tuple(pictures))


def painted(hole: Hole) -> Pixels:
    """The photo with its hole in a colour that no photo has."""
    return np.where(hole.mask[..., None], np.array(HOLE_COLOUR, np.uint8), hole.pixels)


def _surroundings(hole: Hole) -> Box:
    square = square_around(hole.mask)
    more = max(square.width, square.height) // 3
    height, width = hole.mask.shape
    return Box(
        square.left - more, square.top - more, square.right + more, square.bottom + more
    ).clip(width, height)  # fmt: skip


def _numbers(metrics: Mapping[str, float]) -> str:
    shown = ("psnr", "lpips_crop", "ring_tone", "returns", "object_left")
    parts = [
        f"{BY_NAME[name].title} {metrics[name]:.{BY_NAME[name].digits}f}" for name in shown if name in metrics
    ]
    return ", ".join(parts)
