"""An answer on its way: what a run reports, as data that may cross processes, and how it is shown.

An item is a name and a value: `step` (a place), `token` (text), `note` (a warning), `trace`
(lines), and at last `done`: what `answered` gives.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import typer

from rag.cli.status import Status

if TYPE_CHECKING:
    from rag.flow import Flow

Item = tuple[str, Any]


def items(flow: Flow, inputs: Mapping[str, Any], *, trace: bool) -> Generator[Item]:
    """Run a flow; what happens to its question.

    Args:
        flow: It has the input `query`.
        inputs: The question, and what else the flow takes.
        trace: Whether lines of the run's record come before the end, also of a run that failed.
    """
    from rag.flow.run.events import Done, NodeStarted, Token, Warned
    from rag.flow.run.execution import Execution

    run = Execution(flow, inputs)
    done: Done | None = None
    try:
        for event in run.stream():
            if isinstance(event, Token):
                yield "token", event.text
            elif isinstance(event, NodeStarted):
                yield "step", event.node
            elif isinstance(event, Warned):
                yield "note", event.message
            elif isinstance(event, Done):
                done = event
    except Exception:
        if trace:
            yield "trace", list(run.record.lines(values=True))
        raise
    if trace:
        yield "trace", list(run.record.lines(values=True))
    if done is not None:
        yield "done", answered(str(inputs["query"]), done, trace=trace)


def answered(question: str, done: Any, *, trace: bool) -> dict[str, Any]:
    """What `rag ask --json` prints, and `places`: where each document is found."""
    from rag.plain import plain
    from rag.text.location import location

    result = done.result
    documents = result.get("documents", [])
    reuse = getattr(result.get("generation"), "reuse", None)
    return {
        "question": question,
        "answer": plain(result.get("answer")),
        "citations": plain(result.get("citations", [])),
        "documents": plain(documents),
        "seconds": round(done.seconds, 3),
        **({"reuse": plain(reuse)} if reuse else {}),
        **({"trace": done.record.as_dict()} if trace else {}),
        "places": [location(document) for document in documents],
    }


def follow(news: Iterator[Item], status: Status, *, live: bool) -> dict[str, Any]:
    """Show what happens to a question until it is answered; what was answered.

    Args:
        news: Of `items`.
        status: Says which step runs.
        live: Whether tokens are shown as they come; what is shown is taken away in the end.
    """
    from rag.cli.output import note

    screen = _Live() if live else None
    try:
        for name, value in news:
            if name == "token":
                status.clear()
                if screen:
                    screen.add(value)
                continue
            if name == "step" and not (screen and screen.began):
                status(f"{value} ...")
            elif name == "note":
                status.clear()
                note(value)
            elif name == "trace":
                status.clear()
                typer.echo("\n".join(value), err=True)
            elif name == "done":
                found: dict[str, Any] = value
                return found
    finally:
        status.clear()
        if screen:
            screen.stop()
    raise RuntimeError("a run ended without a result")


class _Live:
    """Tokens as they come; rich is imported with the first."""

    def __init__(self) -> None:
        self.began = False
        self._screen: Any = None

    def add(self, text: str) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        if not self.began:
            self.began = True
            self._text = Text()
            self._screen = Live(self._text, console=Console(), transient=True)
            self._screen.start()
        self._text.append(text)

    def stop(self) -> None:
        if self._screen is not None:
            self._screen.stop()


def show(found: Mapping[str, Any]) -> None:
    """Print an answer, its sources, and what was reused."""
    from rag.text.abstention import abstains

    documents = found["documents"]
    sys.stdout.write(str(found["answer"] or "").rstrip() + "\n\n")
    cited = {citation["number"] for citation in found["citations"]}
    if documents:
        _table(documents, found["places"], cited)
        if not cited and not abstains(str(found["answer"] or "")):
            typer.echo("None of the sources supports the answer; read them before you rely on it.")
    reuse = found.get("reuse")
    if reuse:
        milliseconds = reuse["milliseconds"]
        typer.echo(
            f"\n{reuse['mode']} ({reuse['kind']}): {reuse['reused']} of "
            f"{sum(chunk['tokens'] for chunk in reuse['chunks'])} context tokens reused, "
            f"first token after {milliseconds['first_token']:.0f} ms"
        )


def _table(documents: list[dict[str, Any]], places: list[str], cited: set[int]) -> None:
    from rich.table import Table
    from rich.text import Text

    from rag.cli.output import console

    table = Table("source", "place", "score", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, (document, place) in enumerate(zip(documents, places, strict=True), start=1):
        score = document["metadata"].get("score")
        table.add_row(
            Text(f"[{number}]" if number in cited else f" {number} "),
            Text(place),
            "" if score is None else f"{score:.3f}",
            style=None if number in cited else "dim",
        )
    console().print(table)
