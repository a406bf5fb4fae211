"""ONNX graphs as OpenVINO's own files: NAME.xml, and NAME.bin with the weights as they are stored."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from moebius.errors import DeviceError


def require_openvino() -> Any:
    """The module `openvino`.

    Raises:
        DeviceError: it is not installed.
    """
    try:
        return import_module("openvino")
    except ImportError as error:
        raise DeviceError(
            "an export for openvino needs OpenVINO, which is not installed: pip install 'moebius-inpaint[openvino]'"
        ) from error


def to_ir(graph: Path, folder: Path) -> None:
    """Write the .onnx file `graph` into `folder` as .xml and .bin.

    Read by the runtime itself and not by its converter, which reports its use to its makers.
    """
    openvino = require_openvino()
    model = openvino.Core().read_model(graph)
    openvino.save_model(model, folder / f"{graph.stem}.xml", compress_to_fp16=False)
