"""More clients than places: everybody gets the right picture, or is told to come back."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from asking import form, numbers, png, quiet
from child_processes import wait_until
from made_photos import picture
from running import running_server

CLIENTS, EACH = 16, 2


@pytest.mark.slow
def test_under_load(tmp_path: Path, mask: bytes) -> None:
    photos = [png(picture(96, 64, seed=seed)) for seed in range(5)]
    with running_server(tmp_path, "--queue", "6") as server:
        with httpx.Client(base_url=server.url) as client:
            alone = [client.post("/v1/inpaint", **form(photo, mask)).content for photo in photos]

        def ask(number: int) -> Counter[int]:
            seen: Counter[int] = Counter()
            with httpx.Client(base_url=server.url) as client:
                while seen[200] < EACH:
                    which = (number + seen.total()) % len(photos)
                    answer = client.post("/v1/inpaint", **form(photos[which], mask))
                    seen[answer.status_code] += 1
                    if answer.status_code == 200:
                        assert answer.content == alone[which]
                    else:
                        assert answer.status_code in (429, 503) and int(answer.headers["Retry-After"]) >= 1
                        time.sleep(0.1)
            return seen

        with ThreadPoolExecutor(CLIENTS) as pool:
            seen = sum(pool.map(ask, range(CLIENTS)), Counter())
        assert set(seen) == {200, 429} and seen[200] == CLIENTS * EACH, seen
        wait_until(lambda: quiet(numbers(server.url)), "nothing is left to do")
        assert numbers(server.url)["moebius_held_bytes"] == 0
        assert server.worker and numbers(server.url)["moebius_worker_restarts_total"] == 0
