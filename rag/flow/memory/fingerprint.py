"""What the result of a node depends on besides its inputs and resources, as a digest.

An operator is told apart by its class, its configuration and its code: the bytecode of `run`,
what its closure holds and its defaults. Two functions of one name, and one function before and
after an edit, have different fingerprints.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import types
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from typing import Any

from pydantic import BaseModel

from rag.flow.node import Node
from rag.flow.operator import PLACEMENT, Operator


class Unstable(Exception):  # noqa: N818 - says why, is turned into a warning or a problem
    """Something has no digest that another process would find as well."""


def fingerprint(node: Node) -> str:
    """The digest of a node: hex, 32 characters.

    Raises:
        Unstable: It holds an object whose contents cannot be read.
    """
    digest = hashlib.sha256()
    _Writer(digest.update).node(node)
    return digest.hexdigest()[:32]


def digest_of_values(values: Mapping[str, Any]) -> str:
    """The digest of named values, for keys.

    Raises:
        Unstable: One of them has none.
    """
    digest = hashlib.sha256()
    _Writer(digest.update).value(dict(values))
    return digest.hexdigest()


class _Writer:
    """Writes values as bytes that differ where the values differ, the same in every process."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._inside: list[int] = []

    def text(self, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        self._write(b"%d:" % len(data) + data)

    def node(self, node: Node) -> None:
        self.text(f"{type(node).__module__}.{type(node).__qualname__}")
        if isinstance(node, Operator):
            self.operator(node)
        else:
            for name, value in sorted(_fields(node).items()):
                if not isinstance(value, Node) and name not in ("branches", "cases", "nodes"):
                    self.text(name)
                    self.value(value)
        for edge, child in node.children().items():
            self.text(edge)
            self.node(child)

    def operator(self, node: Operator) -> None:
        self.value({n: getattr(node, n) for n in type(node).model_fields if n not in PLACEMENT})
        self.value({"inputs": node.inputs, "outputs": node.outputs, "use": node.resources})
        self.function(inspect.unwrap(type(node).run))

    def value(self, value: Any) -> None:  # noqa: C901, PLR0912 - one case per kind of value
        if id(value) in self._inside:
            self.text("again")
            return
        self._inside.append(id(value))
        try:
            self.text(type(value).__qualname__)
            match value:
                case None | bool() | int() | float() | complex() | str() | bytes():
                    self.text(repr(value))
                case Enum():
                    self.text(value.name)
                case list() | tuple():
                    for item in value:
                        self.value(item)
                    self.text("end")
                case set() | frozenset():
                    for one in sorted(digest_of_values({"": item}) for item in value):
                        self.text(one)
                    self.text("end")
                case Mapping():
                    for key, item in sorted(value.items(), key=lambda pair: repr(pair[0])):
                        self.value(key)
                        self.value(item)
                    self.text("end")
                case Node():
                    self.node(value)
                case BaseModel():
                    self.value({name: getattr(value, name) for name in type(value).model_fields})
                case types.FunctionType():
                    self.function(value)
                case types.MethodType():
                    self.function(value.__func__)
                    self.value(value.__self__)
                case partial():
                    self.value([value.func, value.args, value.keywords])
                case type() | types.ModuleType() | types.BuiltinFunctionType():
                    self.text(f"{getattr(value, '__module__', '')}.{value.__name__}")
                case _:
                    self.object(value)
        finally:
            self._inside.pop()

    def object(self, value: Any) -> None:
        self.text(type(value).__module__)
        if dataclasses.is_dataclass(value):
            self.value(_fields(value))
        elif hasattr(value, "page_content") and hasattr(value, "model_dump"):
            self.value(value.model_dump())
        elif type(value).__module__.split(".")[0] in ("datetime", "decimal", "uuid", "pathlib"):
            self.text(str(value))
        elif hasattr(value, "tobytes") and hasattr(value, "dtype"):
            self.text(f"{value.dtype} {getattr(value, 'shape', ())}")
            self._write(value.tobytes())
        elif type(value).__module__ in ("typing", "types", "re"):
            self.text(repr(value))
        else:
            raise Unstable(f"{type(value).__name__} has no digest that is the same elsewhere")

    def function(self, function: Any) -> None:
        code = getattr(function, "__code__", None)
        if code is None:
            raise Unstable(f"{function!r} has no code to tell it by")
        self.code(code)
        self.value([function.__defaults__, function.__kwdefaults__])
        for cell in function.__closure__ or ():
            try:
                self.value(cell.cell_contents)
            except ValueError:
                self.text("empty")

    def code(self, code: types.CodeType) -> None:
        self._write(code.co_code)
        self.value([code.co_names, code.co_varnames, code.co_freevars])
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self.code(constant)
            else:
                self.value(constant)


def _fields(value: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(value):
        return {name: getattr(value, name, None) for name in ("inputs", "outputs", "defaults")}
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
