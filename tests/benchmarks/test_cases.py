"""Every case opens at tiny sizes, and every variant runs, is counted and does the work that it is called."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from moebius.benchmarks import cases, others, processes, subjects
from moebius.benchmarks.cases import PEERS, Setting, all_cases, choose, rewrites
from moebius.benchmarks.counting import count
from moebius.benchmarks.denoiser import Shelf
from moebius.benchmarks.fresh import measure
from moebius.benchmarks.lama import LamaGenerator
from moebius.benchmarks.peaks import Peaks
from moebius.benchmarks.subjects import check_memory, realise
from moebius.errors import DeviceError, MoebiusError, SettingsError
from moebius.networks import MoebiusUNet

TINY = Setting(size="tiny", reference=True, peers=PEERS)
CPU = torch.device("cpu")
COUNTED = ("step", "batch:2", "compiled", f"rewrite:{rewrites()[0]}", "encode", "decode", "against")


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize("name", COUNTED)
def test_variants_of_the_networks(name: str) -> None:
    entries = all_cases()[name].open(TINY)
    assert len({entry.name for entry in entries}) == len({entry.title for entry in entries}) == len(entries)
    plain = [entry for entry in entries if not entry.title.startswith("engine")]
    engines = [entry for entry in entries if entry.title.startswith("engine")]
    chosen = {
        f"rewrite:{rewrites()[0]}": entries[2:5:2],  # alone and left out
        "compiled": entries[:4:3],  # the two that are not compiled
        "step": [*plain, *engines[::3]],  # guided, and without the pair
        "batch:2": [*plain[:1], *plain[-2:], *engines[:1]],
    }
    for entry in chosen.get(name, entries):
        entry.make()
        assert entry.count is not None
        flops, moved = entry.count()  # which runs it
        assert flops > 0 and moved > 0, entry.name
        assert entry.images == (2 if name == "batch:2" else 1)


def test_all_forms_of_a_step_compute_the_same() -> None:
    outputs = {}
    for entry in all_cases()["step"].open(TINY):
        if entry.title.startswith("engine"):  # which is fed otherwise, and adds guidance up
            continue
        with torch.inference_mode():
            out = entry.make()()
        outputs[entry.name] = torch.cat(out) if isinstance(out, tuple) else out
    for name, out in outputs.items():
        wanted = outputs["plain-guided" if name.endswith("guided") else "plain-single"]
        assert isinstance(wanted, torch.Tensor) and isinstance(out, torch.Tensor)
        error = float((out.float() - wanted).norm() / wanted.norm())
        assert error < (0.3 if "bf16" in name else 1e-4), name


def test_a_batch_is_counted_whole() -> None:
    flops = {}
    for name in ("batch:1", "batch:4"):
        entry = all_cases()[name].open(TINY)[0]
        entry.make()
        assert entry.count is not None
        flops[name] = entry.count()[0]
    assert flops["batch:4"] == pytest.approx(4 * flops["batch:1"], rel=1e-3)


def test_end_to_end() -> None:
    entries = all_cases()["whole"].open(TINY)
    assert [entry.name for entry in entries[:2]] == ["reference", "plain-fp32-20-guided"]
    assert {"deployed-bf16-4-no-pair", "deployed-bf16-1-guided", "deployed-fp32-20-guided"} <= {
        e.name for e in entries
    }
    for entry in (entries[0], entries[1], entries[-1]):
        assert entry.make()() is not None


@pytest.mark.parametrize("name", ["nano", "engine:encode", "engine:step", "engine:decode"])
def test_variants_of_the_bundled_model(name: str) -> None:
    entries = all_cases()[name].open(Setting(threads=1))
    first = entries[0]
    assert "onnx-float32" in first.name and first.dtype is None
    first.make()()
    kinds = {entry.name.replace("-256", "").replace("-384", "").replace("-512", "") for entry in entries}
    assert any("torch" in kind for kind in kinds)


def test_engines_stand_beside_the_published_graph_of_their_sizes() -> None:
    first = all_cases()["engine:step"].open(Setting(threads=1, reference=True))[0]
    out = first.make()()
    assert first.name == "reference-guided"
    assert isinstance(out, torch.Tensor) and out.shape == (2, 8, 16, 16)  # nano's, of the pair


def test_nothing_of_the_base_cases_needs_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "has_torch", lambda: False)
    assert rewrites() == ()
    assert [case.name for case in choose((), Setting())] == [
        *("engine:encode", "engine:step", "engine:decode"),
        "nano",
        "start-up",
        "memory",
    ]
    with pytest.raises(DeviceError, match="case step needs PyTorch: pip install"):
        choose(("step",), Setting())[0].open(Setting())


def test_processes() -> None:
    found = {entry.name: entry for entry in all_cases()["start-up"].open(Setting(threads=1))}
    assert next(iter(found)) == "python"
    found["import"].make()()
    found["inpaint"].make()()  # fails loudly, as the next does
    with pytest.raises(MoebiusError, match=r"process -c .*: boom"):
        processes.run_process(("-c", "raise SystemExit('boom')"), Setting())
    memory = {entry.name: entry for entry in all_cases()["memory"].open(TINY)}
    python, with_torch = (memory[name].make()() for name in ("python", "torch"))
    assert isinstance(python, float) and isinstance(with_torch, float)
    assert 5 < python < with_torch < 5000


def test_memory_of_the_bundled_model_is_measured_without_torch() -> None:
    code = (
        "import sys; from moebius.benchmarks.cases import Setting; from moebius.benchmarks.fresh import measure;"
        "print(measure('nano', Setting(threads=1))[0], 'torch' in sys.modules)"
    )
    peak, torch_too = processes.run_process(("-c", code), Setting()).split()
    assert float(peak) > 50 and torch_too == "False"


@pytest.mark.parametrize(
    "name",
    [
        *("reference", "plain", "deployed-bf16", "condition-bf16", "encode-fp32", "decode-bf16"),
        *("picture:ours:2", "picture:reference:1", "picture:flux-fill:1"),
    ],
)
def test_what_memory_is_measured_on(name: str) -> None:
    used, held = measure(name, TINY)
    assert used > 10 and held == 0


def test_choosing() -> None:
    def names(*words: str) -> list[str]:
        return [case.name for case in choose(words, Setting())]

    usual = names()
    assert usual[0] == "step" and "batch:2" in usual and "batch:64" not in usual and "against" not in usual
    assert "batch:64" in [case.name for case in choose((), Setting(device="cuda"))]
    assert "against" in [case.name for case in choose((), Setting(peers=("lama",)))]
    assert names("decode", "step") == ["step", "decode"]
    assert names("batch") == [f"batch:{rows}" for rows in (1, 2, 4, 8, 16, 32, 64)]
    assert names("rewrite") == [f"rewrite:{name}" for name in rewrites()]
    with pytest.raises(SettingsError, match=r"case: expected one like .*decode.*, got 'decoder'"):
        names("decoder")
    for values, message in (
        ({"size": "huge"}, "size: expected full, tiny, got 'huge'"),
        ({"threads": 0}, "threads: expected 1 or more, got 0"),
        ({"peers": ("dalle",)}, "against: expected some of pixelhacker, .*, got 'dalle'"),
    ):
        with pytest.raises(SettingsError, match=message):
            Setting(**values)  # type: ignore[arg-type]


def test_rewrites_are_named_alone_and_left_out() -> None:
    for case in choose(("rewrite",), TINY):
        found = [entry.name for entry in case.open(TINY)]
        assert found == [
            "plain",
            *(f"{k}-{d}" for d in ("fp32", "bf16") for k in ("none", "alone", "all", "without")),
        ]


# Networks of others


def test_sizes_of_other_networks_are_the_public_ones() -> None:
    millions = {
        "sd15": 859.5,
        "flux-fill": 11902.4,
        "sd35-large": 8056.6,
        "lama": 50.98,
        "pixelhacker": 862.25,
    }
    flops = {"sd15": 1606.8, "flux-fill": 21504.6, "sd35-large": 15955.6}
    setting = Setting()
    with torch.device("meta"):
        for peer in PEERS:
            net = others.build(peer, setting).eval().requires_grad_(False)
            assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions[peer], abs=0.1)
            if peer in flops:
                inputs = others.made_up(peer, net, setting)
                assert count(lambda n=net, i=inputs: n(**i)).flops / 1e9 == pytest.approx(
                    flops[peer], rel=1e-4
                )  # type: ignore[misc]


def test_lama_is_a_generator_of_photos() -> None:
    net = realise(lambda: LamaGenerator(width=8, blocks=1), CPU)
    with torch.no_grad():
        out = net(torch.rand(1, 4, 64, 40))
        moved = net(torch.rand(1, 4, 64, 40))
    assert out.shape == (1, 3, 64, 40) and out.min() >= 0 and out.max() <= 1 and not torch.equal(out, moved)


@pytest.mark.parametrize("peer", ["flux-fill", "sd35-large"])
def test_blocks_share_weights_where_memory_is_short(
    peer: cases.Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not others.ties(peer, "float32", TINY)
    whole = others.peer_entry(peer, "float32", TINY)
    monkeypatch.setattr(others, "available_mib", lambda device: 0.01)
    tied = others.peer_entry(peer, "float32", TINY)
    assert (
        tied.title == f"{whole.title}, shared weights"
        and "share one set of weights" in tied.note
        and not whole.note
    )
    counts = []
    for entry in (whole, tied):
        entry.make()
        assert entry.count is not None
        counts.append(entry.count()[0])
    assert counts[0] == counts[1]  # the same work
    with torch.device("meta"):
        large, small = (
            others.build(peer, Setting()),
            others.tie(others.build(peer, Setting()), others.BLOCKS[peer]),
        )
    assert sum(p.numel() for p in small.parameters()) < 0.1 * sum(p.numel() for p in large.parameters())


# What is measured


def test_random_weights_are_the_same_and_keep_numbers_tame() -> None:
    first, second = (subjects.make_denoiser(TINY) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    inputs = subjects.made_up_inputs(first.config, 2, TINY, guided=True)
    with torch.no_grad():
        assert 0.05 < first(*inputs).std() < 50
    norm = next(module for module in first.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert norm.running_mean is not None and norm.running_var is not None
    assert norm.running_mean.abs().max() > 0 and norm.running_var.min() >= 0.5


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subjects, "available_mib", lambda device: 1024.0)
    check_memory(500, CPU)
    with pytest.raises(DeviceError, match=r"needs 0\.6 GiB of memory beside 512 MiB .*, 1\.0 GiB are free"):
        check_memory(600, CPU)
    with pytest.raises(DeviceError, match=r"needs 0\.8 GiB"):
        realise(MoebiusUNet, CPU)


def test_peaks_are_of_both_libraries() -> None:
    found = Peaks(["float32", "bfloat16"], CPU, "tiny", lambda: None).measure()
    assert set(found) == {"float32", "bfloat16"}
    for probes in found.values():
        assert {name: probe[0] for name, probe in probes.items()} == {
            "matrix product": 2 * 128**3, "convolution": 18 * 16**2 * 16**2,
        }  # fmt: skip
        assert all(min(probe) > 0 for probe in probes.values())


def test_published_graph_is_only_there_if_asked_for() -> None:
    without = dataclasses.replace(TINY, reference=False, peers=())
    for name in ("step", "whole", "against", "memory"):
        assert not any("reference" in entry.name for entry in all_cases()[name].open(without))
    assert Shelf(TINY).reference() is not None and np.isfinite(subjects.available_mib(CPU) or 0)
