"""Every command and option says what it does; the page of commands names every one."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import typer

from rag.cli.main import app
from tests.examples.pages import ROOT


def leaves(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """The commands that do something, each with the words that call it."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, one in inner.items():
        yield from leaves(one, (*path, name))


COMMANDS = dict(leaves(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_and_argument_is_described(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{' '.join(path)}: {parameter.name}"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_page_of_commands_names_every_one(path: tuple[str, ...]) -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `rag ")]
    first, *rest = path
    row = " ".join(row for row in rows if re.search(rf"`rag {first}\b", row))
    assert row
    assert all(re.search(rf"[` ]{word}\b", row) for word in rest)
