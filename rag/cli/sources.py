"""`rag index list`, `remove`, `set-metadata`, `export`, `import`: the sources of an index."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag.cli.config import Config, Json, load
from rag.cli.index import Where, address
from rag.cli.values import pairs

if TYPE_CHECKING:
    from rag.index import Index

Patterns = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...", help="Names of sources, as `list` shows them, or `docs/*`."
    ),
]


def list_sources(
    patterns: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE]...", help="Only these, such as `docs/*`."),
    ] = None,
    config: Config = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """List the sources of an index: chunks, size, time of the last change."""
    from rag.cli.output import console, print_json
    from rag.index import Index
    from rag.index.ingest.names import whole_uri
    from rag.index.sources import matching

    with closing(Index.open(address(where, config))) as index:
        found = matching(index, patterns) if patterns else list(index.sources())
    rows: dict[str, dict[str, Any]] = {}
    for one in found:
        row = rows.setdefault(
            whole_uri(one.uri), {"chunks": 0, "bytes": one.size, "changed": _time(one.mtime_ns)}
        )
        row["chunks"] += one.chunks
    if as_json:
        print_json([{"source": uri, **row} for uri, row in rows.items()])
        return
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    table = Table("source", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("chunks", justify="right")
    table.add_column("size", justify="right")
    table.add_column("changed")
    for uri, row in rows.items():
        size = decimal(row["bytes"]) if row["bytes"] else ""
        table.add_row(Text(uri), str(row["chunks"]), size, row["changed"] or "")
    console().print(table)


def _time(mtime_ns: int) -> str | None:
    if not mtime_ns:
        return None
    return datetime.fromtimestamp(mtime_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def remove(
    patterns: Patterns, config: Config = None, where: Where = None, as_json: Json = False
) -> None:
    """Remove sources from an index. The next `rag ingest` of their files adds them again."""
    from rag.cli.output import print_json
    from rag.index.sources import matching

    with closing(_writer(where, config)) as index:
        found = matching(index, patterns)
        chunks = index.delete(one.uri for one in found)
    if as_json:
        print_json({"sources": [one.uri for one in found], "chunks": chunks})
    else:
        typer.echo(f"{chunks} chunks of {len(found)} sources removed")


def set_metadata(
    patterns: Patterns,
    values: Annotated[
        list[str],
        typer.Option(
            "--set", "-s", metavar="NAME=VALUE", help="Value as JSON, else text; null: remove."
        ),
    ],
    config: Config = None,
    where: Where = None,
    as_json: Json = False,
) -> None:
    """Set metadata of sources, without embedding them again; a later ingest of a file resets it."""
    from rag.cli.output import print_json
    from rag.index.sources import matching
    from rag.index.sources import set_metadata as change

    given = {name: _value(text) for name, text in pairs(values, "--set").items()}
    with closing(_writer(where, config)) as index:
        found = matching(index, patterns)
        chunks = change(index, found, given)
    if as_json:
        print_json({"sources": [one.uri for one in found], "chunks": chunks})
    else:
        typer.echo(f"{chunks} chunks of {len(found)} sources changed")


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="- for standard output.")],
    config: Config = None,
    where: Where = None,
) -> None:
    """Write all chunks as JSON Lines: `id`, `text`, `metadata`, and `source`."""
    from rag.files import replacing
    from rag.index import Index
    from rag.index.sources import exported
    from rag.paths import write_errors

    with closing(Index.open(address(where, config))) as index:
        lines = (json.dumps(one, ensure_ascii=False) + "\n" for one in exported(index))
        if str(file) == "-":
            sys.stdout.writelines(lines)
            return
        with write_errors(file, "FILE"), replacing(file) as out:
            out.writelines(lines)


def import_chunks(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="- for standard input.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Bring an index up to date with what `export` wrote, of this or another store."""
    from rag.cli.output import print_json
    from rag.errors import LoadError
    from rag.index import IndexBinding
    from rag.index.sources import imported
    from rag.index.types import WriteReport

    report = WriteReport(0, 0, 0)
    with closing(load(config)) as flow:
        binding = IndexBinding(flow.resources)
        try:
            source = sys.stdin if str(file) == "-" else file.open(encoding="utf-8")
        except OSError as error:
            raise LoadError(f"cannot be read: {error.strerror}", where=str(file)) from error
        with source, closing(binding.writer()) as index:
            for one in imported(index, binding.open_embedder(), source, where=str(file)):
                report += one
    if as_json:
        print_json({"added": report.added, "kept": report.kept, "removed": report.removed})
    else:
        typer.echo(
            f"chunks: {report.added} added, {report.kept} kept, {report.removed} removed; "
            f"index: {binding.address}"
        )


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _writer(where: str | None, config: str | None) -> Index:
    """The index, for writing, without its embedder: nothing is embedded."""
    from rag.index import Index

    place = address(where, config)
    with closing(Index.open(place)) as reader:
        embedder, dim = reader.embedder, reader.dim
    return Index.writer(place, embedder=embedder, dim=dim, create=False)
