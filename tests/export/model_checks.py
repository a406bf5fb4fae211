"""`moebius export onnx|openvino`: a folder of graphs that is a model, and answers as the plain network does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from click.testing import CliRunner
from made_photos import picture
from random_models import DENOISER
from safetensors.torch import load_file

from moebius import Moebius
from moebius.cli import moebius
from moebius.engines import open_engine
from moebius.engines.openvino import OpenVinoEngine, cut_time
from moebius.engines.runtime import openvino_core
from moebius.errors import CorruptWeightsError, DeviceError, OutputError, SettingsError
from moebius.export.folder import new_folder
from moebius.export.model import export_model
from moebius.export.trace import too_many_dimensions
from moebius.networks import MoebiusConfig
from moebius.pipeline.region import LatentFill
from moebius.sampling import normal
from moebius.testing import LIKE_PUBLISHED, save_tiny_model
from moebius.weights import ModelSpec, open_folder, save_folder
from moebius.weights.adapter import from_official
from moebius.weights.download import add_vae
from moebius.weights.registry import PUBLISHED_DENOISER

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the exporter's own deprecations
]

SIZES = replace(DENOISER, layers=1, channels=(16, 32))
SPEC = replace(LIKE_PUBLISHED, denoiser=SIZES.to_dict())
STUDENT = Path(__file__).parent.parent / "data" / "student"
GOLDEN = MoebiusConfig(
    latent_size=16, channels=(32, 64, 96), category_channels=48, context_channels=40, norm_groups=16
)
VAE = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [8] * 4,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 4,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(SPEC, tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By the command, with rounded weights, for any size, with the graph of two whole steps."""
    out = tmp_path_factory.mktemp("exported") / "model"
    words = [
        "export",
        "onnx",
        str(out),
        "--model",
        str(trained),
        "--dtype",
        "int8",
        "--graph",
        "loop",
        "--steps",
        "2",
    ]
    done = CliRunner().invoke(moebius, [*words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["parity"]["rows"]
    return out


def all_graphs(folder: Path) -> Iterator[tuple[str, onnx.ModelProto]]:
    for path in sorted(folder.glob("*.onnx")):
        yield path.name, onnx.load(path, load_external_data=False)


def test_report(exported: Path) -> None:
    report = json.loads((exported / "export.json").read_text())
    rows = {row["what"]: row for row in report["parity"]["rows"]}
    assert set(rows) == {"encoder", "decoder", "denoiser 8 x 8", "denoiser 8 x 8, guidance 2"}
    assert max(row["relative"] for row in rows.values()) < 0.03
    assert rows["denoiser 8 x 8"]["relative"] < 2 * report["predicted"]["denoiser"] + 0.002
    assert report["parity"]["psnr"] is None or report["parity"]["psnr"] > 40
    assert report["exported"]["dtype"] == "int8" and report["exported"]["steps"] == 2


def test_weights_are_rounded_and_stand_outside(exported: Path, trained: Path) -> None:
    stored = load_file(exported / "weights.safetensors")
    rounded = [name for name, tensor in stored.items() if tensor.dtype is torch.int8]
    assert len(rounded) >= 5 and all(f"{name}.scale" in stored for name in rounded)
    assert not any("embedding" in name for name in rounded)
    assert (exported / "weights.safetensors").stat().st_size < 0.5 * (
        trained / "weights.safetensors"
    ).stat().st_size
    for name, graph in all_graphs(exported):
        inside = sum(
            len(t.raw_data) for t in graph.graph.initializer if t.data_type == onnx.TensorProto.FLOAT
        )
        assert inside < 8192, name  # biases of tiny layers


def test_no_graph_has_too_many_dimensions(exported: Path) -> None:
    graphs = dict(all_graphs(exported))
    assert set(graphs) == {"encoder.onnx", "denoiser.onnx", "decoder.onnx", "loop.onnx"}
    for name, graph in graphs.items():
        assert too_many_dimensions(graph) == [], name


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 8, 8), (3, 4, 10)])
def test_any_size(exported: Path, trained: Path, batch: int, height: int, width: int) -> None:
    spec = open_folder(exported).spec
    values = [normal((batch, 4, height, width), seed=1, key=key) for key in ("noisy", "condition")]
    mask = (normal((batch, 1, height, width), seed=1, key="mask") > 0).astype(np.float32)
    plain = open_engine(open_folder(trained).spec, trained, engine="torch")
    expected, got = (
        engine.numpy(
            engine.predict(engine.array(values[0]), 500, engine.array(mask), engine.array(values[1]), 2.0)
        )
        for engine in (plain, open_engine(spec, exported))
    )
    assert np.linalg.norm(got - expected) < 0.05 * np.linalg.norm(expected)
    other = open_engine(spec, exported, engine="openvino").predict(values[0], 500, mask, values[1], 2.0)
    assert np.linalg.norm(other - got) < 1e-4 * np.linalg.norm(got)


