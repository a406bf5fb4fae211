"""`moebius evaluate` without its command line: a request in, a run's folder out."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moebius.errors import InputError
from moebius.evaluation.cost import as_json, measure_cost
from moebius.evaluation.features import find_networks
from moebius.evaluation.holes import Case, open_case
from moebius.evaluation.methods import Method
from moebius.evaluation.models import model_method, parse_model, seeded
from moebius.evaluation.opening import MethodName
from moebius.evaluation.peers import PEERS, check_results
from moebius.evaluation.protocol import Protocol, cases, open_protocol
from moebius.evaluation.provenance import require_extra
from moebius.evaluation.results import build_results, draw_report, write_json, write_results, write_text
from moebius.evaluation.run import Run, Watch, measure
from moebius.evaluation.tables import cost_markdown
from moebius.settings import Settings

log = logging.getLogger(__name__)

WANTED = {
    "fid": "inception",
    "kid": "inception",
    "uids": "inception",
    "pids": "inception",
    "lpips": "lpips-alex",
}
"""Feature networks behind the published metrics that a protocol asks for."""
NO_MODEL = "none"
OURS = ("lpips-squeeze", "mobilenetv2")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asks for; fields as the options of `moebius evaluate`."""

    protocol: str = "photos"
    data: Path | None = None
    masks: Path | None = None
    invert_masks: bool = False
    list_file: Path | None = None
    out: Path
    models: Sequence[str] = ()
    peers: Sequence[str] = ()
    no_peers: bool = False
    results: Sequence[str] = ()
    steps: int | None = None
    guidance: float | None = None
    solver: str | None = None
    start: str | None = None
    seed: int = 0
    features: Path | None = None
    download: bool = False
    families: Sequence[str] = ()
    limit: int | None = None
    seeds: int = 3
    references: bool = True
    ceiling: bool = False
    workers: int = 1
    no_cost: bool = False
    no_report: bool = False


def evaluate_request(request: Request, watch: Watch = lambda pieces, count: pieces) -> dict[str, Any]:
    """Measure, and write everything into the run's folder; returns the contents of results.json.

    Raises:
        MoebiusError: something is missing, damaged or out of its range; nothing that was measured is lost.
    """
    require_extra()
    protocol = open_protocol(request.protocol)
    chosen = cases(
        protocol,
        request.data or data_from_environment(protocol),
        masks=request.masks,
        invert=request.invert_masks,
        list_file=request.list_file,
        families=request.families,
        limit=request.limit,
    )
    names = method_names(request, protocol)
    opened = [(name, name.open()) for name in names]
    methods = [method for _, method in opened]
    for name, method in opened:
        if name.kind == "peer":
            check_results(method, chosen)
    main = next((method.id for name, method in opened if name.kind == "model"), methods[-1].id)
    run = Run(
        protocol=protocol,
        cases=chosen,
        methods=methods,
        networks=_networks(request, protocol),
        out=request.out,
        workers=request.workers,
        seeds=_other_seeds(opened, request.seeds) if protocol.kind != "removal" else {},
        fade=Settings.feather if protocol.kind == "removal" else 0,
    )
    measured = measure(run, watch)
    log.info("%d of %d holes were measured now", measured.fresh, len(chosen))
    kinds = {method.id: _kind(name) for name, method in opened}
    results = build_results(run, measured, main, kinds)
    write_results(run, results, measured.rows)
    cost = [] if request.no_cost else _cost(run, names, chosen)
    write_json(run.out / "cost.json", cost)
    write_text(run.out / "cost.md", cost_markdown(results, cost))
    if not request.no_report:
        draw_report(run, results, measured.rows, cost)
    return results


