"""Rows of a file, validated: errors name file and line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rag.errors import ConfigError

R = TypeVar("R", bound=BaseModel)


def json_rows(file: Path, example: str) -> Iterator[tuple[int, Any]]:
    """Number of the line, from 1, and value of each line of a JSONL file that is not blank.

    Args:
        file: The file.
        example: A line, for the error.

    Raises:
        ConfigError: The file cannot be read, or a line is no JSON.
    """
    for number, line in text_lines(file):
        try:
            yield number, json.loads(line)
        except ValueError as error:
            raise ConfigError(
                f"not JSON: {error}", where=f"{file}:{number}", fix=f"a line looks like {example}"
            ) from error


def validated(
    file: Path, rows: Iterable[tuple[int, Any]], kind: type[R], example: str
) -> Iterator[tuple[int, R]]:
    """The rows as objects, with their lines.

    Args:
        file: Named in errors.
        rows: Line and value of each.
        kind: The model that they must fit.
        example: A row, for the error.

    Raises:
        ConfigError: A row does not fit, or there is none.
    """
    fix, number = f"a line looks like {example}", 0
    for number, row in rows:
        try:
            yield number, kind.model_validate(row)
        except ValidationError as error:
            wrong = error.errors()[0]
            place = ".".join(map(str, wrong["loc"]))
            what = f"{place}: {wrong['msg']}" if place else wrong["msg"]
            raise ConfigError(what, where=f"{file}:{number}", fix=fix) from error
    if not number:
        raise ConfigError("it has no lines", where=str(file), fix=fix)


class Ids:
    """Ids that may be used once.

    Args:
        file: Named in errors.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lines: dict[str, int] = {}

    def use(self, name: str, number: int) -> None:
        """Take an id for a line.

        Raises:
            ConfigError: Another line has it.
        """
        first = self._lines.setdefault(name, number)
        if first != number:
            raise ConfigError(
                f"the id {name!r} is already used in line {first}",
                where=f"{self._file}:{number}",
                fix="give each line an id of its own",
            )


def text_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of each line that is not blank.

    Raises:
        ConfigError: The file cannot be read, or is not UTF-8.
    """
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                text = line.decode().rstrip("\r\n")
                if text.strip():
                    yield number, text
    except UnicodeDecodeError as error:
        raise ConfigError(
            "it is not UTF-8 text", where=f"{file}:{number}", fix="save it as UTF-8"
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(file)) from error
