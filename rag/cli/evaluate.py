"""`rag eval`: measure a pipeline over a data set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag.cli.config import AllowImport, Config, Json, Param, load

if TYPE_CHECKING:
    from rag.eval.run import Progress

app = typer.Typer(help="Measure a pipeline over a data set in BEIR's format.", no_args_is_help=True)

Data = Annotated[
    Path, typer.Option("--data", help="Folder with corpus.jsonl, queries.jsonl, qrels/.")
]
Split = Annotated[
    str | None, typer.Option("--split", help="Which qrels. Default: test, or the only ones.")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many queries.")]
Seed = Annotated[int, typer.Option("--seed", help="For the draw of the queries.")]
Where = Annotated[
    Path | None, typer.Option("--index", help="Keep the index here. Default: a temporary folder.")
]


@app.command()
def retrieval(
    data: Data,
    config: Config = None,
    split: Split = None,
    limit: Limit = None,
    seed: Seed = 0,
    where: Where = None,
    params: Param = None,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Measure the ranking: nDCG@10, recall, MRR."""
    from rag.eval.run import evaluate_retrieval

    # A ranking is measured beyond the few documents that a prompt has room for.
    with _prepared(data, config, split, limit, seed, where, [*(params or []), "k=100"], allow) as (
        flow,
        found,
        tell,
    ):
        report = evaluate_retrieval(flow, found, tell)
    _print(report, as_json=as_json)


@app.command()
def answers(
    data: Data,
    config: Config = None,
    split: Split = None,
    limit: Limit = None,
    seed: Seed = 0,
    where: Where = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write each answer here, as JSONL.")
    ] = None,
    params: Param = None,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Measure the answers: exact match, token F1, containment, latency."""
    from rag.eval.run import evaluate_answers

    rows: list[dict[str, Any]] = []
    with _prepared(data, config, split, limit, seed, where, params, allow) as (flow, found, tell):
        report = evaluate_answers(flow, found, tell, rows.append)
    if out is not None:
        from rag.files import write_atomically

        write_atomically(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    _print(report, as_json=as_json)


@contextmanager
def _prepared(
    data: Path,
    config: str | None,
    split: str | None,
    limit: int | None,
    seed: int,
    where: Path | None,
    params: list[str] | None,
    allow: list[str] | None,
) -> Iterator[tuple[Any, Any, Progress]]:
    """The flow over the data set's own index."""
    from rag.eval.beir import load as load_data
    from rag.eval.run import indexed
    from rag.index import Index
    from rag.index.spec import IndexSpec
    from rag.llm import LLM, Embedder

    found = load_data(data, split=split, limit=limit, seed=seed)
    with load(config, params, allow) as flow, bar() as tell:
        embedder = flow.resources.get("embedder", Embedder)
        spec = IndexSpec.of(flow.resources.specs.get("index", Index.default))
        cut = spec.splitter_of(embedder, lambda: flow.resources.get("llm", LLM))
        with indexed(found, embedder, where, tell, cut) as index:
            yield flow.with_resources(index=index, embedder=embedder), found, tell


@contextmanager
def bar() -> Iterator[Progress]:
    """Shows on stderr how far the work is."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        yield tell


def _print(report: Any, *, as_json: bool) -> None:
    from rag.cli.output import print_json
    from rag.eval.run import report_dict

    found = report_dict(report)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        typer.echo(f"{name:20} {value}")
