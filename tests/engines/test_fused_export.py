"""The fused network as an ONNX graph: small tensors' ranks, any size, the same answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from fused_networks import TINY, inputs, random_network, relative

from moebius.engines.fuse import fuse
from moebius.engines.runtime import load_onnxruntime

SMALL = replace(TINY, channels=(16, 48), layers=1)
"""Every kind of part once, in few nodes: the exporter takes its time."""
ONNX_LIMIT = 5
"""Rank of tensors that WebGPU and mobile runtimes take."""


@pytest.mark.filterwarnings("ignore")  # the exporter's own deprecations
@pytest.mark.parametrize("dynamic", [False, True])
def test_exported_graph(dynamic: bool, tmp_path: Path) -> None:
    net = random_network(SMALL).float()
    fused = fuse(net)
    batch = torch.export.Dim("batch", min=1, max=64)
    map_shape = {0: batch}
    if dynamic:
        multiple = SMALL.multiple
        rows, columns = (torch.export.Dim(name, min=1, max=256) for name in ("rows", "columns"))
        map_shape |= {2: multiple * rows, 3: multiple * columns}
    x, times, ids = inputs(*((12, 20) if dynamic else (8, 20)), rows=2)
    program = torch.onnx.export(
        fused,
        (x.float(), times, ids),
        dynamo=True,
        opset_version=18,
        dynamic_shapes={"x": map_shape, "timesteps": {0: batch}, "category_ids": {0: batch}},
        verbose=False,
    )
    assert program is not None
    model = onnx.shape_inference.infer_shapes(program.model_proto)
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    ranks = [len(value.type.tensor_type.shape.dim) for value in values]
    ranks += [len(tensor.dims) for tensor in model.graph.initializer]
    assert max(ranks) <= ONNX_LIMIT
    kernels = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    assert all(kernels.get(n.input[1], 4) == 4 for n in model.graph.node if n.op_type == "Conv")

    path = tmp_path / "fused.onnx"
    onnx.save(program.model_proto, path)
    session = load_onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    for shape in ((8, 8), (8, 20), (20, 4)) if dynamic else ((8, 20),):
        x, times, ids = inputs(*shape)
        feed = dict(zip(names, (x.float().numpy(), times.numpy(), ids.numpy()), strict=True))
        (out,) = session.run(None, feed)
        assert relative(torch.from_numpy(np.asarray(out)), net(x.float(), times, ids)) < 1e-5
