"""How the commands print: for people with rich, for scripts as JSON."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from rag.errors import BuildError, Interrupted, RagError
from rag.plain import plain

if TYPE_CHECKING:
    from rich.console import Console


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False, indent=2) + "\n")


def console(*, stderr: bool = False) -> Console:
    """Where to print tables; into a file or a pipe they are not cut to a screen's width."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream, width=None if stream.isatty() else 200, soft_wrap=not stream.isatty()
    )


def note(text: str) -> None:
    """Say something on standard error that is no failure."""
    from rich.text import Text

    console(stderr=True).print(Text("note: ", style="bold yellow") + Text(text), soft_wrap=True)


def fail(error: RagError, *, as_json: bool) -> int:
    """Print the error and return the exit code."""
    if as_json:
        problems = error.problems if isinstance(error, BuildError) else (error,)
        found = [{"what": e.what, "where": e.where, "fix": e.fix} for e in problems]
        print_json({"error": {"kind": type(error).__name__, "problems": found}})
        return error.exit_code
    from rich.text import Text

    waits = isinstance(error, Interrupted)
    head = Text("waiting: ", style="bold yellow") if waits else Text("error: ", style="bold red")
    console(stderr=True).print(head + Text(str(error)), soft_wrap=True)
    return error.exit_code
