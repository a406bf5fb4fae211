"""ONNX Runtime, loaded so that it keeps to itself."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any


def load_onnxruntime() -> Any:
    """The module `onnxruntime`, with its telemetry off: nothing leaves the machine, nothing is put into its home.

    From 1.32 on it notes usage in the user's cache folder to send it to its makers, unless told not to before it is
    loaded. Whoever wants that sets ORT_DISABLE_TELEMETRY to 0. A program that has loaded it before has decided already.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return import_module("onnxruntime")
