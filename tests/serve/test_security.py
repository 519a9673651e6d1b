"""What any client may send: the OpenAPI document's own promises, headers, other sites' pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks as openapi_checks

from rag.serve import Settings
from tests.serve.conftest import local, running, toy

APP = local(toy(), settings=Settings(data=Path("unused")))
CHECKS = [
    not_a_server_error,
    *(
        getattr(openapi_checks, f"{name}_conformance")
        for name in ("status_code", "content_type", "response_headers", "response_schema")
    ),
]
SCHEMA = schemathesis.openapi.from_dict(APP.openapi())


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    limits = Settings(data=folder / "data", run_timeout=5)
    with running(local(toy(), settings=limits, origins=["https://own.example"])) as found:
        yield found


@SCHEMA.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_openapi_document_is_true(case: Any, address: str) -> None:
    case.call_and_validate(base_url=address, checks=CHECKS)


def test_headers(address: str) -> None:
    for path in ("/health", "/nothing", "/chat/", "/openapi.json"):
        headers = httpx.get(address + path).headers
        if path != "/openapi.json":
            assert "default-src 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers or "uvicorn" in headers["server"]
    page = httpx.get(f"{address}/chat/").headers["content-security-policy"]
    assert "'unsafe" not in page
    assert "http" not in page.replace("https:", "http").replace("'self'", "")


def test_other_sites_pages_may_not_ask(address: str) -> None:
    def asked(**headers: str) -> httpx.Response:
        return httpx.post(f"{address}/ask", json={"query": "Books"}, headers=headers)

    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert asked(**foreign).status_code == 403
    assert "access-control-allow-origin" not in asked(Origin="https://evil.example").headers
    own = asked(Origin="https://own.example")
    assert own.headers["access-control-allow-origin"] == "https://own.example"


@pytest.mark.parametrize(
    "path",
    [
        "/chat/../server.py",
        "/chat/%2e%2e/server.py",
        "/chat/..%2f..%2fkeys.py",
        "/chat//etc/passwd",
        "/chat/vendor/../../__init__.py",
        "/chat/%00",
        "/documents/..%2f..%2fsecret",
        "/runs/..%2fsecret",
    ],
)
def test_no_way_out_of_the_folder(address: str, path: str) -> None:
    with httpx.Client() as client:
        request = client.build_request("GET", address)
        request.url = request.url.copy_with(raw_path=path.encode())
        assert client.send(request).status_code in (404, 405, 422)
