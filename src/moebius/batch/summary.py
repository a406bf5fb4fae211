"""What a run of a batch came to: counted as it goes, told at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from moebius.batch.gather import Found
from moebius.batch.item import Item, Record
from moebius.batch.plan import Plan

NAMED = 10
"""Names of a list that are told to people; the rest is counted."""
KEPT_FAILURES = 1000
"""Failures that the summary names; all are in the manifest."""


@dataclass
class Summary:
    """Counts of one run.

    Args:
        clock: seconds, for rates.
    """

    total: int
    """Items to be done in this run."""
    clock: Callable[[], float] = time.perf_counter
    done: int = 0
    failed: int = 0
    warned: int = 0
    """Items with warnings."""
    pixels: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)
    """The first ones: name, kind, message."""

    def __post_init__(self) -> None:
        self._began = self.clock()

    def add(self, record: Record) -> None:
        """Count a record."""
        self.warned += bool(record.warnings)
        if record.status == "done":
            self.done += 1
            self.pixels += record.size[0] * record.size[1] if record.size else 0
            return
        self.failed += 1
        if record.error is not None and len(self.failures) < KEPT_FAILURES:
            self.failures.append({"name": record.name, **record.error})

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return self.clock() - self._began

    @property
    def photos_a_minute(self) -> float:
        seconds = self.seconds
        return 60 * (self.done + self.failed) / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """By the rate so far; None as long as nothing has ended."""
        ended = self.done + self.failed
        return self.seconds / ended * max(0, self.total - ended) if ended else None

    def to_dict(self) -> dict[str, Any]:
        seconds = self.seconds
        return {
            "total": self.total,
            "done": self.done,
            "failed": self.failed,
            "warned": self.warned,
            "seconds": round(seconds, 3),
            "photos_a_minute": round(self.photos_a_minute, 2),
            "megapixels": round(self.pixels / 1e6, 3),
            "failures": self.failures,
        }


def describe_plan(found: Found, plan: Plan) -> dict[str, Any]:
    """Counts and names of a plan, as plain values."""
    return {
        "items": len(found.items),
        "todo": len(plan.todo),
        "finished": len(plan.finished),
        "again": len(plan.again),
        "changed": len(plan.changed),
        "foreign": len(plan.foreign),
        "photos_without_mask": list(found.photos_alone),
        "masks_without_photo": list(found.masks_alone),
        "other_files": found.ignored,
    }


def describe_items(items: Sequence[Item]) -> list[dict[str, Any]]:
    """What each item's files are, as plain values."""
    return [{"photo": each.photo, "mask": each.mask, "output": each.output} for each in items]
