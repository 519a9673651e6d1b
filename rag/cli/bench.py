"""`rag bench`: pipelines side by side."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rag.cli.config import AllowImport, Json, Param, load
from rag.cli.evaluate import Data, Limit, Seed, Where, bar

app = typer.Typer(help="Compare pipelines.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Compare pipelines."""


@app.command()
def pipelines(
    data: Data,
    configs: Annotated[
        list[str] | None,
        typer.Option("--config", "-c", help="Pipelines; the first is compared with. Default: all."),
    ] = None,
    limit: Limit = None,
    seed: Seed = 0,
    where: Where = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for each answer; what stands there is not asked again."),
    ] = None,
    params: Param = None,
    allow: AllowImport = None,
    as_json: Json = False,
) -> None:
    """Answer the same questions by several pipelines: quality, model calls, tokens, seconds."""
    from rag.cli.output import console, print_json
    from rag.errors import ConfigError
    from rag.eval.beir import load as load_data
    from rag.eval.bench import ask_all, rows
    from rag.eval.run import indexed
    from rag.llm import LLM, Embedder
    from rag.pipelines import names

    chosen = configs or ["naive", *(name for name in names() if name != "naive")]
    found = load_data(data, limit=limit, seed=seed)
    queries = [query for query in found.queries if query.answers]
    if not queries:
        fix = "use data with metadata.answers"
        raise ConfigError("the queries have no answers", where=str(data), fix=fix)
    asked = {}
    with load(chosen[0], params, allow) as first, bar() as tell:
        embedder, llm = first.resources.get("embedder", Embedder), first.resources.get("llm", LLM)
        with indexed(found, embedder, where, tell) as index:
            for name in chosen:
                flow = load(name, params, allow)
                flow = flow.with_resources(index=index, embedder=embedder, llm=llm)
                kept = None
                if out is not None:
                    out.mkdir(parents=True, exist_ok=True)
                    kept = out / f"{Path(name).stem}.jsonl"
                asked[Path(name).stem] = ask_all(flow, queries, kept, partial(tell, name))
    table = rows(asked, Path(chosen[0]).stem)
    if as_json:
        print_json([asdict(row) for row in table])
        return
    from rich.table import Table

    shown = Table(
        "pipeline", "EM", "F1", "contains", "against the first", "calls", "tokens", "s", "errors",
        box=None, pad_edge=False,
    )  # fmt: skip
    for row in table:
        shown.add_row(
            row.pipeline,
            f"{row.exact_match:.3f}",
            f"{row.token_f1:.3f}",
            f"{row.containment:.3f}",
            f"{row.gain:+.3f} [{row.low:+.3f}, {row.high:+.3f}]",
            f"{row.llm_calls:.1f}",
            f"{row.tokens:.0f}",
            f"{row.seconds:.1f}",
            str(row.errors),
        )
    console().print(shown)
