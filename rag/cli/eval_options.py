"""The options that `rag eval` and `rag bench` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Configs = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        "-c",
        help="Pipeline file or name; repeatable. The first one is the baseline. "
        "Default: ./rag.yaml, else `hybrid`.",
        show_default=False,
    ),
]
Data = Annotated[
    Path,
    typer.Option(
        "--data",
        help="Folder in BEIR's format (corpus.jsonl, queries.jsonl, qrels/), or a file of "
        "questions (.jsonl, .json, .csv), which are asked over the pipelines' own indexes.",
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="Which file of qrels/. Default: test, or the only one.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="Maximum number of queries.", show_default=False),
]
Seed = Annotated[int, typer.Option("--seed", help="Of what is drawn at random.")]
Indexes = Annotated[
    Path | None,
    typer.Option(
        "--index",
        help="Keep the indexes in this folder. Default: a temporary one.",
        show_default=False,
    ),
]
Rankings = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for each query's result, as JSONL.", show_default=False),
]
Answers = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Folder for each query's result, as JSONL; a later run reuses the answers.",
        show_default=False,
    ),
]
Concurrency = Annotated[
    int,
    typer.Option(
        "--concurrency",
        min=1,
        help="Questions answered at a time: faster in total, slower for each one.",
    ),
]
Html = Annotated[
    Path | None,
    typer.Option("--html", help="Write a report with plots to this file.", show_default=False),
]
JudgeOption = Annotated[
    Literal["words", "nli", "llm"],
    typer.Option(
        "--judge",
        help="What judges whether the sources support a statement: content words, or a model. "
        "`llm` grades correctness too.",
    ),
]
JudgeConfig = Annotated[
    str | None,
    typer.Option(
        "--judge-config",
        help="Pipeline file whose resources `llm` or `nli` judge. Default: the first pipeline.",
        show_default=False,
    ),
]
Baseline = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        help="Results of an earlier run, as --out wrote them; gains are over these.",
        show_default=False,
    ),
]
FailUnder = Annotated[
    float | None,
    typer.Option(
        "--fail-under",
        help="Exit with code 8 unless the 95 % interval of each pipeline's gain over the baseline "
        "stays at or above this; -0.05 tolerates a loss of five points.",
        show_default=False,
    ),
]
Measure = Annotated[
    str | None,
    typer.Option(
        "--measure",
        help="What --fail-under compares. Default: correctness if it is judged, else containment.",
        show_default=False,
    ),
]
Made = Annotated[
    Path,
    typer.Option("--out", help="JSONL file of the questions; a stopped run goes on with it."),
]
FromFeedback = Annotated[
    Path | None,
    typer.Option(
        help="JSONL file of rated answers, from `GET /feedback` of a server: the questions are "
        "those that users asked, and no pipeline is opened.",
        show_default=False,
    ),
]
Questions = Annotated[int, typer.Option("--questions", min=1, help="How many are made.")]
Several = Annotated[
    float,
    typer.Option("--several", min=0, max=1, help="Share whose answer needs two documents."),
]
Unanswerable = Annotated[
    float,
    typer.Option("--none", min=0, max=1, help="Share that the index does not answer."),
]
