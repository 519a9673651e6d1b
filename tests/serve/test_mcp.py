"""Pipelines as tools, by the official SDK's client over both transports."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Header, HTTPException

from rag import Document, Flow, operator
from rag.flow import Input
from rag.index import IndexWriter
from rag.models import Embedder
from rag.operators import BM25, Cite
from rag.serve import Identity, Settings, app, mcp
from tests.serve.conftest import local, running, say, toy

pytest.importorskip("mcp")

from httpx2 import AsyncClient
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError


def at(address: str, work: Callable[[Any], Awaitable[Any]], **headers: str) -> Any:
    """What is done with a client of the server at an address."""

    async def run() -> Any:
        sent = {name.replace("_", "-"): one for name, one in headers.items()}
        http = AsyncClient(headers=sent, timeout=60)  # room for slow machines
        async with Client(streamable_http_client(f"{address}/mcp", http_client=http)) as client:
            return await work(client)

    return asyncio.run(run())


def write(path: Path, embedder: Embedder, **texts: str) -> None:
    documents = [Document(page_content=t, metadata={"source": name}) for name, t in texts.items()]
    IndexWriter.open(path).write(documents, embedder)


@operator(writes="answer")
def sized(query: str, size: int) -> str:
    """Answer with the question, cut."""
    return query[:size]


def test_a_tool_for_each_pipeline(tmp_path: Path) -> None:
    cut = Flow(
        sized(),
        name="cut",
        inputs={"query": str, "size": Input(int, 4)},
        description="cuts the question",
    )
    served = local({"toy": toy(), "cut": cut}, settings=Settings(data=tmp_path / "data"))

    async def work(client: Any) -> None:
        one, two = (await client.list_tools()).tools
        assert (one.name, one.description) == ("toy", "finds what is on the shelf")
        assert two.input_schema["properties"]["size"] == {"type": "integer"}
        assert two.input_schema["required"] == ["query"]
        progress: list[str | None] = []

        async def note(done: float, total: float | None, message: str | None) -> None:
            progress.append(message)

        answer = await client.call_tool("toy", {"query": "Books"}, progress_callback=note)
        assert answer.content[0].text == "Books stand on the shelf [1]."
        (source,) = answer.structured_content["sources"]
        assert (source["place"], source["cited"]) == ("shelf.md", True)
        assert [str(name).split(".")[-1] for name in progress] == ["shelf", "say", "cite"]
        assert (await client.call_tool("cut", {"query": "Books"})).content[0].text == "Book"
        more = {"query": "Books", "size": 2}
        assert (await client.call_tool("cut", more)).content[0].text == "Bo"
        for name, arguments in (("none", {"query": "x"}), ("toy", {}), ("toy", {"query": " "})):
            failed = await client.call_tool(name, arguments)
            assert failed.is_error, (name, arguments)

    with running(served) as address:
        at(address, work)


def test_search_and_documents_are_the_callers_own(tmp_path: Path, embedder: Embedder) -> None:
    index = tmp_path / "index"
    write(index, embedder, locks="The lock opens at six.")
    write(index.with_name("index.collections") / "ann", embedder, notes="My lock is broken.")
    resources = {"index": str(index), "embedder": embedder}
    flow = Flow(BM25(k=4) >> say() >> Cite(), name="locks", resources=resources)

    def user(x_user: Annotated[str | None, Header()] = None) -> Identity:
        if x_user is None:
            raise HTTPException(401)
        return Identity(x_user)

    links: dict[str, str] = {}

    async def read(client: Any) -> set[str]:
        found = await client.call_tool("search", {"query": "lock"})
        passages = {one["text"] for one in found.structured_content["passages"]}
        links.update({one["link"]: one["text"] for one in found.structured_content["passages"]})
        texts = set()
        for one in (await client.list_resources()).resources:
            (content,) = (await client.read_resource(one.uri)).contents
            texts.add(content.text)
        assert texts == passages
        return passages

    async def foreign(client: Any) -> None:
        with pytest.raises(MCPError, match="no document"):
            await client.read_resource("document:notes")

    with running(app(flow, identity=user, settings=Settings(data=tmp_path / "data"))) as address:
        mine = {"The lock opens at six.", "My lock is broken."}
        assert at(address, read, x_user="ann") == mine
        for link, text in links.items():
            assert httpx.get(link, headers={"X-User": "ann"}).text == text
        assert at(address, read, x_user="ben") == {"The lock opens at six."}
        at(address, foreign, x_user="ben")
        assert httpx.post(f"{address}/mcp", json={}).status_code == 401
        page = {"X-User": "ann", "Origin": "https://evil.example"}
        assert httpx.post(f"{address}/mcp", json={}, headers=page).status_code == 403


def test_links_open_without_a_key(tmp_path: Path, embedder: Embedder) -> None:
    index = tmp_path / "index"
    write(index, embedder, locks="The lock opens at six.")
    resources = {"index": str(index), "embedder": embedder}
    flow = Flow(BM25(k=4) >> say() >> Cite(), name="locks", resources=resources)

    def user(authorization: Annotated[str | None, Header()] = None) -> Identity:
        if authorization is None:
            raise HTTPException(401)
        return Identity("ann")

    async def links(client: Any) -> list[str]:
        asked = await client.call_tool("locks", {"query": "lock"})
        found = await client.call_tool("search", {"query": "lock"})
        data = (*asked.structured_content["sources"], *found.structured_content["passages"])
        return [one["link"] for one in data]

    with running(app(flow, identity=user, settings=Settings(data=tmp_path / "data"))) as address:
        opened = at(address, links, authorization="Bearer key")
        assert len(opened) == 2
        for link in opened:
            assert link.startswith(f"{address}/links/")
            assert httpx.get(link).text == "The lock opens at six."


def test_a_long_list_of_documents_has_pages(
    tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp, "LISTED", 2)
    names = ("boats", "bridges", "locks", "quays")
    index = tmp_path / "index"
    write(index, embedder, **dict.fromkeys(names, "A text."))
    flow = Flow(BM25(k=4), name="locks", resources={"index": str(index), "embedder": embedder})

    async def pages(client: Any) -> list[list[str]]:
        found, cursor = [], None
        while True:
            page = await client.list_resources(cursor=cursor)
            found.append([one.name for one in page.resources])
            cursor = page.next_cursor
            if cursor is None:
                break
        with pytest.raises(MCPError, match="cursor"):
            await client.list_resources(cursor="no number")
        return found

    with running(local(flow, settings=Settings(data=tmp_path / "data"))) as address:
        assert at(address, pages) == [["boats", "bridges"], ["locks", "quays"]]


def test_limits_hold_for_tools_too(tmp_path: Path) -> None:
    def user() -> Identity:
        return Identity("ann", requests_per_minute=1)

    async def twice(client: Any) -> list[bool]:
        return [(await client.call_tool("toy", {"query": "x"})).is_error for _ in range(2)]

    with running(app(toy(), identity=user, settings=Settings(data=tmp_path / "data"))) as address:
        assert at(address, twice) == [False, True]


CODE = """
from rag import operator


@operator(writes="answer")
def back(query: str) -> str:
    "Answer with the question."
    print("what a step prints is no message")
    return query
"""


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(CODE)
    (tmp_path / "flow.yaml").write_text("name: back\nsteps: [{use: 'steps:back'}]\n")

    async def run() -> str:
        server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "rag", "mcp", "flow.yaml", "--allow-import", "steps"],
            cwd=tmp_path,
            env={"PYTHONPATH": ":".join([str(tmp_path), *sys.path]), "HF_HUB_OFFLINE": "1"},
        )
        async with Client(server) as client:
            answer = await client.call_tool("back", {"query": "Books"})
            return str(answer.content[0].text)

    assert asyncio.run(run()) == "Books"
