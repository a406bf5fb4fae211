"""Progress of downloads and conversions: a bar for a person at a terminal, silence for everything else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str, int, "int | None"], None]
"""What is being done, and how many bytes of how many (None where nobody knows) are done."""


@contextmanager
def transfer_bar() -> Iterator[Report | None]:
    """A `progress` argument for `open_model` and `pull`; None when nobody is watching standard error."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as SpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        SpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        current = ""

        def report(what: str, done: int, total: int | None) -> None:
            nonlocal task, current
            if what != current:
                bar.remove_task(task)
                task, current = bar.add_task(what, total=total), what
            bar.update(task, completed=done, total=total)

        yield report
