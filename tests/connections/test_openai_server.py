"""A server that speaks OpenAI's protocol, over real HTTP, as the chat model.

Our own server over the small model is asked as any other; what it would never say (a broken answer,
exact counts) is said by a stand-in.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest
from langchain_core.documents import Document

from rag.errors import ModelError
from rag.flow import Flow, load_flow
from rag.flow.run.events import Token
from rag.models import LLM, Prompt, Sampling
from rag.serve import Settings, app
from tests.http_server import LocalServer
from tests.serve.conftest import built, library, real, running  # noqa: F401 - fixtures

WORDS = ["The ", "keeper ", "opens ", "it [1]."]


class Handler(BaseHTTPRequestHandler):
    """Answers every chat with the same words, as a stream of events."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append({"path": self.path, "key": self.headers["Authorization"], **given})
        if given["model"] == "broken":
            self.send_error(500, "out of memory")
            return
        head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "served"}
        chunks: list[dict[str, Any]] = [
            {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": word}}]}
            for word in WORDS
        ]
        chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        usage = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
        chunks.append({**head, "choices": [], "usage": usage})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    server = LocalServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Handler.asked.clear()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def spec(address: str, model: str = "served") -> dict[str, Any]:
    return {
        "use": "langchain_openai.ChatOpenAI", "base_url": address, "api_key": "secret",
        "model": model, "stream_usage": True, "max_retries": 0,
    }  # fmt: skip


def test_it_streams_and_counts(address: str) -> None:
    llm = LLM.load(spec(address), base=Path())

    async def collect() -> list[Any]:
        sampling = Sampling(max_tokens=16, stop=("\n",))
        prompt = Prompt("Who?", "Answer.", ("The keeper opens the lock.",))
        return [piece async for piece in llm.stream(prompt, sampling)]

    *pieces, done = asyncio.run(collect())
    assert pieces == WORDS
    assert (done.text, done.prompt_tokens, done.completion_tokens) == ("".join(WORDS), 7, 4)
    (asked,) = Handler.asked
    assert asked["path"] == "/v1/chat/completions"
    assert asked["key"] == "Bearer secret"
    assert asked["stop"] == ["\n"]
    assert 16 in (asked.get("max_tokens"), asked.get("max_completion_tokens"))
    assert "The keeper opens the lock." in asked["messages"][-1]["content"]


def test_a_flow_asks_it(address: str) -> None:
    flow = load_flow(
        """
        name: served
        inputs: {query: str, documents: "list[Document]"}
        steps: [{use: generate}, {use: cite}]
        """
    ).with_resources(llm=spec(address))
    documents = [Document(page_content="The keeper opens the lock.", metadata={"source": "a"})]
    assert flow.invoke(query="Who?", documents=documents)["answer"].startswith("The keeper opens")


def test_its_errors_are_told(address: str) -> None:
    with pytest.raises(ModelError, match="'broken' gave no answer"):
        asyncio.run(LLM.load(spec(address, "broken"), base=Path()).generate(Prompt("?")))
    with pytest.raises(ModelError, match="gave no answer"):
        asyncio.run(LLM.load(spec("http://127.0.0.1:9/v1"), base=Path()).generate(Prompt("?")))


def test_our_own_server_is_a_flows_chat_model(
    real: Flow,  # noqa: F811 - a fixture
    tmp_path: Path,
) -> None:
    flow = load_flow(
        """
        name: asks-a-server
        inputs: {query: str, documents: "list[Document]"}
        steps:
          - {use: rewrite, outputs: {query: search}}
          - {use: generate, max_tokens: 12}
          - {use: llm_judge, aspect: supported}
        """
    )
    documents = [Document(page_content="The north lock may be opened by the lock keeper.")]
    with running(app(real, settings=Settings(data=tmp_path))) as address:
        asked = flow.with_resources(llm=spec(f"{address}/v1", "real"))
        events = list(asked.stream(query="Who may open the north lock?", documents=documents))
    result = events[-1].result
    assert "".join(e.text for e in events if isinstance(e, Token)).strip() == result["answer"]
    assert result["answer"]
    assert result["search"]
    assert result["verdict"] in (True, False)
    assert events[-1].llm_calls == 3
    assert events[-1].tokens > 50
