"""A machine without a GPU that records graphs all the same."""

from __future__ import annotations

import pytest

from moebius.engines.captured import Rerun


@pytest.fixture()
def graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs that run the function again over the same memory."""
    monkeypatch.setattr("moebius.engines.torch.recorder_of", lambda device: Rerun())
