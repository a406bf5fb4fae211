"""Put the output of runs into a document, where it says so.

    python scripts/fill_docs.py docs/quality.md RUNS

Whatever stands between `<!-- from: PATH -->` and `<!-- end -->` becomes the contents of RUNS/PATH. A file that is not
there leaves its place as it was, and is named.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

PLACE = re.compile(r"(<!-- from: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("document", type=Path)
    parser.add_argument("runs", type=Path)
    options = parser.parse_args()

    def filled(match: re.Match[str]) -> str:
        path = options.runs / match[2]
        if not path.exists():
            sys.stderr.write(f"{path} is not there: its place stays as it was\n")
            return match[0]
        return f"{match[1]}\n{path.read_text(encoding='utf-8').strip()}\n\n{match[4]}"

    text = options.document.read_text(encoding="utf-8")
    options.document.write_text(PLACE.sub(filled, text), encoding="utf-8")


if __name__ == "__main__":
    main()
