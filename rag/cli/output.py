"""How the commands print: for people with rich, for scripts as JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import BuildError, Interrupted, RagError

if TYPE_CHECKING:
    from rich.console import Console


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    sys.stdout.write(json.dumps(value, default=plain, ensure_ascii=False, indent=2) + "\n")


def plain(value: Any) -> Any:
    """What JSON knows, of what it does not: documents, models, dataclasses, paths."""
    if hasattr(value, "page_content"):
        return {"id": value.id, "text": value.page_content, "metadata": value.metadata}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value) if isinstance(value, Path) else repr(value)


def shown(value: Any) -> str:
    """A value on one line: text and numbers as they are, of the rest how much there is."""
    if isinstance(value, str | int | float | bool | None):
        return str(value)
    return f"({len(value)} items)" if hasattr(value, "__len__") else repr(value)


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
