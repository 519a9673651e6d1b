"""The example with a login page: only a cookie that it signed itself opens the chat."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag.models import LLM, Embedder
from rag.testing import ScriptedEmbedder, ScriptedLLM
from tests.serve.conftest import running

ANN = {"name": "ann", "password": "canal"}


@pytest.fixture(autouse=True)
def _opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked here, so no model has to be opened when the server starts."""
    monkeypatch.setattr(Embedder, "load", lambda *_, **__: ScriptedEmbedder())
    monkeypatch.setattr(LLM, "load", lambda *_, **__: ScriptedLLM("nothing"))


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return importlib.reload(importlib.import_module("examples.web.login_app"))


@pytest.fixture
def http(example: Any) -> Iterator[httpx.Client]:
    with running(example.app) as address, httpx.Client(base_url=address, timeout=240) as client:
        yield client


def test_nobody_comes_in_without_a_login(http: httpx.Client) -> None:
    assert "<form" in http.get("/").text
    assert http.get("/rag/identity").status_code == 401
    assert http.post("/logout").status_code == 401
    for wrong in ({**ANN, "password": "x"}, {**ANN, "name": "eve"}):
        refused = http.post("/login", data=wrong)
        assert refused.status_code == 401
        assert "set-cookie" not in refused.headers


def test_a_login_opens_the_chat_until_the_logout(http: httpx.Client) -> None:
    entered = http.post("/login", data=ANN)
    assert (entered.status_code, entered.headers["location"]) == (303, "/rag/chat/")
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert http.get("/rag/identity").json()["user"] == "ann"
    assert http.get("/rag/chat/").status_code == 200
    assert http.post("/logout").status_code == 303
    assert http.get("/rag/identity").status_code == 401


def test_no_other_cookie_counts(
    http: httpx.Client, example: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def status(cookie: str) -> int:
        return http.get("/rag/identity", headers={"Cookie": f"session={cookie}"}).status_code

    monkeypatch.setattr(example.time, "time", lambda: 1000.0)
    good = f"ann.2000.{example.signature('ann', 2000)}"
    assert status(good) == 200
    assert status(good.replace("ann", "ben")) == 401
    assert status(good.replace("2000", "9000")) == 401
    assert status(f"ann.900.{example.signature('ann', 900)}") == 401
    for broken in ("ann", "ann.2000", "ann.x.y", "..", "ann.٣٣٣٣.x".encode().hex()):
        assert status(broken) == 401
