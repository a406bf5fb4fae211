"""ONNX graphs as OpenVINO's own files: NAME.xml, and NAME.bin with the weights as they are stored."""

from __future__ import annotations

from pathlib import Path

from moebius.engines.runtime import load_openvino, openvino_core


def require_openvino() -> None:
    """Check that OpenVINO is there.

    Raises:
        DeviceError: it is not installed.
    """
    load_openvino("an export for openvino")


def to_ir(graph: Path, folder: Path) -> None:
    """Write the .onnx file `graph` into `folder` as .xml and .bin.

    Read by the runtime itself and not by its converter, which reports its use to its makers.
    """
    openvino = load_openvino("an export for openvino")
    model = openvino_core().read_model(graph)
    openvino.save_model(model, folder / f"{graph.stem}.xml", compress_to_fp16=False)
