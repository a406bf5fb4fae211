"""IOPaint's form: what its web front end has sent, sent again, and what its other clients may send."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from made_photos import within
from numpy.typing import NDArray
from PIL import Image

DATA = Path(__file__).parent / "data"
STROKE: dict[str, Any] = json.loads((DATA / "iopaint_inpaint.json").read_text())
ADJUSTMENTS: list[dict[str, Any]] = json.loads((DATA / "iopaint_adjust_mask.json").read_text())
Pixels = NDArray[np.uint8]


@pytest.fixture
def client(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{server}/api/v1", timeout=60) as opened:
        yield opened


def decoded(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])


def pixels_of(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)))


def painted(mask_url: str) -> NDArray[np.bool_]:
    return np.asarray(pixels_of(decoded(mask_url))[..., 3] > 127)


def encoded(pixels: Pixels, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


PHOTO = pixels_of(decoded(STROKE["image"]))
HOLE = painted(STROKE["mask"])


def test_a_stroke_of_the_front_end(client: httpx.Client) -> None:
    answer = client.post("/inpaint", json={**STROKE, "grow": 0, "feather": 0})
    assert answer.status_code == 200, answer.text
    filled = pixels_of(answer.content)
    assert answer.headers["content-type"] == "image/png"
    assert (filled[~HOLE] == PHOTO[~HOLE]).all()
    red = (filled[..., 0] > 180) & (filled[..., 1] < 80)
    assert not (red & HOLE).any(), "the red square was painted over"


def test_minus_one_is_any_seed_and_the_header_says_which(client: httpx.Client) -> None:
    assert STROKE["sd_seed"] == -1
    first, second = (client.post("/inpaint", json=STROKE) for _ in range(2))
    seeds = [int(answer.headers["x-seed"]) for answer in (first, second)]
    assert seeds[0] != seeds[1] and all(1 <= seed <= 99_999_999 for seed in seeds)
    again = client.post("/inpaint", json={**STROKE, "sd_seed": seeds[0]})
    assert again.content == first.content != second.content
    assert again.headers["x-seed"] == str(seeds[0])


def test_a_request_with_nothing_but_pictures_is_what_our_own_route_fills(
    client: httpx.Client, server: str
) -> None:
    photo, mask = decoded(STROKE["image"]), encoded((HOLE * 255).astype(np.uint8))
    answer = client.post("/inpaint", json={"image": text(photo), "mask": text(mask)})
    own = httpx.post(
        f"{server}/v1/inpaint", files={"image": photo, "mask": mask}, data={"seed": "42"}, timeout=60
    )
    assert answer.headers["x-seed"] == "42" and own.status_code == 200
    assert answer.content == own.content


@pytest.mark.parametrize(
    ("format", "expected"),
    [("JPEG", "jpeg"), ("WEBP", "webp"), ("TIFF", "png")],
)
def test_answers_have_the_photos_format_where_browsers_show_it(
    client: httpx.Client, format: str, expected: str
) -> None:
    body = {**STROKE, "image": f"data:application/octet-stream;base64,{text(encoded(PHOTO, format))}"}
    answer = client.post("/inpaint", json=body)
    assert answer.headers["content-type"] == f"image/{expected}"
    image = Image.open(io.BytesIO(answer.content))
    assert (image.format, image.size) == (expected.upper(), (96, 80))


def test_without_a_mask_transparency_is_filled(client: httpx.Client) -> None:
    holed = encoded(np.dstack([PHOTO, np.where(HOLE, 0, 255).astype(np.uint8)]))
    answer = client.post("/inpaint", json={"image": text(holed)})
    assert answer.status_code == 200 and (pixels_of(answer.content)[..., 3] == 255).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": None}, "image: expected base64"),
        ({"image": "***"}, "image: expected base64"),
        ({"image": "https://example.org/a.png"}, "addresses are not fetched"),
        ({"image": text(b"no image")}, "photo: not an image"),
        ({"mask": text(encoded(np.zeros((5, 5), np.uint8)))}, "expected the photo's size"),
        ({"mask": 3}, "mask: expected base64"),
        ({"sd_seed": -2}, "sd_seed: expected -1"),
        ({"sd_seed": 1.5}, "sd_seed: expected -1"),
        ({"grow": 1000}, "grow: expected"),
        ({"use_extender": True}, "not extended"),
    ],
)
def test_what_cannot_be_done_is_told_where_the_front_end_looks(
    client: httpx.Client, changes: dict[str, Any], message: str
) -> None:
    answer = client.post("/inpaint", json={**STROKE, **changes})
    assert answer.status_code == 400
    told = answer.json()
    assert message in told["errors"] and told["detail"] == told["errors"] and told["error"].endswith("Error")


def test_masks_are_grown_shrunk_and_inverted(client: httpx.Client) -> None:
    for body in ADJUSTMENTS:
        answer = client.post("/adjust_mask", json=body)
        assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
        before, after = painted(body["mask"]), pixels_of(answer.content)
        pixels = body["kernel_size"]
        expected = {
            "expand": within(before, pixels),
            "shrink": ~within(~before, pixels),
            "reverse": ~before,
        }[body["operate"]]
        assert (after[expected] == (255, 203, 0, 186)).all() and (after[~expected] == 0).all()
        assert expected.any() and not expected.all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": None}, "mask: expected base64"),
        ({"mask": text(b"no image")}, "mask: not an image"),
        ({"operate": "grow"}, "operate: expected expand, shrink, reverse"),
        ({"operate": ["expand"]}, "operate: expected"),
        ({"kernel_size": 513}, "kernel_size: expected 0 to 512"),
        ({"kernel_size": True}, "kernel_size: expected 0 to 512"),
    ],
)
def test_adjustments_that_cannot_be_done(client: httpx.Client, changes: dict[str, Any], message: str) -> None:
    answer = client.post("/adjust_mask", json={**ADJUSTMENTS[0], **changes})
    assert answer.status_code == 400 and message in answer.json()["errors"]


def test_what_the_front_end_asks_for_when_it_starts(client: httpx.Client) -> None:
    config, model = client.get("/server-config").json(), client.get("/model").json()
    assert config["modelInfos"] == [model] and config["plugins"] == []
    assert (model["name"], model["model_type"], model["need_prompt"]) == ("nano", "inpaint", False)
    assert client.get("/samplers").json() == config["samplers"]
    nothing = client.get("/inputimage")
    assert nothing.status_code == 200 and not nothing.headers["content-type"].startswith("image")
    info = client.post("/gen-info", files={"file": ("photo.png", decoded(STROKE["image"]))})
    assert info.json() == {"prompt": "", "negative_prompt": ""}
    assert client.post("/gen-info", files={"photo": b""}).status_code == 400


def test_only_our_model_can_be_chosen(client: httpx.Client) -> None:
    assert client.post("/model", json={"name": "nano"}).json() == client.get("/model").json()
    other = client.post("/model", json={"name": "lama"})
    assert other.status_code == 404 and "expected the model 'nano', got 'lama'" in other.json()["errors"]


@pytest.mark.parametrize("path", ["run_plugin_gen_mask", "save_image", "switch_plugin_model"])
def test_what_is_not_offered_says_so(client: httpx.Client, path: str) -> None:
    answer = client.post(f"/{path}", json={})
    assert answer.status_code == 404 and path in answer.json()["errors"]
