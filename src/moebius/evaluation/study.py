"""Studies: one thing of a model varied, everything else held, on the same holes.

A study is a TOML file in `studies/`. [vary] has lists of model options, every combination of which is run; `variants`
has them written out; `fixed` are options of all. Combinations that a model cannot do are left out, and it is said.

    moebius study steps
"""

from __future__ import annotations

import difflib
import itertools
import logging
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from moebius.engines.processor import processor_name
from moebius.errors import InputError, SettingsError
from moebius.evaluation.evaluate import OURS, data_from_environment
from moebius.evaluation.features import find_networks
from moebius.evaluation.holes import Case, central, open_case
from moebius.evaluation.methods import Method
from moebius.evaluation.metrics import BY_NAME, Metric, masked_psnr, to_picture
from moebius.evaluation.opening import MethodName
from moebius.evaluation.protocol import cases, open_protocol
from moebius.evaluation.provenance import require_extra
from moebius.evaluation.results import build_results, write_results, write_text
from moebius.evaluation.run import Measurements, Run, Watch, measure
from moebius.evaluation.statistics import ALL
from moebius.evaluation.tables import ARROWS, table_lines
from moebius.imaging import grow_objects
from moebius.settings import Settings

log = logging.getLogger(__name__)

HOME = Path(__file__).parent / "studies"
MARKS = {True: " better", False: " worse"}


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is varied, and on what."""

    name: str
    title: str
    question: str
    protocol: str
    metrics: tuple[str, ...]
    families: tuple[str, ...] = ()
    limit: int | None = None
    vary: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    variants: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    crops: tuple[str, ...] = ()
    """Central parts of each picture, WIDTHxHEIGHT, instead of all of it."""
    margins: tuple[str, ...] = ()
    """How far the masks of objects are grown, px or "auto", instead of the protocol's own way."""
    agreement: bool = False
    """Whether pictures are compared with the first variant's too."""


@dataclass(frozen=True, kw_only=True)
class StudyRequest:
    """What a person asks for; fields as the options of `moebius study`."""

    study: str
    out: Path
    data: Path | None = None
    features: Path | None = None
    models: Sequence[str] = ("nano",)
    limit: int | None = None
    workers: int = 1


def study_names() -> list[str]:
    """Names of the studies that come with the package."""
    return sorted(path.stem for path in HOME.glob("*.toml"))


def open_study(name: str) -> Study:
    """A study by its name.

    Raises:
        InputError: there is none of that name; the message has the nearest.
    """
    if name not in study_names():
        near = difflib.get_close_matches(name, study_names(), n=1, cutoff=0.4)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise InputError(f"study: expected one of {', '.join(study_names())}, got {name!r}{hint}")
    values: dict[str, Any] = tomllib.loads((HOME / f"{name}.toml").read_text(encoding="utf-8"))
    lists = {item.name for item in fields(Study) if str(item.type).startswith("tuple")}
    values = {key: tuple(value) if key in lists else value for key, value in values.items()}
    return Study(name=name, **values)


def run_study(request: StudyRequest, watch: Watch = lambda pieces, count: pieces) -> str:
    """Measure what is missing, and write study.md and the usual tables; returns study.md.

    Raises:
        MoebiusError: something is missing, damaged or out of its range; nothing that was measured is lost.
    """
    require_extra()
    study = open_study(request.study)
    protocol = open_protocol(study.protocol)
    limit = request.limit or study.limit
    chosen = cases(
        protocol, request.data or data_from_environment(protocol), families=study.families, limit=limit
    )
    chosen = [part for case in chosen for part in _cropped(case, study.crops)]
    chosen = [part for case in chosen for part in _grown(case, study.margins)]
    paired = protocol.kind != "removal"
    methods, refused = open_variants(study, request.models, paired)
    run = Run(
        protocol=protocol, cases=chosen, methods=methods, out=request.out, workers=request.workers,
        networks={name: path for name, path in find_networks(request.features).items() if name in OURS},
        fade=0 if paired else Settings.feather,
    )  # fmt: skip
    measured = measure(run, watch)
    results = build_results(run, measured, methods[0].id, {method.id: "model" for method in methods})
    write_results(run, results, measured.rows)
    agreement = _agreement(chosen, methods) if study.agreement else {}
    text = _markdown(
        study, request, results, _times(measured), agreement, refused, [case.photo for case in chosen]
    )
    write_text(request.out / "study.md", text)
    return text


def combinations(study: Study) -> list[str]:
    """The study's variants as options of a model."""
    lists = [[(name, value) for value in values] for name, values in study.vary.items()]
    grid = [",".join(f"{name}={value}" for name, value in each) for each in itertools.product(*lists) if each]
    fixed = ",".join(f"{name}={value}" for name, value in study.fixed.items())
    return [",".join(filter(None, (fixed, options))) for options in grid or study.variants or ("",)]


def open_variants(study: Study, models: Sequence[str], paired: bool) -> tuple[list[Method], list[str]]:
    """Every model in every variant that it can do, and what it cannot, with reasons.

    Raises:
        InputError: there is none left.
    """
    methods, refused = [], []
    for model in models:
        for options in combinations(study):
            text = f"{model}{',' if '=' in model.rpartition(':')[2] else ':'}{options}" if options else model
            name = MethodName("model", text, {"seed": 0}, product=not paired)
            try:
                methods.append(name.open())
            except SettingsError as error:
                refused.append(f"{options}: {error}")
    if not methods:
        raise InputError(
            f"study {study.name}: expected a model that can do one of its variants, {refused[0]}"
        )
    return methods, refused


