"""`rag eval`: measure pipelines over a data set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rag.cli.config import AllowImport, Json, Param, default, load
from rag.cli.eval_options import (
    Answers,
    Concurrency,
    Configs,
    Data,
    Html,
    Indexes,
    JudgeOption,
    Limit,
    Rankings,
    Seed,
    Split,
)

if TYPE_CHECKING:
    from rag.eval.beir import Dataset
    from rag.eval.corpus import Progress
    from rag.eval.results import AnswerResult
    from rag.eval.support import Judge
    from rag.eval.tables import Table
    from rag.flow import Flow

app = typer.Typer(help="Measure pipelines over a data set in BEIR's format.", no_args_is_help=True)


@app.command()
def retrieval(
    data: Data,
    configs: Configs = None,
    split: Split = None,
    limit: Limit = None,
    seed: Seed = 0,
    indexes: Indexes = None,
    out: Rankings = None,
    params: Param = None,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Measure the ranking: nDCG@10, recall, MRR."""
    from rag.cli.output import note, print_json
    from rag.eval.ranking import DEPTH, rank_all, ranking_rows
    from rag.eval.retrieval_part import retrieval_part
    from rag.eval.tables import ranking_table
    from rag.extras import require
    from rag.files import write_atomically
    from rag.paths import write_errors

    require("ir_measures", "eval")
    dataset = read(data, split, limit, seed)
    results = {}
    with ExitStack() as stack:
        # A ranking is measured beyond the few documents that fit into a prompt.
        deep = [f"k={DEPTH}", *(params or [])]
        flows = _flows(stack, configs or [default(None)], deep, allow)
        parts = {name: retrieval_part(flow) for name, flow in flows.items()}
        files = _files(out, parts)
        progress = stack.enter_context(_bar())
        for name, flow in _bound(stack, dataset, parts, indexes, progress):
            results[name] = rank_all(flow, dataset, partial(_named, progress, name))
            if name in files:
                text = "".join(json.dumps(asdict(one)) + "\n" for one in results[name])
                with write_errors(files[name], "--out"):
                    write_atomically(files[name], text)
    rows = ranking_rows(results)
    for row in rows:
        if row.depth < min(DEPTH, len(dataset.documents)):
            note(f"{row.pipeline} ranks {row.depth} documents at most, so R@100 is R@{row.depth}")
    if as_json:
        print_json(
            {
                "data": dataset.name,
                "documents": len(dataset.documents),
                "notes": dataset.notes,
                "pipelines": rows,
            }
        )
    else:
        _print(ranking_table(rows))


