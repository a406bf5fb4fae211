"""Protocols on disk. A protocol is a benchmark: which pictures, which holes, how a model is run, published numbers.

It is a TOML file. Those in `protocols/` are known by name, a person's own by its path. Each table of the file is
a dataclass here and each key a field of it: [images] an `ImageRule`, [masks] a `MaskRule`, [run] a `RunRule`,
every entry of `published` a `Published`, and the rest a `Protocol`. `protocol.py` makes holes of it.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from numpy.random import RandomState

from moebius.errors import InputError
from moebius.evaluation.holes import Mask
from moebius.settings import Settings
from moebius.training.published_masks import (
    FREE_FORM_TABLES,
    LAMA_TABLES,
    free_form_mask,
    hole_between,
    lama_mask,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Record = TypeVar("Record", bound=DataclassInstance)

Kind = Literal["list", "manifest", "removal", "planted"]

HOME = Path(__file__).parent / "protocols"
GENERATORS = (*(f"lama:{name}" for name in LAMA_TABLES), *(f"free-form:{name}" for name in FREE_FORM_TABLES))
METRICS = ("fid", "kid", "lpips", "pids", "uids")
"""Those of published tables, on the networks that these use."""


@dataclass(frozen=True, kw_only=True)
class ImageRule:
    """Where the pictures come from. A list has `pattern` and `count`, or `glob`; other kinds have neither."""

    download: str
    """For people: what to get, from whom, how large, and how the folder must look."""
    pattern: str = ""
    """Name with a place for its number, "Places365_val_{:08d}.jpg"; without a suffix, any picture's will do."""
    first: int = 0
    """The pattern's first number."""
    count: int | None = None
    """Pictures; with `glob`, the first so many; None = all."""
    glob: str = ""
    """Files of any name: "*" in the folder, "**/*" below it too; sorted by path."""
    side: int | None = None
    """The picture is reduced (or enlarged) and cropped to a centred square of this side, px."""

    def __post_init__(self) -> None:
        expect(bool(self.download.strip()), "download", "text", self.download)
        expect(self.first >= 0, "first", "0 or more", self.first)
        expect(self.count is None or self.count > 0, "count", "1 or more", self.count)
        expect(self.side is None or self.side >= 16, "side", "16 px or more", self.side)
        expect(not (self.pattern and self.glob), "glob", "none beside a pattern", self.glob)
        expect(not Path(self.glob).is_absolute(), "glob", "files below the data folder", self.glob)
        if self.pattern:
            expect(self.count is not None, "count", "a number beside a pattern", self.count)
            try:
                numbered = self.pattern.format(1) != self.pattern.format(2)
            except (ValueError, LookupError, AttributeError):
                numbered = False
            expect(numbered, "pattern", "one place for a whole number, like {:05d}", self.pattern)


