"""Processes that tests start: waited for by what they do, and gone when their block ends, however it ends."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

PATIENCE = 120.0
"""Seconds for something to happen that has to, on a machine that has much else to do; nothing takes nearly so long."""


@contextlib.contextmanager
def child(arguments: Sequence[object], **how: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process that is killed, if it still runs, and reaped at the end of the block.

    Args:
        how: what else `subprocess.Popen` takes.
    """
    with subprocess.Popen([str(each) for each in arguments], **how) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(
    condition: Callable[[], Any],
    what: str,
    child: subprocess.Popen[Any] | None = None,
    said: Callable[[], str] = str,
) -> Any:
    """The condition's first value that is true.

    Args:
        what: what is waited for, for the error.
        child: the process that is to bring it about; when it has ended, nothing more is waited for.
        said: what the process has said, for the error.
    """
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        ended = child is not None and child.poll() is not None
        if value := condition():
            return value
        assert not ended, f"ended before: {what}\n{said()}"
        time.sleep(0.005)
    raise AssertionError(f"waited in vain: {what}\n{said()}")
