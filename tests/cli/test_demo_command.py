"""`moebius demo` where it cannot start. Where it can: tests/integrations/test_gradio_app.py."""

from __future__ import annotations

from program import PROGRAM, in_a_process

NO_GRADIO = f"""
import sys
sys.modules["gradio"] = None  # importing it fails, as if it were not installed
{PROGRAM}
"""


def test_without_gradio() -> None:
    done = in_a_process(NO_GRADIO, "demo", "--no-browser")
    assert (done.code, done.out) == (1, b"")
    assert done.err == "moebius: error: moebius demo needs gradio: pip install 'moebius-inpaint[demo]'\n"
