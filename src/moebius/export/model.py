"""A model as a folder of graphs: `moebius export onnx` and `moebius export openvino`.

    encoder, denoiser (or denoiser-64x64 ... for fixed sizes), decoder     .onnx, or .xml and .bin
    weights.safetensors                                                    their tensors (ONNX)
    loop                                                                   a whole fill as one graph, if asked for
    model.json                                                             registry entry and checksums
    export.json                                                            what was done, and the parity report

The folder is a model folder: `Moebius.from_pretrained(folder)` runs it without torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import onnx
import torch
from torch import nn

from moebius._version import __version__
from moebius.engines.networks import load_autoencoder, load_denoiser
from moebius.errors import SettingsError
from moebius.export.deployed import deployed
from moebius.export.folder import check_target, new_folder
from moebius.export.ir import require_openvino, to_ir
from moebius.export.loop import whole_fill
from moebius.export.parity import Parity, measure, references
from moebius.export.rounding import Choice, choose_int8
from moebius.export.storage import Store, digests
from moebius.export.trace import DecoderGraph, DenoiserGraph, EncoderGraph, Sizes, examples, trace
from moebius.networks import NanoAutoencoder
from moebius.pipeline import Moebius
from moebius.weights import ModelFolder, ModelSpec, open_model, seal
from moebius.weights.cache import WEIGHTS_FILE
from moebius.weights.spec import Exported, GraphRuntime, Storage

REPORT_FILE = "export.json"
MEASURED_AT = 4
"""Latent side, in units of the network's multiple, at which rounding is measured: there are hundreds of calls."""


@dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """What was written."""

    path: Path
    spec: ModelSpec
    bytes: dict[str, int]
    """Of each file."""
    stored: dict[str, int]
    """Bytes of the tensors of the denoiser and of the autoencoder."""
    float16: dict[str, float]
    """Tensors that int8 would have cost too much -> relative error of the output when they alone are rounded."""
    predicted: dict[str, float]
    """Relative error of each network's output that rounding was predicted to cost; empty unless int8."""
    parity: Parity

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        values = asdict(self)
        return {
            **values,
            "path": str(self.path),
            "spec": self.spec.name,
            "exported": asdict(self.spec)["exported"],
        }


