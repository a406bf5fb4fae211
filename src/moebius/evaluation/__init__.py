"""Measuring fills on photos whose hidden part is known.

    photos.py       the `photos` set: pictures with thin, medium and thick holes
    fillers.py      what is compared: OpenCV's two, the smooth fill, with the autoencoder, the model
    metrics.py      one filled picture against the truth
    rows.py         measurements on disk: added one by one, taken up again after an interruption
    summary.py      means with their intervals, as numbers and as Markdown
    provenance.py   what a number depends on
    sheet.py        the pictures side by side, to look at
    card.py         all of it together: what a model's card states

`python -m moebius.evaluation --data DIR --features FILE` runs it. Needs the extra `[eval]`.
"""
