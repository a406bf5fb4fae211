"""What is known of models: the registry, specs as JSON, and where models lie."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from moebius.errors import CorruptWeightsError, UnknownModelError
from moebius.networks import MoebiusConfig
from moebius.weights import MODELS, find, spec_from_json, spec_to_json
from moebius.weights.cache import cache_home, model_folder, state
from moebius.weights.registry import PUBLISHED, PUBLISHED_DENOISER


def test_the_published_models_are_known() -> None:
    names = ["pretrained", "places2", "celebahq", "ffhq"]
    assert [spec.name for spec in PUBLISHED] == [*names, *(f"{name}-taesdxl" for name in names)]
    for spec in PUBLISHED:
        assert find(spec.name) is spec
        assert state(spec) == "available"
        assert spec.defaults.start == "masked", "the default must not see under the mask"
        assert spec.tokens == 10
        assert set(spec.files) == {"denoiser", "vae"}


def test_the_published_network_is_the_networks_default() -> None:
    assert MoebiusConfig(**PUBLISHED_DENOISER) == MoebiusConfig()


@pytest.mark.parametrize(("name", "guidance"), [("places2", 2.5), ("celebahq", 2.0), ("ffhq", 2.0)])
def test_guidance_is_the_best_of_the_papers_table(name: str, guidance: float) -> None:
    assert MODELS[name].defaults.guidance == guidance


def test_a_bundled_model_describes_itself() -> None:
    if "nano" not in MODELS:
        with pytest.raises(UnknownModelError, match="reinstall"):
            find("nano")
        return
    assert state(MODELS["nano"]) == "bundled"
    assert not MODELS["nano"].files


@pytest.mark.parametrize(
    ("wrong", "near"), [("place2", "places2"), ("pretraind", "pretrained"), ("ffhg", "ffhq")]
)
def test_an_unknown_name_gets_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(UnknownModelError, match=f"{wrong}.*mean.*{near}.*folder") as caught:
        find(wrong)
    assert "\n" not in str(caught.value)


def test_a_name_like_no_other_gets_the_whole_list() -> None:
    with pytest.raises(UnknownModelError, match=r"known are .*places2"):
        find("zzzzzz")


def test_specs_survive_json() -> None:
    for spec in MODELS.values():
        text = json.dumps(spec_to_json(spec))
        assert spec_from_json(json.loads(text)) == spec


def changed(**changes: Any) -> dict[str, Any]:
    values = {**spec_to_json(MODELS["places2"]), **changes}
    return {name: value for name, value in values.items() if value != "left out"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "expected a JSON object, got list"),
        ({}, '"format": 1, got None'),
        (changed(format=2), '"format": 1, got 2'),
        (changed(title="left out"), "title"),
        (changed(gudance=1), "unknown field 'gudance'"),
        (changed(name="../evil"), "name: expected letters"),
        (changed(name="a/b"), "name: expected letters"),
        (changed(feed="empty"), "feed: expected one of masked, prefill, got 'empty'"),
        (changed(prediction="noise"), "prediction: expected one of"),
        (changed(first_timestep=1000), "first_timestep: expected a whole number, 0 to 999, got 1000"),
        (changed(latent_scale="big"), "latent_scale: expected a number"),
        (changed(latent_scale=float("nan")), "latent_scale: expected a number"),
        (changed(size=True), "size: expected a whole number"),
        (changed(sizes=[256, "x"]), "sizes: expected a whole number"),
        (changed(sizes=5), "not iterable"),
        (changed(denoiser=None), "denoiser: expected an object"),
        (
            changed(defaults={"steps": 0, "guidance": 1}),
            "defaults: steps: expected a whole number, 1 to 1000",
        ),
        (changed(defaults={"guidance": 1}), "defaults: missing .*steps"),
        (changed(defaults="left out"), "defaults: expected an object, got None"),
        (changed(files={"vae": {"repository": "a/b"}}), "files.vae: missing .*path"),
        (changed(files={"vae": {"repository": "a/b", "path": "c", "sha256": "XYZ"}}), "files.vae: sha256"),
    ],
)
def test_a_wrong_model_json_is_one_line_that_names_the_field(values: object, said: str) -> None:
    with pytest.raises(CorruptWeightsError, match=said) as caught:
        spec_from_json(values, "somewhere/model.json")
    assert str(caught.value).startswith("somewhere/model.json: ")
    assert "\n" not in str(caught.value)


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_home() == tmp_path / "home"
    assert model_folder("places2") == tmp_path / "home" / "models" / "places2"
    monkeypatch.delenv("MOEBIUS_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_home() == tmp_path / "xdg" / "moebius"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_home() == Path.home() / ".cache" / "moebius"


def test_the_room_needs_no_torch() -> None:
    script = (
        "import sys; sys.modules.update(torch=None, diffusers=None, onnxruntime=None); "
        "import moebius.weights as w; print(w.find('places2').title)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "scenes\n"), done.stderr


def test_known_checksums_are_whole_or_prefixes() -> None:
    for spec in PUBLISHED:
        for file in spec.files.values():
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{8}|[0-9a-f]{64}", file.sha256)
            assert file.bytes is None or file.bytes > 10**8
