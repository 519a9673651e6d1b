"""A real MCP server: over stdio, or with a port over streamable HTTP."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from mcp.server import MCPServer
from mcp.types import EmbeddedResource, TextResourceContents

server = MCPServer("harbour", log_level="CRITICAL")
calls: list[str] = []


@server.tool()
def tide(port: str, hours: int = 1) -> str:
    """The tide in a port."""
    calls.append(port)
    return f"The tide in {port} is 4 m in {hours} hours. ({len(calls)})"


@server.tool()
def rules() -> EmbeddedResource:
    """The rules of the harbour."""
    text: Any = TextResourceContents(uri="harbour://rules", text="Sound the horn twice.")
    return EmbeddedResource(type="resource", resource=text)


@server.tool()
def broken() -> str:
    """Fails."""
    from mcp.server.mcpserver.exceptions import ToolError

    raise ToolError("there is no water")


@server.tool()
def end() -> str:
    """Ends the server."""
    os._exit(1)


if __name__ == "__main__":
    logging.disable()
    if len(sys.argv) > 1:
        server.run(transport="streamable-http", port=int(sys.argv[1]))
    else:
        server.run()
