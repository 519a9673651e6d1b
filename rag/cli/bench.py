"""`rag bench`: all ready-made pipelines side by side."""

from __future__ import annotations

import typer

from rag.cli.config import AllowImport, Json, Param
from rag.cli.evaluate import (
    AtOnce,
    By,
    Configs,
    Data,
    Html,
    Limit,
    Out,
    Seed,
    Split,
    Where,
    compare_answers,
    read,
)

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
    where: Where = None,
    out: Out = None,
    html: Html = None,
    by: By = "words",
    at_once: AtOnce = 1,
    params: Param = None,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Ask all ready-made pipelines the same questions; `naive` is what they are compared with."""
    from rag.pipelines import names

    found = read(data, split, limit, seed)
    compare_answers(
        found, configs or ["naive", *(name for name in names() if name != "naive")], where=where,
        out=out, html=html, by=by, at_once=at_once, params=params, allow=allow, as_json=as_json,
    )  # fmt: skip
