"""The choice of a device, tested in node with runtimes that only pretend."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from core_client import Core
from npm_runtime import node


def test_devices(core: Core) -> None:
    command = [node(), "--test", "--test-reporter=spec", str(Path(__file__).with_name("devices.test.mjs"))]
    environment = {**os.environ, "MOEBIUS_PAGE": str(core.page), "NODE_NO_WARNINGS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"pass 6", done.stdout), done.stdout
