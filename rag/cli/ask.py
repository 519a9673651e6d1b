"""`rag ask`: a question, its answer as it is generated, and the sources."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import closing
from typing import Annotated

import typer

from rag.cli.answer import Item, follow, items, show
from rag.cli.config import AllowImport, Config, Json, Param, load
from rag.cli.handshake import Asked, Refused
from rag.cli.resident import questions
from rag.cli.status import Status


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
            "--trace",
            help="Show what each step read and wrote: queries, candidates with scores, prompts, "
            "tokens, reuse, seconds.",
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="Say whether the process of `rag up` answers, or why not."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Answer a question from the index, with citations."""
    if question == "-":
        question = sys.stdin.read() if sys.stdin else ""
    if not question.strip():
        from rag.errors import InputError

        raise InputError("the question is empty", fix='rag ask "Who may open the north lock?"')
    with Status(shown=not as_json) as status:
        status("loading ...")
        asked = Asked(config, params or [], allow or [])
        news = _news(question, asked, trace=trace, verbose=verbose)
        with closing(news):
            found = follow(
                (one for one in news if not (as_json and one[0] == "trace")),
                status, live=not as_json and sys.stdout.isatty(),
            )  # fmt: skip
    if as_json:
        from rag.cli.output import print_json

        del found["places"]
        print_json(found)
    else:
        show(found)


def _news(question: str, asked: Asked, *, trace: bool, verbose: bool) -> Generator[Item]:
    """What happens to the question, in the process of `rag up` if there is one, or in this one."""
    try:
        found = questions(asked, question, trace=trace)
        _, pid = next(found)
    except Refused as reason:
        if verbose:
            yield "note", f"the resident process is not used: {reason}"
    else:
        if verbose:
            yield "note", f"answered by the resident process {pid}"
        with closing(found):
            yield from found
        return
    with load(asked.config, [*asked.params], [*asked.allow]) as flow:
        yield from items(flow, {"query": question}, trace=trace)
