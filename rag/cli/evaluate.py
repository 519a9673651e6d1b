"""`rag eval`: measure pipelines over a data set."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rag.cli.comparing import compare_answers
from rag.cli.config import AllowImport, Config, Json, Param, default, load
from rag.cli.eval_options import (
    Answers,
    Baseline,
    Concurrency,
    Configs,
    Data,
    FailUnder,
    FromFeedback,
    Html,
    Indexes,
    JudgeConfig,
    JudgeOption,
    Limit,
    Made,
    Measure,
    Questions,
    Rankings,
    Seed,
    Several,
    Split,
    Unanswerable,
)
from rag.cli.evaluating import bound, flows_of, print_table, progress_bar, result_files

if TYPE_CHECKING:
    from rag.eval.corpus import Progress
    from rag.eval.dataset import Dataset

app = typer.Typer(help="Measure pipelines over a data set.", no_args_is_help=True)


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
        deep = {"k": str(DEPTH)}
        flows = flows_of(stack, configs or [default(None)], params, allow, deep)
        parts = {name: retrieval_part(flow) for name, flow in flows.items()}
        files = result_files(out, parts)
        progress = stack.enter_context(progress_bar())
        for name, flow in bound(stack, dataset, parts, indexes, progress):
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
        print_table(ranking_table(rows))


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
    judge_config: JudgeConfig = None,
    concurrency: Concurrency = 1,
    baseline: Baseline = None,
    fail_under: FailUnder = None,
    measure: Measure = None,
    params: Param = None,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Measure the answers: where they are lost, correctness, support, citations and cost."""
    compare_answers(
        read(data, split, limit, seed), configs or [default(None)], indexes=indexes, out=out,
        html=html, judge=judge, judge_config=judge_config, concurrency=concurrency,
        baseline=baseline, fail_under=fail_under, measure=measure, params=params, allow=allow,
        as_json=as_json,
    )  # fmt: skip


def read(data: Path, split: str | None, limit: int | None, seed: int) -> Dataset:
    """The data set; its notes are printed on standard error."""
    from rag.cli.output import note
    from rag.eval.loading import load_dataset

    dataset = load_dataset(data, split=split, limit=limit, seed=seed)
    for text in dataset.notes:
        note(text)
    return dataset


def _named(progress: Progress, name: str, work: str, done: int, total: int) -> None:
    progress(f"{work}, {name}", done, total)


@app.command()
def make(
    out: Made,
    config: Config = None,
    from_feedback: FromFeedback = None,
    count: Questions = 50,
    several: Several = 0.2,
    none: Unanswerable = 0.2,
    seed: Seed = 0,
    params: Param = None,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Make a test set: from the pipeline's own index, or from what users said of answers."""
    from rag.cli.output import note, print_fields
    from rag.errors import ConfigError
    from rag.eval.making.make import KINDS, Maker, make_questions
    from rag.paths import writable_file

    if from_feedback is not None:
        _make_from_feedback(from_feedback, out, as_json=as_json)
        return
    if several + none > 1:
        fix = "give shares whose sum is at most 1"
        raise ConfigError("the shares are more than the whole", where="--several, --none", fix=fix)
    writable_file(out, "--out")
    few = (round(count * several), round(count * none))
    with load(config, params, allow) as flow, progress_bar() as progress:
        flow.check_resources()
        maker = Maker(flow.resources, seed)
        wanted = dict(zip(KINDS, (count - sum(few), *few), strict=True))
        made = make_questions(maker, wanted, out, partial(progress, "questions"))
    kinds = {str(kind): sum(one.kind == kind for one in made) for kind in KINDS}
    by = {f"by {name}": sum(one.by == name for one in made) for name in ("model", "rules")}
    if len(made) < count:
        note(f"{count - len(made)} questions were not found: the index has too few passages")
    print_fields({"file": str(out), **kinds, **by}, as_json=as_json)


def _make_from_feedback(file: Path, out: Path, *, as_json: bool) -> None:
    from collections import Counter

    from rag.cli.output import note, print_fields
    from rag.eval.feedback import questions_of_feedback, write_questions
    from rag.paths import writable_file

    writable_file(out, "--out")
    questions, unknown = questions_of_feedback(file)
    write_questions(questions, out)
    if unknown:
        note(f"{unknown} answers were called bad, and nobody wrote the right one")
    kinds = Counter(one.kind for one in questions)
    counts = {kind: kinds[kind] for kind in ("praised", "corrected", "none")}
    print_fields({"file": str(out), **counts}, as_json=as_json)
