"""The client of the Model Context Protocol's SDK, over streamable HTTP."""

import asyncio
from typing import Any

from httpx2 import AsyncClient
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from report import ANSWER, BASE, KEY, QUESTION, report


def connected(work: Any) -> None:
    async def run() -> None:
        async with (
            AsyncClient(headers={"Authorization": f"Bearer {KEY}"}) as http,
            Client(streamable_http_client(f"{BASE}/mcp", http_client=http)) as client,
        ):
            await work(client)

    asyncio.run(run())


def tools() -> None:
    async def work(client: Any) -> None:
        names = {one.name for one in (await client.list_tools()).tools}
        assert {"locks", "reader", "search"} <= names
        answer = await client.call_tool("locks", {"query": QUESTION})
        assert answer.content[0].text.startswith(ANSWER)

    connected(work)


def documents() -> None:
    async def work(client: Any) -> None:
        first, *_ = (await client.list_resources()).resources
        (content,) = (await client.read_resource(first.uri)).contents
        assert content.text

    connected(work)


report("MCP SDK (Python)", "mcp", tools, documents)
