"""Feature networks: where their files are found, how they arrive, and that each computes what it is named after."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from any_torchvision import torchvision_anyhow
from feature_weights import untrained_inception, write_squeezenet, write_trunk
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps
from safetensors.torch import load_file, save_file
from torch import Tensor

from moebius.errors import DownloadError, InputError, MoebiusError
from moebius.evaluation.distances import PairedFrechet
from moebius.evaluation.feature_download import fetch
from moebius.evaluation.features import (
    NETWORKS,
    find_networks,
    identity,
    open_descriptor,
    open_perceptual,
)

Picture = NDArray[np.float32]

SQUEEZE, MOBILE = "squeezenet11_lpips.safetensors", "mobilenetv2_int8.safetensors"
TORCHVISION_SQUEEZE, ALEX, VGG = (
    "squeezenet1_1-b8a52dc0.pth",
    "alexnet-owt-7be5be79.pth",
    "vgg16-397923af.pth",
)
INCEPTION = "weights-inception-2015-12-05-6726825d.pth"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No file of the person's own is found, and nothing is downloaded from afar."""
    for name in ("MOEBIUS_FEATURES", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("MOEBIUS_HOME", str(tmp_path / "home"))
    hub = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    yield
    torch.hub.set_dir(hub)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small pictures are not worth two, and on a busy machine two wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def picture(seed: int, shape: tuple[int, int] = (64, 80)) -> Picture:
    return np.random.default_rng(seed).random((*shape, 3), dtype=np.float32)


def touched(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


# Where files are found


def test_the_registry_is_what_the_libraries_would_download() -> None:
    torchvision_anyhow()
    import torch_fidelity.feature_extractor_inceptionv3 as fidelity
    from torchvision.models import AlexNet_Weights, SqueezeNet1_1_Weights, VGG16_Weights

    urls = {file.url for network in NETWORKS.values() for file in network.files} - {None}
    weights = (AlexNet_Weights.DEFAULT, VGG16_Weights.DEFAULT, SqueezeNet1_1_Weights.DEFAULT)
    assert urls == {fidelity.URL_INCEPTION_V3, *(each.url for each in weights)}
    for network in NETWORKS.values():
        for file in network.files:
            assert file.url is None or file.url.rsplit("/", 1)[1] == file.name
            assert file.url is None or file.name.endswith(f"-{file.sha256}.pth")
    metrics = [metric for network in NETWORKS.values() for metric in network.metrics]
    assert len(set(metrics)) == len(metrics)


def test_places_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = touched(tmp_path / "given", ALEX)
    named = touched(tmp_path / "named", ALEX, VGG)
    cache = touched(tmp_path / "home" / "features", ALEX, VGG, MOBILE)
    hub = touched(tmp_path / "hub" / "checkpoints", ALEX, VGG, MOBILE, INCEPTION)
    monkeypatch.setenv("MOEBIUS_FEATURES", str(named))
    expected = {
        "mobilenetv2": cache / MOBILE,
        "inception": hub / INCEPTION,
        "lpips-alex": given / ALEX,
        "lpips-vgg": named / VGG,
    }
    assert find_networks(given, None, download=False) == expected
    assert find_networks(given / ALEX, None, download=False) == expected  # a file stands for its folder
    monkeypatch.setenv("MOEBIUS_FEATURES", str(named / VGG))
    assert find_networks(given, None, download=False) == expected
    assert find_networks(None, ["lpips-alex"], download=False) == {"lpips-alex": named / ALEX}


def test_either_file_of_lpips_squeeze_will_do(tmp_path: Path) -> None:
    folder = touched(tmp_path / "given", TORCHVISION_SQUEEZE)
    assert find_networks(folder) == {"lpips-squeeze": folder / TORCHVISION_SQUEEZE}
    touched(folder, SQUEEZE)
    assert find_networks(folder) == {"lpips-squeeze": folder / SQUEEZE}


def test_the_lpips_file_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = touched(tmp_path / "own", "mine.safetensors", MOBILE) / "mine.safetensors"
    assert find_networks(own) == {"lpips-squeeze": own, "mobilenetv2": own.parent / MOBILE}
    monkeypatch.setenv("MOEBIUS_FEATURES", str(own))
    assert find_networks(None)["lpips-squeeze"] == own
    assert find_networks(own.parent / MOBILE)["lpips-squeeze"] == own


def test_nothing_here_is_nothing_found() -> None:
    assert find_networks(None, None, download=True) == {}  # and nothing is downloaded that nobody asked for


def test_a_file_without_its_library_is_taken_only_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = touched(tmp_path / "given", ALEX, MOBILE)
    wanting = {name: replace(network) for name, network in NETWORKS.items()}
    file = replace(wanting["lpips-alex"].files[0], needs=("a_library_that_nobody_has",))
    monkeypatch.setitem(NETWORKS, "lpips-alex", replace(wanting["lpips-alex"], files=(file,)))
    assert list(find_networks(folder)) == ["mobilenetv2"]
    assert list(find_networks(folder, ["lpips-alex"])) == ["lpips-alex"]


def refused(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(InputError) as caught:
        find_networks(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_not_here_is_told_with_where_and_whose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = touched(tmp_path / "given")
    for name, (file, publisher) in {
        "lpips-vgg": (VGG, "torchvision"),
        "inception": (INCEPTION, "torch-fidelity"),
        "mobilenetv2": (MOBILE, "tf2_mobilenet_v2_1.0_224_ptq.tflite (sha256 5d3137241276)"),
        "lpips-squeeze": (SQUEEZE, TORCHVISION_SQUEEZE),
    }.items():
        said = refused(given, [name], download=False)
        for part in (
            name,
            file,
            publisher,
            str(given),
            str(tmp_path / "home" / "features"),
            str(tmp_path / "hub"),
        ):
            assert part in said
    assert "google-coral/test_data" in refused(given, ["mobilenetv2"], download=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE forbids" in refused(given, ["lpips-vgg"], download=True)
    assert "forbids" not in refused(given, ["mobilenetv2"], download=True)  # nobody has it anyway


def test_questions_that_make_no_sense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "lpips-alex, lpips-vgg, got 'lpips'" in refused(None, ["lpips"])
    assert "missing: expected a folder" in refused(tmp_path / "missing")
    monkeypatch.setenv("MOEBIUS_FEATURES", str(tmp_path / "gone"))
    assert refused(None).startswith("MOEBIUS_FEATURES: expected a folder")


# How files arrive

BODY = np.random.default_rng(0).bytes(700_001)
HALF = 350_000


class Server(ThreadingHTTPServer):
    """Serves BODY at /FILE; does something wrong with the requests to come, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.ranges: list[str | None] = []
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/file.pth"

    def handle_error(self, *_: Any) -> None:
        """A connection that was broken off is not news."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault.isdecimal():
            self.send_error(int(fault))
            return
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and fault != "whole" else 0
        if first >= len(BODY):
            self.send_error(416)
            return
        begin = 5 if fault == "elsewhere" else first
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {begin}-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("Content-Length", str(len(BODY) - begin))
        self.end_headers()
        self.wfile.write(BODY[begin : begin + HALF] if fault == "cut" else BODY[begin:])
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture()
def server() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture()
def alexnet(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """AlexNet's file is BODY, to be had from the server."""
    file = replace(
        NETWORKS["lpips-alex"].files[0], url=server.url, sha256=hashlib.sha256(BODY).hexdigest()[:8]
    )
    monkeypatch.setitem(NETWORKS, "lpips-alex", replace(NETWORKS["lpips-alex"], files=(file,)))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.mark.usefixtures("alexnet")
def test_a_wanted_network_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        found = find_networks(None, ["lpips-alex"], download=True)
        assert found == {"lpips-alex": tmp_path / "home" / "features" / ALEX}
    assert found["lpips-alex"].read_bytes() == BODY
    assert left(tmp_path / "home" / "features") == [ALEX]
    assert server.ranges == [None]


@pytest.mark.usefixtures("alexnet")
def test_nothing_is_downloaded_unasked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(None, ["lpips-alex"], download=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused(None, ["lpips-alex"], download=True)
    assert find_networks(None, None, download=True) == {}
    assert server.ranges == []


@pytest.mark.usefixtures("alexnet")
def test_a_wrong_file_leaves_nothing(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = replace(NETWORKS["lpips-alex"].files[0], sha256="7be5be79")
    monkeypatch.setitem(NETWORKS, "lpips-alex", replace(NETWORKS["lpips-alex"], files=(file,)))
    with pytest.raises(
        DownloadError, match=r"expected sha256 7be5be79, got \w{8}; the download was thrown away"
    ):
        find_networks(None, ["lpips-alex"], download=True)
    assert left(tmp_path / "home" / "features") == []


def fetched(server: Server, target: Path, attempts: int = 3) -> bytes:
    fetch(server.url, target, hashlib.sha256(BODY).hexdigest(), attempts=attempts, pause=0)
    assert left(target.parent) == [target.name]
    return target.read_bytes()


@pytest.mark.parametrize(
    ("faults", "ranges"),
    [
        (["cut"], [None, f"bytes={HALF}-"]),
        (["cut", "503", "429"], [None, *[f"bytes={HALF}-"] * 3]),
        (["cut", "whole"], [None, f"bytes={HALF}-"]),  # it knows nothing of ranges: from the beginning
        (["cut", "elsewhere"], [None, f"bytes={HALF}-", None]),
    ],
)
def test_a_broken_download_goes_on(
    server: Server, tmp_path: Path, faults: list[str], ranges: list[str]
) -> None:
    server.faults = faults
    assert fetched(server, tmp_path / "to" / "file.pth", attempts=4) == BODY
    assert server.ranges == ranges


def test_a_later_call_takes_up_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "to" / "file.pth"
    server.faults = ["cut", "503"]
    with pytest.raises(DownloadError, match="503 Service Unavailable; gave up after 2 attempts"):
        fetched(server, target, attempts=2)
    assert left(target.parent) == ["file.pth.partial"]
    assert fetched(server, target) == BODY
    assert server.ranges[-1] == f"bytes={HALF}-"


def test_a_partial_file_that_is_whole_already(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "to" / "file.pth"
    touched(target.parent)
    target.with_name("file.pth.partial").write_bytes(BODY)
    assert fetched(server, target) == BODY


def test_a_partial_file_of_something_else_is_thrown_away(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "to" / "file.pth"
    touched(target.parent, "file.pth.partial")
    with pytest.raises(DownloadError, match="thrown away"):
        fetched(server, target)
    assert left(target.parent) == []
    assert fetched(server, target) == BODY


def test_a_server_that_refuses_is_asked_once(server: Server, tmp_path: Path) -> None:
    server.faults = ["404"]
    with pytest.raises(DownloadError, match="expected a file, the server answered 404 Not Found"):
        fetched(server, tmp_path / "to" / "file.pth")
    assert len(server.ranges) == 1 and left(tmp_path / "to") == []


def test_nobody_there_and_no_place_to_write(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="cannot be reached"):
        fetch("http://127.0.0.1:1/file.pth", tmp_path / "to" / "file.pth", "00000000", pause=60)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match="cannot be written"):
        fetched(server, tmp_path / "file" / "file.pth")


# What they compute


def unit(x: Tensor) -> Tensor:
    return x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt()


def heads(trunk: str) -> list[Tensor]:
    torchvision_anyhow()
    import torchmetrics

    path = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models" / f"{trunk}.pth"
    state = torch.load(path, map_location="cpu", weights_only=True)
    return [state[f"lin{i}.model.1.weight"] for i in range(len(state))]


def lpips_by_hand(taps: Any, trunk: str, first: Picture, second: Picture) -> float:
    """Zhang et al., equation 1: per tap, differences of unit vectors, weighted, averaged over the picture."""
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    inputs = [(2 * torch.tensor(x).permute(2, 0, 1)[None] - 1 - shift) / scale for x in (first, second)]
    total = 0.0
    for a, b, head in zip(*map(taps, inputs), heads(trunk), strict=True):
        total += float((F.conv2d((unit(a) - unit(b)) ** 2, head)).mean())
    return total


def alexnet_taps(state: dict[str, Tensor]) -> Any:
    def taps(x: Tensor) -> list[Tensor]:
        maps = []
        for number, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
            if number in (3, 6):
                x = F.max_pool2d(x, 3, 2)
            weight, bias = state[f"features.{number}.weight"], state[f"features.{number}.bias"]
            x = F.relu(F.conv2d(x, weight, bias, stride, padding))
            maps.append(x)
        return maps

    return taps


def vgg_taps(state: dict[str, Tensor]) -> Any:
    def taps(x: Tensor) -> list[Tensor]:
        maps = []
        for stage in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
            if maps:
                x = F.max_pool2d(x, 2)
            for number in stage:
                weight, bias = state[f"features.{number}.weight"], state[f"features.{number}.bias"]
                x = F.relu(F.conv2d(x, weight, bias, padding=1))
            maps.append(x)
        return maps

    return taps


@pytest.mark.parametrize(
    ("name", "file", "taps"), [("lpips-alex", ALEX, alexnet_taps), ("lpips-vgg", VGG, vgg_taps)]
)
def test_lpips_of_torchmetrics_from_a_file_anywhere(name: str, file: str, taps: Any, tmp_path: Path) -> None:
    state = write_trunk(tmp_path / file)
    torchvision_anyhow()
    hub = torch.hub.get_dir()
    network = open_perceptual(name, tmp_path / file)
    assert torch.hub.get_dir() == hub and not Path(hub).exists()
    first, second = picture(0), picture(1)
    expected = lpips_by_hand(taps(state), name.removeprefix("lpips-"), first, second)
    prepared = network.prepare(first)
    assert expected > 0.01
    assert network.distance(second, prepared) == pytest.approx(expected, rel=1e-4)
    assert network.distance(second, prepared) == network.distance(second, prepared)  # nothing is kept
    assert network.distance(first, prepared) == pytest.approx(0, abs=1e-7)


def test_lpips_squeeze_is_our_network(features: Path) -> None:
    from moebius.networks.perceptual import load_lpips

    network, net = open_perceptual("lpips-squeeze", features), load_lpips(features)
    first, second = picture(0), picture(1)
    a, b = (torch.tensor(x).permute(2, 0, 1)[None] * 2 - 1 for x in (first, second))
    assert network.distance(first, network.prepare(second)) == pytest.approx(float(net(a, b)), rel=1e-4)
    assert network.distance(first, network.prepare(first)) == 0


def test_lpips_squeeze_from_torchvisions_file_is_the_same(tmp_path: Path) -> None:
    """The trunk alone, with the heads in torchmetrics; both in one file; and torchmetrics' own network."""
    state = write_squeezenet(tmp_path / TORCHVISION_SQUEEZE)
    tensors = state | {f"lpips.lin{i}": head.flatten() for i, head in enumerate(heads("squeeze"))}
    save_file(tensors, tmp_path / SQUEEZE)
    first, second = picture(0), picture(1)
    distances = []
    for name in (TORCHVISION_SQUEEZE, SQUEEZE):
        network = open_perceptual("lpips-squeeze", tmp_path / name)
        distances.append(network.distance(first, network.prepare(second)))
    assert distances[0] == distances[1] > 0.01

    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / TORCHVISION_SQUEEZE).rename(tmp_path / "hub" / "checkpoints" / TORCHVISION_SQUEEZE)
    a, b = (torch.tensor(x).permute(2, 0, 1)[None] for x in (first, second))
    theirs = learned_perceptual_image_patch_similarity(a, b, net_type="squeeze", normalize=True)
    assert distances[0] == pytest.approx(float(theirs), rel=1e-3)  # it rounds the mean colour to 3 digits


def test_the_heads_in_the_real_file_are_those_in_torchmetrics(real_features: Path) -> None:
    tensors = load_file(real_features)
    for i, head in enumerate(heads("squeeze")):
        torch.testing.assert_close(tensors[f"lpips.lin{i}"].float().flatten(), head.flatten(), rtol=0, atol=0)


def test_mobilenet_describes_and_classifies(networks: Path) -> None:
    from moebius.networks.mobilenet import load_mobilenet

    descriptor, net = open_descriptor("mobilenetv2", networks / MOBILE), load_mobilenet(networks / MOBILE)
    image = picture(0, (70, 96))
    with torch.inference_mode():
        expected = net(torch.tensor(image).permute(2, 0, 1)[None] * 2 - 1)
        probabilities = net.classify(expected).softmax(1)
    described, classes = descriptor(image), descriptor.classes(image)
    assert described.shape == (descriptor.size,) == (1280,) and described.dtype == np.float32
    assert classes.shape == (1001,) and classes.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(described, expected[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(classes, probabilities[0].numpy(), atol=1e-5)
    image.setflags(write=False)
    np.testing.assert_array_equal(descriptor(image), described)


def test_inception_is_torch_fidelitys(tmp_path: Path) -> None:
    torchvision_anyhow()
    with untrained_inception() as extractor:
        torch.save(extractor.state_dict(), tmp_path / INCEPTION)
    descriptor = open_descriptor("inception", tmp_path / INCEPTION)
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    with torch.inference_mode():
        expected = extractor(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0][0].numpy()
    between = pixels + np.random.default_rng(1).uniform(-0.4, 0.4, pixels.shape)  # it rounds to 8 bits
    described = descriptor((between / 255).clip(0, 1).astype(np.float32))
    assert described.shape == (descriptor.size,) == (2048,) and described.dtype == np.float32
    np.testing.assert_allclose(described, expected, rtol=1e-3, atol=1e-4 * float(expected.std()))
    with pytest.raises(ValueError, match="expected mobilenetv2, got inception"):
        descriptor.classes(pixels.astype(np.float32) / 255)


def test_networks_are_shared_between_threads(networks: Path) -> None:
    perceptual = open_perceptual("lpips-squeeze", networks / SQUEEZE)
    descriptor = open_descriptor("mobilenetv2", networks / MOBILE)
    reference = perceptual.prepare(picture(0))

    def measure(seed: int) -> tuple[float, float]:
        return perceptual.distance(picture(seed), reference), float(descriptor(picture(seed)).sum())

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(measure, range(12)))
    assert together == [measure(seed) for seed in range(12)]


def test_pictures_of_the_wrong_shape(networks: Path) -> None:
    descriptor = open_descriptor("mobilenetv2", networks / MOBILE)
    for shape in ((64, 64), (64, 64, 4), (31, 64, 3), (3, 64, 64)):
        with pytest.raises(ValueError, match="expected a picture"):
            descriptor(np.zeros(shape, np.float32))


# Files that are not what they should be


class Program:
    """What no weights file may hold."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


NAMED = {
    "lpips-squeeze": (SQUEEZE, TORCHVISION_SQUEEZE),
    "mobilenetv2": (MOBILE,),
    "inception": (INCEPTION,),
    "lpips-alex": (ALEX,),
    "lpips-vgg": (VGG,),
}


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in NAMED.items() for file in files])
def test_damaged_and_foreign_files(name: str, file: str, tmp_path: Path) -> None:
    torchvision_anyhow()
    path = tmp_path / file
    opened = open_perceptual if name.startswith("lpips") else open_descriptor

    def said() -> str:
        hub = torch.hub.get_dir()
        with pytest.raises(InputError) as caught:
            opened(name, path)  # type: ignore[operator]
        assert torch.hub.get_dir() == hub
        message = str(caught.value)
        assert "\n" not in message and message.startswith(f"{path}: expected the weights of {name}, ")
        assert message.count(str(path)) == 1
        return message

    assert "found nothing" in said()
    path.mkdir()
    assert "found a folder" in said()
    path.rmdir()
    for content in (b"", b"hello" * 100, pickle.dumps(Program())):
        path.write_bytes(content)
        said()
    foreign = {"features.0.weight": torch.zeros(3, 3)}
    if path.suffix == ".safetensors":
        save_file(foreign, path)
    else:
        torch.save(foreign, path)
    said()
    path.write_bytes(path.read_bytes()[:-40])
    said()


def test_networks_of_another_kind(networks: Path) -> None:
    with pytest.raises(InputError, match="lpips-vgg, got 'mobilenetv2'"):
        open_perceptual("mobilenetv2", networks / MOBILE)
    with pytest.raises(InputError, match="inception, got 'lpips-alex'"):
        open_descriptor("lpips-alex", networks / MOBILE)


def test_a_library_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    write_trunk(tmp_path / ALEX)
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", None)
    with pytest.raises(MoebiusError, match="lpips-alex needs torchmetrics and torchvision") as caught:
        open_perceptual("lpips-alex", tmp_path / ALEX)
    assert not isinstance(caught.value, InputError)  # nothing is wrong with the file


def test_identity_tells_weights_and_libraries(networks: Path, tmp_path: Path) -> None:
    told = identity("mobilenetv2", networks / MOBILE)
    digest = hashlib.sha256((networks / MOBILE).read_bytes()).hexdigest()
    assert told == {"file": MOBILE, "sha256": digest, "torch": torch.__version__}
    touched(tmp_path, VGG, TORCHVISION_SQUEEZE)
    assert {"torchmetrics", "torchvision"} <= identity("lpips-vgg", tmp_path / VGG).keys()
    assert "torchmetrics" in identity("lpips-squeeze", tmp_path / TORCHVISION_SQUEEZE)
    json.dumps(told)
    with pytest.raises(InputError, match="expected the weights of inception"):
        identity("inception", tmp_path / "missing")
    with pytest.raises(InputError, match="got 'resnet'"):
        identity("resnet", tmp_path / VGG)


# On real photos, with the real network


@pytest.fixture(scope="module")
def real_mobilenet(real_features: Path) -> Path:
    path = real_features.with_name(MOBILE)
    if not path.is_file():
        pytest.skip(f"{MOBILE} is not here: set MOEBIUS_FEATURES")
    return path


def damaged(image: Image.Image, kind: str, strength: float) -> Picture:
    if kind == "blur":
        return np.asarray(image.filter(ImageFilter.GaussianBlur(strength)), np.float32) / 255
    clean = np.asarray(image, np.float32) / 255
    noise = np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    return np.clip(clean + np.float32(strength / 255) * noise, 0, 1)


@pytest.fixture(scope="module")
def small_photos(eval_data: Path) -> list[Image.Image]:
    """40 real photos, 128 x 128."""
    entries = [json.loads(line) for line in (eval_data / "manifest.jsonl").read_text().splitlines()]
    photos = []
    for entry in entries[:: len(entries) // 40][:40]:
        with Image.open(eval_data / entry["image"]) as opened:
            photos.append(ImageOps.fit(opened.convert("RGB"), (128, 128), Image.Resampling.LANCZOS))
    return photos


@pytest.mark.parametrize(("kind", "strengths"), [("blur", (1, 2, 4)), ("noise", (5, 15, 40))])
def test_frechet_distance_rises_with_damage(
    kind: str, strengths: tuple[float, ...], small_photos: list[Image.Image], real_mobilenet: Path
) -> None:
    descriptor = open_descriptor("mobilenetv2", real_mobilenet)
    clean = np.stack([descriptor(damaged(photo, "noise", 0)) for photo in small_photos])
    distances = [PairedFrechet(clean, clean).value()]
    for strength in strengths:
        worse = np.stack([descriptor(damaged(photo, kind, strength)) for photo in small_photos])
        distances.append(PairedFrechet(clean, worse).value())
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert all(later > earlier + 1 for earlier, later in itertools.pairwise(distances)), distances
