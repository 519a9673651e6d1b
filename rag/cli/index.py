"""`rag index`: look after an index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag.cli.config import Config, Json, load

if TYPE_CHECKING:
    from rag.flow import Flow

app = typer.Typer(help="Look after an index.", no_args_is_help=True)

Where = Annotated[
    Path | None,
    typer.Option(
        "--index", help="The index's folder. Default: the pipeline's.", show_default=False
    ),
]


def index_path(flow: Flow) -> Path:
    """The folder of the index that the flow names."""
    from rag.index import Index
    from rag.index.spec import IndexSpec

    spec = flow.resources.specs.get("index", Index.default)
    return flow.resources.base / IndexSpec.of(spec).path.expanduser()


@app.command()
def stats(config: Config = None, where: Where = None, as_json: Json = False) -> None:
    """Say what an index holds."""
    from rag.cli.output import print_json
    from rag.index import Index
    from rag.plain import plain

    index = Index.open(where or index_path(load(config)))
    try:
        found = plain(index.stats())
    finally:
        index.close()
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        typer.echo(f"{name}: {value}")


@app.command()
def compact(config: Config = None, where: Where = None, as_json: Json = False) -> None:
    """Give back the room of deleted chunks."""
    from rag.cli.output import print_json
    from rag.index import Index
    from rag.plain import plain

    path = where or index_path(load(config))
    reader = Index.open(path)
    embedder, dim = reader.embedder, reader.dim
    reader.close()
    index = Index.writer(path, embedder=embedder, dim=dim, create=False)
    try:
        index.compact()
        found = plain(index.stats())
    finally:
        index.close()
    if as_json:
        print_json(found)
    else:
        typer.echo(f"{found['chunks']} chunks from {found['sources']} sources")
