"""What other programs may rely on, and the shape of the code."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import moebius
from moebius import errors

PACKAGE = Path(__file__).parents[1] / "src" / "moebius"
MODULES = sorted(PACKAGE.rglob("*.py"))
PROGRAMS = ("training", "evaluation", "export")
"""Rooms with a `python -m` of their own, which may set up the process it runs in."""
ROOMS = ("engines", "imaging", "networks", "pipeline", "sampling", "serve", "testing", "weights")
PUBLIC = [("moebius", name) for name in moebius.__all__ if name != "__version__"] + [
    (f"moebius.{room}", name) for room in ROOMS for name in import_module(f"moebius.{room}").__all__
]


def kind_of(name: str) -> int:
    """CONSTANTS come first, then Classes, then the rest."""
    return 0 if name.isupper() else 1 if name[0].isupper() else 2


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("room", ["moebius", *(f"moebius.{room}" for room in ROOMS)])
def test_public_names_are_sorted_and_there(room: str) -> None:
    module = import_module(room)
    assert list(module.__all__) == sorted(module.__all__, key=lambda name: (kind_of(name), name))
    assert set(module.__all__) <= set(dir(module)) and all(hasattr(module, name) for name in module.__all__)


def test_names_of_the_design() -> None:
    names = {"Moebius", "Settings", "Result", "MoebiusUNet", "MoebiusConfig"}
    assert names | {"load_latent_diffusion_pipeline", "preprocess_image_and_mask"} <= set(moebius.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = moebius.nonsense


def test_every_error_is_public() -> None:
    kinds = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert kinds <= set(moebius.__all__)
    assert {kind.exit_code for kind in map(errors.__dict__.get, kinds) if kind} == {1, 2, 3, 4}


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=[f"{m}.{n}" for m, n in PUBLIC])
def test_public_names_are_explained(module: str, name: str) -> None:
    thing: Any = getattr(import_module(module), name)
    if inspect.isclass(thing) or isinstance(thing, FunctionType):
        assert thing.__doc__ and not thing.__doc__.startswith(f"{name}("), "dataclasses make up a docstring"
    if inspect.isclass(thing) and module == "moebius":
        for method, value in vars(thing).items():
            is_code = isinstance(value, FunctionType | classmethod | property)
            if is_code and not method.startswith("_") and method not in ("forward", "to_dict"):
                assert inspect.getdoc(getattr(thing, method)), f"{name}.{method}"


def test_importing_the_package_costs_nothing() -> None:
    code = "import sys, moebius; print({'numpy', 'torch', 'PIL', 'click'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_shape_of_the_code(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "expected a docstring at the top"
    assert len(text.splitlines()) <= 400
    assert path.name not in ("utils.py", "util.py", "helpers.py", "misc.py", "common.py")


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_nothing_is_printed_or_seeded(path: Path) -> None:
    """Logging, not prints; no global generators, flags or filters."""
    room = path.relative_to(PACKAGE).parts[0]
    calls = {
        ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
    }
    if path.name == "testing.py" and "torch.random.fork_rng" in calls:
        calls.discard("torch.manual_seed")  # inside a fork, which puts the state back
    forbidden = {"np.random.seed", "random.seed", "torch.set_default_dtype", "exec", "eval"}
    if room not in PROGRAMS:
        forbidden |= {"print", "torch.manual_seed", "torch.set_num_threads", "warnings.filterwarnings"}
        forbidden |= {"logging.basicConfig", "torch.use_deterministic_algorithms"}
    assert calls & forbidden == set()
