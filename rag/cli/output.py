"""What commands print: tables and messages for people, JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import typer

from rag.errors import BuildError, Interrupted, RagError
from rag.plain import plain, summary

if TYPE_CHECKING:
    from rich.console import Console

    from rag.flow.run.events import Event


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output; letters that it cannot show are escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    escaped = not encoding.lower().replace("-", "").startswith("utf")
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=escaped, indent=2) + "\n")


def print_fields(fields: Mapping[str, Any], *, as_json: bool) -> None:
    """Print named values, one per line or as a JSON object; long ones are summarised in a line."""
    if as_json:
        print_json(fields)
        return
    for name, value in fields.items():
        typer.echo(f"{name}: {summary(value)}")


def console(*, stderr: bool = False) -> Console:
    """Where to print tables; in a file or a pipe they are not cut to a screen's width."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream, width=None if stream.isatty() else 200, soft_wrap=not stream.isatty()
    )


def note(text: str) -> None:
    """Print a warning on standard error."""
    from rich.text import Text

    console(stderr=True).print(Text("note: ", style="bold yellow") + Text(text), soft_wrap=True)


def outputs(events: Iterable[Event]) -> dict[str, Any]:
    """The outputs of a run; its warnings are printed on standard error meanwhile."""
    from rag.flow.run.events import Done, Warned

    result: dict[str, Any] = {}
    for event in events:
        if isinstance(event, Warned):
            note(event.message)
        elif isinstance(event, Done):
            result = event.result
    return result


def fail(error: RagError, *, as_json: bool) -> int:
    """Print the error and return the exit code."""
    if as_json:
        errors = error.problems if isinstance(error, BuildError) else (error,)
        problems = [{"what": one.what, "where": one.where, "fix": one.fix} for one in errors]
        print_json({"error": {"kind": type(error).__name__, "problems": problems}})
        return error.exit_code
    from rich.text import Text

    waits = isinstance(error, Interrupted)
    head = Text("waiting: ", style="bold yellow") if waits else Text("error: ", style="bold red")
    console(stderr=True).print(head + Text(str(error)), soft_wrap=True)
    return error.exit_code
