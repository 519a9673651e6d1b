"""LangChain's tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.documents import Document
from langchain_core.tools import BaseTool

from rag.flow import RunContext
from rag.tools.spec import ToolSettings
from rag.tools.tool import Found, Texts, Tool, ToolError


class LangChainTool(Tool):
    """A tool of LangChain's.

    Args:
        name: By which it is called.
        tool: The tool.
        settings: What a pipeline says of it.
    """

    def __init__(self, name: str, tool: BaseTool, settings: ToolSettings) -> None:
        schema: Any = tool.tool_call_schema
        super().__init__(name, schema, settings)
        self.tool = tool

    def description(self, texts: Texts) -> str:
        """What it is good for."""
        return self.settings.description or self.tool.description

    async def call(self, arguments: Mapping[str, Any], ctx: RunContext) -> Found:
        """The documents that it gives as its artifact, else its text."""
        call = {"type": "tool_call", "id": "1", "name": self.tool.name, "args": dict(arguments)}
        message = await self.tool.ainvoke(call)
        artifact = getattr(message, "artifact", None)
        found = artifact if isinstance(artifact, list) else []
        if found and all(isinstance(one, Document) for one in found):
            return found
        text = str(getattr(message, "text", message))
        if getattr(message, "status", "") == "error":
            raise ToolError(text)
        return text
