"""`rag eval`: measure pipelines over a data set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rag.cli.config import AllowImport, Json, Param, default, load

if TYPE_CHECKING:
    from rag.eval.answers import Asked
    from rag.eval.beir import Dataset, Query
    from rag.eval.compare import Gain
    from rag.eval.corpus import Progress
    from rag.flow import Flow

app = typer.Typer(help="Measure pipelines over a data set in BEIR's format.", no_args_is_help=True)

Configs = Annotated[
    list[str] | None,
    typer.Option(
        "--config", "-c", help="Pipelines, each with its own -c; compared with the first."
    ),
]
Data = Annotated[
    Path, typer.Option("--data", help="Folder with corpus.jsonl, queries.jsonl, qrels/.")
]
Split = Annotated[
    str | None, typer.Option("--split", help="Which qrels. Default: test, or the only ones.")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many queries.")]
Seed = Annotated[int, typer.Option("--seed", help="For the draw of the queries.")]
Where = Annotated[
    Path | None,
    typer.Option("--index", help="Keep the indexes in this folder. Default: a temporary one."),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", help="Folder for each query's result, as JSONL; what stands there is not redone."
    ),
]
Html = Annotated[Path | None, typer.Option("--html", help="Write a report with plots here.")]
By = Annotated[
    Literal["words", "llm"],
    typer.Option("--judge", help="What says whether a source supports a sentence."),
]


@app.command()
def retrieval(
    data: Data,
    configs: Configs = None,
    split: Split = None,
    limit: Limit = None,
    seed: Seed = 0,
    where: Where = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for each query's result, as JSONL.")
    ] = None,
    params: Param = None,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Measure the ranking: nDCG@10, recall, MRR."""
    from rag.cli.output import print_json
    from rag.eval.beir import load as load_data
    from rag.eval.ranking import MEASURES, rank_all, ranking_rows
    from rag.files import write_atomically

    chosen = configs or [default(None)]
    found = load_data(data, split=split, limit=limit, seed=seed)
    ranked = {}
    # A ranking is measured beyond the few documents that a prompt has room for.
    deep = [*(params or []), "k=100"]
    with bar() as tell, _bound(found, chosen, where, deep, allow, tell) as flows:
        for name, flow in flows:
            ranked[name] = rank_all(flow, found, partial(_of, tell, name))
            if out is not None:
                text = "".join(json.dumps(asdict(one)) + "\n" for one in ranked[name])
                write_atomically(out / f"{name}.jsonl", text)
    table = ranking_rows(ranked)
    if as_json:
        print_json(
            {
                "data": found.name, "documents": len(found.documents),
                "pipelines": [asdict(row) for row in table],
            }
        )  # fmt: skip
        return
    _print_table(
        ("pipeline", "queries", "nDCG@10", "R@10", "R@100", "MRR@10", "ms", "nDCG@10, gain"),
        [
            (
                row.pipeline, str(row.queries), *(_number(row.means[m], 4) for m in MEASURES),
                f"{row.milliseconds:.1f}", _gain(row.gain if number else None),
            )
            for number, row in enumerate(table)
        ],
    )  # fmt: skip


