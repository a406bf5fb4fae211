"""OpenAPI says what the server does: generated requests, and every answer is held against the document."""

from __future__ import annotations

import contextlib
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from asking import form
from hypothesis import HealthCheck, Phase
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS: list[Any] = [
    status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip
EXAMPLES = 15
"""Requests an operation."""


@pytest.fixture(scope="module")
def document(server_url: str) -> Any:
    return schemathesis.openapi.from_url(f"{server_url}/openapi.json")


@pytest.fixture(scope="module")
def server_url(shared_server: Any) -> str:
    return str(shared_server.url)


def test_every_route_is_told_of(server: str) -> None:
    told = httpx.get(f"{server}/openapi.json").json()
    assert told["openapi"].startswith("3.1") and told["info"]["title"] == "Moebius"
    ways = {(method.upper(), path) for path, methods in told["paths"].items() for method in methods}
    assert {
        ("POST", "/v1/inpaint"), ("POST", "/v1/jobs"), ("GET", "/v1/jobs/{id}"), ("DELETE", "/v1/jobs/{id}"),
        ("GET", "/v1/jobs/{id}/events"), ("GET", "/v1/jobs/{id}/result"), ("GET", "/v1/info"), ("GET", "/healthz"),
        ("GET", "/readyz"), ("GET", "/metrics"), ("POST", "/v1/images/edits"), ("POST", "/api/v1/inpaint"),
    } <= ways  # fmt: skip
    for methods in told["paths"].values():
        for operation in methods.values():
            assert operation["summary"] and operation["responses"]


def test_refusals_are_documented(server: str) -> None:
    """Those that generated requests do not meet: other media types, other methods' bodies, cut off forms."""
    told = httpx.get(f"{server}/openapi.json").json()["paths"]
    with httpx.Client(base_url=server) as client:
        for path, methods in told.items():
            if "requestBody" not in methods.get("post", {}):
                continue
            documented = methods["post"]["responses"]
            assert "4XX" in documented or {"400", "401", "408", "413", "415"} <= set(documented), path
            for kind in ("text/plain", "multipart/form-data; boundary=x", "application/json"):
                answer = client.post(path, content=b"{", headers={"Content-Type": kind})
                assert {str(answer.status_code), f"{answer.status_code // 100}XX"} & set(documented), (
                    path,
                    kind,
                )
                assert answer.status_code < 500 and ("json" in kind or answer.status_code >= 400), (
                    path,
                    kind,
                )


@pytest.mark.slow
def test_answers_are_as_documented(document: Any) -> None:
    """Good and bad requests for every operation, the same every time."""
    operations = [each.ok() for each in document.get_all_operations()]
    assert len(operations) >= 12
    for operation in operations:
        run(operation, data_positive=True)
        with contextlib.suppress(Unsatisfiable):  # there is nothing that could be wrong
            run(operation, data_positive=False)


def run(operation: Any, *, data_positive: bool) -> None:
    mode = schemathesis.GenerationMode.POSITIVE if data_positive else schemathesis.GenerationMode.NEGATIVE

    @hypothesis.settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        answer = case.call(timeout=60)
        assert answer.status_code != 500, case.as_curl_command()
        case.validate_response(answer, checks=CHECKS)

    check()


@pytest.mark.parametrize("query", ["", "?response=json"])
def test_pictures_are_as_documented(
    document: Any, server: str, photo: bytes, mask: bytes, query: str
) -> None:
    """Generated bodies hold no photos: what a filled one is answered with."""
    with httpx.Client(base_url=server, timeout=60) as client:

        def ask(method: str, path: str, operation: str, **rest: Any) -> httpx.Response:
            answer = client.request(method, path, **rest)
            answer.request.read()
            assert answer.status_code < 300
            document[operation][method].validate_response(answer)
            return answer

        given = form(photo, mask)
        ask("POST", f"/v1/inpaint{query}", "/v1/inpaint", **given)
        where = ask("POST", "/v1/jobs", "/v1/jobs", **given).headers["Location"]
        told = ask("GET", f"{where}/events", "/v1/jobs/{id}/events").text
        assert told.rstrip().rpartition("event: ")[2].startswith("done")
        ask("GET", where, "/v1/jobs/{id}")
        ask("GET", f"{where}/result", "/v1/jobs/{id}/result")
        ask("DELETE", where, "/v1/jobs/{id}")
