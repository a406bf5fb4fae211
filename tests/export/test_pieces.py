"""The pieces of an export that need no tracing: rounding, the choice of what is rounded, the graph of a whole fill."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper
from random_models import DENOISER
from torch import nn

from moebius.errors import SettingsError
from moebius.export.deployed import deployed
from moebius.export.loop import whole_fill
from moebius.export.rounding import choose_int8, round_int8
from moebius.export.trace import SlicedUnshuffle, too_many_dimensions
from moebius.networks import MoebiusUNet
from moebius.sampling import make_plan, sample, scaled_linear, trailing_timesteps
from moebius.testing import LIKE_NANO, LIKE_PUBLISHED
from moebius.weights import ModelSpec, open_model

SMALL_DENOISER = replace(DENOISER, layers=1, channels=(16, 32))


def test_rounding_is_nearest_and_symmetric() -> None:
    tensor = torch.randn(6, 5, 3, 3).numpy() * np.arange(1, 7, dtype=np.float32).reshape(6, 1, 1, 1)
    rounded = round_int8(tensor)
    assert rounded.scale.shape == (6, 1, 1, 1)
    assert np.abs(rounded.values.astype(int)).max(axis=(1, 2, 3)).tolist() == [127] * 6
    assert (np.abs(rounded.whole - tensor) <= rounded.scale / 2 * 1.001).all()


def test_rounding_takes_the_axis_that_loses_least() -> None:
    tensor = np.random.default_rng(0).normal(size=(64, 96)).astype(np.float32)
    loud = tensor.copy()
    loud[:, 5] *= 100
    assert round_int8(tensor * np.linspace(1, 50, 64, dtype=np.float32)[:, None]).scale.shape == (64, 1)
    assert round_int8(loud).scale.shape == (1, 96)


def test_zeros_stay_zeros() -> None:
    assert not round_int8(np.zeros((4, 4), np.float32)).whole.any()


class Two(nn.Module):
    """Two layers; what the second does wrong is a thousand times as loud."""

    def __init__(self) -> None:
        super().__init__()
        self.quiet = nn.Linear(64, 64, bias=False)
        self.loud = nn.Linear(64, 64, bias=False)
        self.silent = nn.Linear(64, 1024, bias=False)  # in no output; room for the others

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.quiet(x) * 1e-3 + self.loud(x)


def test_what_costs_most_stays() -> None:
    net = Two().eval().requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    inputs = [(torch.randn(8, 64),)]
    every = choose_int8(net, inputs, budget=1.0)
    assert every.rounded == {"quiet.weight", "loud.weight", "silent.weight"} and not every.kept
    tight = choose_int8(net, inputs, budget=every.predicted / 10)
    assert tight.rounded == {"quiet.weight", "silent.weight"} and set(tight.kept) == {"loud.weight"}
    assert tight.predicted < every.predicted / 10
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])

    for name in every.rounded:  # the prediction is what happens
        tensor = net.get_parameter(name)
        tensor.copy_(torch.from_numpy(round_int8(tensor.numpy()).whole))
    expected = Two.forward(_with(before), *inputs[0])
    change = float((net(*inputs[0]) - expected).norm() / expected.norm())
    assert change == pytest.approx(every.predicted, rel=0.2)


def test_most_is_rounded_whatever_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moebius.export.rounding.KEPT", 0.01)
    choice = choose_int8(Two().eval().requires_grad_(False), [(torch.randn(8, 64),)], budget=0.0)
    assert len(choice.rounded) == 3 and not choice.kept and choice.predicted > 0


def _with(state: dict[str, torch.Tensor]) -> Two:
    net = Two().requires_grad_(False)
    net.load_state_dict(state)
    return net


def test_unshuffling_by_slices() -> None:
    x = torch.randn(2, 3, 8, 12)
    assert torch.equal(SlicedUnshuffle(2)(x), nn.PixelUnshuffle(2)(x))


@torch.no_grad()
def test_the_deployed_network() -> None:
    net = MoebiusUNet(SMALL_DENOISER).eval()
    fused = deployed(net, guided=True)
    x, t, ids = torch.randn(2, 9, 8, 12), torch.tensor([7, 900]), torch.arange(20).reshape(2, 10)
    expected = net(x, t, ids)
    assert (fused(x, t, ids) - expected).norm() < 2e-5 * expected.norm()
    fused.get_parameter("up.0.resample.both.weight").mul_(1.1)
    assert (fused(x, t, ids) - expected).norm() > 1e-4 * expected.norm()


def graph_of(nodes: list[onnx.NodeProto], inputs: dict[str, list[object]], output: str) -> onnx.ModelProto:
    """A graph for one float output; int64 for timestep and ids."""
    values = [
        helper.make_tensor_value_info(
            name, TensorProto.INT64 if name in ("timestep", "ids") else TensorProto.FLOAT, shape
        )
        for name, shape in inputs.items()
    ]
    result = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["b", None, None, None])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0])
    graph = helper.make_graph(nodes, "part", values, [result], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    return model


def parts() -> dict[str, onnx.ModelProto]:
    """Encoder, denoiser and decoder that can be worked out by hand: x -> 2x, noisy + 2t + first id, x -> 2x."""
    node = helper.make_node
    latent = ["b", 4, "h", "w"]
    doubled = [node("Identity", ["w"], ["w2"])]
    return {
        "encoder": graph_of(
            [*doubled, node("Mul", ["image", "w2"], ["latents"])], {"image": ["b", 4, "h", "w"]}, "latents"
        ),
        "denoiser": graph_of(
            [
                *doubled,
                node("Cast", ["timestep"], ["t"], to=TensorProto.FLOAT),
                node("Mul", ["t", "w2"], ["t2"]),
                node("Cast", ["ids"], ["i"], to=TensorProto.FLOAT),
                node("ReduceMin", ["i"], ["first"], keepdims=0),
                node("ReduceMin", ["t2"], ["t3"], keepdims=0),
                node("Mul", ["mask", "first"], ["m"]),
                node("Add", ["noisy", "t3"], ["a"]),
                node("Add", ["a", "m"], ["c"]),
                node("Add", ["c", "condition"], ["prediction"]),
            ],
            {
                "noisy": latent,
                "mask": ["b", 1, "h", "w"],
                "condition": latent,
                "timestep": ["b"],
                "ids": ["b", 10],
            },
            "prediction",
        ),
        "decoder": graph_of(
            [*doubled, node("Mul", ["latents", "w2"], ["image"])], {"latents": latent}, "image"
        ),
    }


@pytest.mark.parametrize("spec", [LIKE_NANO, LIKE_PUBLISHED], ids=["from noise", "from the photo"])
def test_the_whole_fill_is_the_loop(spec: ModelSpec) -> None:
    """Against the sampling loop itself, on parts that can be worked out by hand; with and without guidance."""
    plan = make_plan(scaled_linear(), trailing_timesteps(3, spec.first_timestep), "dpm++", spec.prediction)
    rng = np.random.default_rng(0)
    image, noise = (rng.normal(size=(2, 4, 3, 5)).astype(np.float32) for _ in range(2))
    mask = (rng.random((2, 1, 3, 5)) > 0.5).astype(np.float32)
    condition = image * 2 * np.float32(spec.latent_scale)
    for guidance in (1.0, 2.5):
        model = whole_fill(spec, parts(), plan, guidance)
        onnx.checker.check_model(model)
        got = ort.InferenceSession(model.SerializeToString()).run(
            None, {"image": image, "mask": mask, "noise": noise}
        )[0]

        def predict(x: np.ndarray, t: int, w: float = guidance) -> np.ndarray:
            wanted = x + 2 * t + condition
            opposite = wanted + mask * spec.tokens
            return opposite + np.float32(w) * (wanted - opposite)

        start = noise if spec.defaults.start == "noise" else plan.alpha0 * condition + plan.sigma0 * noise
        *_, last = sample(predict, start, plan)
        x = last.x
        if spec.target == "residual":
            x = condition + mask * x / spec.residual_scale
        np.testing.assert_allclose(got, x / spec.latent_scale * 2, rtol=1e-4, atol=1e-2)


def test_weights_stand_once_in_the_whole_fill() -> None:
    plan = make_plan(scaled_linear(), trailing_timesteps(4, 900))
    model = whole_fill(LIKE_PUBLISHED, parts(), plan, 2.0)
    assert sum(node.op_type == "Identity" and node.input[0] == "denoiser/w" for node in model.graph.node) == 1
    assert sum(node.op_type == "ReduceMin" for node in model.graph.node) == 2 * 2 * 4


def test_a_start_that_takes_another_encoding_is_told() -> None:
    spec = replace(LIKE_PUBLISHED, defaults=replace(LIKE_PUBLISHED.defaults, start="prefill"))
    with pytest.raises(SettingsError, match="starts from 'prefill'"):
        whole_fill(spec, parts(), make_plan(scaled_linear(), [900]), 1.0)


def test_too_many_dimensions_are_found() -> None:
    node = helper.make_node
    six = helper.make_tensor("six", TensorProto.INT64, [6], [1, 4, 1, 1, -1, 1])
    model = parts()["decoder"]
    model.graph.initializer.append(six)
    assert too_many_dimensions(model) == []
    model.graph.node.append(node("Reshape", ["image", "six"], ["other"]))
    assert too_many_dimensions(model) == ["other: rank 6"]


@pytest.mark.parametrize("part", ["encoder", "denoiser", "decoder"])
def test_the_bundled_graphs_have_few_dimensions(part: str) -> None:
    path = open_model("nano").path / f"{part}.onnx"
    found = too_many_dimensions(onnx.load(path, load_external_data=False))
    assert [name for name in found if "rank unknown" not in name] == []
