"""Servers in processes of their own, over a flow whose runs a test holds and releases by files."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from rag import Document, Flow, RunContext, operator
from rag.serve import Settings, app, single_user
from rag.serve.service import Service
from tests.serve.waiting import until

FOLDER = "RAG_HELD"
"""Variable that names the folder of the files."""
LEASE = 5.0


@operator(writes="documents")
async def found(query: str) -> list[Document]:
    """Find nothing, as soon as the test lets it."""
    await _hold("searching", query)
    return []


@operator(writes="answer")
async def held(query: str, documents: list[Document], *, ctx: RunContext) -> str:
    """Answer in two pieces, the second as soon as the test lets it."""
    ctx.token(f"{query} ")
    await _hold("streaming", query)
    ctx.token("is held.")
    return f"{query} is held."


async def _hold(phase: str, query: str) -> None:
    folder = Path(os.environ[FOLDER])
    (folder / f"{query}.{phase}").write_text(str(os.getpid()))
    doors = [folder / f"{name}.open" for name in (phase, query)]
    while not any(door.exists() for door in doors):
        await asyncio.sleep(0.002)


def flow() -> Flow:
    return Flow(found() >> held(), name="held")


def application() -> FastAPI:
    """What gunicorn is told to serve."""
    settings = Settings(data=Path(os.environ[FOLDER]) / "data", lease=LEASE, concurrency=64)
    return app(flow(), identity=single_user, settings=settings)


class Held:
    """The files of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def entered(self, query: str, phase: str) -> int:
        """Wait until a question is in a phase; the process that works on it."""
        file = self.folder / f"{query}.{phase}"
        until(lambda: file.exists() and file.read_text() != "", 60)
        return int(file.read_text())

    def open(self, name: str) -> None:
        """Let all questions pass a phase, or one question all phases."""
        (self.folder / f"{name}.open").touch()


class _Server(uvicorn.Server):
    port: Connection

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.port.send(self.servers[0].sockets[0].getsockname()[1])


def _serve(folder: Path, settings: Settings, port: Connection) -> None:
    os.environ[FOLDER] = str(folder)
    served = app({}, identity=single_user, service=Service(flow(), settings))
    server = _Server(uvicorn.Config(served, port=0, log_level="critical"))
    server.port = port
    server.run()


class Process:
    """A server that was started."""

    def __init__(self, process: Any, port: int) -> None:
        self.process, self.address = process, f"http://127.0.0.1:{port}"
        self.pid: int = process.pid

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.process.join()

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def ended(self) -> None:
        """Wait for the end."""
        self.process.join(60)
        assert self.process.exitcode is not None


@contextmanager
def servers(held: Held, settings: Settings, number: int = 2) -> Iterator[list[Process]]:
    """Servers over one state, each in a process forked from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.serve.held"])
    with ExitStack() as stack:
        made = []
        for _ in range(number):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(held.folder, settings, there))
            process.start()
            stack.callback(process.kill)
            made.append(Process(process, here.recv()))
        yield made
