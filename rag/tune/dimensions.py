"""What a search space is made of: choices and ranges, some of which depend on others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag.errors import ConfigError
from rag.flow.node import Node
from rag.flow.operator import Operator
from rag.flow.yaml.values import text

Value = str | int | float
"""The name of an option, or a number."""
Config = Mapping[str, Value]
"""Name of a dimension to its value; dimensions that do not count are left out."""

KINDS = ("steps", "resources", "params", "prompts")
AS_WRITTEN = "as-written"
"""The text of a prompt that there is."""
_STEP = re.compile(r"(?P<key>\.?[^./]+(?:/\.?[^./]+)*)(?:\.(?P<field>.+))?")


@dataclass(frozen=True)
class Address:
    """What a dimension changes.

    Attributes:
        kind: `steps`, `resources`, `params` or `prompts`.
        key: A step's place or label; a resource; a parameter; a prompt.
        field: Of a step or resource, names of fields inside each other; empty: the whole.
    """

    kind: str
    key: str
    field: tuple[str, ...] = ()

    @classmethod
    def parse(cls, name: str) -> Address:
        """`steps.rerank.k`, `steps.parallel/dense`, `resources.index.chunk_size`, `params.k`.

        Raises:
            ConfigError: It is none of these.
        """
        kind, _, rest = name.partition(".")
        if kind in KINDS and rest:
            if kind in ("params", "prompts"):
                return cls(kind, rest)
            if kind == "resources":
                key, *parts = rest.split(".")
                return cls(kind, key, tuple(parts))
            found = _STEP.fullmatch(rest)
            if found is not None:
                parts = (found["field"] or "").split(".")
                return cls(kind, found["key"], tuple(parts) if parts != [""] else ())
        raise ConfigError(
            f"{name!r} names nothing that can be tuned",
            fix=f"begin with {', '.join(f'{one}.' for one in KINDS)}: `steps.rerank.k`, "
            "`resources.index.chunk_size`",
        )  # fmt: skip


When = Mapping[str, tuple[Value, ...]]


@dataclass(frozen=True)
class Choice:
    """One of several values.

    Args:
        options: Name to value. Of a whole step: a node, or None to leave it out.
        when: The dimension counts only where others have one of these values.
        propose: Of a prompt: how many further texts a model may propose.
        by: The resource that proposes them.
    """

    options: Mapping[str, Any]
    when: When = field(default_factory=dict)
    propose: int = 0
    by: str = "llm"

    @classmethod
    def of(cls, values: Sequence[Any] | Mapping[str, Any], **more: Any) -> Choice:
        """A choice among values, which are named: by themselves, or by their step's label.

        Raises:
            ConfigError: Two would have the same name, or one has none.
        """
        if isinstance(values, Mapping):
            return cls(dict(values), **more)
        options: dict[str, Any] = {}
        for value in values:
            name = _named(value)
            if name in options:
                what = f"two values are called {name!r}"
                raise ConfigError(what, fix="give them names: {choose: {one: ..., other: ...}}")
            options[name] = value
        return cls(options, **more)

    @classmethod
    def of_texts(cls, values: Sequence[Any] | Mapping[str, Any], **more: Any) -> Choice:
        """A choice among texts of a prompt: the one that there is, and these (`text-1`...)."""
        own = values if isinstance(values, Mapping) else {}
        if not own:
            own = {f"text-{number}": one for number, one in enumerate(values, start=1)}
        return cls({AS_WRITTEN: None, **own}, **more)

    def values(self) -> Iterable[Value]:
        """The names of the options."""
        return tuple(self.options)

    def problem(self) -> str | None:
        """What is wrong with it by itself."""
        return None if self.options or self.propose else "there is nothing to choose from"


def _named(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Operator):
        return value.label
    if isinstance(value, Node):
        labels = [one.label for one in value.children().values()]
        return "+".join(labels) or "empty" if value.name is None and labels else value.label
    if isinstance(value, str | int | float | bool):
        return text(value)
    raise ConfigError(
        f"a {type(value).__name__} in a list has no name",
        fix="give the values names: {choose: {one: ..., other: ...}}",
    )


@dataclass(frozen=True)
class Range:
    """A number between two, both included; whole if both are.

    Args:
        low: The smallest.
        high: The largest.
        step: The distance between two that may be taken.
        log: Whether ratios count and not differences: 1, 10 and 100 are equally far apart.
        when: As of `Choice`.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    when: When = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return all(isinstance(one, int) for one in (self.low, self.high, self.step or 1))

    def values(self) -> Iterable[Value] | None:
        """All values; None: there are too many to list."""
        step = self.step or (1 if self.whole else None)
        if step is None:
            return None
        count = int((self.high - self.low) / step + 1e-9) + 1
        found = [self.low + step * at for at in range(count)]
        return tuple(found) if self.whole else tuple(round(one, 12) for one in found)

    def problem(self) -> str | None:
        """What is wrong with it by itself."""
        if not self.low <= self.high:
            return f"low is {self.low:g}, above high, {self.high:g}"
        if self.step is not None and self.step <= 0:
            return f"step is {self.step:g}, not above 0"
        if self.log and (self.low <= 0 or self.step is not None):
            return "log goes with a low above 0 and no step"
        return None


Dimension = Choice | Range


def active(dimension: Dimension, config: Config) -> bool:
    """Whether the dimension counts beside these values of others."""
    return all(config.get(name) in values for name, values in dimension.when.items())
