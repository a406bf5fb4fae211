"""Operations and bytes of calls that can be counted by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from moebius.benchmarks.counting import count


def test_products_and_convolutions() -> None:
    a, b = torch.ones(3, 4), torch.ones(4, 5)
    found = count(lambda: a @ b)
    assert found.flops == 2 * 3 * 4 * 5
    assert found.bytes == 4 * (12 + 20 + 15)
    assert found.operations == 1 and found.kinds == {"mm": 1}

    x, kernel = torch.ones(2, 3, 8, 8), torch.ones(6, 3, 3, 3)
    assert count(lambda: F.conv2d(x, kernel, padding=1)).flops == 2 * 2 * 6 * 64 * 27
    depthwise = torch.ones(3, 1, 3, 3)
    assert count(lambda: F.conv2d(x, depthwise, padding=1, groups=3)).flops == 2 * 2 * 3 * 64 * 9


def test_attention_of_a_cpu_is_counted() -> None:
    q, k = torch.rand(2, 3, 10, 8), torch.rand(2, 3, 7, 8)
    assert count(lambda: F.scaled_dot_product_attention(q, k, k)).flops == 2 * 2 * 3 * 10 * 7 * (8 + 8)


def test_joined_convolutions_are_counted() -> None:
    """oneDNN's own, which torch's counter does not know."""
    layout = torch.channels_last
    x, other = (torch.rand(2, 4, 8, 8).to(memory_format=layout) for _ in range(2))
    kernel, depthwise = torch.rand(4, 4, 3, 3).to(memory_format=layout), torch.rand(4, 1, 3, 3)
    run = torch.ops.mkldnn._convolution_pointwise
    for weight, groups in ((kernel, 1), (depthwise, 4)):
        wanted = count(lambda w=weight, g=groups: F.conv2d(x, w, padding=1, groups=g)).flops  # type: ignore[misc]
        geometry = ([1, 1], [1, 1], [1, 1], groups)
        one = count(lambda w=weight, g=geometry: run(x, w, None, *g, "relu", [], ""))  # type: ignore[misc]
        two = count(
            lambda w=weight, g=geometry: run.binary(x, other, w, None, *g, "add", 1.0, None, [], None)
        )  # type: ignore[misc]
        assert one.flops == two.flops == wanted > 0
        assert one.kinds == two.kinds == {"convolution": 1}


def test_views_cost_nothing_and_copies_do() -> None:
    x = torch.ones(4, 6)
    assert count(lambda: x.t().unsqueeze(0)[:, 1:].permute(2, 1, 0)).bytes == 0
    assert count(lambda: x.reshape(3, 8)).operations == 0
    found = count(lambda: x.t().contiguous())
    assert found.bytes == 2 * 24 * 4 and found.kinds == {"copy": 1} and found.flops == 0
    assert count(lambda: x + x).bytes == 3 * 24 * 4
    assert count(lambda: x.bfloat16() + 1).bytes == 24 * (4 + 2) + 24 * (2 + 2)


def test_gradients_are_not_kept() -> None:
    weight = torch.ones(2, 2, requires_grad=True)
    made: list[torch.Tensor] = []
    count(lambda: made.append(weight @ weight))
    assert not made[0].requires_grad
