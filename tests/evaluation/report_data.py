"""A made-up evaluation, numbers and pictures, for the report's tests; run as a program, it writes the pages.

python tests/evaluation/report_data.py FOLDER
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from moebius.evaluation.report import Picture, ShownCase, ShownGroup, choose_cases, write_report
from moebius.evaluation.rows import Row
from moebius.evaluation.statistics import difference, estimate

EXAMPLES = Path(__file__).parents[2] / "examples"
FAMILIES = {"thin": 0.10, "medium": 0.19, "thick": 0.41}
GROUPS = "natural", "portrait"

METHODS: list[dict[str, Any]] = [
    {"id": "telea", "title": "Telea (OpenCV)", "kind": "peer"},
    {"id": "navier-stokes", "title": "Navier-Stokes (OpenCV)", "kind": "peer"},
    {"id": "push-pull", "title": "smooth fill", "kind": "peer"},
    {
        "id": "nano",
        "title": "nano, 1 step at each of 2 sizes, ddim",
        "kind": "model",
        "model": "nano",
        "steps": 1,
    },
    {
        "id": "nano:4",
        "title": "nano, 4 steps at each of 2 sizes, ddim",
        "kind": "model",
        "model": "nano",
        "steps": 4,
    },
    {"id": "ceiling", "title": "truth through the autoencoder", "kind": "reference"},
]
SKILL = {"telea": 0.1, "navier-stokes": 0.0, "push-pull": -0.1, "nano": 0.75, "nano:4": 0.5, "ceiling": 1.6}

METRICS: list[dict[str, Any]] = [
    {"name": "psnr", "title": "PSNR, dB", "best": "high", "digits": 2, "scope": "hole",
     "about": "Peak signal-to-noise ratio inside the hole."},
    {"name": "lpips_crop", "title": "LPIPS-squeeze, crop", "best": "low", "digits": 3, "scope": "crop",
     "about": "LPIPS v0.1 on SqueezeNet 1.1, of the smallest square around the hole."},
    {"name": "sharpness", "title": "sharpness", "best": "one", "digits": 2, "scope": "hole",
     "about": "Mean |Laplacian| in the hole, over the truth's."},
    {"name": "seam", "title": "seam", "best": "zero", "digits": 3, "scope": "ring",
     "about": "Mean colour step across the hole's edge, minus the truth's."},
    {"name": "judged", "title": "taken for real", "best": "half", "digits": 2, "scope": "crop",
     "about": "How often a judge takes the fill for the photo."},
    {"name": "fd_mobilenetv2", "title": "FD-MobileNetV2", "best": "low", "digits": 1, "scope": "set",
     "about": "Fréchet distance of MobileNetV2 features; not FID."},
]  # fmt: skip


def make_rows(photos: int = 40) -> list[Row]:
    """Every method on every hole; all metrics but the set's."""
    random = np.random.default_rng(7)
    rows = []
    for i in range(photos):
        ease = random.normal()
        for family, middle in FAMILIES.items():
            area = float(np.clip(middle * random.lognormal(0, 0.25), 0.02, 0.8))
            for method, skill in SKILL.items():
                noise = random.normal(size=5)
                numbers = {
                    "psnr": 21 + 2 * ease - 16 * area - 0.4 * skill + 3 * (skill > 1) + 0.4 * noise[0],
                    "lpips_crop": max(0.01, 0.7 * area * (1 - 0.25 * skill) - 0.02 * ease + 0.012 * noise[1]),
                    "sharpness": max(0.02, 0.25 + 0.3 * skill + 0.06 * noise[2]),
                    "seam": -0.012 + 0.02 * skill * (skill < 1) + 0.003 * noise[3],
                    "judged": float(np.clip(0.1 + 0.3 * skill - 0.2 * area + 0.05 * noise[4], 0, 1)),
                }
                group = GROUPS[int(i % 4 == 0)]
                rows.append(Row(f"photo{i:02d}", group, "made up", family, round(area, 4), method, numbers))
    return rows


