"""The page's core in node, called from Python."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Call = tuple[str, str, Sequence[Any]]
"""File of the page ("core/noise.js"), name of a function, arguments."""


class Core:
    """Functions of the page's modules, run in node."""

    def __init__(self, program: str, page: Path):
        self._program, self.page = program, page

    def __call__(self, file: str, name: str, *arguments: Any) -> Any:
        """What one function gives back."""
        return self.all([(file, name, arguments)])[0]

    def all(self, calls: Sequence[Call]) -> list[Any]:
        """What many give back, in one process. Raises RuntimeError with the message of the first that throws."""
        given = [
            {"file": file, "name": name, "args": [_told(each) for each in args]} for file, name, args in calls
        ]
        script = Path(__file__).with_name("core_calls.mjs")
        done = subprocess.run(
            [self._program, str(script)],
            input=json.dumps(given), env={**os.environ, "MOEBIUS_PAGE": str(self.page), "NODE_NO_WARNINGS": "1"},
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        answers = json.loads(done.stdout, object_hook=_read)
        for answer in answers:
            if "error" in answer:
                raise RuntimeError(answer["error"])
        return [answer["value"] for answer in answers]


def _told(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.astype(np.uint8) if value.dtype == bool else value
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"$": value.dtype.str[1:], "data": data}
    if isinstance(value, dict):
        return {name: _told(each) for name, each in value.items()}
    return {"$": "big", "data": str(value)} if isinstance(value, int) and abs(value) > 2**53 else value


def _read(value: dict[str, Any]) -> Any:
    if "$" not in value:
        return value
    if value["$"] == "big":
        return int(value["data"])
    return np.frombuffer(base64.b64decode(value["data"]), dtype=f"<{value['$']}")


def as_mask(mask: Any) -> dict[str, Any]:
    """(H, W) bool as the page's Mask."""
    return {"width": mask.shape[1], "height": mask.shape[0], "data": mask}


def as_image(image: Any) -> dict[str, Any]:
    """(H, W, 3) as the page's FloatImage."""
    return {"width": image.shape[1], "height": image.shape[0], "data": image.astype(np.float32)}


def as_box(box: Any) -> dict[str, int]:
    return {"left": box.left, "top": box.top, "right": box.right, "bottom": box.bottom}


def as_array(value: dict[str, Any]) -> Any:
    """The page's Mask or FloatImage as (H, W) bool or (H, W, 3)."""
    shape = (value["height"], value["width"])
    return (
        value["data"].reshape(shape) != 0
        if value["data"].dtype == np.uint8
        else value["data"].reshape(*shape, 3)
    )