def test_the_whole_fill_is_what_the_engine_does(exported: Path) -> None:
    """The graph against encode, the loop and decode by the same folder's other graphs, for two rows of another size."""
    model = Moebius.from_pretrained(exported)
    image = np.tanh(normal((2, 3, 64, 96), seed=2, key="image"))
    noise = np.concatenate([normal((1, 4, 8, 12), seed=0, key=key) for key in "ab"])
    mask = np.zeros((2, 1, 8, 12), np.float32)
    mask[:, :, 2:6, 3:9] = 1
    (got,) = ort.InferenceSession(str(exported / "loop.onnx")).run(
        None, {"image": image, "mask": mask, "noise": noise}
    )
    condition = model.engine.encode(image)
    fill = LatentFill(
        engine=model.engine, spec=model.spec, plan=model.plan(model.complete()), start="masked",
        guidance=model.spec.defaults.guidance, seed=0, keys="ab", condition=condition, mask=mask, known=condition,
    )  # fmt: skip
    assert len(list(fill.steps())) == 2
    expected = model.engine.decode(fill.latents())
    assert np.abs(got - expected).max() < 1e-3 * np.abs(expected).max()


def test_it_fills_without_torch(exported: Path, tmp_path: Path) -> None:
    photo, mask = picture(80, 80), np.zeros((80, 80), bool)
    mask[20:40, 24:44] = True
    np.save(tmp_path / "photo.npy", photo)
    np.save(tmp_path / "mask.npy", mask)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np, moebius\n"
        "photo, mask = np.load(sys.argv[2]), np.load(sys.argv[3])\n"
        "result = moebius.Moebius.from_pretrained(sys.argv[1])(photo, mask, seed=3)\n"
        "np.save(sys.argv[4], result.photo.pixels); print(result.engine)"
    )
    paths = [str(exported), *(str(tmp_path / f"{name}.npy") for name in ("photo", "mask", "out"))]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "onnx"
    here = Moebius.from_pretrained(exported)(photo, mask, seed=3).photo.pixels
    assert np.abs(np.load(tmp_path / "out.npy").astype(int) - here).max() <= 1  # another number of threads


def test_processes_can_share_the_weights(exported: Path) -> None:
    """Weights left where they are mapped answer the same, in their last bits or so."""
    from moebius.engines.onnx import OnnxEngine

    spec = open_folder(exported).spec
    image = np.tanh(normal((1, 3, 64, 64), seed=2, key="image"))
    packed, shared = (OnnxEngine(spec, exported, shared=shared).encode(image) for shared in (False, True))
    np.testing.assert_allclose(shared, packed, atol=1e-4)


def test_time_is_computed_apart(exported: Path) -> None:
    time, rest = cut_time(openvino_core().read_model(exported / "denoiser.onnx"))
    names = [name for port in rest.inputs for name in port.get_names()]
    assert "timestep" not in names and {"noisy", "mask", "condition"} <= set(names) and "time0" in names
    kinds = {op.get_type_name() for op in time.get_ops()}
    assert {"Sin", "Cos"} <= kinds
    assert not {"Sin", "Cos"} & {op.get_type_name() for op in rest.get_ops()}


def test_what_cannot_be_done_is_told(exported: Path, trained: Path, tmp_path: Path) -> None:
    spec = open_folder(exported).spec
    with pytest.raises(DeviceError, match="holds graphs for onnx alone, got engine 'torch'"):
        open_engine(spec, exported, engine="torch")
    with pytest.raises(DeviceError, match="the openvino engine runs on cpu"):
        open_engine(spec, exported, engine="openvino", device="cuda")
    with pytest.raises(DeviceError, match="float32 or bfloat16, got 'float16'"):
        open_engine(spec, exported, engine="openvino", dtype="float16")
    with pytest.raises(DeviceError, match=r"no encoder\.xml or encoder\.onnx"):
        open_engine(open_folder(trained).spec, trained, engine="openvino")
    with pytest.raises(OutputError, match="expected a new or empty folder"):
        export_model(exported, model=trained)
    with pytest.raises(SettingsError, match="expected a model with networks, got an export"):
        export_model(tmp_path / "again", model=exported)
    with pytest.raises(SettingsError, match="size: expected a multiple of 16, got 100"):
        export_model(tmp_path / "size", model=trained, sizes=[100])
    with pytest.raises(SettingsError, match="steps"):
        export_model(tmp_path / "steps", model=trained, steps=0)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "holiday.txt").write_text("mine")
    with pytest.raises(OutputError, match="expected an earlier model folder to replace"):
        export_model(tmp_path / "full", model=trained, overwrite=True)
    assert (tmp_path / "full" / "holiday.txt").read_text() == "mine"