def make_results(rows: list[Row], *, paired: bool = True, main: str = "nano") -> dict[str, Any]:
    """results.json of these rows."""
    methods = [method for method in METHODS if any(row.method == method["id"] for row in rows)]
    named = {name for row in rows for name in row.metrics}
    cells, differences = [], []
    families = list(dict.fromkeys(row.family for row in rows))
    for family in [*families, *(["all"] if len(families) > 1 else [])]:
        for group in (*GROUPS, "all"):
            part = [row for row in rows if family in (row.family, "all") and group in (row.group, "all")]
            for method in methods:
                chosen = [row for row in part if row.method == method["id"]]
                if not chosen:
                    continue
                means = {name: estimate(chosen, name) for name in named}
                metrics = {name: asdict(found) for name, found in means.items() if found is not None}
                if paired:
                    metrics["fd_mobilenetv2"] = make_distance(
                        method["id"], float(np.mean([r.area for r in chosen]))
                    )
                photos, area = (
                    len({row.photo for row in chosen}),
                    float(np.median([row.area for row in chosen])),
                )
                cells.append({
                    "method": method["id"], "family": family, "group": group, "photos": photos,
                    "holes": len(chosen), "area": area, "metrics": metrics,
                })  # fmt: skip
        part = [row for row in rows if family in (row.family, "all")]
        for method, name in itertools.product(methods, named):
            mine = [row for row in part if row.method == main]
            found = difference(mine, [row for row in part if row.method == method["id"]], name)
            if method["id"] != main and found is not None:
                one = {"method": main, "against": method["id"], "family": family, "metric": name}
                differences.append(one | asdict(found))
    present = {name for cell in cells for name in cell["metrics"]}
    return {
        "format": 2,
        "protocol": {
            "name": "photos" if paired else "removal",
            "title": "Brush strokes in photographs" if paired else "Objects taken out of photographs",
            "about": "Photos of 512 x 512 px with three families of free-form holes, drawn once and stored. Every "
            "method fills exactly the same holes, and only the hole's pixels are replaced."
            if paired
            else "An object and its shadow are masked, and the mask grown by 8 px. What stood behind is unknown.",
            "open_points": [
                "LPIPS-squeeze was also a training loss: take it with the error columns, and with your eyes.",
                "Portraits are few (a quarter of the photos).",
            ],
            "paired": paired,
        },
        "photos": len({row.photo for row in rows}),
        "holes": len({(row.photo, row.family) for row in rows}),
        "methods": methods,
        "main": main,
        "metrics": [metric for metric in METRICS if metric["name"] in present],
        "cells": cells,
        "differences": differences,
        "published": [
            {"method": "Moebius", "values": {"fid": 9.48, "lpips": 0.207, "uids": 0.2941}, "copied": False},
            {"method": "LaMa", "values": {"fid": 12.31, "lpips": 0.231}, "copied": True},
        ] if paired else [],
        "cost": make_cost([method["id"] for method in methods]),
        "provenance": {
            "protocol": {"name": "photos", "sha256": "3f9a1c77be0d4f0f8a61d9f1c1b6f5e7" * 2, "side": 512},
            "networks": {"lpips-squeeze": "b5d0e9c1" * 8, "mobilenetv2": {"file": "mobilenet", "sha256": "77" * 32}},
            "versions": {"moebius": "0.3.0", "numpy": "2.4.6", "onnxruntime": "1.24.1", "torch": "2.13.0"},
            "fade": 0,
            "methods": {"telea": {"opencv": "4.13.0"}, "nano": {"model": "nano", "settings": {"steps": 1}}},
        },
    }  # fmt: skip


def make_distance(method: str, area: float) -> dict[str, float]:
    mean = (60 - 25 * SKILL[method]) * (area + 0.3)
    return {"mean": mean, "low": 0.9 * mean, "high": 1.12 * mean}


