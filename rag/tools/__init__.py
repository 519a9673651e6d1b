"""Tools that a model may call: searches, flows, a database, a calculator, others' tools."""

from rag.tools.tool import Found, Tool, ToolError
from rag.tools.tools import Tools

__all__ = ["Found", "Tool", "ToolError", "Tools"]
