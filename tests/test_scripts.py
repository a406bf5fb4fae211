"""Scripts that are not part of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_documents_are_filled_where_they_say_so(tmp_path: Path) -> None:
    document = tmp_path / "doc.md"
    document.write_text(
        "a\n<!-- from: x/y.md -->\nold\n<!-- end -->\nb\n<!-- from: none.md -->\nkept\n<!-- end -->\n"
    )
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "y.md").write_text("new \\1\n\n")
    command = [sys.executable, str(ROOT / "scripts" / "fill_docs.py"), str(document), str(tmp_path / "runs")]
    for _ in range(2):  # the second time changes nothing
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert document.read_text() == (
            "a\n<!-- from: x/y.md -->\n\nnew \\1\n\n<!-- end -->\nb\n<!-- from: none.md -->\nkept\n<!-- end -->\n"
        )
        assert done.stderr.count("\n") == 1 and "none.md" in done.stderr
