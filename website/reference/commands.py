"""The page of all commands with their options, as `--help` has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from rag.cli.main import app
from website.reference.markdown import code, escaped, table


def commands(command: Any, name: str = "rag") -> Iterator[tuple[str, Any]]:
    """Each command that does something, by the words that call it."""
    inner = getattr(command, "commands", {})
    if not inner or command.invoke_without_command:
        yield name, command
    for word, one in inner.items():
        yield from commands(one, f"{name} {word}")


def _shown(argument: Any) -> str:
    """How a command's help names an argument."""
    return argument.metavar or argument.name.upper()


def _help(parameter: Any) -> str:
    return " ".join((getattr(parameter, "help", None) or "").split())


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required or value in (None, (), [], False) or callable(value):
        return ""
    return code(str(getattr(value, "value", value)))


def page() -> str:
    """The page, as Markdown."""
    root: Any = typer.main.get_command(app)
    parts = ["# Every command\n", f"{escaped(root.epilog)}\n"]
    for name, command in commands(root):
        context = command.make_context(name, [], resilient_parsing=True)
        parameters = [one for one in command.get_params(context) if not getattr(one, "hidden", 0)]
        arguments = [one for one in parameters if one.param_type_name == "argument"]
        usage = " ".join([name, "[OPTIONS]", *map(_shown, arguments)])
        parts += [f"## {name}\n", f"```text\n{usage}\n```\n", escaped(command.help or "") + "\n"]
        parts.append(
            table(["Argument", "What it is"],
                  [(code(_shown(one)), _help(one)) for one in arguments])
        )  # fmt: skip
        options = [
            (code(", ".join([*one.opts, *one.secondary_opts])), _help(one), _default(one))
            for one in parameters
            if one.param_type_name == "option" and "--help" not in one.opts
        ]
        parts.append(table(["Option", "What it does", "Default"], options))
    return "\n".join(part for part in parts if part)
