"""The web page: plain HTML, CSS and ES modules, served as they are. `index.html` goes to `/`, the rest to `/page/`."""

from __future__ import annotations

from pathlib import Path

FOLDER: Path = Path(__file__).parent
"""Where the page's files are."""
