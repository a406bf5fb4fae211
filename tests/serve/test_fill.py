"""POST /v1/inpaint: what goes in, what comes out, and that it is what the library and the program make."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import numpy as np
import pytest
from asking import error_of, form, pixels_of, png
from made_photos import picture
from PIL import Image
from running import Server

from moebius import Moebius
from moebius.cli import main
from moebius.imaging import read_photo, write_photo
from moebius.serve import FillAnswer
from moebius.serve.routes_fill import file_response, stem_of

HOLE = (slice(20, 32), slice(30, 50))


def ask(server: str, photo: bytes, mask: bytes | None, **fields: Any) -> httpx.Response:
    return httpx.post(f"{server}/v1/inpaint", **form(photo, mask, **fields))


def ask_json(
    server: str, query: str = "", headers: dict[str, str] | None = None, **body: Any
) -> httpx.Response:
    return httpx.post(f"{server}/v1/inpaint{query}", json=body, headers=headers, timeout=60)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_form_gives_the_picture(server: str, photo: bytes, mask: bytes) -> None:
    answer = ask(server, photo, mask, grow=0, feather=0)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "image/png" and answer.headers["X-Moebius-Seed"] == "0"
    before, after = pixels_of(photo), pixels_of(answer.content)
    hole = pixels_of(mask) > 0
    assert after.shape == before.shape
    assert (after[~hole] == before[~hole]).all() and (after[hole] != before[hole]).any()


def test_json_says_the_same(server: str, photo: bytes, mask: bytes) -> None:
    expected = ask(server, photo, mask, seed=5).content
    plain = ask_json(server, image=base64_of(photo), mask=base64_of(mask), seed=5)
    assert plain.content == expected
    url = ask_json(
        server, image=f"data:image/png;base64,{base64_of(photo)}", mask=base64_of(mask), seed="5", grow=None
    )  # fmt: skip
    assert url.content == expected


def test_json_comes_back_when_asked_for(server: str, photo: bytes, mask: bytes) -> None:
    expected = ask(server, photo, mask).content
    body = {"image": base64_of(photo), "mask": base64_of(mask)}
    for query, headers in (("?response=json", None), ("", {"Accept": "application/json"})):
        answer = ask_json(server, query, headers, **body)
        told = answer.json()
        assert base64.b64decode(told["image"]) == expected and told["format"] == "png"
        assert told["result"]["written"]["format"] == "PNG"
        assert told["result"]["changes"]["pixels"] > 0
        assert answer.headers["X-Moebius-Seed"] == "0"
    picture = ask_json(server, "?response=image", {"Accept": "application/json"}, **body)
    assert picture.content == expected
    both = ask_json(server, "", {"Accept": "image/png, application/json"}, **body)
    assert both.content == expected


def test_without_a_mask_what_is_transparent_is_filled_and_becomes_opaque(server: str, photo: bytes) -> None:
    alpha = np.full((64, 96), 180, np.uint8)
    alpha[HOLE] = 0
    answer = ask(server, png(np.dstack([pixels_of(photo), alpha])), None, grow=0, feather=0)
    filled = pixels_of(answer.content)
    assert filled.shape == (64, 96, 4)
    assert (filled[HOLE][..., 3] == 255).all()
    outside = alpha > 0
    assert (filled[outside][:, :3] == pixels_of(photo)[outside]).all() and (
        filled[outside][:, 3] == 180
    ).all()


def test_transparency_that_is_filled_is_none_that_a_format_would_lose(server: str, photo: bytes) -> None:
    for outside, status in ((255, 200), (180, 400)):
        alpha = np.full((64, 96), outside, np.uint8)
        alpha[HOLE] = 0
        answer = ask(server, png(np.dstack([pixels_of(photo), alpha])), None, grow=0, format="jpeg")
        assert answer.status_code == status, answer.text
        if status == 200:
            assert answer.headers["Content-Type"] == "image/jpeg"
            assert pixels_of(answer.content).shape == (64, 96, 3)
        else:
            assert error_of(answer)[1] == "output"


def test_without_a_mask_and_without_transparency_there_is_nothing_to_fill(server: str, photo: bytes) -> None:
    assert error_of(ask(server, photo, None))[:2] == (400, "mask")


def test_annotations_are_masks(server: str, photo: bytes, mask: bytes) -> None:
    coco = {
        "images": [{"id": 1, "width": 96, "height": 64, "file_name": "photo.png"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[30, 20, 50, 20, 50, 32, 30, 32]]}
        ],
        "categories": [{"id": 1, "name": "box"}],
    }
    answer = ask(server, photo, json.dumps(coco).encode(), grow=0)
    assert answer.status_code == 200, answer.text
    changed = (pixels_of(answer.content) != pixels_of(photo)).any(axis=-1)
    assert changed[25, 40] and not changed[5, 5]


def test_sixteen_bits_stay(server: str, mask: bytes) -> None:
    pixels = picture(96, 64, channels=1, dtype=np.uint16)[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    answer = ask(server, buffer.getvalue(), mask, grow=0, feather=0)
    filled = pixels_of(answer.content)
    assert filled.dtype in (np.uint16, np.int32)
    hole = pixels_of(mask) > 0
    assert (filled[~hole] == pixels[~hole]).all() and (filled[hole] != pixels[hole]).any()


@pytest.mark.parametrize(
    ("asked", "pillow", "kind"), [("jpeg", "JPEG", "image/jpeg"), ("WEBP", "WEBP", "image/webp")]
)
def test_format_and_quality(
    server: str, photo: bytes, mask: bytes, asked: str, pillow: str, kind: str
) -> None:
    small, large = (ask(server, photo, mask, format=asked, quality=quality) for quality in (20, 95))
    for answer in (small, large):
        assert answer.headers["Content-Type"] == kind
        assert Image.open(io.BytesIO(answer.content)).format == pillow
    assert len(small.content) < len(large.content)


def test_large_seeds_survive_as_text(server: str, photo: bytes, mask: bytes) -> None:
    seed = 2**63 + 1  # a JavaScript number would make it 2**63
    body = {"image": base64_of(photo), "mask": base64_of(mask)}
    answer = ask_json(server, "?response=json", seed=str(seed), **body)
    assert answer.headers["X-Moebius-Seed"] == str(seed) and answer.json()["result"]["seed"] == seed
    rounded = ask_json(server, seed=str(2**63), **body)
    assert rounded.content != base64.b64decode(answer.json()["image"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("holiday.png", "holiday-clean.png"),
        ("../../etc/passwd", "passwd-clean.png"),
        ("C:\\x", "x-clean.png"),
        ("C:\\photos\\cat.jpeg", "cat-clean.png"),
        ("a\0b.png", "ab-clean.png"),
        ("two\r\nX-Evil: 1.png", "twoX-Evil 1-clean.png"),
        ('quote".png', "quote-clean.png"),
        ("🐈.png", "🐈-clean.png"),
        ("photo\u202egpj.exe", "photogpj-clean.png"),
        ("..", "photo-clean.png"),
        ("...png", "photo-clean.png"),
        ("x" * 5000 + ".png", "x" * 100 + "-clean.png"),
        (" ", "photo-clean.png"),
        ("", "photo-clean.png"),
    ],
)
def test_names_are_made_safe(name: str, expected: str) -> None:
    assert (
        name_in(file_response(FillAnswer(b"", "png", "image/png", 0, {}), stem_of(name)).headers) == expected
    )


def test_names_over_the_wire(server: str, photo: bytes, mask: bytes) -> None:
    """Raw bytes, as no well-behaved client sends them."""
    names = {
        b"..\\..\\x\0\xff.png": "x\ufffd-clean.png",
        "/etc/🐈\u202e.png".encode(): "🐈-clean.png",
        b"two%0D%0AX-Evil: 1.png": "two%0D%0AX-Evil 1-clean.png",
    }
    for name, expected in names.items():
        parts = [
            b'--limit\r\nContent-Disposition: form-data; name="image"; filename="%b"\r\n\r\n%b\r\n'
            % (name, photo),
            b'--limit\r\nContent-Disposition: form-data; name="mask"; filename="m"\r\n\r\n%b\r\n' % mask,
            b"--limit--\r\n",
        ]
        headers = {"Content-Type": "multipart/form-data; boundary=limit"}
        answer = httpx.post(f"{server}/v1/inpaint", content=b"".join(parts), headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        assert name_in(answer.headers) == expected


def name_in(headers: Mapping[str, str]) -> str:
    """The name in Content-Disposition, once its plain form has been looked at."""
    start, _, encoded = headers["Content-Disposition"].partition("; filename*=UTF-8''")
    plain = start.removeprefix('inline; filename="').removesuffix('"')
    assert plain.isascii() and plain.isprintable() and not set('"\\/') & set(plain) and plain.endswith(".png")
    return unquote(encoded)


def test_the_same_bytes_as_library_and_program(
    shared_server: Server, photo: bytes, mask: bytes, tmp_path: Path
) -> None:
    model, ours = shared_server.model, ask(shared_server.url, photo, mask, seed=11, steps=2).content
    (tmp_path / "photo.png").write_bytes(photo)
    (tmp_path / "mask.png").write_bytes(mask)
    buffer = io.BytesIO()
    result = Moebius.from_pretrained(model)(read_photo(photo), mask, seed=11, steps=2)
    write_photo(result.photo, buffer, format="png")
    assert ours == buffer.getvalue()
    arguments = ["inpaint", "photo.png", "mask.png", "-o", "out.png", "--seed", "11", "--steps", "2"]
    paths = [str(tmp_path / each) if each.endswith(".png") else each for each in arguments]
    main([*paths, "--model", str(model)])
    assert ours == (tmp_path / "out.png").read_bytes()


def test_the_same_bytes_among_others(server: str, mask: bytes) -> None:
    """Sixteen photos of two sizes, alone and all at a time."""
    photos = [png(picture(96, 64, seed=seed)) for seed in range(12)]
    photos += [png(picture(96, 640, seed=seed)) for seed in range(4)]
    masks = [mask] * 12 + [png(np.pad(pixels_of(mask), ((0, 576), (0, 0))))] * 4

    def fill(number: int) -> bytes:
        answer = ask(server, photos[number], masks[number], seed=number, steps=1 + number % 2)
        assert answer.status_code == 200, answer.text
        return answer.content

    alone = [fill(number) for number in range(16)]
    assert len(set(alone)) == 16
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(fill, reversed(range(16)))) == alone[::-1]


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"stepz": "3"}, "settings", "got 'stepz'"),
        ({"steps": "0"}, "settings", "steps: expected a whole number from 1 to 1000, got 0"),
        ({"steps": "many"}, "settings", "steps: expected a whole number, got 'many'"),
        ({"guidance": "nan"}, "settings", "guidance"),
        ({"seed": str(2**64)}, "settings", "seed"),
        ({"quality": "0"}, "settings", "quality: expected 1 to 100, got 0"),
        ({"format": "exe"}, "output", "exe"),
        ({"invert": "maybe"}, "settings", "invert: expected true or false, got 'maybe'"),
        ({"key": "k" * 201}, "settings", "key: expected a text of up to 200 characters"),
    ],
)
def test_what_cannot_be_asked_for(
    server: str, photo: bytes, mask: bytes, fields: dict[str, str], kind: str, message: str
) -> None:
    status, found, text = error_of(ask(server, photo, mask, **fields))
    assert (status, found) == (400, kind) and message in text


@pytest.mark.parametrize(
    ("image", "mask_file", "kind"),
    [
        (b"", None, "photo"),
        (b"no image", None, "photo"),
        (None, b"no image", "mask"),
        (None, b"", "mask"),
        (None, png(np.zeros((9, 9), np.uint8)), "mask"),
        (None, b'{"images": [], "annotations": []}', "mask"),
    ],
)
def test_what_cannot_be_filled(
    server: str, photo: bytes, mask: bytes, image: bytes | None, mask_file: bytes | None, kind: str
) -> None:
    answer = ask(server, photo if image is None else image, mask if mask_file is None else mask_file)
    assert error_of(answer)[:2] == (400, kind)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{", b'{"image": 5}', b'{"image": "%%%"}', b"[" * 100_000, b'{"image": "data:image/png,x"}',
        b'{"image": "data:;base64"}', b'{"image": "YQ==", "key": "\\ud800"}', b'{"image": "YQ==", "\\ud800": 1}',
        b'{"image": "YQ==", "steps": ' + b"9" * 5000 + b"}", b'{"image": "YQ==", "guidance": NaN}',
        b'{"image": "YQ==", "steps": [1]}', b'{"image": "YQ==", "seed": true}', b"\xff\xfe",
    ],
)  # fmt: skip
def test_json_that_is_none(server: str, body: bytes) -> None:
    answer = httpx.post(f"{server}/v1/inpaint", content=body, headers={"Content-Type": "application/json"})
    assert error_of(answer)[0] == 400


def test_request_ids_are_kept_if_they_are_harmless(server: str) -> None:
    for given, kept in (("a.B-c_9", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("é", False)):
        headers = {b"X-Request-ID": given.encode()}
        found = httpx.get(f"{server}/healthz", headers=headers).headers["X-Request-ID"]  # type: ignore[arg-type]
        assert (found == given) is kept and found


def test_other_addresses_and_methods_are_errors_in_our_form(server: str) -> None:
    assert error_of(httpx.get(f"{server}/nowhere"))[:2] == (404, "not_found")
    assert error_of(httpx.get(f"{server}/v1/inpaint"))[:2] == (405, "request")
    assert error_of(httpx.post(f"{server}/v1/inpaint?response=gif"))[:2] == (422, "request")
    assert error_of(httpx.post(f"{server}/v1/inpaint", content=b"x"))[:2] == (415, "request")


def test_nothing_is_logged_of_photos_and_names(shared_server: Server, photo: bytes, mask: bytes) -> None:
    files = {"image": ("secret-name.png", photo), "mask": ("mask.png", mask)}
    answer = httpx.post(
        f"{shared_server.url}/v1/inpaint", files=files, headers={"X-Request-ID": "look-for-me"}
    )
    assert answer.status_code == 200
    (record,) = (each for each in shared_server.records() if each.get("request_id") == "look-for-me")
    assert record["route"] == "/v1/inpaint" and record["status"] == 200 and record["method"] == "POST"
    assert "secret-name" not in shared_server.log.read_text()
