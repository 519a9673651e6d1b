"""`rag mcp`: pipelines as tools of the Model Context Protocol, over standard input and output."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from rag.cli.config import AllowImport, Param
from rag.cli.serve import load_all


def mcp(
    configs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PIPELINE]...",
            help="Pipeline files, or names of ready-made pipelines. Default: ./rag.yaml, else "
            "`hybrid`.",
            show_default=False,
        ),
    ] = None,
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
    import rag.serve
    from rag.serve.service import Service

    service = Service(load_all(configs, params, allow), rag.serve.Settings(data=data))
    asyncio.run(_run(service))


async def _run(service: object) -> None:
    from mcp.server.stdio import stdio_server

    from rag.serve.identity import single_user
    from rag.serve.mcp import mcp_server
    from rag.serve.service import Service

    assert isinstance(service, Service)  # noqa: S101 - its import is heavy
    user = single_user()
    async with service.lifespan(), stdio_server() as (reads, writes):
        server = mcp_server(service, lambda _: user)
        await server.run(reads, writes, server.create_initialization_options())
