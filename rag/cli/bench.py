"""`rag bench`: all ready-made pipelines side by side."""

from __future__ import annotations

import typer

from rag.cli.comparing import compare_answers
from rag.cli.config import AllowImport, Json, Param
from rag.cli.eval_options import (
    Answers,
    Concurrency,
    Configs,
    Data,
    Html,
    Indexes,
    JudgeConfig,
    JudgeOption,
    Limit,
    Seed,
    Split,
)
from rag.cli.evaluate import read

app = typer.Typer(help="Compare the ready-made pipelines.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Compare the ready-made pipelines."""


@app.command()
def pipelines(
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
    params: Param = None,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Ask all ready-made pipelines the same questions; `naive` is the baseline."""
    from rag.pipelines import names

    dataset = read(data, split, limit, seed)
    chosen = configs or ["naive", *(name for name in names() if name != "naive")]
    compare_answers(
        dataset, chosen, indexes=indexes, out=out, html=html, judge=judge,
        judge_config=judge_config, concurrency=concurrency, params=params, allow=allow,
        as_json=as_json,
    )  # fmt: skip
