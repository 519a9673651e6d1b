"""What a server's clients get of an answer that breaks off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest

from rag.errors import ModelError
from rag.flow import Flow
from rag.operators import Cite, Generate
from rag.serve import Settings
from rag.testing.llm import Reply, ScriptedLLM
from tests.serve.conftest import local, running, sent, shelf

BEGINNING = "Books stand on"
BROKEN = Reply(BEGINNING, error=ModelError("the connection was closed", fix="ask again"))


def flow() -> Flow:
    return Flow(shelf() >> Generate() >> Cite(), name="toy", resources={"llm": ScriptedLLM(BROKEN)})


def test_a_reader_gets_what_came_and_an_error(tmp_path: Path, client: Any) -> None:
    """And the conversation keeps both."""
    with running(local(flow(), settings=Settings(data=tmp_path / "data"))) as address:
        http = client(address)
        talk = http.post("/conversations").json()["id"]
        body = {"query": "Books", "stream": True, "conversation": talk}
        events = sent(http.post("/ask", json=body).text)
        messages = http.get(f"/conversations/{talk}").json()["messages"]
        plain = http.post("/ask", json={"query": "Books"})
        run = http.get(f"/runs/{events[0][1]['run']}").json()
    assert "".join(data["text"] for name, data in events if name == "token") == BEGINNING
    name, error = events[-1]
    assert (name, error["what"]) == ("error", "the connection was closed")
    assert error["fix"] == "ask again"
    assert "done" not in [name for name, _ in events]
    assert run["status"] == "failed"
    assert messages[-1]["content"] == BEGINNING
    assert messages[-1]["about"]["error"]["what"] == "the connection was closed"
    assert plain.status_code == 503


def test_openais_client_gets_what_came_and_an_error(tmp_path: Path) -> None:
    pieces: list[str] = []
    with (
        running(local(flow(), settings=Settings(data=tmp_path / "data"))) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as asking,
        pytest.raises(openai.APIError, match="the connection was closed"),
    ):
        chunks = asking.chat.completions.create(
            model="toy", messages=[{"role": "user", "content": "Books"}], stream=True
        )
        pieces.extend(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert "".join(pieces) == BEGINNING