def test_nothing_half_written(tmp_path: Path) -> None:
    def write(context: AbstractContextManager[Path]) -> None:
        with context as folder:
            (folder / "model.json").write_text("new")
            raise ValueError

    target = tmp_path / "model"
    with pytest.raises(ValueError):
        write(new_folder(target, False))
    assert list(tmp_path.iterdir()) == []
    target.mkdir()
    (target / "model.json").write_text("old")
    with pytest.raises(ValueError):
        write(new_folder(target, True))
    assert (target / "model.json").read_text() == "old" and list(tmp_path.iterdir()) == [target]
    with new_folder(target, True) as folder:
        (folder / "model.json").write_text("new")
    assert (target / "model.json").read_text() == "new" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("damage", ["weights.safetensors", "denoiser.onnx"])
def test_damage_is_found(exported: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    content = bytearray((folder / damage).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (folder / damage).write_bytes(content)
    with pytest.raises(CorruptWeightsError, match=damage):
        open_folder(folder)
    (folder / damage).unlink()
    with pytest.raises(CorruptWeightsError, match=damage):
        open_folder(folder)


def published_like(folder: Path) -> ModelSpec:
    """A published model of golden weights, with a tiny published VAE."""
    from diffusers import AutoencoderKL

    official = load_file(STUDENT / "golden_public_tiny.weights.safetensors")
    spec = replace(
        LIKE_PUBLISHED,
        denoiser={**PUBLISHED_DENOISER, **GOLDEN.to_dict()},
        autoencoder=None,
        size=128,
        defaults=replace(LIKE_PUBLISHED.defaults, steps=1),
    )
    state = from_official(official, GOLDEN)
    save_folder(folder, spec, {f"denoiser.{name}": tensor for name, tensor in state.items()})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        add_vae(folder, spec, AutoencoderKL.from_config(VAE).state_dict(), VAE)
    return spec


def test_golden_weights_for_openvino(tmp_path: Path) -> None:
    """A published model as OpenVINO's files for one size: the measured output of the published network comes out."""
    spec = published_like(tmp_path / "model")
    result = export_model(
        tmp_path / "out", model=tmp_path / "model", runtime="openvino", dtype="float32", sizes=[128]
    )
    names = {path.name for path in (tmp_path / "out").iterdir()}
    graphs = {
        f"{graph}.{suffix}" for graph in ("encoder", "denoiser-16x16", "decoder") for suffix in ("xml", "bin")
    }
    assert names == {*graphs, "model.json", "export.json"}
    assert max(row.relative for row in result.parity.rows) < 1e-4
    folder = open_folder(tmp_path / "out")
    assert len(folder.hash) == 64

    golden = load_file(STUDENT / "golden_public_tiny.io.safetensors")
    x, t = golden["input.latents"].numpy(), golden["input.timesteps"].tolist()
    engine = open_engine(folder.spec, folder.path)
    assert engine.name == "openvino"
    opposite_first = golden["input.input_ids"][:, 0] // spec.tokens
    for row in range(2):
        noisy, mask, condition = x[row : row + 1, :4], x[row : row + 1, 4:5], x[row : row + 1, 5:]
        guidance = 0.0 if opposite_first[row] else 1.0  # of w = 0 only the opposite is left
        got = engine.predict(noisy, t[row], mask, condition, guidance)
        assert np.abs(got[0] - golden["output.sample"][row].numpy()).max() < 1e-4
    with pytest.raises(DeviceError, match="was exported for pictures of 128 x 128, got 64 x 64"):
        engine.predict(noisy[..., :8, :8], 1, mask[..., :8, :8], condition[..., :8, :8], 1.0)
    with pytest.raises(DeviceError, match="holds graphs for openvino alone"):
        open_engine(folder.spec, folder.path, engine="onnx")


def test_openvino_in_bfloat16() -> None:
    """Of the bundled model, whose graphs it runs as they are."""
    folder = open_folder(Path(__file__).parents[2] / "src" / "moebius" / "models" / "nano")
    try:
        half = OpenVinoEngine(folder.spec, folder.path, dtype="bfloat16")
    except DeviceError as error:
        pytest.skip(str(error))
    whole = OpenVinoEngine(folder.spec, folder.path)
    onnx_engine = open_engine(folder.spec, folder.path, engine="onnx")
    assert (half.dtype, whole.dtype) == ("bfloat16", "float32")
    noisy, condition = (normal((1, 8, 16, 16), seed=0, key=key) for key in ("noisy", "condition"))
    mask = np.ones((1, 1, 16, 16), np.float32)
    expected = onnx_engine.predict(noisy, 999, mask, condition, 1.0)
    near, exact = (engine.predict(noisy, 999, mask, condition, 1.0) for engine in (half, whole))
    assert np.linalg.norm(exact - expected) < 1e-4 * np.linalg.norm(expected)
    assert 1e-4 * np.linalg.norm(expected) < np.linalg.norm(near - expected) < 0.05 * np.linalg.norm(expected)
