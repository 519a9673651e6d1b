"""Conditions over channels, written as text and evaluated by simpleeval, never by `eval`."""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Mapping
from typing import Any

from rag.errors import ConfigError

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "all": all,
    "any": any,
    "len": len,
    "max": max,
    "min": min,
    "round": round,
    "sum": sum,
}


class Expression:
    """A small expression over channels: `len(documents) < 3 and confidence < 0.5`.

    Args:
        text: The expression: literals, channels, comparisons, arithmetic, indexing,
            comprehensions and the functions in `FUNCTIONS`.

    Raises:
        ConfigError: `text` is not one expression, or calls what is not allowed.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._threads = threading.local()
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except SyntaxError as error:
            raise ConfigError(
                f"{text!r} is not an expression: {error.msg}",
                fix="write one such as: len(documents) < 3 and confidence < 0.5",
            ) from error
        self.names = _free_names(self._tree)
        self.measured = _measured(self._tree)
        """The names whose `len` is asked for."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call) and not _may_call(node.func):
                raise ConfigError(
                    f"{ast.unparse(node.func)!r} cannot be called in {text!r}",
                    fix=f"allowed: {', '.join(sorted(FUNCTIONS))} and methods of values",
                )

    def __call__(self, names: Mapping[str, Any]) -> Any:
        """The value over `names`; what evaluation raises is a ConfigError."""
        evaluator = self._evaluator()
        evaluator.names = names
        try:
            return evaluator.eval(self.text, previously_parsed=self._tree)
        except Exception as error:  # simpleeval passes on what operands raise
            raise ConfigError(f"{self.text!r} failed: {error}") from error
        finally:
            evaluator.names = {}  # the run's values are not kept alive

    def _evaluator(self) -> Any:
        """This thread's evaluator: making one costs more than evaluating."""
        found = getattr(self._threads, "evaluator", None)
        if found is None:
            from simpleeval import EvalWithCompoundTypes

            found = self._threads.evaluator = EvalWithCompoundTypes(functions=FUNCTIONS)
        return found


def _may_call(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) or (
        isinstance(function, ast.Name) and function.id in FUNCTIONS
    )


def _free_names(tree: ast.expr) -> frozenset[str]:
    used: set[str] = set()
    bound: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (bound if isinstance(node.ctx, ast.Store) else used).add(node.id)
    return frozenset(used - bound - set(FUNCTIONS))


def _measured(tree: ast.expr) -> frozenset[str]:
    return frozenset(
        argument.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len"
        for argument in node.args
        if isinstance(argument, ast.Name)
    )
