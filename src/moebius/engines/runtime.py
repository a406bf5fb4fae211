"""ONNX Runtime and OpenVINO, loaded so that they keep to themselves."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from typing import Any

from moebius.errors import DeviceError


def load_onnxruntime() -> Any:
    """The module `onnxruntime`, with its telemetry off: nothing leaves the machine, nothing is put into its home.

    From 1.32 on it notes usage in the user's cache folder to send it to its makers, unless told not to before it is
    loaded. Whoever wants that sets ORT_DISABLE_TELEMETRY to 0. A program that has loaded it before has decided already.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return import_module("onnxruntime")


def load_openvino(purpose: str) -> Any:
    """The module `openvino`.

    Raises:
        DeviceError: it is not installed.
    """
    try:
        return import_module("openvino")
    except ImportError as error:
        raise DeviceError(
            f"{purpose} needs OpenVINO, which is not installed: pip install 'moebius-inpaint[openvino]'"
        ) from error


@cache
def openvino_core() -> Any:
    """OpenVINO's `Core`, one for the process, which is never let go of.

    With the last `Core` its CPU plugin is unloaded, and a process that starts another program after that may crash.
    """
    return import_module("openvino").Core()
