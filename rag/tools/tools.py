"""The tools of a flow's agents, by name, as a resource."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from langchain_core.tools import BaseTool

from rag.connect.sql import Database
from rag.errors import ConfigError, RagError
from rag.flow import Flow
from rag.flow.absence import inherited
from rag.flow.resources import Resource, Use, parse
from rag.models.opening.foreign import foreign_class, made
from rag.tools import spec as specs
from rag.tools.calculator import Calculator
from rag.tools.flows import FlowTool, SQLTool, operator_flow, sql_flow, written_flow
from rag.tools.foreign import LangChainTool
from rag.tools.mcp import MCPServer, absent_server
from rag.tools.tool import Tool

CALCULATOR = "calculator"
FOREIGN = "langchain_core.tools.BaseTool"


class Tools(Resource):
    """Tools by name.

    In a pipeline a mapping from the name by which the model calls it: `{use: hybrid, k: 6}`, any
    operator; `{use: calculator}`; `{use: langchain_...}`, a tool of LangChain's packages;
    `{flow: other.yaml}`; `{sql: tolls.sqlite}`; `{mcp: {command: ...}}` or `{mcp: {url: ...}}`,
    which gives all tools of the server under their own names. In Python a `Tool`, a `Flow` or a
    LangChain tool may stand in the place of each.

    Args:
        tools: The tools.
        servers: What is closed with them.
    """

    default: ClassVar[Any] = {"search": {"use": "hybrid", "k": 4}}
    Spec = specs.ToolsSpec

    def __init__(self, tools: Mapping[str, Tool], servers: tuple[MCPServer, ...] = ()) -> None:
        self.tools = dict(tools)
        self._servers = servers

    @classmethod
    def open(cls, spec: Any, *, base: Path) -> Tools:
        """Open the tools; servers are started and asked what they offer.

        Raises:
            ConfigError: A tool is specified wrongly.
            ToolError: A server does not answer.
        """
        if isinstance(spec, Tools):
            return spec
        tools: dict[str, Tool] = {}
        servers: list[MCPServer] = []
        try:
            for name, one in spec.root.items():
                if isinstance(one, specs.MCPTools):
                    servers.append(MCPServer(name, one, base))
                    for tool in servers[-1].tools():
                        unique = f"{name}_{tool.name}" if tool.name in tools else tool.name
                        tool.name = unique
                        tools[unique] = tool
                else:
                    tools[name] = _opened(name, one, base)
        except BaseException:
            for server in servers:
                server.close()
            raise
        return cls(tools, tuple(servers))

    @classmethod
    def needs(cls, spec: Any, *, base: Path) -> Mapping[str, type[Resource]]:
        """What the tools that are flows take of the agent's flow."""
        found: dict[str, type[Resource]] = {}
        for _, flow in _flows(cls, spec, base):
            found |= inherited(flow)
        return found

    @classmethod
    def absent(cls, spec: Any, *, base: Path) -> RagError | None:
        """Why a tool cannot be opened: no file, no class, no program."""
        try:
            for name, flow in _flows(cls, spec, base):
                for error in flow.absent():
                    if (error.where or "").removeprefix("resources.") in flow.resources.specs:
                        return type(error)(f"the tool {name!r}: {error.what}", fix=error.fix)
            parsed = parse(cls, spec)
            for name, one in () if isinstance(parsed, Tools) else parsed.root.items():
                match one:
                    case specs.SQLTool():
                        problem = Database.absent({"path": one.sql}, base=base)
                    case specs.MCPTools():
                        problem = absent_server(name, one.mcp)
                    case specs.UseTool() if "." in one.use:
                        foreign_class(one.use, FOREIGN)
                        continue
                    case _:
                        continue
                if problem is not None:
                    return problem
        except ConfigError as error:
            return error
        return None

    def over(self, bind: Callable[[Flow], Flow]) -> Tools:
        """The same tools, those that are flows over other resources.

        Args:
            bind: Gives the flow that takes the place of one.
        """
        return Tools(
            {
                name: FlowTool(name, bind(tool.flow), tool.settings)
                if type(tool) is FlowTool
                else tool
                for name, tool in self.tools.items()
            }
        )

    def close(self) -> None:
        """Stop the servers, and close what the flows opened."""
        for server in self._servers:
            server.close()
        for tool in self.tools.values():
            if isinstance(tool, FlowTool):
                tool.flow.close()


def _flows(kind: type[Tools], spec: Any, base: Path) -> Iterator[tuple[str, Flow]]:
    """The tools that are flows, built; what is wrong with one is a ConfigError."""
    parsed = parse(kind, spec)
    if isinstance(parsed, Tools):
        tools = parsed.tools.items()
        yield from ((name, tool.flow) for name, tool in tools if isinstance(tool, FlowTool))
        return
    for name, one in parsed.root.items():
        flow = _flow(name, one, base)
        if flow is not None:
            yield name, flow


def _flow(name: str, spec: Any, base: Path) -> Flow | None:
    """The flow that a specification describes; None: it describes another kind of tool."""
    match spec:
        case Flow():
            return FlowTool(name, spec, specs.ToolSettings()).flow
        case specs.FlowTool():
            return FlowTool(name, written_flow(name, spec, base), spec).flow
        case specs.SQLTool():
            return sql_flow(spec, base)
        case specs.UseTool() if spec.use != CALCULATOR and "." not in spec.use:
            return FlowTool(name, operator_flow(name, spec, base), spec).flow
    return None


def _opened(name: str, spec: Any, base: Path) -> Tool:
    match spec:
        case Tool():
            return spec
        case BaseTool():
            return LangChainTool(name, spec, specs.ToolSettings())
        case specs.SQLTool():
            return SQLTool(name, spec, base)
        case specs.UseTool() if spec.use == CALCULATOR:
            return Calculator(name, spec)
        case specs.UseTool() if "." in spec.use:
            tool = made(Use(use=spec.use, **spec.configuration), FOREIGN)
            return LangChainTool(name, tool, spec)
    flow = _flow(name, spec, base)
    if flow is None:
        raise ConfigError(
            f"the tool {name!r} is {spec!r}",
            fix="give a mapping, a Tool, a Flow, or a LangChain tool",
        )
    settings = spec if isinstance(spec, specs.ToolSettings) else specs.ToolSettings()
    return FlowTool(name, flow, settings)
