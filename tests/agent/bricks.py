"""Agents over tools whose results are known, with a model that follows a script."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from pydantic import BaseModel

from rag.flow import Flow, RunContext
from rag.flow.run.events import Custom, Event, Warned
from rag.models import LLM
from rag.operators import Agent
from rag.testing.llm import ScriptedLLM
from rag.tools import Found, Tool, Tools
from rag.tools.spec import ToolSettings

QUESTION = "How long is the north lock?"
LENGTH = "The north lock is 120 m long."


class Query(BaseModel):
    """What a search takes."""

    query: str


class Scripted(Tool):
    """A tool that gives what it was made with, and notes its calls.

    Args:
        name: By which it is called.
        gives: Query to what is found; an error is raised.
        settings: Of the tool.
    """

    def __init__(self, name: str, gives: Mapping[str, Any], **settings: Any) -> None:
        super().__init__(name, Query, ToolSettings(description=f"{name} things", **settings))
        self.gives = gives
        self.calls: list[str] = []

    async def call(self, arguments: Mapping[str, Any], ctx: RunContext) -> Found:
        self.calls.append(arguments["query"])
        found = self.gives.get(arguments["query"], [])
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]


def document(text: str, name: str = "a") -> Document:
    return Document(page_content=text, id=name, metadata={"source": name, "path": f"{name}.md"})


def call(query: str, tool: str = "search") -> dict[str, Any]:
    """A decision for a tool, as a model without tool calls writes it."""
    return {"thought": "", "tool": tool, "arguments": {"query": query}}


ANSWER = {"thought": "", "tool": "answer", "arguments": {}}


def scripted(*decisions: Any, answer: Any = "It is 120 m long.", **more: Any) -> ScriptedLLM:
    """A model that decides in this order, and answers then."""
    script = {"agent": list(decisions) or [ANSWER], "generate": answer}
    return ScriptedLLM({**script, **more.pop("answers", {})}, constrained=True, **more)


def agent(llm: LLM | Any, *tools: Tool, budget: Any = None, **fields: Any) -> Flow:
    """A flow of one agent."""
    resources = {"llm": llm, "tools": Tools({tool.name: tool for tool in tools})}
    return Flow(Agent(**fields), resources=resources, budget=budget)


def run(flow: Flow, query: str = QUESTION, **inputs: Any) -> tuple[dict[str, Any], list[Event]]:
    """What the flow gives, and its events."""
    events = list(flow.stream(query=query, **inputs))
    return events[-1].result, events  # type: ignore[attr-defined]


def emitted(events: list[Event], name: str) -> list[Any]:
    return [one.data for one in events if isinstance(one, Custom) and one.name == name]


def warnings(events: list[Event]) -> list[str]:
    return [one.message for one in events if isinstance(one, Warned)]


def hosted(address: str, model: str = "gpt-4o-mini", **more: Any) -> LLM:
    use = {"use": "langchain_openai.ChatOpenAI", "base_url": f"{address}/v1", "api_key": "none"}
    return LLM.load({**use, "model": model, "max_retries": 0, **more}, base=Path())
