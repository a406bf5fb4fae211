"""Folders and tables of photos: what belongs together, what is done already, and doing the rest.

    item.py, work.py        one photo: what is to be done, doing it, and what became of it
    hole.py, picture.py     what is to be filled in it; filling it, all frames of an animation, and encoding
    shared.py               annotation files that many photos share
    files.py, remote.py     bytes from and to paths and URLs; stamps.py: which files are as they were
    gather.py               from what the person named to items: folders.py, table.py, pairing.py, names.py, and
                            own_places.py
    manifest.py, claims.py  what was done, kept so that nothing is lost or done twice, by any number of processes
    ledger.py, plan.py      the manifest held against the files: what is left to do, before any work
    local.py, ray_engine.py doing it: threads around one model here, or a Ray cluster (ray_pool.py)
    summary.py              what it came to

Every engine calls `fill_item` for each item, so all of them make the same bytes.
"""

from moebius.batch.item import Item, Options, Record, Source
from moebius.batch.work import Stopped, fill_item

__all__ = ["Item", "Options", "Record", "Source", "Stopped", "fill_item"]
