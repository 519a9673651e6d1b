"""What a pipeline may say of tools: `resources: {tools: {name: ...}}`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    RootModel,
    Tag,
    WithJsonSchema,
    model_validator,
)

from rag.models.actions import ANSWER

NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"
"""Names that all providers accept."""
KINDS = ("use", "flow", "sql", "mcp")


class ToolSettings(BaseModel):
    """What may be said of every tool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str | None = Field(
        default=None, description="what it is good for, as the model is told"
    )
    approve: bool = Field(
        default=False, description="whether a person approves each call; needs a checkpoint"
    )
    timeout: PositiveFloat = Field(default=60.0, description="seconds that a call may take")


class UseTool(ToolSettings):
    """An operator, the calculator, or a tool of LangChain's packages."""

    model_config = ConfigDict(frozen=True, extra="allow")

    use: str = Field(
        description="an operator such as hybrid, `calculator`, or a class such as "
        "langchain_community.tools.WikipediaQueryRun; further fields are its configuration"
    )

    @property
    def configuration(self) -> dict[str, Any]:
        """The fields of what is used."""
        return dict(self.__pydantic_extra__ or {})


class FlowTool(ToolSettings):
    """A flow: its inputs are the parameters, its documents or its answer the result."""

    flow: str | dict[str, Any] = Field(
        description="a pipeline file, or the flow itself: {steps: [...]}"
    )


class SQLTool(ToolSettings):
    """A SQLite file, which can only be read."""

    sql: Path = Field(description="the file")
    limit: PositiveInt = Field(default=50, description="maximum number of rows")


class Server(BaseModel):
    """A server of the Model Context Protocol: a command (stdio), or an address (HTTP)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str | None = Field(default=None, description="program that speaks MCP over stdio")
    args: tuple[str, ...] = Field(default=(), description="its arguments")
    env: dict[str, str] = Field(default_factory=dict, description="its environment variables")
    url: str | None = Field(default=None, description="address of a server over streamable HTTP")
    headers: dict[str, str] = Field(default_factory=dict, description="HTTP headers, for a key say")

    @model_validator(mode="after")
    def _one(self) -> Server:
        if (self.command is None) == (self.url is None):
            raise ValueError("give either command or url")
        return self


class MCPTools(ToolSettings):
    """The tools of a server of the Model Context Protocol."""

    mcp: Server = Field(description="where the server is")
    only: tuple[str, ...] = Field(default=(), description="names of its tools; default: all")


def _kind(value: Any) -> str:
    """Which of the kinds a specification is of; `object`: it is a tool itself."""
    if isinstance(value, ToolSettings):
        return next(kind for kind in KINDS if hasattr(value, kind))
    if not isinstance(value, Mapping):
        return "object"
    return next((kind for kind in KINDS if kind in value), "use")


ToolSpec = Annotated[
    Annotated[UseTool, Tag("use")]
    | Annotated[FlowTool, Tag("flow")]
    | Annotated[SQLTool, Tag("sql")]
    | Annotated[MCPTools, Tag("mcp")]
    | Annotated[Any, Tag("object"), WithJsonSchema({"not": {}})],  # in Python only
    Discriminator(_kind),
]


class ToolsSpec(RootModel[dict[Annotated[str, Field(pattern=NAME)], ToolSpec]]):
    """Name to tool; the name that a model calls it by."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="after")
    def _free(self) -> ToolsSpec:
        if ANSWER in self.root:
            raise ValueError(f"{ANSWER!r} stands for answering, and is the name of no tool")
        return self