@dataclass(frozen=True, kw_only=True)
class MaskRule:
    """How masks are drawn."""

    generator: str
    """One of `GENERATORS`: "lama:thick_512", "free-form:mat_large"."""
    low: float = 0.0
    high: float = 1.0
    """The hole's share of the picture lies between the two."""
    seed: int = 0

    def __post_init__(self) -> None:
        expect_one_of("generator", self.generator, GENERATORS)
        expect(0 <= self.low < self.high <= 1, "low", f"0 <= low < high <= 1, high {self.high:g}", self.low)
        expect(0 <= self.seed < 2**32, "seed", "0 to 2**32 - 1", self.seed)

    def draw(self, index: int, side: int) -> Mask:
        """The mask of the list's picture `index`, from 0: (side, side), True = hole.

        It is the first in range from a generator of its own, numpy's `RandomState([seed, index])`, so that it
        depends on no other mask.
        """
        random = RandomState([self.seed, index])
        kind, table = self.generator.split(":")
        if kind == "lama":
            return hole_between(lambda: lama_mask(table, side, random), self.low, self.high)
        return free_form_mask(table, side, random, self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class RunRule:
    """How a model is run, and measured."""

    model: str
    """Name in the registry; any other may be run as well."""
    steps: int | None = None
    guidance: float | None = None
    """None = the model's own."""
    metrics: tuple[str, ...] = ()
    """Those of `METRICS` that the tables have. Ours are measured besides, and need no mention."""

    def __post_init__(self) -> None:
        expect(bool(self.model), "model", "a model's name", self.model)
        Settings(steps=self.steps, guidance=self.guidance)
        for metric in self.metrics:
            expect_one_of("metrics", metric, METRICS)


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of a published table."""

    method: str
    fid: float | None = None
    lpips: float | None = None
    copied: bool = False
    """The paper itself copied it from another one."""

    def __post_init__(self) -> None:
        expect(bool(self.method), "method", "a name", self.method)
        for name, value in {"fid": self.fid, "lpips": self.lpips}.items():
            expect(value is None or value >= 0, name, "0 or more", value)

    @property
    def values(self) -> dict[str, float]:
        """By metric, those that the table has."""
        return {name: value for name in ("fid", "lpips") if (value := getattr(self, name)) is not None}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A benchmark."""

    name: str
    title: str
    kind: Kind
    """What `images` names: a list of pictures to draw masks for, a folder with a manifest, photos with objects."""
    about: str
    """What it is, whom it follows, and where that is written."""
    images: ImageRule
    run: RunRule
    masks: MaskRule | None = None
    """Of a list; other kinds bring theirs."""
    families: tuple[str, ...] = ("all",)
    """Kinds of mask, in order; a list and a removal have one."""
    open_points: tuple[str, ...] = ()
    """What the paper does not state, and what was chosen instead."""
    published: tuple[Published, ...] = ()

    def __post_init__(self) -> None:
        expect(bool(re.fullmatch(r"[a-z0-9][a-z0-9._-]*", self.name)), "name", "a-z, 0-9, . _ -", self.name)
        expect(bool(self.title.strip()) and "\n" not in self.title, "title", "one line", self.title)
        expect_one_of("kind", self.kind, get_args(Kind))
        rule, listed = self.images, self.kind == "list"
        named = rule.pattern or rule.glob or None
        expect((named is None) != listed, "images", "a pattern or glob in a list, none elsewhere", named)
        expect((rule.side is None) != listed, "images.side", "one in a list, none elsewhere", rule.side)
        expect((self.masks is None) != listed, "masks", "a table in a list, none elsewhere", self.masks)
        unique = len(set(self.families)) == len(self.families)
        many = self.kind in ("manifest", "planted")
        enough = unique and (many or len(self.families) == 1) and bool(self.families)
        expect(enough, "families", "different ones" if many else "one", list(self.families))


def protocol_names() -> list[str]:
    """Names of the protocols that come with the package."""
    return sorted(path.stem for path in HOME.glob("*.toml"))


def open_protocol(name_or_path: str | Path) -> Protocol:
    """A protocol by its name, or by the path of a person's own .toml.

    Raises:
        InputError: no such protocol, or its file is damaged; the message names file, field, expected and got.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        expect_one_of("protocol", str(name_or_path), [*protocol_names(), "FILE.toml"])
        path = HOME / f"{name_or_path}.toml"
    try:
        return _protocol(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{path}: expected a protocol ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: expected TOML, got: {str(error).splitlines()[0]}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "text"),
    "Kind": ((str,), "text"),
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "int | None": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "float | None": ((int, float), "a number"),
    "tuple[str, ...]": ((list,), "a list of texts"),
}
"""What TOML must give for a field of that type, and what it is called."""


def _protocol(values: dict[str, Any]) -> Protocol:
    tables: dict[str, type[DataclassInstance]] = {"images": ImageRule, "masks": MaskRule, "run": RunRule}
    built: dict[str, object] = {
        key: _record(kind, values[key], f"{key}.") for key, kind in tables.items() if key in values
    }
    rows = values.get("published", [])
    expect(isinstance(rows, list), "published", "a list of tables", rows)
    built["published"] = tuple(_record(Published, row, f"published[{i}].") for i, row in enumerate(rows))
    return _record(Protocol, values | built, "")


def _record(kind: type[Record], table: object, prefix: str) -> Record:
    """A dataclass from a table of TOML. Messages name the field behind `prefix`."""
    expect(isinstance(table, Mapping), prefix.rstrip("."), "a table", table)
    assert isinstance(table, Mapping)
    types = {field.name: str(field.type) for field in fields(kind)}
    values = {}
    for key, value in table.items():
        expect_one_of(f"{prefix}{key}", key, list(types), "a field")
        accepted, called = _TYPES.get(types[key], ((object,), ""))
        right = isinstance(value, accepted) and (bool in accepted or not isinstance(value, bool))
        if isinstance(value, list):
            right = right and all(isinstance(item, str) for item in value)
        expect(right, f"{prefix}{key}", called, value)
        values[key] = (
            tuple(value) if isinstance(value, list) else float(value) if float in accepted else value
        )
    for field in fields(kind):
        required = field.default is MISSING and field.default_factory is MISSING
        expect(not required or field.name in values, f"{prefix}{field.name}", "a value", None)
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{prefix}{error}") from error


def expect(met: bool, field: str, expected: str, got: object) -> None:
    """Raise InputError unless it is met; None for `got` means nothing."""
    if not met:
        raise InputError(f"{field}: expected {expected}, got {'nothing' if got is None else repr(got)}")


def expect_one_of(field: str, name: str, known: Sequence[str], what: str = "one") -> None:
    """Raise InputError, with the nearest names, unless the name is known."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise InputError(f"{field}: expected {what} of {', '.join(known)}, got {name!r}{hint}")