@app.command()
def answers(
    data: Data,
    configs: Configs = None,
    split: Split = None,
    limit: Limit = None,
    seed: Seed = 0,
    indexes: Indexes = None,
    out: Answers = None,
    html: Html = None,
    judge: JudgeOption = "words",
    concurrency: Concurrency = 1,
    params: Param = None,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Measure the answers: correctness, faithfulness, citations and cost."""
    compare_answers(
        read(data, split, limit, seed), configs or [default(None)], indexes=indexes, out=out,
        html=html, judge=judge, concurrency=concurrency, params=params, allow=allow,
        as_json=as_json,
    )  # fmt: skip


def compare_answers(
    data: Dataset,
    configs: Sequence[str],
    *,
    indexes: Path | None,
    out: Path | None,
    html: Path | None,
    judge: JudgeOption,
    concurrency: int,
    params: list[str] | None,
    allow: list[str] | None,
    as_json: bool,
) -> None:
    """Ask the pipelines the data set's questions, and print the comparison."""
    from rag.cli.output import print_json
    from rag.errors import ConfigError
    from rag.eval.answer_cache import AnswerCache
    from rag.eval.answers import answer_rows, ask_all
    from rag.eval.digests import answers_digest
    from rag.eval.report import write_report
    from rag.eval.tables import answer_table
    from rag.extras import require
    from rag.paths import writable_file

    queries = [query for query in data.queries if query.answers]
    if not queries:
        fix = "use data with metadata.answers"
        raise ConfigError("the queries have no answers", where=data.name, fix=fix)
    if html is not None:
        require("matplotlib", "eval", where="--html")
        writable_file(html, "--html")
    results: dict[str, list[AnswerResult]] = {}
    judging: Judge | None = None
    with ExitStack() as stack:
        flows = _flows(stack, configs, params, allow)
        for name, flow in flows.items():
            if "answer" not in flow.output_types:
                fix = "give one that ends in generate, or measure it by `rag eval retrieval`"
                raise ConfigError("the pipeline writes no answer", where=name, fix=fix)
        files = _files(out, flows)
        progress = stack.enter_context(_bar())
        for name, flow in _bound(stack, data, flows, indexes, progress):
            judging = judging or _judge(judge, flow)
            cache = None
            if name in files:
                digest = answers_digest(flows[name], data, judging.digest)
                cache = AnswerCache(files[name], digest, queries)
            results[name] = ask_all(
                flow, queries, judging, cache=cache, progress=partial(progress, name),
                concurrency=concurrency,
            )  # fmt: skip
    rows = answer_rows(results)
    if html is not None:
        write_report(html, data.name, rows, results)
    if as_json:
        print_json({"data": data.name, "judge": judge, "notes": data.notes, "pipelines": rows})
    else:
        _print(answer_table(rows))


def read(data: Path, split: str | None, limit: int | None, seed: int) -> Dataset:
    """The data set; its notes are printed on standard error."""
    from rag.cli.output import note
    from rag.eval.beir import load_dataset

    dataset = load_dataset(data, split=split, limit=limit, seed=seed)
    for text in dataset.notes:
        note(text)
    return dataset


def _judge(kind: JudgeOption, flow: Flow) -> Judge:
    """The judge, with the pipeline's model where it needs one.

    Raises:
        ConfigError: The pipeline names no such model.
    """
    from rag.eval.support import Judge
    from rag.flow.resources import Resource
    from rag.models import LLM, NLI

    models: dict[str, type[Resource]] = {"llm": LLM, "nli": NLI}
    if kind in models:
        flow.resources.get(kind, models[kind])  # now: a missing model is an error before the work
    return Judge(kind, flow.resources)


def _flows(
    stack: ExitStack, configs: Sequence[str], params: list[str] | None, allow: list[str] | None
) -> dict[str, Flow]:
    """Name to pipeline, as loaded.

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
    """Pipeline to the file of its results, each checked to be writable."""
    from rag.paths import writable_file

    files = {name: out / f"{name}.jsonl" for name in names} if out is not None else {}
    for file in files.values():
        writable_file(file, "--out")
    return files


def _bound(
    stack: ExitStack,
    data: Dataset,
    flows: dict[str, Flow],
    indexes: Path | None,
    progress: Progress,
) -> Iterator[tuple[str, Flow]]:
    """Each pipeline over the data set."""
    from rag.eval.corpus import Corpus
    from rag.paths import writable_folder

    if indexes is not None:
        writable_folder(indexes, "--index")
    corpus = stack.enter_context(Corpus(data, indexes, progress))
    for name, flow in flows.items():
        yield name, corpus.bind(flow)


@contextmanager
def _bar() -> Iterator[Progress]:
    """A progress bar on standard error."""
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

        def update(work: str, done: int, total: int) -> None:
            if work not in tasks:
                tasks[work] = bar.add_task(work, total=total)
            bar.update(tasks[work], completed=done)

        yield update


def _named(progress: Progress, name: str, work: str, done: int, total: int) -> None:
    progress(f"{work}, {name}", done, total)


def _print(table: Table) -> None:
    from rich.table import Table as RichTable

    from rag.cli.output import console

    printed = RichTable(*table.columns, box=None, pad_edge=False)
    for row in table.rows:
        printed.add_row(*row)
    console().print(printed)
