"""/v1/jobs: started, watched, cancelled, fetched, forgotten."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import numpy as np
import pytest
from asking import LONG, STRICT, error_of, events, form, numbers, pixels_of, png, quiet
from child_processes import wait_until
from made_photos import picture
from PIL import Image


@pytest.fixture
def client(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, timeout=60) as opened:
        yield opened


def start(client: httpx.Client, photo: bytes, mask: bytes, query: str = "", **fields: Any) -> str:
    answer = client.post(f"/v1/jobs{query}", **form(photo, mask, **fields))
    assert answer.status_code == 202, answer.text
    told = answer.json()
    where = f"/v1/jobs/{told['id']}"
    assert told == {"id": told["id"], "events": f"{where}/events", "result": f"{where}/result"}
    assert answer.headers["Location"] == where
    return where


def watch(client: httpx.Client, where: str, last: int | None = None) -> list[tuple[int, str, dict[str, Any]]]:
    """All events until the job has ended."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    with client.stream("GET", f"{where}/events", headers=headers) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        return [(number, kind, json.loads(data)) for number, kind, data in events(answer.iter_lines())]


def test_a_job_from_start_to_end(client: httpx.Client, photo: bytes, mask: bytes) -> None:
    expected = client.post("/v1/inpaint", **form(photo, mask, seed=4, steps=3)).content
    where = start(client, photo, mask, seed=4, steps=3)
    seen = watch(client, where)
    assert [number for number, *_ in seen] == list(range(1, len(seen) + 1))
    kinds = [kind for _, kind, _ in seen]
    assert kinds[-1] == "done" and set(kinds[:-1]) <= {"queued", "progress"} and "progress" in kinds
    steps = [data for _, kind, data in seen if kind == "progress"]
    fractions = [data["fraction"] for data in steps]
    assert fractions == sorted(fractions) and len(steps) >= 3
    assert all(data["preview"] is None for data in steps)
    look = client.get(where).json()
    assert look["state"] == "done" and look["fraction"] == 1.0
    assert look["result"] == seen[-1][2]["result"] and look["format"] == "png"
    answer = client.get(f"{where}/result")
    assert answer.content == expected and answer.headers["X-Moebius-Seed"] == "4"
    assert 'filename="photo-clean.png"' in answer.headers["Content-Disposition"]
    assert client.get(f"{where}/result").content == expected  # as often as one likes
    middle = len(seen) // 2
    assert watch(client, where, middle) == seen[middle:]
    assert watch(client, where, len(seen)) == []
    assert client.delete(where).status_code == 204
    for method, path in (
        ("GET", where),
        ("GET", f"{where}/result"),
        ("GET", f"{where}/events"),
        ("DELETE", where),
    ):
        assert error_of(client.request(method, path))[:2] == (404, "not_found")


def test_previews_fit_their_boxes(client: httpx.Client) -> None:
    photo = png(picture(200, 120))
    hole = np.zeros((120, 200), np.uint8)
    hole[50:70, 140:170] = 255
    seen = watch(client, start(client, photo, png(hole), "?previews=true", steps=2))
    previews = [data for _, kind, data in seen if kind == "progress" and data["preview"]]
    assert previews
    for data in previews:
        left, top, right, bottom = data["box"]
        assert 0 <= left <= 140 and 0 <= top <= 50 and 170 <= right <= 200 and 70 <= bottom <= 120
        head, _, encoded = data["preview"].partition(",")
        assert head == "data:image/jpeg;base64"
        image = Image.open(io.BytesIO(base64.b64decode(encoded)))
        assert abs(image.width * (bottom - top) - image.height * (right - left)) <= max(
            image.size
        )  # to scale
        drawn = np.asarray(image.resize((right - left, bottom - top))).astype(int)
        around = pixels_of(photo)[top:bottom, left:right].astype(int)
        untouched = pixels_of(png(hole))[top:bottom, left:right] == 0
        off, mirrored = (np.abs(each - around)[untouched].mean() for each in (drawn, drawn[:, ::-1]))
        assert off < 16 and off < mirrored / 2  # the place it shows, not another


def test_a_job_that_fails_says_why(client: httpx.Client, photo: bytes) -> None:
    where = start(client, photo, b"no image")
    *_, (_, kind, data) = watch(client, where)
    assert kind == "failed" and data["error"]["type"] == "mask"
    assert client.get(where).json()["state"] == "failed"
    assert error_of(client.get(f"{where}/result"))[:2] == (400, "mask")


