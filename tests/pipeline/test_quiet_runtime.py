"""What runs in the background of a fill: nothing is written outside the output, nothing notes what was done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_fill_leaves_no_trace_but_its_output(tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    output = tmp_path / "clean.jpg"
    photo, mask = EXAMPLES / "rocket.jpg", EXAMPLES / "rocket_mask.png"
    command = [sys.executable, "-m", "moebius", "inpaint", str(photo), str(mask), "-o", str(output)]
    subprocess.run(command, env=environment, check=True, cwd=tmp_path)
    assert output.is_file()
    assert [path for folder in (home, temporary) for path in folder.rglob("*") if path.is_file()] == []
