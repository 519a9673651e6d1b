"""`rag chat`: questions one after another, with models kept open and earlier turns remembered."""

from __future__ import annotations

import sys
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag.cli.answer import follow, items, show
from rag.cli.config import AllowImport, Config, Param, load
from rag.cli.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from rag.flow import Flow

REMEMBERED = 8
"""Messages that a question may refer to."""
COMMANDS = {
    "/help": "show these commands",
    "/sources": "show the passages that the last answer was made from",
    "/trace": "show what each step of the next answers did; again: no longer",
    "/new": "forget what was said",
    "/quit": "leave (also Ctrl-D)",
}


def chat(
    config: Config = None,
    params: Param = None,
    allow: AllowImport = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Show what each step of every answer did.")
    ] = False,
) -> None:
    """Ask questions one after another; models stay open, and a question may refer to earlier ones.

    Lines that begin with / are commands: /help lists them.
    """
    with load(config, params, allow) as flow:
        _converse(Conversation(flow, trace=trace))


class Conversation:
    """What was said so far, and the pipeline that answers.

    Args:
        flow: Takes `query`; where it takes no `history`, its language model rewrites questions
            that refer to earlier turns.
        trace: Whether each answer's run is shown.
    """

    def __init__(self, flow: Flow, *, trace: bool = False) -> None:
        self.flow, self.trace = flow, trace
        self.history: list[dict[str, str]] = []
        self.last: dict[str, Any] | None = None

    def ask(self, question: str) -> None:
        """Answer, show the answer, and remember both."""
        with Status() as status:
            status("loading ..." if self.last is None else "...")
            inputs: dict[str, Any] = {"query": question}
            earlier = self.history[-REMEMBERED:]
            if "history" in self.flow.inputs:
                inputs["history"] = earlier
            elif earlier:
                inputs["query"] = self._alone(question, earlier)
            news = items(self.flow, inputs, trace=self.trace)
            with closing(news):
                self.last = follow(news, status, live=sys.stdout.isatty())
        if inputs["query"] != question:
            typer.echo(f"asked as: {inputs['query']}", err=True)
        show(self.last)
        self.history += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": str(self.last["answer"] or "")},
        ]

    def _alone(self, question: str, earlier: list[dict[str, str]]) -> str:
        """The question without references to earlier turns, by the flow's language model."""
        from rag.flow import Flow
        from rag.models import LLM
        from rag.operators import CondenseQuery
        from rag.operators.history import History

        name = next((name for _, name, kind in self.flow.needs if issubclass(kind, LLM)), None)
        if name is None:
            return question
        condense = Flow(
            CondenseQuery(), inputs={"query": str, "history": History}, outputs=["query"],
            resources={"llm": self.flow.resources.get(name, LLM)},
        )  # fmt: skip
        return str(condense.invoke(query=question, history=earlier)["query"])

    def sources(self) -> None:
        """Print the passages of the last answer."""
        if self.last is None:
            typer.echo("nothing was asked yet")
            return
        documents = zip(self.last["documents"], self.last["places"], strict=True)
        for number, (document, place) in enumerate(documents, start=1):
            sys.stdout.write(f"[{number}] {place}\n{document['text'].strip()}\n\n")

    def command(self, line: str) -> bool:
        """Do what a line that begins with / says; whether to go on."""
        from rag.names import suggestion

        if line in ("/quit", "/exit"):
            return False
        do: dict[str, Callable[[], None]] = {
            "/help": _help,
            "/sources": self.sources,
            "/trace": self._switch,
            "/new": self._forget,
        }
        if line in do:
            do[line]()
        else:
            typer.echo(f"there is no command {line}: {suggestion(line, COMMANDS)}", err=True)
        return True

    def _switch(self) -> None:
        self.trace = not self.trace
        typer.echo(f"trace is {'on' if self.trace else 'off'}")

    def _forget(self) -> None:
        self.history.clear()
        self.last = None
        typer.echo("forgotten")


def _help() -> None:
    for name, what in COMMANDS.items():
        typer.echo(f"{name:10}{what}")


def _converse(conversation: Conversation) -> None:
    from rag.cli.output import fail
    from rag.errors import RagError

    with suppress(ImportError):
        import readline  # noqa: F401 - lines are edited and recalled from now on
    person = sys.stdin is not None and sys.stdin.isatty()
    if person:
        typer.echo("Ask, or /help.", err=True)
    while (line := _line(person)) is not None:
        if line.startswith("/"):
            if not conversation.command(line):
                return
        elif line:
            try:
                conversation.ask(line)
            except KeyboardInterrupt:
                typer.echo("stopped", err=True)
            except RagError as error:
                code = fail(error, as_json=False)
                if not person:
                    raise typer.Exit(code) from error


def _line(person: bool) -> str | None:
    """The next line; None: there is none."""
    try:
        return input("> " if person else "").strip()
    except (EOFError, RuntimeError):  # RuntimeError: standard input is closed
        if person:
            typer.echo()
        return None
    except KeyboardInterrupt:
        typer.echo()
        return None
