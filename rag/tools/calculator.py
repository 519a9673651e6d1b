"""Arithmetic, exactly and without side effects."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rag.errors import ConfigError
from rag.flow import RunContext
from rag.flow.expressions import FUNCTIONS, Expression
from rag.tools.spec import ToolSettings
from rag.tools.tool import Found, Texts, Tool, ToolError

LONGEST = 300
"""Characters of an expression."""
_ALLOWED = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Name, ast.Load, ast.List,
    ast.Tuple, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip
_WRITTEN = str.maketrans(
    {"\u00d7": "*", "\u00f7": "/", "\u2212": "-", "^": "**", "$": "", "\u20ac": ""}
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


class Arguments(BaseModel):
    """What the calculator takes."""

    model_config = ConfigDict(extra="forbid")

    expression: str = Field(max_length=LONGEST)


class Calculator(Tool):
    """Computes an arithmetic expression: numbers, + - * / // % **, and a few functions."""

    text = "tool_calculator"

    def __init__(self, name: str, settings: ToolSettings) -> None:
        super().__init__(name, Arguments, settings)

    def described(self, texts: Texts) -> Any:
        """See `Tool.described`; with an example of an expression."""
        found = super().described(texts)
        found.parameters["properties"]["expression"]["description"] = texts["tool_expression"].text
        return found

    async def call(self, arguments: Mapping[str, Any], ctx: RunContext) -> Found:
        """The expression and its value: `(120 - 8) * 3 = 336`."""
        expression = str(arguments["expression"])
        return f"{expression} = {computed(expression)}"


def computed(text: str) -> str:
    """The value of an expression, to twelve digits where it is no integer.

    Raises:
        ToolError: It is none, or has no value.
    """
    written = text.translate(_WRITTEN)
    if "(" not in written or not re.search(r"[a-z]\s*\(", written):
        written = _THOUSANDS.sub("", written)
    try:
        tree = ast.parse(written.strip(), mode="eval")
        for node in ast.walk(tree):
            number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
            name = not isinstance(node, ast.Name) or node.id in FUNCTIONS
            if not (number or (isinstance(node, _ALLOWED) and name)):
                raise ToolError(f"{text!r} is more than arithmetic: write numbers and operators")
        value = Expression(written)({})
        return str(value) if isinstance(value, int) else f"{value:.12g}"
    except ConfigError as error:
        raise ToolError(error.what) from error
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ToolError(f"{text!r} cannot be computed: {error}") from error
