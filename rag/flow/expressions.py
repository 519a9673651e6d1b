"""Conditions over channels, written as text and evaluated by simpleeval, never by `eval`."""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Mapping, Set
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


METHODS = frozenset(
    {"casefold", "count", "endswith", "find", "get", "index", "isalpha", "isdecimal", "isdigit"}
    | {"isnumeric", "isspace", "items", "keys", "lower", "lstrip", "removeprefix", "removesuffix"}
    | {"rfind", "rstrip", "split", "splitlines", "startswith", "strip", "title", "upper", "values"}
)
"""Methods that may be called: they change nothing and make nothing larger than their value."""

MAX_REPEAT = 10_000
"""The largest result of a repetition of a text or list."""

MAX_BITS = 10_000
"""The largest power of integers."""


class Expression:
    """A small expression over channels: `len(documents) < 3 and confidence < 0.5`.

    It can change no channel, allocates little, and means the same in every process.

    Args:
        text: The expression: literals, channels, comparisons, arithmetic, indexing,
            comprehensions, the functions in `FUNCTIONS` and the methods in `METHODS`.

    Raises:
        ConfigError: `text` is not one expression, or calls what is not allowed.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._threads = threading.local()
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = getattr(error, "msg", None) or str(error)
            raise ConfigError(
                f"{text!r} is not an expression: {reason}",
                fix="write one such as: len(documents) < 3 and confidence < 0.5",
            ) from error
        self.names = _free_names(self._tree)
        self.measured = _measured(self._tree)
        """The names whose `len` is taken."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call) and not _may_call(node.func):
                functions = ", ".join(sorted(FUNCTIONS))
                raise ConfigError(
                    f"{ast.unparse(node.func)!r} cannot be called in {text!r}",
                    fix=f"allowed: {functions}, and the methods {', '.join(sorted(METHODS))}",
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

    def is_boolean(self, booleans: Set[str]) -> bool:
        """Whether the value can only be true or false.

        Args:
            booleans: The names whose values can only be true or false.
        """
        return _is_boolean(self._tree, booleans)

    def _evaluator(self) -> Any:
        """This thread's evaluator: making one costs more than evaluating."""
        found = getattr(self._threads, "evaluator", None)
        if found is None:
            from simpleeval import DEFAULT_OPERATORS, EvalWithCompoundTypes

            operators = {
                **DEFAULT_OPERATORS,
                ast.Mult: _multiply,
                ast.Mod: _modulo,
                ast.Pow: _power,
            }
            # simpleeval adds to the mapping that it is given: it gets one of its own.
            found = EvalWithCompoundTypes(functions=dict(FUNCTIONS), operators=operators)
            self._threads.evaluator = found
        return found


def _multiply(left: Any, right: Any) -> Any:
    for value, times in ((left, right), (right, left)):
        repeats = isinstance(value, str | bytes | list | tuple) and isinstance(times, int)
        if repeats and len(value) * times > MAX_REPEAT:
            raise ValueError(f"a repetition to more than {MAX_REPEAT} items")
    return left * right


def _power(left: Any, right: Any) -> Any:
    whole = isinstance(left, int) and isinstance(right, int)
    if whole and right * left.bit_length() > MAX_BITS:
        raise ValueError(f"a power of more than {MAX_BITS} bits")
    return left**right


def _modulo(left: Any, right: Any) -> Any:
    if isinstance(left, str | bytes):
        raise TypeError("texts are not formatted here")
    return left % right


def _is_boolean(tree: ast.expr, booleans: Set[str]) -> bool:
    match tree:
        case ast.Compare() | ast.UnaryOp(op=ast.Not()) | ast.Constant(value=bool()):
            return True
        case ast.Name(id=name):
            return name in booleans
        case ast.BoolOp(values=values):
            return all(_is_boolean(value, booleans) for value in values)
        case ast.Call(func=ast.Name(id=name)):
            return name in ("all", "any")
        case ast.Call(func=ast.Attribute(attr=name)):
            return name in ("startswith", "endswith") or name.startswith("is")
    return False


def _may_call(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute):
        return function.attr in METHODS
    return isinstance(function, ast.Name) and function.id in FUNCTIONS


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
