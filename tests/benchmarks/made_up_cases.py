"""Cases that take no time, for runs in tests and in the process that one of them kills."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moebius.benchmarks import rounds, run
from moebius.benchmarks.cases import Case, Entry, Setting, computed
from moebius.errors import DeviceError

NAMES = ("slow", "quick", "broken")


class MadeUp(Case):
    """A case of three variants, one of which cannot be built."""

    def open(self, setting: Setting) -> list[Entry]:
        def broken() -> Callable[[], object]:
            raise DeviceError("needs\nanother machine")

        return [
            Entry(
                name="slow",
                title="the slow one",
                make=lambda: lambda: sum(range(2000)),
                count=lambda: (4000, 8),
            ),
            Entry(name="quick", title="the quick one", make=lambda: lambda: None, note="It does nothing"),
            Entry(name="broken", title="the broken one", make=broken),
            *self.sums(),
        ]

    def sums(self) -> list[Entry]:
        """Variants that are computed, of case two alone; one of them of a part that cannot be built."""
        if self.name != "two":
            return []
        return [
            computed("sum", "the sum", {"slow": 2, "quick": 0.5}, 1),
            computed("hopeless", "the hopeless sum", {"slow": 1, "broken": 1}, 1),
        ]


def use(patch: Any) -> None:
    """Only these cases, with next to no burn-in."""
    made = [
        MadeUp(name=name, title=f"case {name}", module="none", needs_torch=False) for name in ("one", "two")
    ]
    patch(run, "choose", lambda names, setting: [case for case in made if not names or case.name in names])
    patch(rounds, "SHORTEST", 1e-4)


def tell(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    use(setattr)
    plan = run.Plan(out=Path(sys.argv[1]), rounds=int(sys.argv[2]), setting=Setting(size="tiny"))
    run.run(plan, tell)