def test_a_cancelled_job_stops_the_worker(client: httpx.Client, photo: bytes, mask: bytes) -> None:
    before = numbers(client)
    where = start(client, photo, mask, **LONG)
    assert error_of(client.get(f"{where}/result"))[0] == 409
    with client.stream("GET", f"{where}/events") as answer:
        seen = events(answer.iter_lines())
        data: dict[str, Any] = {"step": 0}
        while data.get("step", 0) < 2:  # it is at work
            data = json.loads(next(seen)[2])
        assert client.delete(where).status_code == 204
        assert [kind for _, kind, _ in seen][-1] == "cancelled"
    wait_until(lambda: quiet(numbers(client)), "the worker gives the fill up")
    after = numbers(client)
    ended = 'moebius_jobs_ended_total{state="cancelled"}'
    assert after[ended] == before.get(ended, 0) + 1
    rows = "moebius_network_rows_total"
    assert 2 < after[rows] - before[rows] < 500
    assert after["moebius_held_bytes"] <= before["moebius_held_bytes"]
    assert error_of(client.get(where))[0] == 404


def test_a_queued_job_knows_its_place(client: httpx.Client, photo: bytes, mask: bytes) -> None:
    with ExitStack() as stack:
        places = [start(client, photo, mask, **LONG) for _ in range(6)]  # four at a time are worked on
        for where in places:
            stack.callback(client.delete, where)
        told = [client.get(where).json() for where in places]
        assert [each["state"] for each in told] == ["running"] * 4 + ["queued"] * 2
        assert [each.get("position") for each in told[4:]] == [1, 2]
        with client.stream("GET", f"{places[5]}/events") as answer:
            assert next(events(answer.iter_lines()))[1:] == ("queued", '{"position": 2}')
        assert client.delete(places[4]).status_code == 204
        assert client.get(places[5]).json()["position"] == 1


def test_ids_cannot_be_guessed(client: httpx.Client, photo: bytes) -> None:
    ids = {start(client, photo, b"x").rpartition("/")[2] for _ in range(20)}
    assert len(ids) == 20 and all(len(each) >= 22 for each in ids)  # 128 bits
    assert error_of(client.get(f"/v1/jobs/{'A' * 22}"))[0] == 404
    assert error_of(client.get(f"/v1/jobs/{'A' * 65}"))[0] == 422


def test_a_job_that_nobody_watches_any_more_is_cancelled(
    strict: httpx.Client, photo: bytes, mask: bytes
) -> None:
    where = start(strict, photo, mask, **LONG)
    with strict.stream("GET", f"{where}/events") as first, strict.stream("GET", f"{where}/events") as second:
        next(events(first.iter_lines()))
        seen = events(second.iter_lines())
        next(seen)
        first.close()
        until = time.monotonic() + 2 * STRICT["--linger"]
        while time.monotonic() < until:  # one who watches is enough
            assert next(seen)[1] == "progress"
    wait_until(lambda: strict.get(where).json().get("state") == "cancelled", "nobody watches")


def test_a_job_that_nobody_has_watched_goes_on(strict: httpx.Client, photo: bytes, mask: bytes) -> None:
    where = start(strict, photo, mask)
    wait_until(lambda: strict.get(where).json()["state"] == "done", "the job is done")


def test_who_comes_back_in_time_keeps_the_job(client: httpx.Client, photo: bytes, mask: bytes) -> None:
    where = start(client, photo, mask, steps=8)
    with client.stream("GET", f"{where}/events") as answer:
        number, *_ = next(events(answer.iter_lines()))
    seen = watch(client, where, number)
    assert seen[0][0] == number + 1 and seen[-1][1] == "done"


def test_pictures_are_forgotten(strict: httpx.Client, photo: bytes, mask: bytes) -> None:
    where = start(strict, photo, mask)
    wait_until(lambda: strict.get(where).json()["state"] == "done", "the job is done")
    assert numbers(strict)["moebius_held_bytes"] > 0
    wait_until(lambda: strict.get(where).status_code == 404, "its picture is forgotten")
    assert numbers(strict)["moebius_held_bytes"] == 0