def method_names(request: Request, protocol: Protocol) -> list[MethodName]:
    """The methods of a request in the order of tables: peers, references, models, somebody's results."""
    paired = protocol.kind != "removal"
    given = {
        "steps": request.steps,
        "guidance": request.guidance,
        "solver": request.solver,
        "start": request.start,
    }
    settings: dict[str, Any] = {"seed": request.seed}
    settings |= {key: value for key, value in given.items() if value is not None}
    peers = () if request.no_peers else request.peers or PEERS
    found = [MethodName("peer", text) for text in peers]
    models = () if tuple(request.models) == (NO_MODEL,) else request.models or (protocol.run.model,)
    if not request.models:  # the protocol's own model is run as the protocol says
        published = {"steps": protocol.run.steps, "guidance": protocol.run.guidance}
        settings = {key: value for key, value in published.items() if value is not None} | settings
    if paired and request.references:
        plain = dict.fromkeys(_without_settings(text) for text in models)
        found += [MethodName("autoencoder", text) for text in plain]
        found += [MethodName("ceiling", text) for text in plain if request.ceiling]
    found += [MethodName("model", text, settings, product=not paired) for text in models]
    found += [MethodName("peer", _results_peer(text)) for text in request.results]
    if not found:
        raise InputError("expected at least one method: a model, a peer or a folder of results; got none")
    return found


def _results_peer(text: str) -> str:
    name, equals, folder = text.partition("=")
    return f"{name}=results:{folder}" if equals else f"results:{text}"


def _without_settings(text: str) -> str:
    """A model with the options of its engine and entry alone: what its autoencoder depends on."""
    request = parse_model(text)
    options = {
        **request.engine,
        **{key: value for key, value in request.entry.items() if key not in ("cascade", "detail")},
    }
    return f"{request.name}:{','.join(f'{k}={v}' for k, v in options.items())}" if options else request.name


def _kind(name: MethodName) -> str:
    return name.kind if name.kind in ("model", "peer") else "reference"


def data_from_environment(protocol: Protocol) -> Path | None:
    """The folder that MOEBIUS_EVAL_DATA names, for sets of our own form."""
    found = os.environ.get("MOEBIUS_EVAL_DATA") if protocol.kind == "manifest" else None
    return Path(found) if found else None


def _networks(request: Request, protocol: Protocol) -> Mapping[str, Path]:
    """Whatever is here; with --download also what the protocol's published metrics need."""
    here = find_networks(request.features, None, download=False)
    if request.download:
        wanted = [*OURS[:1], *(WANTED[name] for name in protocol.run.metrics if name in WANTED)]
        here = {**here, **find_networks(request.features, list(dict.fromkeys(wanted)), download=True)}
    missing = [name for name in protocol.run.metrics if name in WANTED and WANTED[name] not in here]
    if missing:
        log.warning("no %s: the networks are not here (--download fetches them)", ", ".join(missing))
    absent = [name for name in OURS if name not in here]
    if absent:
        log.warning("without %s: give their folder with --features or MOEBIUS_FEATURES", " and ".join(absent))
    return here


def _other_seeds(opened: Sequence[tuple[MethodName, Method]], seeds: int) -> dict[str, Sequence[Method]]:
    others: dict[str, Sequence[Method]] = {}
    for name, method in opened:
        if name.kind == "model" and seeds > 1:
            request = parse_model(name.text, **name.settings)
            first = int(request.settings.get("seed", 0))
            others[method.id] = [model_method(seeded(request, first + i)) for i in range(1, seeds)]
    return others


def _cost(run: Run, names: Sequence[MethodName], chosen: Sequence[Case]) -> list[dict[str, Any]]:
    """Time and memory on the hole of median size; a folder of results has none."""
    if sys.platform == "win32":
        log.warning("time and memory are not measured: this system keeps no record of a process's memory")
        return []
    fills = [name for name in names if "results:" not in name.text and name.kind != "ceiling"]
    middle = chosen[len(chosen) // 2]
    medium = [case for case in chosen if case.family == "medium"]
    hole = open_case(medium[len(medium) // 2] if medium else middle)
    return as_json(measure_cost(fills, hole, run.out))
