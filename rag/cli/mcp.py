"""`rag mcp`: pipelines as tools of the Model Context Protocol, over standard input and output."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag.cli.application import load_all
from rag.cli.config import AllowImport, Param
from rag.cli.serve import Served

if TYPE_CHECKING:
    from rag.flow import Flow


def mcp(
    configs: Served = None,
    params: Param = None,
    allow: AllowImport = None,
    data: Annotated[
        Path, typer.Option("--data", help="Folder of runs and of the server's secret.")
    ] = Path(".rag/serve"),
) -> None:
    """Offer pipelines as tools to a client that starts this command.

    Standard output is the client's: messages and warnings go to standard error.
    """
    from rag.extras import require

    require("mcp", "mcp")
    asyncio.run(_run(load_all(configs, params, allow), data))


async def _run(flows: Mapping[str, Flow], data: Path) -> None:
    from mcp.server.stdio import stdio_server

    from rag.serve import Settings, single_user
    from rag.serve.mcp import mcp_server
    from rag.serve.service import Service

    service, user = Service(flows, Settings(data=data)), single_user()
    async with service.lifespan(), stdio_server() as (reads, writes):
        server = mcp_server(service, lambda _: user)
        await server.run(reads, writes, server.create_initialization_options())