def _cropped(case: Case, crops: Sequence[str]) -> list[Case]:
    """The case, or its central parts that hold some of its hole and something around it."""
    if not crops:
        return [case]
    parts = []
    mask = open_case(case).mask
    for crop in crops:
        width, height = (int(side) for side in crop.split("x"))
        part = replace(case, photo=f"{case.photo}@{crop}", family=crop, crop=(width, height))
        inside = mask[central((mask.shape[1], mask.shape[0]), (width, height)).slices].mean()
        if 0.01 < inside < 0.8:
            parts.append(part)
    return parts


def _grown(case: Case, margins: Sequence[str]) -> list[Case]:
    """The case, or the same once for each margin around its mask."""
    return [
        replace(
            case,
            family=f"grow {margin}",
            margin=partial(grow_objects, pixels=None if margin == "auto" else int(margin)),
        )
        for margin in margins
    ] or [case]


def _times(measured: Measurements) -> dict[str, float]:
    """Time of a fill over the first variant's on the same hole, median: the holes take the variants in turns."""
    seconds = {method: np.array(values) for method, values in measured.seconds.items()}
    first = next(iter(seconds.values()))
    return {method: float(np.median(values / first)) for method, values in seconds.items()}


def _agreement(chosen: Sequence[Case], methods: Sequence[Method]) -> dict[str, float]:
    """PSNR in the hole against the first variant's picture, dB, mean over holes."""
    values: dict[str, list[float]] = {method.id: [] for method in methods[1:]}
    for case in chosen:
        hole = open_case(case)
        first = to_picture(methods[0].fill(hole))
        for method in methods[1:]:
            values[method.id].append(masked_psnr(to_picture(method.fill(hole)), first, hole.mask))
    return {method: float(np.mean(numbers)) for method, numbers in values.items()}


def _markdown(
    study: Study,
    request: StudyRequest,
    results: Mapping[str, Any],
    times: Mapping[str, float],
    agreement: Mapping[str, float],
    refused: Sequence[str],
    photos: Sequence[str],
) -> str:
    families = list(dict.fromkeys(cell["family"] for cell in results["cells"]))
    shown = [
        BY_NAME[name] for name in study.metrics if any(name in cell["metrics"] for cell in results["cells"])
    ]
    head = ["variant", *(f"{metric.title} {ARROWS[metric.best]}" for metric in shown), "time"]
    head += ["PSNR against the first, dB"] if agreement else []
    verdicts = {
        (one["against"], one["family"], one["metric"]): one for one in results["differences"]
    }  # of the first variant minus this one
    several = bool(study.crops or study.margins)
    shown_families = [family for family in families if family != ALL] if several else families[-1:]
    lines = [["holes"] * several + head]
    lines.append(["---"] * (1 + several) + ["---:"] * (len(head) - 1))
    for family in shown_families:
        for cell in results["cells"]:
            if (cell["family"], cell["group"]) != (family, ALL):
                continue
            method = cell["method"]
            line = [family] * several + [f"`{method}`"]
            for metric in shown:
                value = cell["metrics"].get(metric.name)
                text = "" if value is None else f"{value['mean']:z.{metric.digits}f}"
                line.append(text + _mark(verdicts.get((method, family, metric.name)), metric))
            line.append(f"{times[method]:.2f}")
            line += [f"{agreement[method]:.1f}" if method in agreement else ""] if agreement else []
            lines.append(line)
    holes = f"{len({row.split('@')[0] for row in photos})} photos, {results['holes']} holes"
    tables = [f"{holes}:\n\n{table_lines(lines)}"]
    command = f"moebius study {study.name}"
    if tuple(request.models) != ("nano",):
        command += "".join(f" --model {model}" for model in request.models)
    command += f" --limit {request.limit}" if request.limit else ""
    notes = [
        f"*{study.question}* `{command}`, protocol `{study.protocol}`, {processor_name()}.",
        *tables,
        "Means; *better* and *worse* than the first row where the 95 % interval of the difference leaves 0 out and the "
        "difference can be seen at these digits. Time: "
        "of a fill over the first row's, median over holes, both cores busy.",
        *(f"Left out, {each}" for each in _grouped(refused)),
    ]
    return f"### {study.title}\n\n" + "\n\n".join(notes) + "\n"


def _mark(difference: Mapping[str, Any] | None, metric: Metric) -> str:
    """What the interval allows to say, of a difference that can be seen at the digits shown."""
    if difference is None or metric.best not in ("high", "low"):
        return ""
    if difference["low"] <= 0 <= difference["high"] or abs(difference["mean"]) < 0.5 * 10**-metric.digits:
        return ""
    return MARKS[(difference["mean"] < 0) == (metric.best == "high")]


def _grouped(refused: Sequence[str]) -> list[str]:
    """Reasons, once each, with how often they came."""
    reasons: dict[str, int] = {}
    for each in refused:
        reason = each.split(": ", 1)[1].rsplit(", got", 1)[0]
        reasons[reason] = reasons.get(reason, 0) + 1
    return [f"{count} of them: {reason}." for reason, count in reasons.items()]
