"""Conversations: kept, continued, exported, deleted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rag.models import LLM, Generation, Prompt, Sampling
from rag.serve import Settings, app
from rag.serve.rewrite import leans, standalone
from tests.serve.conftest import Doors, running, toy


def test_a_conversation_is_kept(tmp_path: Path, client: Any) -> None:
    settings = Settings(data=tmp_path / "data")
    with running(app(toy(), settings=settings)) as address:
        http = client(address)
        key = http.post("/conversations").json()["id"]
        for question in ("Books", "crash"):
            http.post("/ask", json={"query": question, "conversation": key})
    with running(app(toy(), settings=settings)) as address:
        http = client(address)
        (head,) = http.get("/conversations").json()
        assert (head["id"], head["title"]) == (key, "Books")
        said = http.get(f"/conversations/{key}").json()["messages"]
        assert [one["role"] for one in said] == ["user", "assistant"] * 2
        assert said[1]["text"] == "Books stand on the shelf [1]."
        assert said[1]["about"]["sources"][0]["cited"]
        assert said[3]["about"]["error"]["code"] == "step_error"
        text = http.get(f"/conversations/{key}/export")
        assert text.headers["content-disposition"].startswith("attachment")
        assert "- [1] shelf.md: Books stand on the shelf." in text.text
        as_json = http.get(f"/conversations/{key}/export", params={"format": "json"}).json()
        assert as_json["messages"] == said
        assert http.delete(f"/conversations/{key}").status_code == 204
        assert http.get(f"/conversations/{key}").status_code == 404
        http.post("/conversations")
        assert http.delete("/conversations").status_code == 204
        assert http.get("/conversations").json() == []


def test_an_answer_that_was_stopped_is_kept_as_far_as_it_came(
    tmp_path: Path, client: Any, doors: Doors
) -> None:
    with running(app(toy(), settings=Settings(data=tmp_path / "data"))) as address:
        http = client(address)
        key = http.post("/conversations").json()["id"]
        body = {"query": "Books", "conversation": key, "stream": True}
        with http.stream("POST", "/ask", json=body) as told:
            for line in told.iter_lines():
                if line == "event: token":
                    break
        said: list[dict[str, Any]] = []
        while len(said) < 2:
            said = http.get(f"/conversations/{key}").json()["messages"]
        assert "Books stand on the shelf [1].".startswith(said[1]["text"][:5])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("And at night?", True),
        ("How long is it?", True),
        ("Who may open the north lock?", False),
        ("Why?", True),
        ("What load does Quarry Bridge carry?", False),
    ],
)
def test_what_leans_on_earlier_words(query: str, expected: bool) -> None:
    assert leans(query) is expected


class Writes(LLM):
    """Answers with one text."""

    id, window = "writes", 1000

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[str] = []

    def count(self, text: str) -> int:
        return len(text.split())

    async def stream(self, prompt: Prompt, sampling: Sampling, context: Any = None) -> Any:
        self.asked.append(prompt.question)
        yield Generation(self.text, 1, 1, "stop")


COMPLETE = "Who may open the north lock at night?"
HISTORY = (("user", "Who may open the north lock?"), ("assistant", "The keeper on duty."))


@pytest.mark.parametrize(
    ("query", "written", "expected", "asked"),
    [
        ("What does the ferry cost?", "", "What does the ferry cost?", 0),
        ("Who may open it at night?", COMPLETE, COMPLETE, 1),
        ("And at night?", "nonsense", "Who may open the north lock? And at night?", 1),
        ("And at night?", "", "Who may open the north lock? And at night?", 1),
    ],
)
def test_a_question_is_made_to_stand_by_itself(
    query: str, written: str, expected: str, asked: int
) -> None:
    llm = Writes(written)
    assert asyncio.run(standalone(query, HISTORY, llm)) == expected
    assert len(llm.asked) == asked
    assert asyncio.run(standalone(query, (), llm)) == query
