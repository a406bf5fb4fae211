"""MobileNetV2 against a forward pass written a second time, its loader, and what the real weights see."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from torch import Tensor

from moebius.networks.mobilenet import CLASSES, DESCRIPTOR, Convolution, MobileNetV2, load_mobilenet

BESIDE = Path(__file__).parents[3] / "shared" / "data"
FILE = "mobilenetv2_int8.safetensors"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small pictures are not worth two, and on a busy machine two wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that nobody trained, large enough for signals to get through to the end."""
    random = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in MobileNetV2().state_dict().items()}
    tensors = {}
    for name, shape in shapes.items():
        if name.endswith(".weight"):
            tensors[name] = torch.randint(-127, 128, shape, generator=random, dtype=torch.int8)
            scale = (2 / shape[1:].numel()) ** 0.5 / 73
            tensors[name + ".scale"] = scale * (0.5 + torch.rand(shape[0], generator=random))
        else:
            tensors[name] = 0.2 * torch.randn(shape, generator=random)
    path = tmp_path_factory.mktemp("mobilenet") / FILE
    save_file(tensors, path)
    return path


@pytest.fixture(scope="module")
def real_weights() -> Path:
    given = Path(os.environ.get("MOEBIUS_FEATURES", BESIDE / "features"))
    path = (given.parent if given.is_file() else given) / FILE
    if not path.is_file():
        pytest.skip(f"{FILE} is not here: set MOEBIUS_FEATURES")
    return path


def padded(x: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's "SAME": ceil(side / stride) windows; a surplus column goes to the right, a surplus row below."""
    sides = []
    for side in (x.shape[3], x.shape[2]):
        total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        sides += [math.floor(total / 2), math.ceil(total / 2)]
    return F.pad(x, sides)


def by_hand(path: Path, image: Tensor) -> tuple[Tensor, Tensor]:
    """Descriptor and logits in float64, layer by layer from the file: none of our modules."""
    raw = load_file(path)

    def weight(name: str) -> Tensor:
        values = raw[f"{name}.weight"].float()  # products in float32, as the network has them
        return (values * raw[f"{name}.weight.scale"].reshape(-1, *[1] * (values.ndim - 1))).double()

    def layer(x: Tensor, name: str, stride: int = 1, act: bool = True) -> Tensor:
        kernel = weight(name)
        groups = x.shape[1] // kernel.shape[1]
        x = F.conv2d(
            padded(x, kernel.shape[2], stride), kernel, raw[f"{name}.bias"].double(), stride, 0, 1, groups
        )
        return x.clamp(0, 6) if act else x

    x = layer(image.double(), "features.0.conv", 2)
    strides = [1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]
    for number, stride in enumerate(strides, start=1):
        at = f"features.{number}.layers"
        y, last = x, 2
        if number == 1:
            last = 1
        else:
            y = layer(y, f"{at}.0.conv")
        y = layer(y, f"{at}.{last - 1}.conv", stride)
        y = layer(y, f"{at}.{last}.conv", act=False)
        x = x + y if x.shape == y.shape else y
    x = layer(x, "features.18.conv")
    descriptor = x.flatten(2).mean(2)
    return descriptor, descriptor @ weight("classifier").T + raw["classifier.bias"]


@pytest.mark.parametrize("size", [(64, 64), (97, 131)])
def test_the_network_is_the_one_written_by_hand(weights: Path, size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    net = load_mobilenet(weights)
    expected, logits = by_hand(weights, image)
    assert logits.shape == (2, CLASSES)
    assert expected.std() > 0.05  # something arrived
    with torch.inference_mode():
        torch.testing.assert_close(net(image).double(), expected, rtol=0, atol=1e-3)
        descriptor = net.double()(image.double())
        assert descriptor.shape == (2, DESCRIPTOR)
        torch.testing.assert_close(descriptor, expected, rtol=0, atol=1e-9)
        torch.testing.assert_close(net.classify(descriptor), logits, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("side", "sums"),
    [
        (4, [5, 3]),  # 012 2345: nothing is missing in front
        (5, [4, 5, 3]),  # one is missing on either side
    ],
)
def test_the_odd_pixel_is_padded_at_the_far_end(side: int, sums: list[int]) -> None:
    """Ones under a 3-wide kernel of 1, 2, 2: where the windows of stride 2 begin shows in their sums."""
    net = Convolution(1, 1, 3, stride=2, linear=True)
    with torch.no_grad():
        net.conv.weight.copy_(torch.tensor([1.0, 2.0, 2.0]).expand(1, 1, 3, 3))
        net.conv.bias.zero_()
        rows = net(torch.ones(1, 1, side, side))[0, 0]
    on_picture = {4: 3, 5: 2}[side]  # rows of the first windows
    assert rows[0].tolist() == [on_picture * total for total in sums]


def test_it_is_frozen_and_channels_last(weights: Path) -> None:
    net = load_mobilenet(weights)
    assert not net.training and not any(parameter.requires_grad for parameter in net.parameters())
    assert net.features[0].conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_files_that_are_not_this_network(weights: Path, tmp_path: Path) -> None:
    good = load_file(weights)
    name = "features.3.layers.1.conv.weight"
    damaged = {
        "no scale": {key: value for key, value in good.items() if key != name + ".scale"},
        "no weight": {key: value for key, value in good.items() if key != name},
        "one too many": good | {"features.19.conv.bias": torch.zeros(3)},
        "floats": good | {name: good[name].float()},
        "one scale": good | {name + ".scale": torch.ones(1)},
        "narrow": good | {name: good[name][:, :, :1].contiguous()},
    }
    for what, tensors in damaged.items():
        save_file(tensors, tmp_path / FILE)
        with pytest.raises((KeyError, RuntimeError)):
            load_mobilenet(tmp_path / FILE)
            pytest.fail(what)
    with pytest.raises(FileNotFoundError):
        load_mobilenet(tmp_path / "missing")


@pytest.mark.parametrize(
    ("photo", "classes"), [("kitten", {281, 282, 285}), ("otter", {360}), ("lighthouse", {437})]
)
def test_the_real_weights_know_what_a_photo_shows(photo: str, classes: set[int], real_weights: Path) -> None:
    """ImageNet: 281 tabby, 282 tiger cat, 285 Egyptian cat; 360 otter; 437 beacon."""
    path = BESIDE / "demo" / f"{photo}.jpg"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    net = load_mobilenet(real_weights)
    with Image.open(path) as opened:
        pixels = np.asarray(ImageOps.fit(opened.convert("RGB"), (224, 224), Image.Resampling.BICUBIC))
    image = torch.from_numpy(pixels.transpose(2, 0, 1)[None] / np.float32(127.5) - 1)
    with torch.inference_mode():
        probabilities = net.classify(net(image)).softmax(1)[0]
    top = {int(index) - 1 for index in probabilities.topk(5).indices}
    assert classes <= top, top
    assert probabilities[0] < 0.05  # not "background"


def test_the_real_weights_by_hand(real_weights: Path) -> None:
    image = torch.rand(1, 3, 70, 96, generator=torch.Generator().manual_seed(2)) * 2 - 1
    with torch.inference_mode():
        descriptor = load_mobilenet(real_weights)(image).double()
    torch.testing.assert_close(descriptor, by_hand(real_weights, image)[0], rtol=0, atol=1e-3)
