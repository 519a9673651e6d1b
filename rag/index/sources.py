"""The sources of an index: which match a pattern, out of it as lines of JSON, and in again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from rag.errors import IndexStateError, InputError, LoadError
from rag.index.ingest.batch import TRIES, Batch
from rag.index.ingest.names import whole_uri
from rag.index.types import Source, SourceUpdate, WriteReport
from rag.text.chunk import Chunk

if TYPE_CHECKING:
    from rag.index.index import Index
    from rag.models import Embedder

EMBEDDED = frozenset("title heading context questions summary".split())  # noqa: SIM905
"""Metadata that are a part of what is embedded."""
OWN = frozenset(
    """
    source path page page_label rows start end parents language written_as children level
    pooled_within found_by triples
    """.split()  # noqa: SIM905
)
"""Metadata that come of the file and of how it was cut."""


def matching(index: Index, patterns: Sequence[str]) -> list[Source]:
    """The sources whose URI is one of the patterns or matches it, by URI.

    Args:
        index: Open.
        patterns: Such as `docs/locks.md` or `docs/*`; of a large table all parts match together.

    Raises:
        InputError: A pattern matches none.
    """
    found: dict[str, Source] = {}
    missed = set(patterns)
    for source in index.sources():
        name = whole_uri(source.uri)
        hits = {one for one in patterns if name == one or fnmatchcase(name, one)}
        if hits:
            found[source.uri] = source
            missed -= hits
    if missed:
        raise InputError(
            f"no source is called {min(missed)!r}",
            where=str(index.address),
            fix="`rag index list` lists them; * stands for any text",
        )
    return list(found.values())


def of_file(index: Index, uri: str) -> list[Source]:
    """The source of a file, and of a large table its parts.

    Args:
        index: Open.
        uri: The file's name in the index.
    """
    return [source for source in index.sources() if whole_uri(source.uri) == uri]


def exported(index: Index) -> Iterator[dict[str, Any]]:
    """All chunks, source after source, each as a mapping that can be JSON.

    Returns:
        Mappings with `id`, `text`, `metadata`, and as `source` what the index knows of it.
    """
    for source in index.sources():
        for chunk in index.of_source(source.uri):
            yield {
                "id": chunk.id, "text": chunk.text, "metadata": dict(chunk.metadata),
                "source": asdict(source),
            }  # fmt: skip


def imported(
    index: Index, embedder: Embedder, lines: Iterable[str], *, where: str
) -> Iterator[WriteReport]:
    """Write sources that `exported` gave into an index, each whole; what it has is not embedded.

    Args:
        index: Open for writing.
        embedder: Makes the vectors.
        lines: A mapping as JSON each; the chunks of a source follow one another.
        where: What errors call the lines.

    Returns:
        A report for each commit.

    Raises:
        LoadError: A line is not what was exported, or chunks of a source are missing; the sources
            before it are written.
    """
    batch = Batch(index, embedder)
    failure: LoadError | None = None
    try:
        for known, chunks in _whole_sources(lines, where):
            batch.add(known.uri, chunks, known.digest, known.size, known.mtime_ns)
            if batch.full:
                yield batch.commit()
    except LoadError as error:
        failure = error
    yield batch.commit()
    if failure is not None:
        raise failure


def _whole_sources(lines: Iterable[str], where: str) -> Iterator[tuple[Source, list[Chunk]]]:
    """Each source with all of its chunks, as soon as it has them."""
    held: list[Chunk] = []
    known: Source | None = None
    number = 0
    for number, line in enumerate(lines, start=1):
        try:
            one = _Line.model_validate_json(line)
        except ValueError as error:
            reason = " ".join(str(error).split())[:80]
            raise LoadError(
                f"no line of an export: {reason}", where=f"{where}:{number}", fix="export again"
            ) from error
        if held and one.source != known:
            break
        known = one.source
        held.append(Chunk(one.text, one.metadata))
        if len(held) == known.chunks:
            yield known, held
            held = []
    if held and known is not None:
        raise LoadError(
            f"{len(held)} of {known.chunks} chunks of {known.uri}",
            where=f"{where}:{number}",
            fix="export again",
        )


class _Line(BaseModel):
    text: str
    metadata: dict[str, Any]
    source: Source


def set_metadata(index: Index, sources: Iterable[Source], values: Mapping[str, Any]) -> int:
    """Give the chunks of sources further metadata; nothing is embedded.

    They last until the file is ingested again.

    Args:
        index: Open for writing.
        sources: Of it.
        values: Key to value; None takes the key away.

    Returns:
        The number of chunks.

    Raises:
        InputError: A key is not for users to set.
    """
    import numpy as np

    refused = sorted(values.keys() & (EMBEDDED | OWN))
    if refused:
        why = "is a part of what is embedded" if refused[0] in EMBEDDED else "is set by the ingest"
        raise InputError(f"{refused[0]} {why}", fix="change the document, and ingest it")
    none = np.zeros((0, index.dim), dtype=np.float32)
    count = 0
    for source in sources:
        for _ in range(TRIES):
            chunks = [_changed(chunk, values) for chunk in index.of_source(source.uri)]
            plan = index.plan(source.uri, chunks)
            if plan.new:  # another process has written it between the two
                continue
            update = SourceUpdate(plan, none, source.digest, source.size, source.mtime_ns)
            if not index.write([update]).changed:
                count += len(chunks)
                break
        else:
            raise IndexStateError(
                f"other processes write to {source.uri} all the time", where=str(index.address)
            )
    return count


def _changed(chunk: Chunk, values: Mapping[str, Any]) -> Chunk:
    merged = {**chunk.metadata, **values}
    return Chunk(chunk.text, {key: one for key, one in merged.items() if one is not None})
