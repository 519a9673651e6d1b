"""`rag eval`: measure pipelines over a data set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    from rag.eval.support import Judge
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
AtOnce = Annotated[
    int,
    typer.Option(
        "--at-once",
        min=1,
        help="Questions under way together: sooner done; each one's seconds are longer then.",
    ),
]
Html = Annotated[Path | None, typer.Option("--html", help="Write a report with plots here.")]
By = Annotated[
    Literal["words", "nli", "llm"],
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
    from rag import paths as places
    from rag.cli.output import note, print_json
    from rag.eval.extra import library
    from rag.eval.ranking import DEPTH, MEASURES, rank_all, ranking_rows
    from rag.eval.retrieval_part import retrieval_part
    from rag.files import write_atomically

    library("ir_measures")
    found = read(data, split, limit, seed)
    ranked = {}
    with ExitStack() as stack:
        # A ranking is measured beyond the few documents that a prompt has room for.
        deep = [f"k={DEPTH}", *(params or [])]
        flows = _flows(stack, configs or [default(None)], deep, allow)
        for flow in flows.values():
            retrieval_part(flow)
        files = _files(out, flows)
        tell = stack.enter_context(bar())
        for name, flow in _bound(stack, found, flows, where, tell):
            ranked[name] = rank_all(flow, found, partial(_of, tell, name))
            if name in files:
                text = "".join(json.dumps(asdict(one)) + "\n" for one in ranked[name])
                with places.writing(files[name], "--out"):
                    write_atomically(files[name], text)
    table = ranking_rows(ranked)
    for row in table:
        if row.depth < min(DEPTH, len(found.documents)):
            note(f"{row.pipeline} ranks {row.depth} documents at most, so R@100 is R@{row.depth}")
    if as_json:
        print_json(
            {
                "data": found.name, "documents": len(found.documents), "notes": found.notes,
                "pipelines": [asdict(row) for row in table],
            }
        )  # fmt: skip
        return
    _print_table(
        (
            "pipeline", "queries", "nDCG@10", "R@10", "R@100", "MRR@10", "depth", "ms",
            "nDCG@10, gain",
        ),
        [
            (
                row.pipeline, str(row.queries), *(_number(row.means[m], 4) for m in MEASURES),
                str(row.depth), f"{row.milliseconds:.1f}", _gain(row.gain if number else None),
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
    at_once: AtOnce = 1,
    params: Param = None,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Measure the answers: right, faithful, well cited; and what they cost."""
    found = read(data, split, limit, seed)
    compare_answers(
        found, configs or [default(None)], where=where, out=out, html=html, by=by,
        at_once=at_once, params=params, allow=allow, as_json=as_json,
    )  # fmt: skip


def compare_answers(
    data: Dataset,
    configs: Sequence[str],
    *,
    where: Path | None,
    out: Path | None,
    html: Path | None,
    by: By,
    at_once: int,
    params: list[str] | None,
    allow: list[str] | None,
    as_json: bool,
) -> None:
    """Ask the pipelines the data set's questions, and print how they did."""
    from rag import paths as places
    from rag.cli.output import print_json
    from rag.errors import ConfigError
    from rag.eval.answers import ask_all, rows
    from rag.eval.extra import library
    from rag.eval.identity import depends
    from rag.eval.kept import Kept
    from rag.eval.report import write_report

    queries: list[Query] = [query for query in data.queries if query.answers]
    if not queries:
        fix = "use data with metadata.answers"
        raise ConfigError("the queries have no answers", where=data.name, fix=fix)
    if html is not None:
        library("matplotlib", "--html")
        places.file(html, "--html")
    asked: dict[str, list[Asked]] = {}
    judge: Judge | None = None
    with ExitStack() as stack:
        flows = _flows(stack, configs, params, allow)
        for name, flow in flows.items():
            if "answer" not in flow.output_types:
                fix = "give one that ends in generate, or measure it by `rag eval retrieval`"
                raise ConfigError("the pipeline writes no answer", where=name, fix=fix)
        files = _files(out, flows)
        tell = stack.enter_context(bar())
        for name, flow in _bound(stack, data, flows, where, tell):
            judge = judge or _judge(by, flow)
            kept = None
            if name in files:
                kept = Kept(files[name], depends(flows[name], data, judge), queries)
            asked[name] = ask_all(flow, queries, judge, kept, partial(tell, name), at_once)
    table = rows(asked)
    if html is not None:
        write_report(html, data.name, table, asked)
    if as_json:
        print_json(
            {
                "data": data.name, "judge": by, "notes": data.notes,
                "pipelines": [asdict(row) for row in table],
            }
        )  # fmt: skip
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


def read(data: Path, split: str | None, limit: int | None, seed: int) -> Dataset:
    """The data set; what is odd in it is said on stderr."""
    from rag.cli.output import note
    from rag.eval.beir import load as load_data

    found = load_data(data, split=split, limit=limit, seed=seed)
    for one in found.notes:
        note(one)
    return found


def _judge(by: By, flow: Flow) -> Judge:
    """What judges, with the pipeline's model where it needs one.

    Raises:
        ConfigError: The pipeline names no such model.
    """
    from rag.eval.support import Judge
    from rag.flow.resources import Resource
    from rag.models import LLM, NLI

    kinds: dict[str, type[Resource]] = {"llm": LLM, "nli": NLI}
    if by in kinds:
        flow.resources.get(by, kinds[by])  # opened now: a missing model ends the work before it
    return Judge(by, flow.resources)


def _flows(
    stack: ExitStack, configs: Sequence[str], params: list[str] | None, allow: list[str] | None
) -> dict[str, Flow]:
    """Name to pipeline, as the files say them.

    Raises:
        ConfigError: Two pipelines have the same name.
    """
    from rag.errors import ConfigError

    names = [Path(config).stem for config in configs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"two pipelines are called {name!r}",
                where="--config",
                fix="rename one of the files",
            )
    return {
        name: stack.enter_context(load(config, params, allow))
        for name, config in zip(names, configs, strict=True)
    }


def _files(out: Path | None, names: Iterable[str]) -> dict[str, Path]:
    """Pipeline to the file of its results, each seen to be writable."""
    from rag import paths as places

    files = {name: out / f"{name}.jsonl" for name in names} if out is not None else {}
    for file in files.values():
        places.file(file, "--out")
    return files


def _bound(
    stack: ExitStack,
    data: Dataset,
    flows: Mapping[str, Flow],
    where: Path | None,
    tell: Progress,
) -> Iterator[tuple[str, Flow]]:
    """Each pipeline over the data set; models that are specified alike are shared."""
    from rag import paths as places
    from rag.eval.corpus import Corpus
    from rag.models import LLM, Embedder

    if where is not None:
        places.folder(where, "--index")
    kinds = {"embedder": Embedder, "llm": LLM}
    opened: dict[tuple[str, ...], Flow] = {}
    corpus = stack.enter_context(Corpus(data, where, tell))
    for name, flow in flows.items():
        resources = flow.resources
        shared = {}
        for kind, of in kinds.items():
            spec = resources.specs.get(kind, of.default)
            owner = opened.setdefault((kind, repr(spec), str(resources.base.resolve())), flow)
            if owner is not flow:
                shared[kind] = owner.resources.get(kind, of)
        yield name, corpus.bound(flow, **shared)


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
