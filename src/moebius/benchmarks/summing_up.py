"""What a run on a GPU says beside what was asked: a page and a plot from its results files.

    python -m moebius.benchmarks.summing_up FOLDER

Reads FOLDER/bench.json and, where it is there, FOLDER/psnr.md; writes FOLDER/bars.md and, where whole pictures were
measured, FOLDER/gpu-pictures.svg; prints a line for every bar. Without results, everything is "not measured".
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from moebius.benchmarks.bars import bars, bars_report
from moebius.benchmarks.plot import shown, svg
from moebius.benchmarks.run import FILE, read
from moebius.imaging.atomic import atomic_file

PLOT = "gpu-pictures.svg"


def sum_up(folder: Path) -> list[str]:
    """Write both; returns the lines to print.

    Raises:
        InputError: bench.json is something else.
    """
    path, beside = folder / FILE, folder / "psnr.md"
    state: dict[str, Any] = read(path) if path.exists() else {"cases": {}}
    psnr = beside.read_text(encoding="utf-8") if beside.exists() else ""
    about = state.get("about", {"size": "full"})
    page = ["No GPU yet."] if "machine" not in about else [f"{about['machine']}, device {about['device']}."]
    if about["size"] != "full":
        page[0] += f" Networks of size {about['size']}: no measure of anything."
    page += ["", bars_report(state, psnr)]
    rows = shown(state)
    if rows:
        size = "512 x 512" if about["size"] == "full" else "toy size"
        title = f"Seconds for one picture of {size}, {about['machine']}"
        _write(folder / PLOT, svg(rows, title))
        page += [f"![{title}](images/{PLOT})", ""]
    _write(folder / "bars.md", "\n".join(page))
    return [
        f"{bar.verdict:12s} {bar.name}: asked {bar.asked}, measured {bar.measured}"
        for bar in bars(state, psnr)
    ]


def _write(path: Path, text: str) -> None:
    with atomic_file(path, overwrite=True) as file:
        file.write(text.encode())


if __name__ == "__main__":
    sys.stdout.write("\n".join(sum_up(Path(sys.argv[1]))) + "\n")
