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
    Path, typer.Option("--data", help="Folder with corpus.jsonl, queries.jsonl and qrels/.")
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
Seed = Annotated[int, typer.Option("--seed", help="Of the sample that --limit draws.")]
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
        help="What judges whether a source supports a sentence: content words, or the model "
        "that the first pipeline names as `nli` or `llm`.",
    ),
]
