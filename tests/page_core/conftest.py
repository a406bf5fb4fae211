"""The page's core in node, called from Python."""

from __future__ import annotations

import shutil

import pytest
from core_client import Core
from npm_runtime import node

from moebius.page import FOLDER

PNG_CALLS = """
import { decodePng, readChunks } from "./png_read.js";
export const decode = (bytes) => decodePng(readChunks(bytes));
"""
"""What has to happen inside node: a Map does not travel."""


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> Core:
    copy = tmp_path_factory.mktemp("core") / "page"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__", "examples"))
    (copy / "package.json").write_text('{"type": "module"}')  # node's word for files that end in .js
    (copy / "core" / "png_calls.js").write_text(PNG_CALLS)
    return Core(node(), copy)
