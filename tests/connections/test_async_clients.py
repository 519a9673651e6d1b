"""Asynchronous clients keep working over any number of synchronous calls.

A client's connections belong to the event loop that opened them. The server is real and keeps
connections alive, so a client that moved between loops would fail at its second call.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag.flow import Flow, Operator, Resource, load_flow
from rag.flow.run.events import Done, Token
from tests.http_server import LocalServer

CALLS = 15
WORDS = ["the ", "keeper"]
GATE = asyncio.Semaphore(3)
"""Limits calls of all callers, as applications write it: made when the module is imported."""


class Handler(BaseHTTPRequestHandler):
    """Answers chats of OpenAI's protocol with the same words, and anything else with its path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(self.path.strip("/").encode(), "text/plain")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "served"}
        deltas = [{"role": "assistant", "content": word} for word in WORDS]
        ends = [None] * len(WORDS) + ["stop"]
        lines = [
            json.dumps({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]})
            for delta, end in zip([*deltas, {}], ends, strict=True)
        ]
        body = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])
        self._send(body.encode(), "text/event-stream")

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = LocalServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Client(Resource):
    """An `httpx.AsyncClient`."""

    def __init__(self, address: str) -> None:
        # One connection: it is reused by every call, whoever makes it.
        limits = httpx.Limits(max_connections=1)
        self.http = httpx.AsyncClient(base_url=address, limits=limits, timeout=120)

    @classmethod
    def open(cls, spec: Any, *, base: Path) -> Client:
        return cls(str(spec))


class Fetch(Operator):
    """Gets a page, its text as one token."""

    writes = "answer"

    async def run(self, query: str, *, client: Client) -> str:
        async with GATE:
            response = await client.http.get(f"/{query}")
        return response.text


def over_httpx(address: str) -> Flow:
    return Flow(Fetch(), outputs=["answer"], resources={"client": address})


def over_openai(address: str) -> Flow:
    spec = {
        "use": "langchain_openai.ChatOpenAI", "base_url": f"{address}/v1", "api_key": "secret",
        "model": "served", "max_retries": 0,
    }  # fmt: skip
    flow = load_flow(
        """
        name: served
        inputs: {query: str, documents: "list[Document]"}
        steps: [{use: generate}]
        outputs: [answer]
        """
    )
    return flow.with_resources(llm=spec)


@pytest.fixture(params=[over_httpx, over_openai])
def ask(request: pytest.FixtureRequest, address: str) -> Iterator[Callable[[str, str], Any]]:
    """Calls the flow in one of its ways, and returns the answers and what is expected."""
    from langchain_core.documents import Document

    flow = request.param(address)
    further = {"documents": [Document("It opens.")]} if request.param is over_openai else {}
    expected = (lambda query: "".join(WORDS)) if further else (lambda query: query)

    def call(way: str, query: str) -> Any:
        inputs = {"query": query, **further}
        match way:
            case "invoke":
                assert flow.invoke(**inputs) == {"answer": expected(query)}
            case "stream":
                *events, done = flow.stream(**inputs)
                assert isinstance(done, Done)
                assert done.result == {"answer": expected(query)}
                if further:
                    assert [e.text for e in events if isinstance(e, Token)] == WORDS
            case "batch":
                many = [{**inputs, "query": f"{query}-{number}"} for number in range(3)]
                answers = [one["answer"] for one in flow.batch(many)]
                assert answers == [expected(f"{query}-{number}") for number in range(3)]

    yield call
    flow.close()


WAYS = pytest.mark.parametrize("way", ["invoke", "stream", "batch"])


@WAYS
def test_from_a_script(ask: Callable[[str, str], Any], way: str) -> None:
    for number in range(CALLS):
        ask(way, f"page{number}")


@WAYS
def test_from_several_threads(ask: Callable[[str, str], Any], way: str) -> None:
    def work(worker: int) -> None:
        for number in range(CALLS // 5):
            ask(way, f"page{worker}-{number}")

    with ThreadPoolExecutor(5) as threads:
        list(threads.map(work, range(5)))


@WAYS
def test_from_inside_a_running_loop(ask: Callable[[str, str], Any], way: str) -> None:
    """As a cell of a notebook does: a synchronous call while a loop runs in this thread."""

    async def cells() -> None:
        for number in range(CALLS):
            ask(way, f"page{number}")
            await asyncio.sleep(0)

    asyncio.run(cells())


@WAYS
def test_all_callers_in_turn(ask: Callable[[str, str], Any], way: str) -> None:
    """A script, a thread and a notebook use one open client after another."""

    async def cell() -> None:
        ask(way, "cell")

    for _ in range(5):
        ask(way, "script")
        with ThreadPoolExecutor(1) as thread:
            thread.submit(ask, way, "thread").result()
        asyncio.run(cell())
    ask(way, "script")


def test_a_chat_model_moves_between_event_loops(address: str) -> None:
    """Synchronous calls, and asynchronous ones in a loop of their own each, over one client."""
    from langchain_core.documents import Document

    inputs = {"query": "page", "documents": [Document("It opens.")]}
    with over_openai(address) as flow:

        async def several() -> list[str]:
            results = await asyncio.gather(*(flow.ainvoke(**inputs) for _ in range(4)))
            return [result["answer"] for result in results]

        for _ in range(5):
            assert flow.invoke(**inputs) == {"answer": "".join(WORDS)}
            assert asyncio.run(several()) == ["".join(WORDS)] * 4