def export_model(
    target: Path,
    *,
    model: str | Path,
    runtime: GraphRuntime = "onnx",
    dtype: Storage = "float16",
    sizes: Sequence[int] = (),
    graph: Literal["parts", "loop"] = "parts",
    steps: int | None = None,
    guidance: float | None = None,
    overwrite: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> ExportedModel:
    """Write the folder: all of it appears at once, or nothing.

    Args:
        target: folder to write; absent or empty, unless `overwrite`.
        model: a model's name or folder.
        runtime: "openvino" writes OpenVINO's own files.
        dtype: how weights are stored; all are computed with in float32. int8 is chosen tensor by tensor.
        sizes: sides of squares, px, for each of which the denoiser gets a graph of its own, with constant tables; the
            first is the folder's native size. None: one graph for any size.
        graph: "loop" adds the graph of a whole fill.
        steps: of that graph, and the folder's default; the model's own by default.
        guidance: of that graph, and the folder's default. With 1 the opposite is left out.
        tell: told what is being done.

    Raises:
        OutputError: the folder is not empty, holds something else than a model, or cannot be written.
        SettingsError: a size, steps or guidance that the model does not take.
        DeviceError, WeightsError: the model, OpenVINO or diffusers is not to be had.
    """
    check_target(target, overwrite)
    if runtime == "openvino":
        require_openvino()
    folder = open_model(model)
    if folder.spec.exported is not None:
        raise SettingsError(f"{folder.path}: expected a model with networks, got an export")
    tell("reading the networks")
    denoiser, autoencoder = load_denoiser(folder), load_autoencoder(folder)
    multiple = int(denoiser.config.multiple)
    spec = _spec(folder, sizes, steps, guidance, multiple)
    shapes = tuple((side // spec.latent_factor,) * 2 for side in sizes)
    made = Exported(
        runtime=runtime,
        dtype=dtype,
        source=folder.hash,
        shapes=shapes,
        steps=spec.defaults.steps if graph == "loop" else 0,
    )
    spec = replace(spec, exported=made)
    reference = references(spec, denoiser, autoencoder)
    compared = shapes or tuple((side // spec.latent_factor,) * 2 for side in (spec.size, *spec.cascade))

    with new_folder(target, overwrite) as partial:
        written = _Writer(partial, spec, multiple, tell)
        written.add(deployed(denoiser, guided=spec.guidance_trained), autoencoder.network)
        if graph == "loop":
            written.add_loop()
        choices = written.choices
        stored = written.write()
        del written  # a second copy of all weights, while the comparison needs memory
        if runtime == "openvino":
            tell("writing OpenVINO's files")
            _convert(partial)
        card = folder.path / "README.md"
        if card.is_file():
            (partial / card.name).write_bytes(card.read_bytes())
        tell("comparing with the plain network")
        parity = measure(spec, reference, spec, partial, compared)
        result = ExportedModel(
            path=target,
            spec=spec,
            bytes={path.name: path.stat().st_size for path in sorted(partial.iterdir())},
            stored=stored,
            float16={name: error for choice in choices.values() for name, error in choice.kept.items()},
            predicted={part: choice.predicted for part, choice in choices.items()},
            parity=parity,
        )
        versions = {"moebius": __version__, "torch": torch.__version__, "onnx": onnx.__version__}
        report = json.dumps({**result.to_dict(), "path": target.name, "versions": versions}, indent=1)
        (partial / REPORT_FILE).write_text(report + "\n", encoding="utf-8")
        seal(partial, spec)
    return result


def _spec(
    folder: ModelFolder, sizes: Sequence[int], steps: int | None, guidance: float | None, multiple: int
) -> ModelSpec:
    """The registry entry of the export, with every choice checked."""
    spec = folder.spec
    if guidance is not None and guidance != 1.0 and not spec.guidance_trained:
        raise SettingsError(f"guidance: model {spec.name} was trained without, expected 1, got {guidance:g}")
    unit = spec.latent_factor * multiple
    for side in sizes:
        if side < unit or side % unit:
            raise SettingsError(f"size: expected a multiple of {unit}, got {side}")
    if len(set(sizes)) < len(sizes):
        raise SettingsError(f"size: expected each once, got {', '.join(map(str, sizes))}")
    try:
        defaults = replace(
            spec.defaults,
            steps=spec.defaults.steps if steps is None else steps,
            guidance=spec.defaults.guidance if guidance is None else guidance,
        )
    except ValueError as error:
        raise SettingsError(str(error)) from error
    spec = replace(
        spec, defaults=defaults, guidance_trained=spec.guidance_trained and guidance != 1.0, files={}
    )
    if not sizes:
        return spec
    cascade = tuple(side for side in spec.cascade if side in sizes and side < sizes[0])
    others = tuple(side for side in sizes[1:] if side not in cascade)
    return replace(spec, size=sizes[0], sizes=others, cascade=cascade, aspects=())


class _Writer:
    """Traces the networks and hands their tensors to a `Store`."""

    def __init__(self, folder: Path, spec: ModelSpec, multiple: int, tell: Callable[[str], None]):
        assert spec.exported is not None
        self._spec, self._made, self._multiple, self._tell = spec, spec.exported, multiple, tell
        self._store = Store(folder / WEIGHTS_FILE, self._form)
        self._graphs: dict[str, onnx.ModelProto] = {}
        self._rounded: set[str] = set()
        self.choices: dict[str, Choice] = {}

    def add(self, denoiser: nn.Module, autoencoder: nn.Module) -> None:
        self._part("denoiser", DenoiserGraph(denoiser), self._made.denoisers, self._made.shapes)
        first = self._made.shapes[:1]
        self._part("encoder", EncoderGraph(autoencoder), ("encoder",), first)
        self._part("decoder", DecoderGraph(autoencoder), ("decoder",), first)

    def add_loop(self) -> None:
        self._tell("putting the whole fill together")
        defaults = self._spec.defaults
        model = Moebius(self._spec, None, model_hash="")  # type: ignore[arg-type]  # for its plan alone
        plan = model.plan(model.complete())
        parts = {"encoder": "encoder", "denoiser": self._made.denoisers[0], "decoder": "decoder"}
        graphs = {kind: self._graphs[name] for kind, name in parts.items()}
        self._graphs["loop"] = whole_fill(self._spec, graphs, plan, defaults.guidance)

    def write(self) -> dict[str, int]:
        """Bytes of tensors by part."""
        self._tell("writing weights")
        self._store.write(self._graphs)
        return self._store.bytes

    def _part(
        self, kind: str, module: nn.Module, names: Sequence[str], shapes: Sequence[tuple[int, int]]
    ) -> None:
        module = module.eval().requires_grad_(False)
        # Plain convolutions fit any size; an encoder's attention is better off knowing its own.
        any_size = isinstance(getattr(module, "autoencoder", None), NanoAutoencoder)
        if self._made.dtype == "int8":
            self._tell(f"measuring what rounding costs the {kind}")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                side = MEASURED_AT * self._multiple
                inputs = [examples(kind, self._sizes((side, side)), batch=1)]
            self.choices[kind] = choose_int8(module, inputs)
            self._rounded |= self.choices[kind].rounded
        parameters = digests(module)
        for name, shape in zip(names, shapes or (None,), strict=True):
            self._tell(f"tracing the {name}")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = trace(kind, module, self._sizes(None if any_size else shape), optimize=True)
            self._store.take(model, parameters, "denoiser" if kind == "denoiser" else "autoencoder")
            self._graphs[name] = model

    def _sizes(self, shape: tuple[int, int] | None) -> Sizes:
        spec = self._spec
        return Sizes(spec.latent_channels, spec.tokens, self._multiple, spec.latent_factor, shape)

    def _form(self, name: str) -> Storage:
        if self._made.dtype != "int8":
            return self._made.dtype
        return "int8" if name in self._rounded else "float16"


def _convert(folder: Path) -> None:
    """Replace ONNX graphs and their weights by OpenVINO's files."""
    graphs = sorted(folder.glob("*.onnx"))
    for graph in graphs:
        to_ir(graph, folder)
    for path in (*graphs, folder / WEIGHTS_FILE):
        path.unlink()
