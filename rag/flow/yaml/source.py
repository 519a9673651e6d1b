"""The text of a pipeline file: where things are in it, its parts, and the parameters filled in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rag.errors import BuildError, ConfigError, RagError
from rag.names import suggestion

_PARAMETER = re.compile(r"\$(\$+)\{|\$\{(?:(env:)?(\w+)(?::([^}]*))?\})?")

MAX_BYTES = 2_000_000
"""Of a pipeline file."""
MAX_VALUES = 200_000
"""Values in a pipeline file, those that aliases repeat counted each time."""
MAX_DEPTH = 150
"""Mappings and lists inside each other."""


def read_text(path: Path) -> str:
    """The text of a pipeline file.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        fix = "`rag init DIR` writes one to start from"
        raise ConfigError(f"cannot be read: {reason}", where=str(path), fix=fix) from error


class Source:
    """A text and the problems found in it.

    Args:
        file: Its name, for messages.
        params: Values of parameters.
    """

    def __init__(self, file: str, params: Mapping[str, Any]) -> None:
        self.file, self.params = file, params
        self.problems: list[RagError] = []
        self.parameters: set[str] = set()
        """The names of the parameters that were seen."""
        self._count = 0

    def parse(self, text: str) -> Any:
        """The YAML value of a text, which knows its lines.

        Raises:
            ConfigError: It is no YAML, or too large.
        """
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        if len(text) > MAX_BYTES:
            what = f"longer than {MAX_BYTES:,} characters"
            raise ConfigError(what, where=self.file, fix="split it: `flow: other.yaml`")
        try:
            return YAML(typ="rt", pure=True).load(text)
        except YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{self.file}:{mark.line + 1}" if mark else self.file
            problem = str(getattr(error, "problem", None) or error).split("\n")[0]
            raise ConfigError(f"not YAML: {problem}", where=where) from error
        except (ValueError, RecursionError) as error:
            what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise ConfigError(f"not YAML: {what}", where=self.file) from error

    # Where things are

    def where(self, value: Any, key: Any = None) -> str:
        """The file and line of a mapping, a list, or a key or item in one."""
        position = getattr(value, "lc", None)
        if position is None:
            return self.file
        line = position.line
        if key is not None and position.data and key in position.data:
            line = position.data[key][0]
        return f"{self.file}:{line + 1}"

    def problem(self, value: Any, what: str, fix: str | None = None, key: Any = None) -> None:
        """Note what is wrong with a value, or with a key or item in it."""
        self.problems.append(ConfigError(what, where=self.where(value, key), fix=fix))

    def known(self, value: Mapping[str, Any], keys: Iterable[str]) -> None:
        """Note the keys that are not known; those that begin with `x-` are anybody's."""
        known = tuple(keys)
        for wrong in [key for key in value if key not in known]:
            if not str(wrong).startswith("x-"):
                self.problem(value, f"unknown key {wrong!r}", suggestion(str(wrong), known), wrong)

    # Parameters

    def substitute(self, value: Any, parent: Any = None, key: Any = None, depth: int = 0) -> Any:
        """A copy of the value with its parameters filled in.

        Raises:
            ConfigError: Aliases repeat too much, or it is nested too deeply.
        """
        self._count += 1
        if self._count > MAX_VALUES or depth > MAX_DEPTH:
            what = (
                f"more than {MAX_DEPTH} levels"
                if depth > MAX_DEPTH
                else f"more than {MAX_VALUES:,} values, aliases counted each time"
            )
            raise ConfigError(what, where=self.where(parent, key), fix="make the file smaller")
        if isinstance(value, str):
            return self._scalar(value, parent, key)
        if isinstance(value, Mapping):
            copy = _like(value)
            for name in value:
                copy[name] = self.substitute(value[name], value, name, depth + 1)
            return copy
        if isinstance(value, list):
            items = _like(value)
            for index, item in enumerate(value):
                items.append(self.substitute(item, value, index, depth + 1))
            return items
        return value

    def _scalar(self, text: str, parent: Any, key: Any) -> Any:
        if "${" not in text:
            return text
        whole = _PARAMETER.fullmatch(text)
        if whole and not whole[1] and whole[3]:
            found = self._parameter(whole, parent, key)
            return self.parse(found) if isinstance(found, str) and found else found

        def replaced(match: re.Match[str]) -> str:
            if match[1]:  # `$${` stands for `${`
                return match[0][1:]
            return match[0] if not match[3] else str(self._parameter(match, parent, key))

        return _PARAMETER.sub(replaced, text)

    def _parameter(self, match: re.Match[str], parent: Any, key: Any) -> Any:
        environment, name, default = match[2], match[3], match[4]
        if not environment:
            self.parameters.add(name)
        if environment:
            if name in os.environ:
                return os.environ[name]
        elif name in self.params:
            return self.params[name]
        if default is None:
            fix = f"give it: --param {name}=..., or a default: ${{{name}:...}}"
            if environment:
                fix = f"set it, or give a default: ${{env:{name}:...}}"
            elif name in os.environ:
                fix = f"the environment is read where it is named: ${{env:{name}}}"
            self.problem(parent, f"the parameter {name!r} has no value", fix, key)
        return default


def _like(value: Any) -> Any:
    """An empty mapping or list that knows the same lines."""
    copy = type(value)()
    if hasattr(value, "lc"):
        copy._yaml_line_col = value.lc
    return copy


def raise_all(problems: list[RagError]) -> None:
    """Raise what was found.

    Raises:
        BuildError: Anything was.
    """
    if problems:
        raise BuildError(problems)
