"""The pipeline: photo and mask in, `Result` out."""

from moebius.pipeline.moebius import Moebius
from moebius.pipeline.result import Progress, Result

__all__ = ["Moebius", "Progress", "Result"]
