"""The bundled model through the pipeline that users run, loaded, by the side of the region."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache

from moebius.benchmarks.cases import Case, Entry, Setting, has_torch
from moebius.benchmarks.photos import disc_photo
from moebius.engines import open_engine
from moebius.pipeline import Moebius
from moebius.weights import open_model

SIDES = (256, 384, 512)
"""Of the photo, px, which the region is all of."""


def entries(case: Case, setting: Setting) -> list[Entry]:
    """Each engine that is installed, at each side; the first, ONNX Runtime at 512 px, is the shipped default."""
    found = []
    for engine, dtype in engine_kinds(setting):
        opened = cache(lambda e=engine, d=dtype: _open(e, d, setting))
        for side in reversed(SIDES):
            title = f"{engine} {dtype}, {side} px"
            make = lambda o=opened, s=side: _fill(o(), s)  # noqa: E731
            found.append(Entry(name=f"{engine}-{dtype}-{side}", title=title, make=make))
    return found


def engine_kinds(setting: Setting) -> list[tuple[str, str]]:
    """Engines that are installed and their number formats there, the default one first."""
    kinds = []
    if setting.device == "cpu":
        kinds.append(("onnx", "float32"))
        if importlib.util.find_spec("openvino") is not None:
            kinds += [("openvino", "float32"), ("openvino", "bfloat16")]
    if has_torch():
        kinds += [("torch", "float32"), ("torch", "bfloat16")]
    return kinds


def _open(engine: str, dtype: str, setting: Setting) -> Moebius:
    model = open_model("nano")
    opened = open_engine(
        model.spec, model.path, engine=engine, device=setting.device, dtype=dtype, threads=setting.threads
    )
    return Moebius(model.spec, opened, model_hash=model.hash)


def _fill(model: Moebius, side: int) -> Callable[[], object]:
    photo, mask = disc_photo(side)
    return lambda: model(photo, mask, grow=0, feather=0)
