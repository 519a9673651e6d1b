"""Flows, operators and databases as tools: all of them are flows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from langchain_core.documents import Document
from pydantic import BaseModel, ConfigDict, create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from rag.connect.sql import Database
from rag.errors import BuildError, ConfigError
from rag.flow import Flow, RunContext, load_flow
from rag.flow.inputs import Input
from rag.flow.registry import Registry
from rag.flow.resources import Resources
from rag.plain import plain
from rag.tools.spec import FlowTool as FlowSpec
from rag.tools.spec import SQLTool as SQLSpec
from rag.tools.spec import ToolSettings, UseTool
from rag.tools.tool import Found, Texts, Tool

LONGEST = 4000
"""Characters of a database's tables in a description."""
_MARK = re.compile(r"\s*\[\d+\]")
_including: ContextVar[tuple[Path, ...]] = ContextVar("including", default=())


class FlowTool(Tool):
    """A flow as a tool. It runs inside the agent's run: events, budget and resources are shared.

    Its inputs without a default are the parameters, and those with one may be left out; one that
    may be None is not shown. It gives the flow's `documents`; its `answer` too where it has one,
    without marks, as a source before them. Of any other flow it gives the outputs as text.

    Args:
        name: By which it is called.
        flow: What runs.
        settings: What a pipeline says of it.

    Raises:
        ConfigError: A model cannot write one of its inputs, or nobody says what it is good for.
    """

    text = "tool_search"

    def __init__(self, name: str, flow: Flow, settings: ToolSettings) -> None:
        super().__init__(name, _arguments(name, flow), settings)
        self.flow = flow
        if flow.interrupts:
            raise ConfigError(
                f"the tool {name!r} is a flow that pauses for approval",
                fix="say approve: true of the tool instead",
            )
        if not (settings.description or flow.description or "documents" in flow.output_types):
            raise ConfigError(
                f"the tool {name!r} does not say what it is good for",
                fix="add description: ..., by which the model chooses",
            )

    def description(self, texts: Texts) -> str:
        """See `Tool.description`; the flow's own comes before the general one."""
        return self.settings.description or self.flow.description or texts[self.text].text

    def described(self, texts: Texts) -> Any:
        """See `Tool.described`; says what a query is."""
        found = super().described(texts)
        if (query := found.parameters.get("properties", {}).get("query")) is not None:
            query.setdefault("description", texts["tool_query"].text)
        return found

    async def call(self, arguments: Mapping[str, Any], ctx: RunContext) -> Found:
        """What the flow gives for these inputs."""
        outputs = await ctx.run(self.flow, **arguments)
        documents: list[Document] | None = outputs.get("documents")
        answer = outputs.get("answer")
        if documents is not None:
            said = _MARK.sub("", answer or "") if documents else ""
            own = Document(page_content=said, metadata={"source": self.name})
            return [own, *documents] if said else list(documents)
        values = [answer] if "answer" in outputs else list(outputs.values())
        if len(values) == 1 and isinstance(values[0], str):
            return _MARK.sub("", values[0])
        return json.dumps(plain(outputs), ensure_ascii=False)


class SQLTool(FlowTool):
    """A SQLite file as a tool: one SELECT, whose rows are documents."""

    text = "tool_sql"

    def __init__(self, name: str, spec: SQLSpec, base: Path) -> None:
        super().__init__(name, sql_flow(spec, base), spec)
        tables = "\n".join(Database.load({"path": spec.sql}, base=base).schema())
        self._tables = tables[:LONGEST]

    def description(self, texts: Texts) -> str:
        """What it is good for, and the database's tables."""
        general = texts[self.text].format(tables=self._tables)
        return "\n".join(filter(None, (self.settings.description, general)))

    @property
    def parameters(self) -> dict[str, Any]:
        """The statement alone."""
        found = super().parameters
        found["properties"].pop("query", None)
        return found


def sql_flow(spec: SQLSpec, base: Path) -> Flow:
    """The flow that runs a statement."""
    step = Registry()["sql"].model_validate({"limit": spec.limit})
    inputs = {"sql": str, "query": Input(str, "")}
    resources = Resources({"database": {"path": str(spec.sql)}}, base=base)
    return Flow(step, inputs=inputs, resources=resources)


def operator_flow(name: str, spec: UseTool, base: Path) -> Flow:
    """The flow of one operator: the channels that it needs are its inputs.

    Raises:
        ConfigError: There is no such operator, or its configuration is wrong.
    """
    try:
        kind = Registry()[spec.use]
        step = kind(**spec.configuration)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error.what}", fix=error.fix) from error
    needed = {port.name: port.type for port in kind.signature().reads if port.required}
    with _as_config(name):
        return Flow(step, inputs=needed, resources=Resources({}, base=base))


def written_flow(name: str, spec: FlowSpec, base: Path) -> Flow:
    """The flow of a file, or one that is written out.

    Raises:
        ConfigError: It cannot be read, does not fit together, or has itself as a tool.
    """
    if not isinstance(spec.flow, str):
        with _as_config(name):
            return load_flow(json.dumps(spec.flow) + "\n", base=base)
    path = (base / spec.flow).resolve()
    before = _including.get()
    if path in before:
        raise ConfigError(f"{spec.flow!r} has itself as a tool", fix="give it another flow")
    token = _including.set((*before, path))
    try:
        with _as_config(name):
            return load_flow(path)
    except ConfigError as error:
        raise ConfigError(f"{name}: {spec.flow}: {error.what}", fix=error.fix) from error
    finally:
        _including.reset(token)


@contextmanager
def _as_config(name: str) -> Iterator[None]:
    """Makes one error of all that is wrong with a tool's flow."""
    try:
        yield
    except BuildError as error:
        whats = "; ".join(f"{one.where}: {one.what}" for one in error.problems)
        raise ConfigError(f"{name}: {whats}", fix=error.problems[0].fix) from error


def _arguments(name: str, flow: Flow) -> type[BaseModel]:
    """The flow's inputs as a model of arguments."""
    fields: dict[str, Any] = {
        port: (kind, flow.defaults.get(port, ...))
        for port, kind in flow.inputs.items()
        if NoneType not in get_args(kind)
    }
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    made = create_model(f"{name}_arguments", __config__=config, **fields)
    try:
        written = "Document" not in made.model_json_schema().get("$defs", {})
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
        written = False
    if not written:
        raise ConfigError(
            f"a model cannot write the inputs of the tool {name!r}: {', '.join(fields)}",
            fix="give it a flow whose inputs are texts, numbers and lists of them",
        )
    return made
