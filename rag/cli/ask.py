"""`rag ask`: a question, its answer as it is generated, and the sources."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag.cli.config import AllowImport, Config, Json, Param, load

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from rag.flow.run.execution import Execution


def ask(
    question: Annotated[
        str, typer.Argument(help="The question; `-` reads it from standard input.")
    ],
    config: Config = None,
    params: Param = None,
    allow: AllowImport = None,
    trace: Annotated[
        bool,
        typer.Option(
            "--trace", help="Show what each step read and wrote, prompts, tokens, seconds."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Answer a question from the index, with citations."""
    from rag.errors import InputError
    from rag.flow.run.execution import Execution

    if question == "-":
        question = sys.stdin.read()
    if not question.strip():
        raise InputError("the question is empty", fix='rag ask "Who may open the north lock?"')
    with load(config, params, allow) as flow:
        run = Execution(flow, {"query": question})
        try:
            result, seconds = _stream(run, live=not as_json and sys.stdout.isatty())
        finally:
            if trace and not as_json:
                typer.echo("\n".join(run.record.lines(values=True)), err=True)
    documents = result.get("documents", [])
    citations = [c.model_dump(mode="json") for c in result.get("citations", [])]
    reuse = getattr(result.get("generation"), "reuse", None)
    if as_json:
        from rag.cli.output import print_json

        print_json(
            {
                "question": question,
                "answer": result.get("answer"),
                "citations": citations,
                "documents": documents,
                "seconds": round(seconds, 3),
                **({"reuse": reuse} if reuse else {}),
                **({"trace": run.record.as_dict()} if trace else {}),
            }
        )
        return
    _print(str(result.get("answer", "")), citations, documents)
    if reuse:
        milliseconds = reuse["milliseconds"]
        typer.echo(
            f"\n{reuse['mode']} ({reuse['kind']}): {reuse['reused']} of "
            f"{sum(chunk['tokens'] for chunk in reuse['chunks'])} context tokens reused, "
            f"first token after {milliseconds['first_token']:.0f} ms"
        )


def _stream(run: Execution, *, live: bool) -> tuple[dict[str, Any], float]:
    """Run the flow; a terminal shows the tokens as they come, warnings go to standard error."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from rag.cli.output import note
    from rag.flow.run.events import Done, Token, Warned

    answer = Text()
    screen = Live(answer, console=Console(), transient=True) if live else None
    done: Done | None = None
    if screen:
        screen.start()
    try:
        for event in run.stream():
            if isinstance(event, Token) and screen:
                answer.append(event.text)
            elif isinstance(event, Warned):
                note(event.message)
            elif isinstance(event, Done):
                done = event
    finally:
        if screen:
            screen.stop()
    assert done is not None  # noqa: S101 - the last event, unless the run raised
    return done.result, done.seconds


def _print(answer: str, citations: list[dict[str, Any]], documents: list[Document]) -> None:
    from rich.table import Table
    from rich.text import Text

    from rag.cli.output import console
    from rag.operators.documents import location

    out = console()
    out.print(answer, markup=False, highlight=False)
    out.print()
    cited = {citation["number"] for citation in citations}
    table = Table("source", "place", "score", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, document in enumerate(documents, start=1):
        score = document.metadata.get("score")
        mark = f"[{number}]" if number in cited else f" {number} "
        table.add_row(
            Text(mark),
            Text(location(document)),
            "" if score is None else f"{score:.3f}",
            style=None if number in cited else "dim",
        )
    if documents:
        out.print(table)
    if documents and not cited:
        out.print("None of the sources supports the answer; read them before you rely on it.")
