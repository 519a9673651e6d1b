"""Bounds that hold: connections, the time of a request, descriptors, lines of the log."""

from __future__ import annotations

import logging
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest
import uvicorn

from rag import Document, Flow
from rag.index import IndexWriter
from rag.operators import BM25
from rag.serve import Identity, Settings
from rag.serve.http.connections import bounded_connections
from rag.serve.observe.repeated import OFTEN, PERIOD, Repeated
from rag.serve.pipelines.flows import Flows
from rag.serve.pipelines.pipeline import Pipelines
from rag.testing.encoders import ScriptedEmbedder
from tests.serve.conftest import local, toy


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a server with three connections that waits half a second for a header or a byte."""
    settings = Settings(
        data=tmp_path_factory.mktemp("data"),
        max_connections=3,
        header_timeout=0.5,
        body_timeout=0.5,
    )
    connections = bounded_connections(settings)
    config = uvicorn.Config(
        local(toy(), settings=settings), port=0, log_level="warning", http=connections
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.005)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(30)


def answer(connection: socket.socket) -> bytes:
    """All that a server sends until it closes the connection."""
    connection.settimeout(30)
    found = b""
    while block := connection.recv(4096):
        found += block
    return found


ASK = b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /health HT",
        HEALTH,
        ASK + b"Content-Length: 100\r\n\r\n",
        ASK + b'Content-Length: 100\r\n\r\n{"query": ',
    ],
)
def test_a_request_that_does_not_arrive_is_not_waited_for(port: int, sent: bytes) -> None:
    with closing(socket.create_connection(("127.0.0.1", port))) as connection:
        connection.sendall(sent)
        found = answer(connection)
    assert found.startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_nor_is_the_second_request_of_a_connection(port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port))) as connection:
        connection.sendall(HEALTH + b"\r\n")
        connection.settimeout(30)
        found = b""
        while not found.endswith(b"}"):
            found += connection.recv(4096)
        assert found.startswith(b"HTTP/1.1 200 OK\r\n")
        connection.sendall(HEALTH)
        assert answer(connection).startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_a_header_that_comes_byte_by_byte_is_late_as_well(port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port))) as connection:
        connection.settimeout(0.05)
        found = b""
        for byte in HEALTH * 100:
            try:
                connection.sendall(bytes([byte]))
                found = connection.recv(100)
                break
            except TimeoutError:
                continue
    assert found.startswith(b"HTTP/1.1 408")


def test_a_connection_too_many_is_closed(port: int) -> None:
    with ExitStack() as opened:
        for _ in range(3):
            one = opened.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
            one.sendall(HEALTH + b"\r\n")
            one.settimeout(30)
            assert one.recv(4096).startswith(b"HTTP/1.1 200")
        late = opened.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
        assert answer(late).startswith(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5")
    assert httpx.get(f"http://127.0.0.1:{port}/health", timeout=30).status_code == 200


def test_the_limit_of_open_files_is_raised_and_holds_for_connections() -> None:
    code = (
        "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (256, 512));"
        "from rag.serve import Settings; from rag.serve.http.connections import *;"
        "made = bounded_connections(Settings(max_connections=5000));"
        "print(made.most, r.getrlimit(r.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["256", "512"]


def test_users_who_do_nothing_hold_no_descriptors(tmp_path: Path) -> None:
    embedder = ScriptedEmbedder()
    flow = Flow(BM25(), resources={"index": str(tmp_path / "index"), "embedder": embedder})
    users = [f"user{number}" for number in range(40)]
    for user in users:
        own = tmp_path / "index.collections" / user
        with closing(IndexWriter.open(own)) as index:
            index.write([Document(page_content=f"The lock of {user}.")], embedder)
    pipelines = Pipelines({"p": flow})
    flows = Flows(pipelines, tmp_path / "data", 3)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len([*Path("/proc/self/fd").iterdir()]) + 40, hard))
    try:
        for user in users:
            with closing(flows.open(pipelines["p"], Identity(user))) as lease:
                (found,) = lease.flow.invoke(query="lock")["documents"]
                assert found.page_content == f"The lock of {user}."
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        flows.close()


def test_a_line_that_is_logged_all_the_time_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    seconds = 0.0
    held = Repeated(lambda: seconds)
    log = logging.getLogger("rag.serve")

    def logged(times: int, name: str = "rag.serve") -> int:
        caplog.clear()
        for number in range(times):
            logging.getLogger(name).error("a request failed: %s", number)
        return len(caplog.messages)

    caplog.handler.addFilter(held)
    try:
        assert logged(1000) == OFTEN
        log.error("another line")
        assert caplog.messages[-1] == "another line"
        assert logged(100, "rag.access.http") == 100
        seconds = PERIOD + 1
        assert logged(3) == 3
        assert caplog.messages[0] == "a request failed: 0 (and 990 times before)"
        assert caplog.messages[1] == "a request failed: 1"
    finally:
        caplog.handler.removeFilter(held)
