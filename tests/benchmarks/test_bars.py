"""What a run says beside what was asked, and the plot."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from moebius.benchmarks.bars import bars, bars_report, claims
from moebius.benchmarks.plot import Shown, shown, svg
from moebius.benchmarks.summing_up import sum_up

PSNR = """| engine, format | mean | lowest |
| --- | ---: | ---: |
| torch float32 | 61.0 | 60.0 |
| torch bfloat16 | 37.0 | 30.0 |
"""


def case(unit: str = "s", **times: float) -> dict[str, Any]:
    """A case of variants with those seconds (or MiB); an underscore stands for a hyphen, two for a colon."""
    names = {key.replace("__", ":").replace("_", "-"): value for key, value in times.items()}
    key = "seconds" if unit == "s" else "mib"
    return {
        "unit": unit, "base": next(iter(names)), "rounds": [], "peaks": [],
        "entries": {
            name: {"title": f"title of {name}", "images": 1, "dtype": "bfloat16", "flops": 0}
            | ({"parts": [["x", 1]]} if name.endswith("computed") else {})
            for name in names
        },
        "summary": {name: {key: value} for name, value in names.items()},
    }  # fmt: skip


def measured() -> dict[str, Any]:
    batch = case(deployed_bf16_guided=0.1, graphs_bf16_guided=0.05, plain=1.0)
    batch["entries"]["deployed-bf16-guided"]["flops"] = batch["entries"]["graphs-bf16-guided"]["flops"] = (
        40e12
    )
    batch["rounds"] = [{"deployed-bf16-guided": [0.1, 0], "graphs-bf16-guided": [0.05, 0]}]
    # 1600 TFLOP/s by the product; the convolution is not asked about
    batch["peaks"] = [{"bfloat16": {"matrix product": [160e12, 0.1, 0.1], "convolution": [1e16, 0.1, 0.1]}}]
    memory = case("MiB", ours__1=1500.0, ours__32=9e3)
    memory["summary"]["ours:1"]["held_mib"] = 2000.0
    return {
        "about": {"machine": "NVIDIA H200", "device": "cuda", "size": "full"},
        "cases": {
            "step": case(
                reference_guided=0.025, plain_guided=1e-4, nophases_bf16_guided=1e-4, graphs_bf16_guided=0.002,
                graphs_bf16_single=0.001,
            ),
            "pictures:1": case(
                reference_19=0.5, reference_19_computed=0.4, ours_eager_20_guided=0.1, ours_graphs_20_guided=0.05,
                ours_loop_4_no_pair=0.03, flux_fill_50=2.0, flux_fill_50_computed=2.1, flux_fill_20_computed=1.0,
                sd15_50_computed=1.5, sd15_20_computed=0.6, step__flux_fill=0.04, step__reference=0.02,
                guided__ours=0.002,
            ),
            "batch:32": batch,
            "picture-memory": memory,
        },
    }  # fmt: skip


def test_bars_are_held_against_what_was_measured() -> None:
    found = {bar.name.partition(",")[0] + str(n): bar for n, bar in enumerate(bars(measured(), PSNR))}
    told = [(bar.verdict, bar.measured) for bar in found.values()]
    assert told == [
        ("met", "2 ms (title of graphs-bf16-guided)"),  # neither the plain network nor a rewrite left out
        ("met", "12.5 x (title of graphs-bf16-guided)"),
        ("met", "50 ms (title of ours-graphs-20-guided)"),
        ("not met", "30 ms (title of ours-loop-4-no-pair)"),
        ("not met", "2.1 GB (title of ours:1)"),  # what is held, not what is used
        ("met", "50 % (title of graphs-bf16-guided)"),
        ("not met", "40 x (title of ours-graphs-20-guided)"),
        ("met", "66.7 x (title of ours-loop-4-no-pair)"),
        ("met", "61.0 dB (torch float32)"),
        ("not measured", "-"),
        ("not met", "37.0 dB (torch bfloat16)"),
    ]


def test_the_published_speed_up_is_measured_with_and_without_the_steps() -> None:
    found = {name: value for name, _, value in claims(measured())}
    assert list(found.values()) == ["5 x", "2 x", "50 x", "20 x", "4 x", "2 x", "40 x", "20 x"]


def test_nothing_is_claimed_that_was_not_measured() -> None:
    nothing = {"cases": {}}
    assert {bar.verdict for bar in bars(nothing)} == {"not measured"}
    assert {value for _, _, value in claims(nothing)} == {"not measured"}
    assert " met |" not in bars_report(nothing)


def test_the_plot_shows_each_pipeline_at_its_own_steps() -> None:
    rows = shown(measured())
    assert [(row.title, row.ours, row.computed) for row in rows] == [
        ("title of flux-fill-50", False, False),
        ("title of sd15-50-computed", False, True),
        ("title of reference-19", False, False),
        ("title of ours-graphs-20-guided", True, False),
        ("title of ours-loop-4-no-pair", True, False),
    ]
    assert shown({"cases": {}}) == []
    with pytest.raises(ValueError, match="expected one row or more, got none"):
        svg([], "nothing")


def test_the_plot_is_logarithmic() -> None:
    rows = [
        Shown("ten & more", 10.0, False, True),
        Shown("one", 1.0, False, False),
        Shown("ours", 0.1, True, False),
    ]
    tree = ElementTree.fromstring(svg(rows, "a <title>"))
    space = {"s": "http://www.w3.org/2000/svg"}
    bars_of = tree.findall("s:rect", space)
    widths = [float(bar.get("width", "0")) for bar in bars_of]
    assert (
        widths[0] == pytest.approx(2 * widths[1], abs=0.2) and widths[2] == 1.0
    )  # 0.1 s is where the axis begins
    assert [bar.get("fill") == "none" for bar in bars_of] == [True, False, False]
    texts = [text.text for text in tree.findall("s:text", space)]
    assert {"a <title>", "ten & more", "10 s", "1 s", "100 ms"} <= set(texts)
    assert "background" not in ElementTree.tostring(tree, "unicode")  # a page's own shows through


def test_it_is_summed_up_without_results(tmp_path: Path) -> None:
    lines = sum_up(tmp_path)
    assert len(lines) == 11 and all(line.startswith("not measured ") for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["bars.md"]  # no plot of nothing
    assert (tmp_path / "bars.md").read_text().startswith("No GPU yet")
