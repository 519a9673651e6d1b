"""What the result of a node depends on besides its inputs and resources, as a digest.

An operator is told apart by its class, its configuration and its code: the bytecode of its
methods, what their closures hold, their defaults, the values of their module that they read, and
the functions of the same project that they call, with the same of theirs. Of libraries only the
names enter, of this package the version. What `run` imports by itself is not seen.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import types
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from functools import cached_property, lru_cache, partial
from typing import Any

from pydantic import BaseModel

from rag.flow.memory.code import Chain, is_own, names_of, version
from rag.flow.node import Node
from rag.flow.operator import PLACEMENT, Operator


class Unstable(Exception):  # noqa: N818 - says why, is turned into a warning or a problem
    """Something has no digest that another process would find as well."""


def fingerprint(node: Node) -> str:
    """The digest of a node as it is now: hex, 32 characters.

    Raises:
        Unstable: It holds an object whose contents cannot be read.
    """
    return _Writer(strict=True).digest_of_node(node)


class Fingerprints:
    """The digests of the steps of a stored run, which tell whether what was written still counts.

    What a step itself changes (a counter, a list that it adds to) must not make it another one.
    So values that can be changed in place count as they were when the step first ran here, and
    names that its own code assigns do too. Objects that cannot be read count by their class.
    """

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._last: tuple[Node, list[_Link], str] | None = None

    def of(self, node: Node) -> str:
        """The digest of a step."""
        last = self._last
        if last is not None and last[0] is node and all(link.holds() for link in last[1]):
            return last[2]
        writer = _Writer(steady=True)
        now = writer.digest_of_node(node)
        if now not in self._first:
            self._first[now] = _Writer().digest_of_node(node)
        self._last = (node, writer.links(), self._first[now])
        return self._first[now]


@dataclasses.dataclass(frozen=True, slots=True)
class _Link:
    """A value that a function holds by a name of a module, or of its closure."""

    holder: dict[str, Any] | types.CellType
    name: str
    value: Any

    def holds(self) -> bool:
        """Whether the name stands for the same object still."""
        if isinstance(self.holder, dict):
            return self.holder.get(self.name) is self.value
        return self.holder.cell_contents is self.value


def digest_of_values(values: Mapping[str, Any]) -> str:
    """The digest of named values, for keys.

    Raises:
        Unstable: One of them has none.
    """
    return _Writer(strict=True).digest_of_value(dict(values))


_ADDING = frozenset({"add", "append", "clear", "discard", "extend", "insert", "reverse", "sort"})
"""Methods of lists and sets by which a function learns nothing of what is in them."""

_STEADY = (
    type(None), bool, int, float, complex, str, bytes, tuple, frozenset, Enum, type,
    types.FunctionType, types.ModuleType, types.BuiltinFunctionType,
)  # fmt: skip
"""What is never changed in place."""


class _Writer:
    """Writes values as bytes that differ where the values differ, the same in every process.

    Args:
        strict: An object that cannot be read is an error; else its class stands for it.
        steady: Leave out values that can be changed in place.
    """

    def __init__(self, *, strict: bool = False, steady: bool = False) -> None:
        self._digest = hashlib.sha256()
        self._write = self._digest.update
        self._strict, self._steady = strict, steady
        self._inside: list[int] = []
        # Functions and classes are written one behind the other, not inside each other: chains
        # of calls are long, and go in circles.
        self._numbers: dict[int, int] = {}
        self._queue: deque[Any] = deque()
        self._links: dict[tuple[int, str], _Link] = {}
        self._held: dict[tuple[int, str], bool] = {}
        self._stored: set[tuple[int, str]] = set()

    def digest_of_node(self, node: Node) -> str:
        self.node(node)
        self._finish()
        return self._digest.hexdigest()[:32]

    def digest_of_value(self, value: Any) -> str:
        self.value(value)
        self._finish()
        return self._digest.hexdigest()

    def links(self) -> list[_Link]:
        """What was referred to by a name that the functions do not assign themselves."""
        return [link for key, link in self._links.items() if key not in self._stored]

    def _finish(self) -> None:
        """Write the functions and classes that were referred to, then what they hold."""
        while self._queue or self._held:
            while self._queue:
                one = self._queue.popleft()
                if isinstance(one, type):
                    self.members(one)
                else:
                    self.function(one)
            held, self._held = self._held, {}
            for key, strict in held.items():
                value = self._links[key].value
                self.text(key[1])
                if self._steady and (key in self._stored or not isinstance(value, _STEADY)):
                    continue
                before, self._strict = self._strict, strict
                self.value(value)
                self._strict = before

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
        if not is_own(type(node).__module__):
            self.text(version())
        for kind in type(node).__mro__:
            if kind is Operator:
                break
            self.members(kind)

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
                    self.text(f"{value.name} {value.value!r}")
                case list() | tuple():
                    for item in value:
                        self.value(item)
                    self.text("end")
                case set() | frozenset():
                    for one in sorted(self._alone(item) for item in value):
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
                    self.reference(value)
                case types.MethodType():
                    self.reference(value.__func__)
                    self.value(value.__self__)
                case partial():
                    self.value([value.func, value.args, value.keywords])
                case type():
                    self.reference(value)
                case types.ModuleType() | types.BuiltinFunctionType():
                    self.text(f"{getattr(value, '__module__', '')}.{value.__name__}")
                case _:
                    self.object(value)
        finally:
            self._inside.pop()

    def _alone(self, item: Any) -> str:
        return _Writer(strict=self._strict, steady=self._steady).digest_of_value(item)

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
        elif isinstance(getattr(value, "__wrapped__", None), types.FunctionType):
            self.reference(inspect.unwrap(value))  # of lru_cache, say
        elif self._strict:
            raise Unstable(f"{type(value).__name__} has no digest that is the same elsewhere")
        elif is_own(type(value).__module__):
            self.reference(type(value))
            self.value(getattr(value, "__dict__", None))

    def reference(self, value: Any) -> None:
        """A function or a class: its name, and what is in it where it is the user's own."""
        module = getattr(value, "__module__", None)
        self.text(f"{module}.{value.__qualname__}")
        if not is_own(module):
            self.text(version() if str(module).startswith("rag.") else "")
            return
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._numbers)
            self._queue.append(value)
        self.text(str(self._numbers[id(value)]))

    def members(self, kind: type) -> None:
        """The methods and constants of a class, and of those that it is derived from."""
        for base in kind.__bases__:
            if is_own(base.__module__) and base is not object:
                self.reference(base)
        for name, member in sorted(vars(kind).items()):
            functions: list[Any] = []
            match member:
                case staticmethod() | classmethod():
                    functions = [member.__func__]
                case property():
                    functions = [member.fget, member.fset]
                case cached_property():
                    functions = [member.func]
                case types.FunctionType():
                    functions = [member]
                case bool() | int() | float() | str() | tuple() | frozenset() | Enum():
                    if not name.startswith("_"):
                        self.text(name)
                        self.value(member)
            for function in filter(None, functions):
                module = getattr(function, "__module__", None)
                if module == kind.__module__ or is_own(module):
                    self.text(name)
                    self.function(inspect.unwrap(function))

    def code(self, code: types.CodeType) -> None:
        self._write(code.co_code)
        self.value([code.co_names, code.co_varnames, code.co_freevars])
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self.code(constant)
            else:
                self.value(constant)

    def function(self, function: Any) -> None:
        """A function's code and defaults; what it holds is noted, to be written later."""
        code = getattr(function, "__code__", None)
        if code is None:
            raise Unstable(f"{function!r} has no code to tell it by")
        self._write(_digest_of_code(code))
        defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]
        self.value([one for one in defaults if not self._steady or isinstance(one, _STEADY)])
        names = names_of(code)
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        for chain in names.free:
            cell = cells.get(chain[0])
            if cell is not None:
                with suppress(ValueError):  # not assigned yet
                    self._note(_Link(cell, chain[0], cell.cell_contents), chain, self._strict)
        space = function.__globals__
        for chain in names.globals:
            if chain[0] in space:
                self._note(_Link(space, chain[0], space[chain[0]]), chain, strict=False)
        for name in names.stored:
            self._stored.add((id(cells.get(name, space)), name))

    def _note(self, link: _Link, chain: Chain, strict: bool) -> None:
        """Note what a function holds by a name, or by names in modules of its project."""
        rest = list(chain[1:])
        while isinstance(link.value, types.ModuleType) and is_own(link.value.__name__) and rest:
            space, name = vars(link.value), rest.pop(0)
            link = _Link(space, name, space.get(name))
        if isinstance(link.value, list | set) and rest and rest[0] in _ADDING:
            return
        key = (id(link.holder), link.name)
        if key not in self._links:
            self._links[key], self._held[key] = link, strict


@lru_cache(maxsize=4096)
def _digest_of_code(code: types.CodeType) -> bytes:
    writer = _Writer()
    writer.code(code)
    return writer._digest.digest()


def _fields(value: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(value):
        return {name: getattr(value, name, None) for name in ("inputs", "outputs", "defaults")}
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
