"""The trace of a run: prompts, outputs, rankings before and after; the run's own user's."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from rag import Document, Flow, RunContext, operator
from rag.operators import Generate
from rag.serve import Settings, app
from rag.serve.runs import trace
from rag.testing.llm import ScriptedLLM
from tests.serve.conftest import local, running, shelf


@operator(writes="documents")
def three(query: str) -> list[Document]:
    """Find three pages."""
    return [
        Document(id=name, page_content=f"{name} says it.", metadata={"path": f"{name}.md"})
        for name in ("a", "b", "c")
    ]


@operator(writes="documents")
def turned(documents: list[Document], *, ctx: RunContext) -> list[Document]:
    """Turn the order round."""
    ctx.warn("they are turned")
    return documents[::-1][:2]


@operator(writes="answer")
def broken(documents: list[Document]) -> str:
    """Fail."""
    raise ValueError("no")


def test_a_run_shows_prompts_outputs_and_rankings(tmp_path: Path, client: Any) -> None:
    resources = {"llm": ScriptedLLM("It says so.")}
    flow = Flow(three() >> turned() >> Generate(), name="says", resources=resources)
    with running(local(flow, settings=Settings(data=tmp_path / "data"))) as address:
        http = client(address)
        run = http.post("/ask", json={"query": "Who says it?"}).json()["run"]
        found, rank, write = http.get(f"/runs/{run}").json()["trace"]
        assert [one["node"] for one in (found, rank, write)] == ["three", "turned", "generate"]
        assert [one["id"] for one in found["wrote"]["documents"]] == ["a", "b", "c"]
        assert [one["id"] for one in rank["read"]["documents"]] == ["a", "b", "c"]
        assert [one["place"] for one in rank["wrote"]["documents"]] == ["c.md", "b.md"]
        assert rank["warnings"] == ["they are turned"]
        (call,) = write["calls"]
        assert call["output"] == "It says so."
        assert "Who says it?" in call["prompt"][-1]["content"]
        assert "c says it." in "".join(one["content"] for one in call["prompt"])


def test_a_run_that_failed_shows_where(tmp_path: Path, client: Any) -> None:
    with running(local(Flow(three() >> broken()), settings=Settings(data=tmp_path))) as address:
        http = client(address)
        body = {"query": "Who?", "stream": True}
        run = http.post("/ask", json=body).headers["x-run-id"]
        steps = http.get(f"/runs/{run}").json()["trace"]
        assert [bool(one["error"]) for one in steps] == [False, True]


def test_a_trace_is_kept_only_where_it_may_be_read(tmp_path: Path) -> None:
    for made in (
        app(Flow(shelf()), settings=Settings(data=tmp_path / "anybody")),
        local(Flow(shelf()), settings=Settings(data=tmp_path / "off", trace=False)),
    ):
        with TestClient(made, base_url="http://localhost") as http:
            assert http.post("/ask", json={"query": "Who?"}).status_code == 200
    for folder in ("anybody", "off"):
        with sqlite3.connect(tmp_path / folder / "serve.sqlite") as db:
            (record,) = db.execute("SELECT record FROM runs").fetchone()
        assert '"trace":[]' in record


def test_long_texts_are_cut(monkeypatch: Any, tmp_path: Path, client: Any) -> None:
    monkeypatch.setattr(trace, "TEXT", 50)
    monkeypatch.setattr(trace, "TEXTS", 60)
    flow = Flow(three() >> Generate(), resources={"llm": ScriptedLLM("So. " * 100)})
    with running(local(flow, settings=Settings(data=tmp_path))) as address:
        http = client(address)
        run = http.post("/ask", json={"query": "Who?"}).json()["run"]
        (call,) = http.get(f"/runs/{run}").json()["trace"][1]["calls"]
        texts = [one["content"] for one in call["prompt"]] + [call["output"]]
        assert sum(len(one) for one in texts) <= 60 + len(texts)
        assert texts[-1].endswith("…")
