"""What a case is, which there are, and choosing among them. Imports nothing heavy.

A case is a few variants of one piece of work that take turns. The module that knows how to build them is imported
when the case is opened.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Literal, get_args

from moebius.errors import DeviceError, SettingsError

Size = Literal["full", "tiny"]
Unit = Literal["s", "MiB"]
Peer = Literal["pixelhacker", "sd15", "sd35-large", "flux-fill", "lama"]
PEERS: tuple[Peer, ...] = get_args(Peer)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
PICTURES = (1, 8, 32, 64)
"""Photos at a time of the cases "pictures:N"."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all cases of a run have in common."""

    size: Size = "full"
    """Of the networks: the published sizes, or some that tests can afford."""
    device: str = "cpu"
    """As torch calls it."""
    threads: int | None = None
    """None = as many as there are."""
    reference: bool = False
    """The published graph takes part."""
    model: str = "nano"
    """Name or folder of the model that the case "engine" opens on each engine."""
    peers: tuple[Peer, ...] = ()
    """Networks of others that take part in the cases "against" and "pictures:N"."""

    def __post_init__(self) -> None:
        if self.size not in get_args(Size):
            raise SettingsError(f"size: expected {', '.join(get_args(Size))}, got {self.size!r}")
        if self.threads is not None and self.threads < 1:
            raise SettingsError(f"threads: expected 1 or more, got {self.threads}")
        for peer in self.peers:
            if peer not in PEERS:
                raise SettingsError(f"against: expected some of {', '.join(PEERS)}, got {peer!r}")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One variant of a case."""

    name: str
    title: str
    """For the table."""
    make: Callable[[], Callable[[], object]]
    """Loads what is needed and returns the work, which is then called again and again. Work of a case in MiB returns
    the number, or two of them: used, and held for it. May raise: the variant is then left out, with the reason."""
    images: float = 1.0
    """Photos that one call is worth."""
    dtype: str | None = None
    """Number format whose peak it is compared with; None leaves the comparison out."""
    count: Callable[[], tuple[int, int]] | None = None
    """FLOPs and bytes of a call; None where nobody can tell. Called after `make`."""
    warm: bool = True
    """Called before anything is measured; not where a call takes minutes."""
    note: str = ""
    """What a reader has to know, such as that weights are shared between blocks."""
    parts: tuple[tuple[str, float], ...] = ()
    """Not measured but computed, round by round: the sum of these variants of the same case, each so many times."""


def computed(name: str, title: str, parts: Mapping[str, float], images: float, note: str = "") -> Entry:
    """A variant that would take too long: how often each of its parts, which are measured in the same rounds."""

    def make() -> Callable[[], object]:
        raise SettingsError(f"{name} is computed, expected no call of it")

    return Entry(name=name, title=title, make=make, images=images, note=note, parts=tuple(parts.items()))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A named piece of work.

    Raises:
        DeviceError: from `open`, where torch is needed and not installed.
    """

    name: str
    title: str
    module: str
    """Of this room, with a function `entries(case, setting)`; the first entry is what the others are compared with."""
    needs_torch: bool = True
    unit: Unit = "s"
    usual: bool = True
    """Measured when no case is named."""
    most_rounds: int = 10_000
    """Where a round takes minutes, a few have to do."""

    @property
    def detail(self) -> str:
        """What stands behind the colon of the name: the batch, the rewrite, the part."""
        return self.name.partition(":")[2]

    def open(self, setting: Setting) -> list[Entry]:
        """Its variants for that setting; nothing is loaded yet."""
        if self.needs_torch and not has_torch():
            raise DeviceError(f"case {self.name} needs PyTorch: pip install 'moebius-inpaint[torch]'")
        found: list[Entry] = import_module(f"moebius.benchmarks.{self.module}").entries(self, setting)
        return found


def _cases() -> list[Case]:
    def title(rows: int) -> str:
        return f"denoiser step, {rows} photo{'s' if rows > 1 else ''} at a time"

    return [
        Case(name="step", title="denoiser step of one photo, with and without the guidance pair", module="denoiser"),
        *(
            Case(name=f"batch:{rows}", title=title(rows), module="denoiser", usual=rows in (2, 4), most_rounds=20)
            for rows in BATCHES
        ),
        *(
            Case(name=f"rewrite:{name}", title=f"rewrite {name}, alone and left out", module="denoiser", usual=False)
            for name in rewrites()
        ),
        Case(
            name="compiled", title="step of one photo by the engine, compiled and not", module="denoiser", usual=False,
            most_rounds=5,
        ),
        Case(name="encode", title="autoencoder, photo to latents", module="autoencoder"),
        Case(name="decode", title="autoencoder, latents to photo", module="autoencoder"),
        Case(name="whole", title="end to end, by steps, autoencoder included", module="whole", most_rounds=3),
        Case(
            name="against", title="one step beside other networks", module="others", usual=False, most_rounds=5
        ),
        *(
            Case(
                name=f"pictures:{rows}", module="pictures", usual=False, most_rounds=3 if rows <= 8 else 2,
                title=f"whole pictures from array to array, {rows} at a time, autoencoder included",
            )
            for rows in PICTURES
        ),
        *(
            Case(name=f"engine:{part}", title=f"{part} of a model on each engine", module="engine", needs_torch=False)
            for part in ("encode", "step", "decode")
        ),
        Case(name="nano", title="the bundled model, loaded, by the region's side", module="nano", needs_torch=False),
        Case(name="start-up", title="processes from start to end", module="processes", needs_torch=False),
        Case(
            name="memory", title="peak resident memory of a fresh process", module="processes", needs_torch=False,
            unit="MiB", most_rounds=2,
        ),
        Case(
            name="picture-memory", title="peak memory of a fresh process that makes whole pictures", module="processes",
            unit="MiB", usual=False, most_rounds=1,
        ),
    ]  # fmt: skip


def has_torch() -> bool:
    """Whether PyTorch is installed; it is not imported."""
    return importlib.util.find_spec("torch") is not None


def rewrites() -> tuple[str, ...]:
    """Names of the exact rewrites of the deployed network; none without torch."""
    if not has_torch():
        return ()
    found: tuple[str, ...] = tuple(import_module("moebius.engines.fuse").REWRITES)
    return found


def all_cases() -> Mapping[str, Case]:
    """Every case by its name, in the order in which they are measured."""
    return MappingProxyType({case.name: case for case in _cases()})


def choose(names: Sequence[str], setting: Setting) -> list[Case]:
    """The cases of those names; "batch" means all of "batch:1", "batch:2", ...; none means the usual ones.

    The usual ones leave out what needs torch where there is none, and long batches on a CPU.

    Raises:
        SettingsError: no such case; the message has the nearest.
    """
    known = all_cases()
    if not names:
        cases = [
            case
            for case in known.values()
            if case.usual or (setting.device != "cpu" and "batch" in case.name)
        ]
        cases += [known["against"]] if setting.peers else []
        return [case for case in known.values() if case in cases and (has_torch() or not case.needs_torch)]
    wanted: set[str] = set()
    for name in names:
        found = {each for each in known if each == name or each.partition(":")[0] == name}
        if not found:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or list(known)
            raise SettingsError(f"case: expected one like {', '.join(near)}, got {name!r}")
        wanted |= found
    return [case for case in known.values() if case.name in wanted]
