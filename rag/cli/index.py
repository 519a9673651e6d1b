"""`rag index`: the size of an index, whether it is sound, and its space."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from rag.cli.config import Config, Json, load

if TYPE_CHECKING:
    from rag.index.store import Address
    from rag.index.types import IndexProblem, ListsStats

app = typer.Typer(help="Look into an index, and look after it.", no_args_is_help=True)

Where = Annotated[
    str | None,
    typer.Option(
        "--index",
        help="Folder or address of the index. Default: the pipeline's.",
        show_default=False,
    ),
]


def address(where: str | None, config: str | None) -> Address:
    """The address that was given, or that of the pipeline's index."""
    from rag.index import IndexBinding
    from rag.index.address import address_of

    return address_of(where) if where else IndexBinding(load(config).resources).address


@app.command()
def stats(config: Config = None, where: Where = None, as_json: Json = False) -> None:
    """Show the size of an index and the model that embedded it."""
    from rag.cli.output import print_fields
    from rag.index import Index
    from rag.plain import plain

    index = Index.open(address(where, config))
    try:
        found = index.stats()
    finally:
        index.close()
    fields = plain(found)
    if not as_json:
        fields["bytes"] = ", ".join(f"{part} {size}" for part, size in found.bytes.items())
        del fields["lists"]
        fields |= _of_lists(found.lists)
    print_fields(fields, as_json=as_json)


def _of_lists(lists: ListsStats | None) -> dict[str, str]:
    """What a search over inverted lists does, in words."""
    if lists is None:
        return {}
    efforts = {
        f"nearest {one.k}": f"{one.probed} lists scanned, {one.reranked} vectors scored exactly,"
        f" recall {one.recall:.3f}"
        for one in lists.efforts
    }
    return {"vectors in lists": str(lists.vectors), **efforts}


@app.command()
def verify(config: Config = None, where: Where = None, as_json: Json = False) -> None:
    """Read the whole index and compare it with its checksums. Exit code 1: something is wrong."""
    from rag.cli.output import print_json
    from rag.index import Index
    from rag.plain import plain

    index = Index.open(address(where, config))
    try:
        problems = index.verify()
        chunks = index.stats().chunks
    finally:
        index.close()
    if as_json:
        print_json({"chunks": chunks, "problems": plain(problems)})
    elif problems:
        _list(problems)
        typer.echo("run rag index rebuild")
    else:
        typer.echo(f"{chunks} chunks, no problems")
    if problems:
        raise typer.Exit(1)


@app.command()
def rebuild(config: Config = None, as_json: Json = False) -> None:
    """Make the words' index anew, and what `rag index verify` found damaged."""
    from rag.cli.output import print_json
    from rag.index import IndexBinding
    from rag.plain import plain

    with closing(load(config)) as flow:
        index = IndexBinding(flow.resources).writer()
        try:
            forgotten = index.rebuild()
            problems = index.verify()
        finally:
            index.close()
    if as_json:
        print_json({"forgotten": forgotten, "problems": plain(problems)})
    else:
        for uri in forgotten:
            typer.echo(f"{uri} was damaged and is forgotten: run rag ingest")
        _list(problems)
        if not problems:
            typer.echo("The index is sound.")
    if problems:
        raise typer.Exit(1)


def _list(problems: list[IndexProblem]) -> None:
    for one in problems:
        typer.echo(f"{one.file}: {one.what}")


@app.command()
def reembed(config: Config = None, as_json: Json = False) -> None:
    """Embed the index again with the pipeline's embedder, from the stored texts."""
    from rag.cli.output import print_json
    from rag.index import IndexBinding
    from rag.index.ingest.reembed import reembed as run

    with closing(load(config)) as flow, _counted("embedding") as tell:
        binding = IndexBinding(flow.resources)
        embedder = binding.open_embedder()
        made = run(binding.address, embedder, tell)
    if as_json:
        print_json({"chunks": made, "embedder": embedder.id})
    else:
        typer.echo(f"{made} chunks embedded with {embedder.id}")


@contextmanager
def _counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of chunks done, and all."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, chunks: bar.update(task, completed=done, total=chunks)


@app.command()
def compact(config: Config = None, where: Where = None, as_json: Json = False) -> None:
    """Reclaim the space of deleted chunks."""
    from rag.cli.output import print_json
    from rag.index import Index
    from rag.plain import plain

    place = address(where, config)
    reader = Index.open(place)
    embedder, dim = reader.embedder, reader.dim
    reader.close()
    index = Index.writer(place, embedder=embedder, dim=dim, create=False)
    try:
        index.compact()
        statistics = plain(index.stats())
    finally:
        index.close()
    if as_json:
        print_json(statistics)
    else:
        typer.echo(f"{statistics['chunks']} chunks from {statistics['sources']} sources")