@app.command()
def answers(
    data: Data,
    configs: Configs = None,
    split: Split = None,
    limit: Limit = None,
    seed: Seed = 0,
    where: Where = None,
    out: Out = None,
    html: Html = None,
    by: By = "words",
    params: Param = None,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Measure the answers: right, faithful, well cited; and what they cost."""
    from rag.eval.beir import load as load_data

    found = load_data(data, split=split, limit=limit, seed=seed)
    compare_answers(
        found, configs or [default(None)], where=where, out=out, html=html, by=by, params=params,
        allow=allow, as_json=as_json,
    )  # fmt: skip


def compare_answers(
    data: Dataset,
    configs: Sequence[str],
    *,
    where: Path | None,
    out: Path | None,
    html: Path | None,
    by: Literal["words", "llm"],
    params: list[str] | None,
    allow: list[str] | None,
    as_json: bool,
) -> None:
    """Ask the pipelines the data set's questions, and print how they did."""
    from rag.cli.output import print_json
    from rag.errors import ConfigError
    from rag.eval.answers import ask_all, rows
    from rag.eval.support import Judge
    from rag.llm import LLM

    queries: list[Query] = [query for query in data.queries if query.answers]
    if not queries:
        fix = "use data with metadata.answers"
        raise ConfigError("the queries have no answers", where=data.name, fix=fix)
    asked: dict[str, list[Asked]] = {}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    with bar() as tell, _bound(data, configs, where, params, allow, tell) as flows:
        judge = None
        for name, flow in flows:
            if "answer" not in flow.output_types:
                raise ConfigError("the pipeline writes no answer", where=name)
            shared = {"llm": flow.resources.get("llm", LLM)} if by == "llm" else {}
            judge = judge or Judge(by, **shared)
            kept = out / f"{name}.jsonl" if out is not None else None
            asked[name] = ask_all(flow, queries, judge, kept, partial(tell, name))
    table = rows(asked)
    if html is not None:
        from rag.eval.report import write_report

        write_report(html, data.name, table, asked)
    if as_json:
        print_json({"data": data.name, "judge": by, "pipelines": [asdict(row) for row in table]})
        return
    heads = (
        "pipeline", "EM", "F1", "contains", "contains, gain", "faithful", "cite R", "cite P",
        "calls", "tokens", "s", "errors",
    )  # fmt: skip
    _print_table(
        heads,
        [
            (
                row.pipeline,
                *(_number(row.means[m], 3) for m in ("exact_match", "token_f1", "containment")),
                _gain(row.gains["containment"] if number else None),
                *(
                    _number(row.means[m], 3)
                    for m in ("faithfulness", "citation_recall", "citation_precision")
                ),
                _number(row.means["llm_calls"], 1),
                _number(row.means["tokens"], 0),
                _number(row.means["seconds"], 1),
                str(row.errors),
            )
            for number, row in enumerate(table)
        ],
    )


@contextmanager
def _bound(
    data: Dataset,
    configs: Sequence[str],
    where: Path | None,
    params: list[str] | None,
    allow: list[str] | None,
    tell: Progress,
) -> Iterator[Iterator[tuple[str, Flow]]]:
    """Each pipeline's name and flow over the data set; models that are specified alike are shared.

    Raises:
        ConfigError: Two pipelines have the same name.
    """
    from rag.errors import ConfigError
    from rag.eval.corpus import Corpus
    from rag.llm import LLM, Embedder

    names = [Path(config).stem for config in configs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"two pipelines are called {name!r}",
                where="--config",
                fix="rename one of the files",
            )
    kinds = {"embedder": Embedder, "llm": LLM}
    opened: dict[tuple[str, ...], Flow] = {}

    def each(corpus: Corpus, stack: ExitStack) -> Iterator[tuple[str, Flow]]:
        for name, config in zip(names, configs, strict=True):
            flow = stack.enter_context(load(config, params, allow))
            resources = flow.resources
            shared = {}
            for kind, of in kinds.items():
                spec = resources.specs.get(kind, of.default)
                owner = opened.setdefault((kind, repr(spec), str(resources.base.resolve())), flow)
                if owner is not flow:
                    shared[kind] = owner.resources.get(kind, of)
            yield name, corpus.bound(flow.with_resources(**shared))

    with ExitStack() as stack, Corpus(data, where, tell) as corpus:
        yield each(corpus, stack)


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


def _of(tell: Progress, name: str, what: str, done: int, total: int) -> None:
    tell(f"{what}, {name}", done, total)


def _number(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def _gain(gain: Gain | None) -> str:
    return "-" if gain is None else f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def _print_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    from rag.cli.output import console

    shown = Table(*heads, box=None, pad_edge=False)
    for line in lines:
        shown.add_row(*line)
    console().print(shown)
