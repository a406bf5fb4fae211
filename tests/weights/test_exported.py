"""The registry entry of a folder that `moebius export` made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from moebius.engines import open_engine
from moebius.errors import CorruptWeightsError, DeviceError
from moebius.testing import LIKE_NANO
from moebius.weights import ModelFolder, open_folder, seal, spec_from_json, spec_to_json
from moebius.weights.cache import missing_files
from moebius.weights.spec import Exported

MADE = Exported(runtime="openvino", dtype="int8", source="0" * 64, shapes=((64, 64), (32, 48)), steps=4)


def test_there_and_back() -> None:
    spec = replace(LIKE_NANO, exported=MADE)
    assert spec_from_json(spec_to_json(spec)) == spec
    assert "exported" not in spec_to_json(LIKE_NANO)  # older programs refuse fields that they do not know


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("runtime", "tensorrt", "exported: runtime"),
        ("dtype", "int4", "exported: dtype"),
        ("source", "none", "exported: source"),
        ("shapes", [[64]], "exported: shapes"),
        ("shapes", [[64, 0]], "exported: shapes"),
        ("steps", -1, "exported: steps"),
        ("colour", "red", "exported: unknown field 'colour'"),
    ],
)
def test_wrong_fields_are_told(field: str, value: object, told: str) -> None:
    values = spec_to_json(replace(LIKE_NANO, exported=MADE))
    values["exported"] = {**values["exported"], field: value}
    with pytest.raises(CorruptWeightsError, match=told):
        spec_from_json(values)


def test_files_that_it_needs(tmp_path: Path) -> None:
    spec = replace(LIKE_NANO, exported=MADE)
    graphs = ("encoder", "denoiser-64x64", "denoiser-32x48", "decoder", "loop")
    files = [f"{graph}.{suffix}" for graph in graphs for suffix in ("xml", "bin")]
    assert missing_files(tmp_path, spec) == ["model.json", *files]
    for name in files:
        (tmp_path / name).write_bytes(name.encode())
    assert seal(tmp_path, spec).hash == open_folder(tmp_path).hash
    before = open_folder(tmp_path).hash
    (tmp_path / "decoder.bin").write_bytes(b"other")
    with pytest.raises(CorruptWeightsError, match=r"decoder\.bin: expected 11 bytes, got 5"):
        open_folder(tmp_path)
    seal(tmp_path, spec)
    assert open_folder(tmp_path).hash != before  # its weights lie in several files: all of them count
    onnx = replace(spec, exported=replace(MADE, runtime="onnx", shapes=(), steps=0))
    assert missing_files(tmp_path, onnx) == [
        "encoder.onnx",
        "denoiser.onnx",
        "decoder.onnx",
        "weights.safetensors",
    ]


def test_it_is_run_by_what_it_was_made_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(LIKE_NANO, exported=MADE)
    folder = ModelFolder(tmp_path, spec)
    for engine in ("onnx", "torch"):
        with pytest.raises(DeviceError, match=f"holds graphs for openvino alone, got engine '{engine}'"):
            open_engine(spec, folder.path, engine=engine)
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(DeviceError, match=r"pip install 'moebius-inpaint\[openvino\]'"):
        open_engine(spec, folder.path)