def make_cost(methods: list[str]) -> list[dict[str, Any]]:
    seconds = {"telea": 0.031, "navier-stokes": 0.027, "push-pull": 0.004, "nano": 0.55, "nano:4": 1.62}
    return [
        {
            "method": method, "seconds": at, "seconds_low": 0.93 * at, "seconds_high": 1.2 * at,
            "cpu_seconds": 1.8 * at, "start_seconds": 0.4 + 2 * at, "peak_mb": 180 + 300 * at,
            "machine": "2 cores of AMD EPYC 9B14",
        }
        for method, at in seconds.items() if method in methods
    ]  # fmt: skip


def make_groups(
    rows: list[Row], *, side: int = 96, count: int = 2, truth: bool = True, main: str = "nano"
) -> list[ShownGroup]:
    """Best and worst of each family, the fills being blurs of more or less."""
    titles = {
        method["id"]: method["title"] for method in METHODS if any(r.method == method["id"] for r in rows)
    }
    groups = []
    for family in dict.fromkeys(row.family for row in rows):
        part = [row for row in rows if row.family == family]
        chosen = choose_cases(part, main, "lpips_crop" if truth else "judged", count, lower_is_better=truth)
        for what, keys in zip(("best", "worst"), chosen, strict=True):
            cases = tuple(
                _case(f"{photo}/{kind}", titles, side, FAMILIES[kind], truth) for photo, kind in keys
            )
            about = "By LPIPS-squeeze, crop, of nano; pictures at full size, known pixels pasted back."
            groups.append(ShownGroup(f"{family.capitalize()} holes, {what}", about, cases))
    return groups


def _case(key: str, titles: dict[str, str], side: int, area: float, truth: bool) -> ShownCase:
    seed = int(key[5:7])
    photo = _crop(("rocket.jpg", "shuttle.png", "spoon.png")[seed % 3], side, seed)
    y, x = np.mgrid[:side, :side] / side
    phase = seed * 0.7
    hole = np.abs(np.sin(3 * x + phase) * np.cos(2.5 * y - phase) + 0.15 * np.sin(9 * x)) < area * 0.9
    pictures = [Picture("with its hole", np.where(hole[..., None], np.array([255, 0, 255], np.uint8), photo))]
    for method, title in titles.items():
        blur = ImageFilter.GaussianBlur(side / 64 * (1.8 - SKILL[method]) + 0.1)
        filled = np.array(Image.fromarray(photo).filter(blur))
        pictures.append(Picture(title, np.where(hole[..., None], filled, photo)))
    pictures.append(Picture("the truth" if truth else "the photo", photo))
    return ShownCase(key, f"{hole.mean():.0%} of {side} x {side} px hidden", tuple(pictures))


def _crop(name: str, side: int, seed: int) -> NDArray[np.uint8]:
    with Image.open(EXAMPLES / name) as opened:
        image = opened.convert("RGB")
    scale = side * (1.1 + 0.1 * (seed % 4)) / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    left, top = (image.width - side) * (seed % 5) // 4, (image.height - side) * (seed % 3) // 2
    return np.array(image.crop((left, top, left + side, top + side)))


def make_unpaired() -> tuple[dict[str, Any], list[Row], list[ShownGroup]]:
    """Object removal: one family, no truth, few metrics."""
    rows = [row for row in make_rows(12) if row.family == "medium" and row.method != "ceiling"]
    for row in rows:
        for name in ("psnr", "lpips_crop"):
            del row.metrics[name]
    return make_results(rows, paired=False), rows, make_groups(rows, truth=False)


def make_alone() -> tuple[dict[str, Any], list[Row], list[ShownGroup]]:
    """A single method, nothing else."""
    rows = [row for row in make_rows(12) if row.method == "nano"]
    return make_results(rows) | {"published": [], "cost": []}, rows, make_groups(rows)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    every = make_rows()
    write_report(folder / "photos.html", make_results(every), every, make_groups(every, side=512))
    write_report(folder / "removal.html", *make_unpaired())
    write_report(folder / "alone.html", *make_alone())
