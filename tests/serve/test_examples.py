"""The example applications, run as they are."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag.models import LLM, Embedder
from tests.serve.conftest import running

QUESTION = {"query": "How long does a full passage of the north lock take?", "max_tokens": 8}


@pytest.mark.parametrize("name", ["fastapi_app", "starlette_app", "django_app"])
def test_it_answers(
    name: str,
    tmp_path: Path,
    library: Path,
    embedder: Embedder,
    llm: LLM,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The example names its models; the suite's, which are the same, are open already.
    monkeypatch.setattr(Embedder, "load", lambda *_, **__: embedder)
    monkeypatch.setattr(LLM, "load", lambda *_, **__: llm)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "index").symlink_to(library)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    module = importlib.import_module(f"examples.web.{name}")
    served: Any = module.application if name == "django_app" else module.app
    auth = None if name == "django_app" else ("ann", "canal")
    with running(served) as address, httpx.Client(base_url=address, timeout=60) as http:
        assert "home" in http.get("/").text or http.get("/").json() == {"chat": "/rag/chat/"}
        assert http.post("/rag/ask", json=QUESTION).status_code == 401
        if auth:
            assert http.post("/rag/ask", json=QUESTION, auth=("ann", "x")).status_code == 401
        else:
            http.get("/login/ann")
        response = http.post("/rag/ask", json=QUESTION, auth=auth)
        assert response.status_code == 200, response.text
        assert response.json()["sources"]
        assert http.get("/rag/identity", auth=auth).json()["user"] == "ann"
        assert http.get("/rag/chat/", auth=auth).status_code == 200
    sys.modules.pop(f"examples.web.{name}")
