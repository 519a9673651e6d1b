"""Answers of several pipelines side by side: what `rag eval answers` and `rag bench` do."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rag.cli.config import load
from rag.cli.eval_options import JudgeOption
from rag.cli.evaluating import bound, flows_of, print_table, progress_bar, result_files

if TYPE_CHECKING:
    from rag.eval.dataset import Dataset, Query
    from rag.eval.results import AnswerResult
    from rag.eval.support import Judge
    from rag.flow import Flow

FAILED = 8
"""The exit code where `--fail-under` is not met."""


def compare_answers(
    data: Dataset,
    configs: Sequence[str],
    *,
    indexes: Path | None,
    out: Path | None,
    html: Path | None,
    judge: JudgeOption,
    judge_config: str | None = None,
    concurrency: int,
    baseline: Path | None = None,
    fail_under: float | None = None,
    measure: str | None = None,
    params: list[str] | None,
    allow: list[str] | None,
    as_json: bool,
) -> None:
    """Ask the pipelines the data set's questions, and print the comparison.

    Raises:
        typer.Exit: With code 8: a pipeline falls behind the baseline.
    """
    from rag.cli.output import note, print_json
    from rag.errors import ConfigError
    from rag.eval.answer_cache import AnswerCache
    from rag.eval.answers import answer_rows, ask_all
    from rag.eval.digests import answers_digest
    from rag.eval.gate import checks, read_baseline
    from rag.eval.report import write_report
    from rag.eval.tables import answer_table
    from rag.extras import check_installed
    from rag.paths import writable_file

    queries = _measurable(data)
    compared = _measure(measure, judge)
    if fail_under is not None and baseline is None and len(configs) < 2:
        fix = "give --baseline, or two pipelines: the first is the baseline"
        raise ConfigError("there is nothing to compare with", where="--fail-under", fix=fix)
    results: dict[str, list[AnswerResult]] = {}
    if baseline is not None:
        results[f"{baseline.stem} before"] = read_baseline(baseline, queries)
    if html is not None:
        check_installed("matplotlib", "eval", where="--html")
        writable_file(html, "--html")
    judging: Judge | None = None
    with ExitStack() as stack:
        flows = flows_of(stack, configs, params, allow)
        for name, flow in flows.items():
            _writes_answers(name, flow)
        files = result_files(out, flows)
        judges = stack.enter_context(load(judge_config, allow=allow)) if judge_config else None
        progress = stack.enter_context(progress_bar())
        for name, flow in bound(stack, data, flows, indexes, progress):
            judging = judging or _judge(judge, judges or flow)
            cache = None
            if name in files:
                digest = answers_digest(flows[name], data, judging.digest)
                cache = AnswerCache(files[name], digest, queries)
            results[name] = ask_all(
                flow, queries, judging, cache=cache, progress=partial(progress, name),
                concurrency=concurrency,
            )  # fmt: skip
    rows = answer_rows(results)
    gate = [] if fail_under is None else checks(results, compared, fail_under)
    if html is not None:
        write_report(
            html, data.name, rows, results, {name: flow.to_yaml() for name, flow in flows.items()},
            judge=judge, checks=gate, made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )  # fmt: skip
    if as_json:
        shown = {"data": data.name, "judge": judge, "notes": data.notes, "pipelines": rows}
        print_json({**shown, "checks": [{**asdict(one), "passed": one.passed} for one in gate]})
    else:
        print_table(answer_table(rows))
    for one in gate:
        note(str(one))
    if not all(one.passed for one in gate):
        raise typer.Exit(FAILED)


def _measurable(data: Dataset) -> list[Query]:
    """The questions whose answers can be right or wrong."""
    from rag.cli.output import note
    from rag.errors import ConfigError

    queries = [query for query in data.queries if query.measurable]
    if not queries:
        raise ConfigError(
            "no question has an answer", where=data.name,
            fix="give `answers`, in a folder of BEIR's format as `metadata.answers`; an empty list "
            "says that the question cannot be answered",
        )  # fmt: skip
    if left := len(data.queries) - len(queries):
        note(f"{left} questions are left out: nothing is known of their answers")
    return queries


def _measure(name: str | None, judge: JudgeOption) -> str:
    """What a gate compares."""
    from rag.errors import ConfigError
    from rag.eval.answers import QUALITY
    from rag.names import suggestion

    if name is not None and name not in QUALITY:
        raise ConfigError(
            f"there is no measure {name!r}", where="--measure", fix=suggestion(name, QUALITY)
        )
    return name or ("correctness" if judge == "llm" else "containment")


def _writes_answers(name: str, flow: Flow) -> None:
    from rag.errors import ConfigError

    if "answer" not in flow.output_types:
        fix = "give one that ends in generate, or measure it by `rag eval retrieval`"
        raise ConfigError("the pipeline writes no answer", where=name, fix=fix)


def _judge(kind: JudgeOption, flow: Flow) -> Judge:
    """The judge, with a pipeline's model where it needs one.

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
