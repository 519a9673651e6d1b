"""Tools of servers of the Model Context Protocol, by its official SDK (the extra `mcp`)."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import re
import shutil
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from rag.errors import ConfigError
from rag.extras import require
from rag.flow import RunContext
from rag.flow.run.runtime import Runtime, Submitted
from rag.tools.spec import MCPTools, Server
from rag.tools.tool import Found, Texts, Tool, ToolError

CONNECTIONS = Runtime()
"""The event loop of all connections: each belongs to the task that opened it."""
STARTING = 30.0
"""Seconds in which a server must say what it offers."""
READING = 300.0
"""Seconds in which a server over HTTP must send something more."""
CLOSED = -32000
"""The SDK's code of a connection that the server has ended."""
_ODD = re.compile(r"[^A-Za-z0-9_-]+")


class MCPTool(Tool):
    """A tool of a server.

    Args:
        server: The server.
        offered: What it says of the tool.
    """

    def __init__(self, server: MCPServer, offered: Any) -> None:
        name = _ODD.sub("_", offered.name)[:64]
        super().__init__(name, offered.input_schema or {"type": "object"}, server.spec)
        self._server, self._offered = server, offered

    def description(self, texts: Texts) -> str:
        """What the server says of it."""
        offered = self._offered
        return str(offered.description or offered.title or offered.name)

    async def call(self, arguments: Mapping[str, Any], ctx: RunContext) -> Found:
        """The text of the result, or documents where it has resources in it."""
        result = await self._server.call(self._offered.name, dict(arguments))
        texts: list[str] = []
        documents: list[Document] = []
        for block in result.content:
            resource: Any = getattr(block, "resource", None)
            if getattr(block, "text", None) is not None:
                texts.append(block.text)
            elif getattr(resource, "text", None) is not None:
                metadata = {"source": str(resource.uri)}
                documents.append(Document(page_content=resource.text, metadata=metadata))
            elif getattr(block, "uri", None) is not None:
                texts.append(f"{block.name}: {block.uri}")
            else:
                texts.append(f"({block.type})")
        if not result.content and result.structured_content is not None:
            texts.append(json.dumps(result.structured_content, ensure_ascii=False))
        text = "\n".join(texts)
        if result.is_error:
            raise ToolError(text or "the server says no more")
        if documents and text:
            documents.insert(0, Document(page_content=text, metadata={"source": self.name}))
        return documents or text


class MCPServer:
    """A connection to a server, opened at first use and again after it broke.

    Args:
        name: The server's in the pipeline.
        spec: Where it is.
        base: The folder that a command is run in.
    """

    def __init__(self, name: str, spec: MCPTools, base: Path) -> None:
        self.name, self.spec, self._base = name, spec, base
        self._connection: _Connection | None = None
        self._lock = threading.Lock()

    def tools(self) -> list[MCPTool]:
        """What the server offers.

        Raises:
            ToolError: It cannot be started or reached.
            ConfigError: The SDK is not installed, or a tool that is named is not offered.
        """
        offered = {one.name: one for one in self._connected().offered()}
        for wanted in self.spec.only:
            if wanted not in offered:
                raise ConfigError(
                    f"the server {self.name!r} offers no tool {wanted!r}",
                    where="resources.tools",
                    fix=f"it offers: {', '.join(offered)}",
                )
        return [MCPTool(self, offered[one]) for one in self.spec.only or offered]

    async def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """The result of a tool. A server that ended is started again.

        Raises:
            ToolError: It cannot be reached.
        """
        connection = self._connection
        if connection is None or connection.ended:
            connection = await asyncio.to_thread(self._connected)
        try:
            return await connection.call(name, arguments)
        except Exception as error:
            if getattr(error, "code", None) == CLOSED:  # the next call starts it again
                connection.ended = True
                raise ToolError(f"the server {self.name!r} ended") from error
            raise ToolError(" ".join(str(error).split()) or type(error).__name__) from error

    def close(self) -> None:
        """End the connection, and the server that was started for it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> _Connection:
        with self._lock:
            if self._connection is not None and not self._connection.ended:
                return self._connection
            require("mcp", "mcp", where="resources.tools")
            if self._connection is not None:
                self._connection.close()
            self._connection = _Connection(self.spec.mcp, self._base)
            try:
                self._connection.offered()
            except Exception as error:
                self._connection.close()
                reason = " ".join(str(_innermost(error)).split()) or type(error).__name__
                raise ToolError(
                    f"the MCP server {self.name!r} does not answer: {reason}",
                    where="resources.tools",
                    fix="check its command or url, and what it writes to standard error",
                ) from error
            return self._connection


class _Connection:
    """A client in a task of its own, which opens and closes it."""

    def __init__(self, server: Server, base: Path) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None
        self._stop = asyncio.Event()
        self._offered: concurrent.futures.Future[list[Any]] = concurrent.futures.Future()
        self.ended = False
        self._task: Submitted[None] = CONNECTIONS.submit(self._hold(server, base))

    def offered(self) -> list[Any]:
        """The server's tools, once it has said so."""
        return self._offered.result(STARTING)

    async def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """A call in the client's loop."""
        assert self._loop is not None  # noqa: S101 - set before the tools are known
        work = self._client.call_tool(name, arguments)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def close(self) -> None:
        """Let the task end, and wait for it."""
        if self._client is None or self._loop is None:  # it is still connecting
            self._task.cancel()
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._task.result()

    async def _hold(self, server: Server, base: Path) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            async with _client(server, base) as client:
                self._client = client
                self._offered.set_result(await _all_tools(client))
                await self._stop.wait()
        except Exception as error:  # noqa: BLE001 - whoever waits for the tools gets it
            if not self._offered.done():
                self._offered.set_exception(error)
        finally:
            self.ended = True


def _client(server: Server, base: Path) -> Any:
    from mcp import Client, StdioServerParameters

    if server.command is not None:
        return Client(
            StdioServerParameters(
                command=server.command, args=list(server.args), env=server.env or None, cwd=base
            )
        )
    from httpx2 import AsyncClient, Timeout
    from mcp.client.streamable_http import streamable_http_client

    timeout = Timeout(STARTING, read=READING)
    http = AsyncClient(headers=server.headers, timeout=timeout, follow_redirects=True)
    return Client(streamable_http_client(str(server.url), http_client=http))


async def _all_tools(client: Any) -> list[Any]:
    found: list[Any] = []
    cursor = None
    while True:
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if not cursor:
            return found


def _innermost(error: BaseException) -> BaseException:
    """The error itself, out of the groups that task groups make."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def absent_server(name: str, server: Server) -> ConfigError | None:
    """Why a server cannot be started: no SDK, no such program. An address is not called."""
    where = "resources.tools"
    if find_spec("mcp") is None:
        fix = 'pip install "modular-rag[mcp]"'
        return ConfigError("mcp is not installed", where=where, fix=fix)
    if server.command is not None and shutil.which(server.command) is None:
        what = f"there is no program {server.command!r} for the tools {name!r}"
        return ConfigError(what, where=where, fix="give its path")
    return None
