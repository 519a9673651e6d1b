"""Opening all that a pipeline names, to see whether it can be: `rag check --open`, `rag doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from rag.cli.status import Status
from rag.errors import RagError

if TYPE_CHECKING:
    from rag.flow import Flow


@dataclass(frozen=True)
class Opened:
    """A resource that was opened, or why it could not be.

    Args:
        name: Its name in the pipeline.
        kind: Its class.
        error: None: it is open.
    """

    name: str
    kind: str
    error: Exception | None

    @property
    def code(self) -> int:
        """The exit code of the error; 5 for one of another library."""
        return self.error.exit_code if isinstance(self.error, RagError) else 5

    def as_dict(self) -> dict[str, Any]:
        """As JSON data."""
        told = self.error
        what = None if told is None else told.what if isinstance(told, RagError) else str(told)
        fix = told.fix if isinstance(told, RagError) else None
        return {"name": self.name, "kind": self.kind, "ok": told is None, "what": what, "fix": fix}


def open_all(flow: Flow, *, shown: bool) -> list[Opened]:
    """Open what the steps of a flow take, one after another.

    Args:
        flow: Whoever gives it closes it.
        shown: Print a line for each.
    """
    from rag.flow.absence import opening

    found = []
    with Status(shown=shown) as status:
        status("opening ...")
        for name, kind, error in opening(flow):
            one = Opened(name, kind.__name__, error)
            found.append(one)
            status.clear()
            if shown:
                said = "opened" if error is None else f"cannot be opened: {error}"
                typer.echo(f"  {name} ({one.kind}): {said}")
            status("opening ...")
    return found
