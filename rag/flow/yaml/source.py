"""The text of a pipeline file: where things stand in it, and the parameters filled in."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from typing import Any

from rag.errors import ConfigError, RagError

_PARAMETER = re.compile(r"\$\{(\w+)(?::([^}]*))?\}")


class Source:
    """A text and the problems found in it.

    Args:
        file: Its name, for messages.
        params: Values of parameters; the environment comes second.
    """

    def __init__(self, file: str, params: Mapping[str, Any]) -> None:
        self.file, self.params = file, params
        self.problems: list[RagError] = []

    def parse(self, text: str) -> Any:
        """The YAML value of a text, which knows its lines."""
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        try:
            return YAML(typ="rt", pure=True).load(text)
        except YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{self.file}:{mark.line + 1}" if mark else self.file
            problem = str(getattr(error, "problem", None) or error).split("\n")[0]
            raise ConfigError(f"not YAML: {problem}", where=where) from error

    # Where things stand

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

    def known(self, value: Mapping[str, Any], keys: tuple[str, ...]) -> None:
        """Note the keys that are not known."""
        for wrong in [key for key in value if key not in keys]:
            self.problem(value, f"unknown key {wrong!r}", nearest(str(wrong), keys), wrong)

    # Parameters

    def substitute(self, value: Any, parent: Any = None, key: Any = None) -> Any:
        """The value with its parameters filled in."""
        if isinstance(value, str):
            return self._scalar(value, parent, key)
        if isinstance(value, Mapping):
            for name in value:
                value[name] = self.substitute(value[name], value, name)  # type: ignore[index]
        elif isinstance(value, list):
            for index, item in enumerate(value):
                value[index] = self.substitute(item, value, index)
        return value

    def _scalar(self, text: str, parent: Any, key: Any) -> Any:
        whole = _PARAMETER.fullmatch(text)
        if whole:
            found = self._parameter(whole, parent, key)
            return self.parse(found) if isinstance(found, str) and found else found
        return _PARAMETER.sub(lambda match: str(self._parameter(match, parent, key)), text)

    def _parameter(self, match: re.Match[str], parent: Any, key: Any) -> Any:
        name, default = match.groups()
        if name in self.params:
            return self.params[name]
        if name in os.environ:
            return os.environ[name]
        if default is None:
            fix = f"give it: --param {name}=..., or a default: ${{{name}:...}}"
            self.problem(parent, f"the parameter {name!r} has no value", fix, key)
        return default


def nearest(name: str, known: tuple[str, ...]) -> str:
    """A hint for a name that is not known."""
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    listed = f"known: {', '.join(known)}"
    return f"did you mean {found[0]!r}? {listed}" if found else listed
