"""Whole pictures, several at a time: ours, the published inference, the teacher, and other people's pipelines.

Every picture goes from an array on the host to an array on the host: encoded, as many network calls as its pipeline
makes, decoded. What would take minutes is not run but computed from its parts, which take turns with everything else:
encode + steps x step + decode. At one photo everything is measured whole as well, so the sum can be held against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from moebius.benchmarks.cases import Case, Entry, Peer, Setting, computed
from moebius.benchmarks.denoiser import ROW_MIB, Shelf, counted
from moebius.benchmarks.pipelines import Kitchen, Pipeline, decoded, encoded
from moebius.benchmarks.subjects import DTYPES, SHORT, check_memory, spec_of
from moebius.benchmarks.variants import Way, count_of, eager_step, engine_step, ways
from moebius.pipeline.official import GUIDANCE
from moebius.sampling import SamplingPlan, make_plan, sample, scaled_linear, trailing_timesteps

WORKLOADS = ((20, GUIDANCE), (4, 1.0), (1, 1.0))
"""Steps and guidance of our pictures."""
EQUAL_STEPS = 20
"""Of the rows that take the number of steps out of the comparison."""
MOST_PUBLISHED = 8
"""Photos up to which the published inference is run whole."""


def entries(case: Case, setting: Setting) -> list[Entry]:
    """The variants of "pictures:N"; names of parts have a colon in them."""
    rows, shelf = int(case.detail), Shelf(setting)
    kitchen = Kitchen(setting, rows, shelf)
    found: list[Entry] = []
    parts: dict[str, Entry] = {}
    if setting.reference:
        published = kitchen.published()
        parts |= _parts(kitchen, published)
        found += _wholes(kitchen, published, measured=rows <= MOST_PUBLISHED, warm=rows == 1)
    found += _ours(kitchen, shelf, parts)
    for peer in setting.peers:
        pipeline = kitchen.peer(peer)
        parts |= _parts(kitchen, pipeline)
        found += _wholes(kitchen, pipeline, measured=rows == 1, warm=False)
    return [*found, *parts.values()]


def _wholes(kitchen: Kitchen, pipeline: Pipeline, *, measured: bool, warm: bool) -> list[Entry]:
    """Pictures of a pipeline at its own number of steps, whole and as a sum, and at the equal number."""
    made = []
    if measured:
        make = partial(kitchen.whole, pipeline, pipeline.steps)
        made.append(
            Entry(
                name=f"{pipeline.name}-{pipeline.steps}", title=_title(pipeline.title, pipeline.steps), make=make,
                images=kitchen.rows, warm=warm, note=pipeline.note,
            )
        )  # fmt: skip
    for steps in dict.fromkeys((pipeline.steps, EQUAL_STEPS)):
        if pipeline.steps == 1 and steps != 1:
            continue
        sums = {f"step:{pipeline.name}": float(steps)}
        if pipeline.coder is not None:
            sums |= {f"encode:{pipeline.coder_name}": pipeline.encodes, f"decode:{pipeline.coder_name}": 1.0}
        title = f"{_title(pipeline.title, steps)}, computed"
        name = f"{pipeline.name}-{steps}-computed"
        made.append(computed(name, title, sums, kitchen.rows, pipeline.note))
    return made


def _parts(kitchen: Kitchen, pipeline: Pipeline) -> dict[str, Entry]:
    """A step, and encode and decode of its autoencoder, as variants of the case."""
    rows, device = kitchen.rows, kitchen.device

    def step() -> Callable[[], object]:
        if pipeline.name == "reference":
            check_memory(2 * rows * ROW_MIB[kitchen.setting.size], device)
        return pipeline.step()

    entry = Entry(
        name=f"step:{pipeline.name}", title=f"step of {pipeline.title}", make=step, images=rows, dtype=pipeline.dtype,
        note=pipeline.note,
    )  # fmt: skip
    made = {entry.name: counted(entry)}
    coder, key = pipeline.coder, pipeline.coder_name
    if coder is None:
        return made
    number, short = DTYPES[pipeline.dtype], SHORT[pipeline.dtype]
    kind = f"autoencoder of 16 channels, {short}" if key == "wide" else f"published autoencoder, {short}"

    def encode() -> Callable[[], object]:
        opened = coder()
        image = torch.from_numpy(kitchen.photos()).to(device, number)
        return lambda: encoded(opened, image)

    def decode() -> Callable[[], object]:
        opened = coder()
        cells = kitchen.side // opened.factor
        latents = torch.randn(rows, opened.channels, cells, cells, device=device, dtype=number)
        return lambda: decoded(opened, latents)

    for name, make in (("encode", encode), ("decode", decode)):
        made[f"{name}:{key}"] = Entry(name=f"{name}:{key}", title=f"{name}, {kind}", make=make, images=rows)
    return made


def _ours(kitchen: Kitchen, shelf: Shelf, parts: dict[str, Entry]) -> list[Entry]:
    """Our pictures by each way of running the engine; the parts of the last way are put into `parts`."""
    made = []
    for way in ways(shelf, "bfloat16"):
        for steps, guidance in WORKLOADS:
            tail = "guided" if guidance != 1.0 else "no pair"
            name = f"ours-{way.name}-{steps}-{tail.replace(' ', '-')}"
            work = partial(our_work, kitchen, way, steps, guidance)
            told = f"{_title(f'Moebius bf16, {way.title}', steps)}, {tail}"
            made.append(Entry(name=name, title=told, make=work, images=kitchen.rows))
    for part in ("encode", "guided", "single", "decode"):
        called = {"guided": "guided step", "single": "step, no pair"}.get(part, part)
        entry = Entry(
            name=f"{part}:ours", title=f"{called}, Moebius bf16, {way.title}", images=kitchen.rows,
            make=partial(our_part, kitchen, shelf, way, part), dtype="bfloat16",
        )  # fmt: skip
        if part in ("guided", "single"):
            plain = eager_step(shelf, "bfloat16", kitchen.rows, part == "guided")
            entry = replace(entry, count=partial(count_of, plain))
        parts[entry.name] = entry
    return made


def our_work(kitchen: Kitchen, way: Way, steps: int, guidance: float) -> Callable[[], object]:
    """Pictures by an engine: encode, the sampling loop, decode."""
    engine, plan = way.open(), our_plan(kitchen.setting, steps)
    photos, cells = kitchen.photos(), kitchen.side // 8
    mask = engine.array(kitchen.mask(cells).cpu().numpy())

    def work() -> object:
        condition = engine.encode(photos)
        noisy = torch.randn_like(condition)
        if way.loop:
            return engine.decode(engine.denoise(noisy, mask, condition, plan, guidance))
        for state in sample(lambda x, t: engine.predict(x, t, mask, condition, guidance), noisy, plan):
            noisy = state.x
        return engine.decode(noisy)

    return work


def our_part(kitchen: Kitchen, shelf: Shelf, way: Way, part: str) -> Callable[[], object]:
    """One of an engine's three calls."""
    if part in ("guided", "single"):
        return engine_step(way.open, shelf, kitchen.rows, part == "guided")
    engine, cells = way.open(), kitchen.side // 8
    if part == "encode":
        photos = kitchen.photos()
        return lambda: engine.encode(photos)
    latents = torch.randn(kitchen.rows, 4, cells, cells, device=kitchen.device)
    return lambda: engine.decode(latents)


def our_plan(setting: Setting, steps: int) -> SamplingPlan:
    """The steps that users run."""
    timesteps = trailing_timesteps(steps, first=900)
    return make_plan(scaled_linear(), timesteps, "ddim", spec_of(setting).prediction)


def _title(kind: str, steps: int) -> str:
    return f"{kind}, {steps} step{'s' if steps > 1 else ''}"


PEERS_OF_THE_CLAIMS: tuple[Peer, ...] = ("pixelhacker", "sd15", "sd35-large", "flux-fill")
"""What the published claims compare with, and what a user would otherwise take."""
