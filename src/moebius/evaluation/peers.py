"""Everything that Moebius is compared with, opened by one line of text.

    telea, navier-stokes, biharmonic, patchmatch, push-pull, exemplar     see `classical`
    onnx:PATH[,key=value...]            an inpainter in an ONNX file, see `foreign_onnx`
    diffusers:PATH[,key=value...]       a pipeline of diffusers in a folder, see `foreign_diffusers`
    results:DIR                         pictures that somebody else made, see `foreign_results`

with NAME= before any of them to name it in tables: `lama=onnx:/models/lama.onnx,output=255`.
"""

from __future__ import annotations

import re
from dataclasses import replace

from moebius.errors import InputError
from moebius.evaluation.classical import CLASSICAL, classical
from moebius.evaluation.foreign import ID_CHARACTERS, split_options
from moebius.evaluation.foreign_diffusers import diffusers_method
from moebius.evaluation.foreign_onnx import onnx_method
from moebius.evaluation.foreign_results import check_results, results_method
from moebius.evaluation.methods import Method

__all__ = ["PEERS", "check_results", "diffusers_method", "onnx_method", "open_peer", "results_method"]

PEERS: tuple[str, ...] = tuple(CLASSICAL)
"""What is compared unless something else is asked for, in the order of the tables."""

_NAMED = re.compile(r"([^=:]*)=(.*)", re.DOTALL)
_KINDS = ("onnx:PATH", "diffusers:PATH", "results:DIR")


def open_peer(spec: str) -> Method:
    """Open a method; see the top of this file for what can be asked for.

    Raises:
        InputError: there is no such method, or no such file, or it is not what it should be.
        SettingsError: an option is wrong.
        MoebiusError: a library that it needs is missing.
    """
    named = _NAMED.fullmatch(spec)
    name, rest = named.groups() if named else (None, spec)
    if name is not None and not re.fullmatch(f"[A-Za-z0-9][{ID_CHARACTERS}]*", name):
        raise InputError(f"{spec}: expected a name of letters, digits and -_.,@ before =, got {name!r}")
    method = _open(rest)
    return method if name is None else replace(method, id=name, title=name)


def _open(spec: str) -> Method:
    if spec in CLASSICAL:
        return classical(spec)
    kind, _, rest = spec.partition(":")
    if not rest or kind not in ("onnx", "diffusers", "results"):
        raise InputError(f"expected one of {', '.join((*CLASSICAL, *_KINDS))}, got {spec!r}")
    if kind == "results":
        return results_method(rest)
    path, options = split_options(rest)
    return (onnx_method if kind == "onnx" else diffusers_method)(path, options=options)
