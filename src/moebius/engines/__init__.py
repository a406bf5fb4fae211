"""Engines run a model's networks: ONNX Runtime (base installation), PyTorch or OpenVINO (extras of these names)."""

from moebius.engines.base import Engine
from moebius.engines.lane import Lane
from moebius.engines.select import open_engine

__all__ = ["Engine", "Lane", "open_engine"]
