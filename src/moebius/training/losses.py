"""The plain losses: each a mean over every element, float32, a scalar. Moebius paper, section 3.3.

The paper writes squared L2 norms; like the release these are means, which gradient-norm weights do not notice.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from moebius.errors import SettingsError


def coarse_loss(ours: Tensor, taught: Tensor) -> Tensor:
    """Mean squared difference of a student's and a teacher's feature maps, both (B, C, h, w).

    Raises:
        SettingsError: their shapes differ: these two taps cannot be compared, there is no projection between them.
    """
    return _mean_square(ours, taught, "student_tap and teacher_tap: expected features of one shape")


def output_loss(ours: Tensor, taught: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared difference of a student's and a teacher's predictions, both (B, c, h, w), weighted as `task_loss`.

    Raises:
        SettingsError: shapes do not fit.
    """
    return _mean_square(ours, taught, "teacher: expected predictions of one shape", weight)


def task_loss(predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared error of a prediction (B, c, h, w); with `weight` (B, 1, h, w), not below 0, its weighted mean.

    Raises:
        SettingsError: shapes do not fit.
    """
    return _mean_square(predicted, target, "target: expected the prediction's shape", weight)


def _mean_square(a: Tensor, b: Tensor, expected: str, weight: Tensor | None = None) -> Tensor:
    if a.shape != b.shape:
        raise SettingsError(f"{expected}, got {tuple(a.shape)} and {tuple(b.shape)}")
    if a.dtype.itemsize < 4:
        a = a.float()
    square = F.mse_loss(a, b.to(a.dtype), reduction="none")
    if weight is None:
        return square.mean()
    if weight.shape != (square.shape[0], 1, *square.shape[2:]):
        wanted = (square.shape[0], 1, *square.shape[2:])
        raise SettingsError(f"weight: expected shape {wanted}, got {tuple(weight.shape)}")
    return (weight * square).sum() / (weight.sum() * square.shape[1]).clamp_min(1e-12)
