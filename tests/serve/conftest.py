"""Servers to be tested: a real one on a port of its own, over a toy flow or the real models."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import fastapi.routing
import httpx
import pytest
import uvicorn
from fastapi.utils import create_model_field

from rag import Document, Flow, RunContext, operator
from rag.errors import ModelError
from rag.models import LLM, Embedder
from rag.operators import BM25, Cite, Generate
from rag.serve import Settings, app, single_user
from rag.serve.service import Service
from tests.postgres import server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TEXTS = {
    "locks.md": "# Locks\n\nThe north lock may be opened by the lock keeper on duty only.\n\n"
    "A full passage of the north lock takes eleven minutes.\n",
    "boats.md": "# Boats\n\nThe ferry Aurora carries forty passengers.\n\n"
    "Boats longer than twelve metres use the south lock.\n",
}


class Doors:
    """Lets a test hold the toy flow's questions, and see which were cancelled."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.cancelled: list[str] = []
        self._open = threading.Event()
        self._open.set()

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def pass_through(self, query: str) -> None:
        self.entered.append(query)
        try:
            while not self._open.is_set():
                await asyncio.sleep(0.002)
        except asyncio.CancelledError:
            self.cancelled.append(query)
            raise


DOORS = Doors()


@operator(writes="documents")
def shelf(query: str) -> list[Document]:
    """Find a page about anything."""
    about = {"path": "shelf.md", "title": "The shelf", "score": 0.5}
    return [Document(id="page", page_content=f"{query} stand on the shelf.", metadata=about)]


@operator(writes="answer")
async def say(
    query: str, documents: list[Document], *, ctx: RunContext, max_tokens: int = 9, seed: int = 0
) -> str:
    """Answer word by word."""
    await DOORS.pass_through(query)
    if query == "crash":
        raise RuntimeError("a secret of the server")
    if query == "unreachable":
        raise ModelError("the model cannot be reached", fix="start it")
    words = [f"{query} ", "stand ", "on ", "the ", f"shelf {seed}." if seed else "shelf."]
    for word in words[:max_tokens]:
        ctx.token(word)
    return "".join(words[:max_tokens]).strip()


def toy(name: str = "toy") -> Flow:
    """A flow without models."""
    return Flow(shelf() >> say() >> Cite(), name=name, description="finds what is on the shelf")


def local(*flows: Any, **options: Any) -> Any:
    """The application for one user, who may do everything."""
    return app(*flows, identity=single_user, **options)


# Five seconds, which a busy machine may take for any answer, are no test.
for _phase in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, _phase, 60.0)


class _Impatient:
    """asyncio for uvicorn's server: it looks for its end, and for that of its requests, oftener.

    By itself every server takes two tenths of a second to stop, in which nothing happens.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 20)


vars(uvicorn.server)["asyncio"] = _Impatient()


def _shared_field(name: str, type_: Any, mode: Literal["validation", "serialization"]) -> Any:
    """FastAPI's field of a response, made once for a model.

    Its routes make one for each status that they may answer with, for ten times the same model of
    an error: two thirds of what an application takes, and nearly every test has its own.
    """
    if isinstance(type_, type):
        return _field(type_, mode)
    return create_model_field(name=name, type_=type_, mode=mode)


@cache
def _field(model: type, mode: Literal["validation", "serialization"]) -> Any:
    return create_model_field(name=model.__name__, type_=model, mode=mode)


vars(fastapi.routing)["create_model_field"] = _shared_field


class _Server(uvicorn.Server):
    """Uvicorn in a thread, which no signal reaches: its service hears of the end from here."""

    service: Service | None = None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.service is not None:
            self.service.drain()
        await super().shutdown(sockets)


@contextmanager
def running(app: Any, service: Service | None = None) -> Iterator[str]:
    """The application on a real port; gives its address.

    A shutdown is one in order, as after SIGTERM, where the service is given.
    """
    server = _Server(uvicorn.Config(app, port=0, log_level="warning"))
    server.service = service
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        thread.join(0.005)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def doors() -> Iterator[Doors]:
    DOORS.entered.clear()
    DOORS.cancelled.clear()
    yield DOORS
    DOORS.open()


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """The address of a PostgreSQL database."""
    with server() as folder:
        yield f"postgresql://rag@/postgres?host={folder}"


@pytest.fixture
def postgres(database: str) -> str:
    """The address of a state in PostgreSQL that nobody has used."""
    return f"{database}&schema=s{uuid.uuid4().hex}"


@pytest.fixture(params=["sqlite", "postgresql"])
def state_at(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a server's state is: one test for a file, one for PostgreSQL."""
    if request.param == "sqlite":
        return tmp_path / "state" / "serve.sqlite"
    address: str = request.getfixturevalue("postgres")
    return address


@pytest.fixture
def kept(tmp_path: Path, state_at: Path | str) -> Settings:
    """The settings of a server that keeps its state in either."""
    state = state_at if isinstance(state_at, str) else None
    return Settings(data=tmp_path / "data", state=state)


@pytest.fixture(scope="module")
def library(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index over two short documents, the module's own: some tests write into theirs."""
    return shutil.copytree(built, tmp_path_factory.mktemp("library") / "index")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Path:
    """An index over two short documents that is only copied."""
    from rag.index import Index
    from rag.index.ingest.ingest import ingest
    from rag.index.ingest.plan import plan
    from rag.text.splitting import split

    folder = tmp_path_factory.mktemp("library")
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    path = folder / "index"
    index = Index.writer(path, embedder=embedder.id, dim=embedder.dim)
    todo = plan([folder / name for name in TEXTS], index, "test")
    ingest(
        todo,
        index,
        embedder,
        split=lambda documents: split(documents, size=60, overlap=0, count=embedder.lengths),
        fingerprint="test",
    )
    index.close()
    return path


@pytest.fixture
def real(library: Path, embedder: Embedder, llm: LLM) -> Flow:
    """A flow over the real models."""
    return Flow(
        BM25(k=2) >> Generate(max_tokens=24) >> Cite(),
        name="real",
        resources={"index": str(library), "embedder": embedder, "llm": llm},
    )


def sent(text: str) -> list[tuple[str, Any]]:
    """The events of a stream."""
    import json

    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def numbered(response: httpx.Response) -> Iterator[tuple[int, str, Any]]:
    """The events of a stream as they come: number, name, data."""
    lines: dict[str, str] = {}
    for line in response.iter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            lines[name] = value
        elif lines:
            yield int(lines["id"]), lines["event"], json.loads(lines["data"])
            lines = {}


@pytest.fixture
def client() -> Iterator[Callable[[str], httpx.Client]]:
    """Makes HTTP clients, and closes them."""
    made: list[httpx.Client] = []

    def make(address: str, **options: Any) -> httpx.Client:
        made.append(httpx.Client(base_url=address, timeout=30, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser, one for all tests of a module."""
    from tests.serve.browser import chromium

    with chromium() as found:
        yield found
