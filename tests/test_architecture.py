"""Who imports whom: an arrow only ever points to an earlier room (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "moebius"
ROOMS = (
    "_version",
    "errors",
    "settings",
    "processors",
    "imaging",
    "sampling",
    "networks",
    "weights",
    "engines",
    "pipeline",
    "testing",
    "batch",
    "training",
    "evaluation",
    "benchmarks",
    "page",
    "export",
    "serve",
    "integrations",
    "cli",
    "__main__",
)
"""Earlier rooms first. The package's own __init__ hands out names of all of them, and belongs to none."""
ALONE = {"networks": {"networks"}, "errors": set(), "processors": set(), "_version": set()}
"""Rooms that may import less of ours than all that is earlier."""
BASE = {"numpy", "PIL", "onnxruntime", "safetensors", "huggingface_hub", "rich", "click", "certifi"}
"""What the base installation has (certifi: only where it happens to be)."""
NEVER_TORCH = ("_version", "errors", "settings", "processors", "imaging", "sampling", "cli")
HEAVY_INSIDE = {
    "torch", "diffusers", "onnx", "onnxscript", "cv2", "skimage", "torchvision", "transformers",
    "fsspec", "pyarrow", "ray", "fastapi", "starlette", "uvicorn", "prometheus_client", "python_multipart", "openvino",
}  # fmt: skip
"""Not in the base installation: rooms that it needs may import these inside functions only."""
BASE_ROOMS = (*NEVER_TORCH, "weights", "engines", "pipeline", "testing", "batch")
NEEDS_TORCH = {PACKAGE / "engines" / name for name in ("torch.py", "networks.py")} | {
    *(PACKAGE / "engines").glob("fuse*.py")
}
"""Modules of the base's rooms that are themselves imported inside functions only."""

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imported(path: Path, *, everywhere: bool) -> set[str]:
    """Dotted names a module imports: anywhere in it, or only when it is itself imported."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: expected absolute imports"
            assert node.module is not None
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if everywhere or not (inside or is_for_types_only(node)):
            for child in ast.iter_child_nodes(node):
                walk(child)

    walk(ast.parse(path.read_text(encoding="utf-8")))
    return found


def rooms_imported(path: Path) -> set[str]:
    """Rooms of ours that a module imports anywhere, for types too."""
    dotted = [name.split(".") for name in imported(path, everywhere=True)]
    return {parts[1] for parts in dotted if parts[0] == "moebius" and len(parts) > 1}


def programs_imported(path: Path, *, everywhere: bool) -> set[str]:
    """Top-level names that a module imports, ours left out."""
    return {name.split(".")[0] for name in imported(path, everywhere=everywhere)} - {"moebius"}


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_every_module_is_in_a_known_room() -> None:
    assert {room_of(path) for path in MODULES} <= set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_arrows_point_to_earlier_rooms(path: Path) -> None:
    room = room_of(path)
    allowed = ALONE.get(room, {*ROOMS[: ROOMS.index(room) + 1], "__version__"})
    assert rooms_imported(path) <= allowed


def test_nothing_imports_the_command_line() -> None:
    outside = [path for path in MODULES if room_of(path) not in ("cli", "__main__")]
    assert [named(path) for path in outside if "cli" in rooms_imported(path)] == []


@pytest.mark.parametrize("room", NEVER_TORCH)
def test_rooms_that_never_import_torch(room: str) -> None:
    for path in (path for path in MODULES if room_of(path) == room):
        found = programs_imported(path, everywhere=True) & HEAVY_INSIDE
        if named(path) == "cli/doctor.py":  # tells what torch sees
            found -= {"torch"}
        assert found == set(), named(path)


@pytest.mark.parametrize("room", ["imaging", "sampling", "networks"])
def test_rooms_that_are_frugal(room: str) -> None:
    """numpy and Pillow for pictures, numpy for sampling, torch for networks; the metric reads its own weights."""
    allowed = {"imaging": {"numpy", "PIL"}, "sampling": {"numpy"}, "networks": {"torch", "safetensors"}}[room]
    known = BASE | HEAVY_INSIDE
    for path in (path for path in MODULES if room_of(path) == room):
        own = {"diffusers"} if named(path) == "networks/teacher.py" else set()  # whose U-net the teacher is
        assert programs_imported(path, everywhere=True) & known <= allowed | own, named(path)


def test_the_base_installation_imports_only_what_it_has() -> None:
    for path in MODULES:
        if room_of(path) in BASE_ROOMS and path not in NEEDS_TORCH:
            assert programs_imported(path, everywhere=False) & HEAVY_INSIDE == set(), named(path)


def test_only_training_knows_the_teacher() -> None:
    for path in (path for path in MODULES if room_of(path) not in ("networks", "training")):
        assert not any("teacher" in name.lower() for name in imported(path, everywhere=True)), named(path)


def test_the_command_line_begins_light() -> None:
    """`moebius --help` is quick because nothing but click is imported for it."""
    for path in (PACKAGE / "cli").glob("*.py"):
        assert programs_imported(path, everywhere=False) & (BASE - {"click"}) == set(), named(path)


def test_the_test_can_fail(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("import torch.nn\ndef f():\n    from moebius.cli import main\n")
    assert programs_imported(module, everywhere=False) == {"torch"}
    assert rooms_imported(module) == {"cli"}
