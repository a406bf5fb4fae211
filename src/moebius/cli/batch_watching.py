"""Watching a batch: the bar, failures as they happen, Ctrl-C, and the last line."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from moebius.batch import Record
    from moebius.batch.local import LocalRun
    from moebius.batch.summary import Summary


def watch(records: Iterator[Record], summary: Summary, fail_fast: bool) -> None:
    """Count records as they come, with a bar for a person at a terminal."""
    with _bar(summary) as update:
        for record in records:
            summary.add(record)
            update()
            if record.error is not None:
                _tell_failure(record, summary.failed)
                if fail_fast:
                    return


def _tell_failure(record: Record, number: int) -> None:
    from moebius.batch.files import shown
    from moebius.batch.summary import NAMED

    assert record.error is not None
    if number <= NAMED:
        click.echo(f"moebius: failed: {shown(record.name)}: {record.error['message']}", err=True)
    elif number == NAMED + 1:
        click.echo("moebius: failed: and more, all of them in the manifest", err=True)


def tell(report: dict[str, Any], as_json: bool) -> None:
    """What the run came to, on standard output."""
    if as_json:
        click.echo(json.dumps(report))
        return
    counts = [f"{report['done']} filled"]
    counts += [f"{report[name]} {label}" for name, label in (
        ("failed", "failed"), ("finished", "finished before"), ("done_elsewhere", "by another process"),
        ("warned", "with warnings"),
    ) if report[name]]  # fmt: skip
    speed = f"{report['seconds']:.1f} s, {report['photos_a_minute']:.1f} photos a minute"
    busy = f", network busy {report['network_busy']:.0%}" if "network_busy" in report else ""
    click.echo(f"{', '.join(counts)}; {speed}{busy}")


@contextmanager
def _bar(summary: Summary) -> Iterator[Callable[[], None]]:
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("filling"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=summary.total)

        def update() -> None:
            failures = f", {summary.failed} failed" if summary.failed else ""
            told = f"{summary.photos_a_minute:.1f} photos a minute{failures}"
            bar.update(task, completed=summary.done + summary.failed, description=told)

        yield update


@contextmanager
def interruptible(run: LocalRun) -> Iterator[None]:
    """Ctrl-C ends the run softly; the second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: object) -> None:
        run.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def quiet_items() -> Iterator[None]:
    """Warnings about single photos go to the manifest, not to the terminal."""
    from moebius.batch.local import THREAD_NAME

    def is_of_the_run(record: logging.LogRecord) -> bool:
        return not str(record.threadName).startswith(THREAD_NAME)

    handlers = list(logging.getLogger("moebius").handlers)
    for handler in handlers:
        handler.addFilter(is_of_the_run)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_of_the_run)


def listed(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    from moebius.batch.files import shown
    from moebius.batch.summary import NAMED

    named = list(names)
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return ", ".join(shown(name) for name in named[:NAMED]) + more
