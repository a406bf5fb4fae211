"""Measuring fills: of our models, published checkpoints and other methods, by the field's protocols and our own.

What is measured
    protocol.py, protocol_file.py, protocols/    benchmarks as files; planted.py: real objects' shapes as holes
    holes.py                 a case names a hole, a hole has it in memory
    methods.py, opening.py   what fills; by names that another process can open
    models.py, variants.py   our models, with any settings
    classical.py, peers.py, foreign*.py    OpenCV, scikit-image, PatchMatch; ONNX, diffusers, somebody's results

How
    metrics.py, ring.py, removal.py    one fill: against the truth, at its edge, without a truth
    features.py, feature_*.py          feature networks, found or fetched
    judge.py                 all numbers of one hole
    distances.py, sets.py    whole sets
    store.py, run.py         measurements on disk, taken up again after an interruption
    provenance.py            what a number depends on

What comes of it
    statistics.py, summary.py, rows.py, tables.py, results.py    means, intervals, differences, files
    report.py, plots.py, page/    one page to look at
    cost.py                  time and memory, in processes of their own
    evaluate.py, study.py, studies/    the two commands

Needs the extra `[eval]`; published FID and LPIPS need `[fid]` besides.
"""
