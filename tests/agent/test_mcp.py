"""Tools of a real MCP server in a process of its own, over stdio and HTTP."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag.errors import ConfigError
from rag.flow import Flow
from rag.operators import Agent
from rag.prompts.templates import prompts
from rag.tools import ToolError, Tools
from tests.agent.bricks import QUESTION, scripted

pytest.importorskip("mcp")
SERVER = str(Path(__file__).with_name("mcp_server.py"))
STDIO = {"command": sys.executable, "args": [SERVER]}


@pytest.fixture(scope="module")
def tools() -> Iterator[Tools]:
    """The server's tools over stdio; it is started once for all tests."""
    opened = Tools.load({"harbour": {"mcp": STDIO}})
    yield opened
    opened.close()


def called(tools: Tools, name: str, **arguments: Any) -> Any:
    """What a tool gives; in an event loop of its own, as an application's is."""
    return asyncio.run(tools.tools[name].call(arguments, None))  # type: ignore[arg-type]


def test_a_servers_tools_are_tools(tools: Tools) -> None:
    assert sorted(tools.tools) == ["broken", "end", "rules", "tide"]
    told = tools.tools["tide"].described(prompts())
    assert told.description == "The tide in a port."
    assert told.parameters["required"] == ["port"]


def test_an_agent_calls_them(tools: Tools) -> None:
    llm = scripted({"tool": "tide", "arguments": {"port": "Brest"}}, {"tool": "answer"})
    flow = Flow(Agent(), resources={"llm": llm, "tools": tools})
    (document,) = flow.invoke(query=QUESTION)["documents"]
    assert document.page_content.startswith("The tide in Brest is 4 m in 1 hours.")
    assert document.metadata["source"] == "tide"


def test_one_connection_serves_calls_of_several_loops(tools: Tools) -> None:
    first, second = (called(tools, "tide", port="Nantes", hours=2) for _ in range(2))
    assert int(second[-2]) == int(first[-2]) + 1


def test_a_resource_is_a_document(tools: Tools) -> None:
    (document,) = called(tools, "rules")
    assert (document.page_content, document.metadata["source"]) == (
        "Sound the horn twice.", "harbour://rules",
    )  # fmt: skip


def test_a_failure_is_in_the_servers_words(tools: Tools) -> None:
    with pytest.raises(ToolError, match="there is no water"):
        called(tools, "broken")


@pytest.mark.parametrize("arguments", [{}, {"port": 3}, {"port": "Brest", "hours": "soon"}])
def test_arguments_are_checked_by_the_servers_schema(
    tools: Tools, arguments: dict[str, Any]
) -> None:
    llm = scripted({"tool": "tide", "arguments": arguments}, {"tool": "answer"})
    result = Flow(Agent(), resources={"llm": llm, "tools": tools}).invoke(query=QUESTION)
    assert [use.status for use in result["tool_uses"]] == ["malformed"]


def test_a_server_that_ended_is_started_again(tools: Tools) -> None:
    with pytest.raises(ToolError, match="'harbour' ended"):
        called(tools, "end")
    assert called(tools, "tide", port="Brest").endswith("(1)")


def test_some_tools_may_be_chosen() -> None:
    with pytest.raises(ConfigError, match="offers no tool 'tides'") as caught:
        Tools.load({"harbour": {"mcp": STDIO, "only": ["tides"]}})
    assert "tide" in str(caught.value.fix)


def test_a_program_that_speaks_something_else_is_an_error() -> None:
    silent = {"command": sys.executable, "args": ["-c", ""]}
    with pytest.raises(ToolError, match="the MCP server 'harbour' does not answer"):
        Tools.load({"harbour": {"mcp": silent}})


def test_tools_over_http() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/mcp"
    with pytest.raises(ToolError, match="does not answer"):
        Tools.load({"harbour": {"mcp": {"url": url}}})
    process = subprocess.Popen([sys.executable, SERVER, str(port)])
    try:
        _reached(port)
        spec = {"harbour": {"mcp": {"url": url, "headers": {"x-key": "1"}}, "only": ["tide"]}}
        opened = Tools.load(spec)
        assert list(opened.tools) == ["tide"]
        assert called(opened, "tide", port="Brest").startswith("The tide in Brest")
        opened.close()
    finally:
        process.kill()
        process.wait()


def _reached(port: int) -> None:
    """Wait until a server listens."""
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the server does not start")
