"""OpenAI's form, spoken by their own client."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from made_photos import disc, picture
from numpy.typing import NDArray
from PIL import Image

openai = pytest.importorskip("openai")

WIDTH, HEIGHT = 96, 80
HOLE = disc(WIDTH, HEIGHT, (48, 40), 12)
Pixels = NDArray[np.uint8]


def png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


PHOTO = picture(WIDTH, HEIGHT)
MASK = png(np.dstack([np.full_like(PHOTO, 7), np.where(HOLE, 0, 255).astype(np.uint8)]))
"""As they have it: transparent where it is to be filled."""
HOLED = png(np.dstack([PHOTO, np.where(HOLE, 0, 255).astype(np.uint8)]))


@pytest.fixture
def client(server: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def pixels_of(data: bytes, mode: str = "RGB") -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))


def edit(client: Any, **options: Any) -> Any:
    given = {"image": ("photo.png", png(PHOTO)), "mask": ("mask.png", MASK), "prompt": "a vase"}
    return client.images.edit(**{**given, **options})


def only(response: Any) -> bytes:
    (image,) = response.data
    return base64.b64decode(image.b64_json)


def test_the_hole_is_filled_and_nothing_else_changes(client: Any) -> None:
    response = edit(client, extra_body={"grow": 0, "feather": 0})
    filled = pixels_of(only(response))
    assert filled.shape == PHOTO.shape and response.size == f"{WIDTH}x{HEIGHT}"
    assert response.output_format == "png" and only(response).startswith(b"\x89PNG")
    assert (filled[~HOLE] == PHOTO[~HOLE]).all()
    assert (filled[HOLE] != PHOTO[HOLE]).any()


def test_it_is_what_our_own_route_fills(client: Any, server: str) -> None:
    mask = png((HOLE * 255).astype(np.uint8))
    own = httpx.post(
        f"{server}/v1/inpaint", files={"image": png(PHOTO), "mask": mask}, data={"seed": "3"}, timeout=60
    )
    assert own.status_code == 200, own.text
    assert only(edit(client, extra_body={"seed": 3})) == own.content


@pytest.mark.parametrize("many", [False, True], ids=["image", "image[]"])
def test_without_a_mask_transparency_is_filled_and_becomes_opaque(client: Any, many: bool) -> None:
    image = ("photo.png", HOLED)
    response = client.images.edit(image=[image] if many else image, prompt="", extra_body={"grow": 0})
    filled = pixels_of(only(response), "RGBA")
    assert (filled[..., 3] == 255).all()
    assert (filled[..., :3][~HOLE] == PHOTO[~HOLE])[..., 0].mean() > 0.8  # but for the feather


def test_filled_places_are_opaque_with_a_mask_too(client: Any) -> None:
    alpha = np.full((HEIGHT, WIDTH), 128, dtype=np.uint8)
    response = edit(client, image=("photo.png", png(np.dstack([PHOTO, alpha]))), extra_body={"grow": 0})
    filled = pixels_of(only(response), "RGBA")[..., 3]
    assert (filled[HOLE] == 255).all() and (filled[~HOLE] == 128).all()


def test_seeds_follow_one_another(client: Any) -> None:
    response = edit(client, n=2, extra_body={"seed": 2**63})
    assert [image.seed for image in response.data] == [str(2**63 + more) for more in range(2)]
    pictures = {image.b64_json for image in response.data}
    assert len(pictures) == 2
    assert only(edit(client, extra_body={"seed": 2**63 + 1})) == base64.b64decode(response.data[1].b64_json)


@pytest.mark.parametrize(("format", "pillow"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_formats(client: Any, format: str, pillow: str) -> None:
    best, worst = (
        edit(client, output_format=format, output_compression=quality, response_format="url")
        for quality in (100, 0)
    )
    head, _, encoded = best.data[0].url.partition(",")
    assert head == f"data:image/{format};base64" and best.output_format == format
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).format == pillow
    assert len(worst.data[0].url) < len(best.data[0].url)


def test_fields_without_meaning_here_are_taken(client: Any) -> None:
    plain = edit(client, size="auto")
    response = edit(
        client, model="gpt-image-2", size=f"{WIDTH}x{HEIGHT}", quality="high", background="transparent",
        input_fidelity="high", user="someone", extra_body={"moderation": "low"},
    )  # fmt: skip
    assert only(response) == only(plain)


@pytest.mark.parametrize(
    ("options", "parameter", "message"),
    [
        ({"image": [("a.png", HOLED), ("b.png", HOLED)]}, "image", "expected exactly one file, got 2"),
        ({"image": ("a.png", b"no image")}, "image", "photo: not an image"),
        ({"mask": ("m.png", png(PHOTO))}, "mask", "transparency"),
        ({"mask": ("m.png", png(np.zeros((9, 9, 4), np.uint8)))}, "mask", "expected the photo's size"),
        ({"mask": openai.omit}, "mask", "transparency"),
        ({"size": "1024x1024"}, "size", f"the image's own {WIDTH}x{HEIGHT}"),
        ({"size": "large"}, "size", "expected auto or"),
        ({"n": 11}, "n", "from 1 to 10"),
        ({"output_format": "svg"}, "output_format", "png, jpeg, webp"),
        ({"output_compression": 101}, "output_compression", "from 0 to 100"),
        ({"response_format": "file"}, "response_format", "b64_json, url"),
        ({"stream": True, "n": 2}, "n", "expected 1 with stream"),
        ({"stream": True, "mask": ("m.png", b"no image")}, "mask", "mask: not an image"),
        ({"extra_body": {"seed": "many"}}, "seed", "a whole number"),
        ({"extra_body": {"seed": 2**64 - 1}, "n": 2}, "seed", "a whole number"),
        ({"extra_body": {"stepz": 3}}, None, "got 'stepz'"),
        ({"markup": ("m.png", MASK)}, None, "got 'markup'"),
    ],
)
def test_what_cannot_be_done_is_a_bad_request(
    client: Any, options: dict[str, Any], parameter: str | None, message: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        edit(client, **options)
    assert message in caught.value.message
    assert (caught.value.param, caught.value.type) == (parameter, "invalid_request_error")


def test_other_bodies_are_refused_in_their_form(client: Any) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.post("/images/edits", body={"image": "x"}, cast_to=object)
    assert caught.value.status_code == 415 and caught.value.type == "invalid_request_error"


def test_a_deadline_is_not_tried_again(server: str) -> None:
    requests: list[httpx.Request] = []
    with openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=2) as client:
        sending = client._client.send

        def send(request: Any, **options: Any) -> Any:
            requests.append(request)
            return sending(request, **options)

        client._client.send = send
        with pytest.raises(openai.InternalServerError) as caught:
            edit(client, extra_headers={"X-Deadline": "0.001"})
    assert caught.value.status_code == 504 and caught.value.code == "deadline"
    assert len(requests) == 1


def test_streamed(client: Any) -> None:
    events = list(edit(client, stream=True, partial_images=2, extra_body={"steps": 3}))
    assert [event.type for event in events[:-1]] == ["image_edit.partial_image"] * 2
    assert [event.partial_image_index for event in events[:-1]] == [0, 1]
    for event in events[:-1]:
        partial = Image.open(io.BytesIO(base64.b64decode(event.b64_json)))
        assert event.output_format == "jpeg" and event.size == f"{partial.width}x{partial.height}"
        left, top, right, bottom = event.box
        assert left <= 36 and top <= 28 and right >= 60 and bottom >= 52
    last = events[-1]
    assert last.type == "image_edit.completed" and last.usage.total_tokens == 0
    plain = edit(client, extra_body={"steps": 3})
    assert base64.b64decode(last.b64_json) == only(plain)
    assert last.size == plain.size and last.output_format == "png"


def test_streamed_without_partial_images(client: Any) -> None:
    (event,) = edit(client, stream=True)
    assert event.type == "image_edit.completed"


def test_models(client: Any) -> None:
    (model,) = client.models.list().data
    assert client.models.retrieve(model.id) == model and model.object == "model"
    with pytest.raises(openai.NotFoundError, match="expected the model"):
        client.models.retrieve("another")
