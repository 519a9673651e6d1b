"""Where a server's settings come from: an option, a variable, or a line of a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ByteSize, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from rag.errors import ConfigError
from rag.names import nearest
from rag.serve.settings.file import read
from rag.serve.settings.settings import PREFIX, ServeSettings

LIST = "`rag serve --help` lists them"
_SIZE = TypeAdapter(ByteSize)
FIELDS: Mapping[str, FieldInfo] = ServeSettings.model_fields


def option(name: str) -> str:
    """The option of a setting: `--queue-per-user`."""
    return f"--{name.replace('_', '-')}"


def variable(name: str) -> str:
    """The environment variable of a setting: `RAG_SERVE_QUEUE_PER_USER`."""
    return PREFIX + name.upper()


def is_secret(name: str) -> bool:
    """Whether the value of a setting is never shown."""
    return name in FIELDS and not FIELDS[name].repr


def shown(name: str, value: Any) -> str:
    """The value of a setting as it may be printed and read again; never a secret."""
    if value is None:
        return ""
    if is_secret(name):
        return "(secret)"
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(map(str, value))
        case ByteSize():
            short = value.human_readable().replace(".0", "")
            return short if _SIZE.validate_python(short) == value else str(int(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def serve_settings(options: Mapping[str, Any]) -> ServeSettings:
    """The settings of `rag serve`.

    Args:
        options: Those of the command line, by the names of the fields; others are taken from the
            environment, and then from the file that `settings` names.

    Raises:
        ConfigError: Values are wrong, a variable or a line of the file is no setting, or the file
            cannot be read. All problems are named.
    """
    problems = [*_unknown_variables()]
    try:
        settings = ServeSettings(**options)
    except ValidationError as error:
        places = _Places(options)
        problems += [_problem(one, places) for one in error.errors()]
    if len(problems) == 1:
        raise problems[0]
    if problems:
        listed = "\n".join(f"- {one}" for one in problems)
        raise ConfigError(f"{len(problems)} settings are wrong\n{listed}")
    return settings


def described(
    settings: ServeSettings, options: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Name, value and origin of each setting; of a secret only whether it is set."""
    places = _Places(options)
    for name in FIELDS:
        yield name, shown(name, getattr(settings, name)), places.of(name)


class _Places:
    """Knows where the value of each setting was given."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._variables = {name.upper() for name, value in os.environ.items() if value}
        path = options.get("settings") or os.environ.get(variable("settings"))
        self._lines = read(Path(path))[1] if path else {}

    def of(self, name: str) -> str:
        """The option, the variable, or file, line and key; `default` if it was not given."""
        if name in self._options:
            return "[PIPELINE]..." if name == "pipelines" else option(name)
        if name in FIELDS and variable(name) in self._variables:
            return variable(name)
        return f"{self._lines[name]}: {name}" if name in self._lines else "default"


def _problem(detail: Any, places: _Places) -> ConfigError:
    name = str(detail["loc"][0]) if detail["loc"] else ""
    where = places.of(name)
    if detail["type"] == "extra_forbidden":
        near = nearest(name, FIELDS)
        fix = f"did you mean {near!r}?" if near else LIST
        return ConfigError(f"there is no setting {name!r}", where=where, fix=fix)
    said = detail["msg"].removeprefix("Value error, ")
    value = "the value" if is_secret(name) else repr(detail.get("input"))
    about = FIELDS[name].description if name in FIELDS else None
    return ConfigError(f"{value} will not do: {said}", where=where, fix=about)


def _unknown_variables() -> Iterator[ConfigError]:
    known = {variable(name) for name in FIELDS}
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            near = nearest(name, known)
            fix = f"did you mean {near}?" if near else LIST
            yield ConfigError("the variable names no setting", where=name, fix=fix)
