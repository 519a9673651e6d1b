"""Suggestions of what to ask next: from an answer's sources, counted, off by default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rag import Flow
from rag.operators import Generate
from rag.serve import Settings
from rag.testing.llm import ScriptedLLM
from tests.serve.conftest import local, running, shelf, toy


def asked(http: Any, query: str = "Where do books stand?") -> str:
    path = f"/conversations/{http.post('/conversations').json()['id']}"
    http.post("/ask", json={"query": query, "conversation": path.rpartition("/")[2]})
    return path


def suggested(http: Any, path: str) -> list[str]:
    found: list[str] = http.post(f"{path}/suggestions").json()
    return found


def test_questions_are_suggested(tmp_path: Path, client: Any) -> None:
    answers = {"suggest_questions": "Which shelf is it?\nWho put them there?\nSo it is."}
    llm = ScriptedLLM(answers, default="On the shelf.")
    flow = Flow(shelf() >> Generate(), resources={"llm": llm})
    settings = Settings(data=tmp_path, suggestions=2, requests_per_minute=3)
    with running(local(flow, settings=settings)) as address:
        http = client(address)
        path = asked(http)
        assert suggested(http, path) == ["Which shelf is it?", "Who put them there?"]
        prompt = llm.prompts[-1]
        assert "On the shelf." in prompt.question
        assert any("stand on the shelf" in chunk for chunk in prompt.chunks)
        assert suggested(http, path) == ["Which shelf is it?", "Who put them there?"]
        assert http.post(f"{path}/suggestions").status_code == 429
        empty = http.post("/conversations").json()["id"]
        assert suggested(http, f"/conversations/{empty}") == []


def test_nothing_is_suggested_without_the_setting_or_a_model(tmp_path: Path, client: Any) -> None:
    llm = ScriptedLLM("On the shelf.")
    with_model = Flow(shelf() >> Generate(), resources={"llm": llm})
    for number, flow in enumerate((with_model, toy())):
        settings = Settings(data=tmp_path / str(number), suggestions=number)
        with running(local(flow, settings=settings)) as address:
            http = client(address)
            assert suggested(http, asked(http)) == []
    assert len(llm.prompts) == 1
