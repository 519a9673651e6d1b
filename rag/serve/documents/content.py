"""The documents behind passages: the file as it was ingested, or the text that is stored of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from rag.errors import LoadError
from rag.flow import Flow
from rag.index import Index, IndexBinding
from rag.index.ingest.names import path_of, uri_of, whole_uri
from rag.serve.identity.identity import ANONYMOUS, Identity
from rag.serve.pipelines.flows import Flows
from rag.serve.pipelines.indexes import indexes
from rag.serve.pipelines.pipeline import Pipelines
from rag.serve.uploads.uploads import Uploads
from rag.text.chunk import Chunk
from rag.text.joining import joined

UNKNOWN_KIND = "application/octet-stream"


@dataclass(frozen=True)
class DocumentContent:
    """What there is of a document.

    Args:
        name: The file's name.
        kind: The file's content type.
        text: What the index has of it.
        file: The file, where it may be opened and is as it was when it was ingested.
    """

    name: str
    kind: str
    text: str
    file: Path | None = None


class Documents:
    """Opens documents for those who may see them.

    Args:
        pipelines: Whose indexes there are.
        flows: Opens them, as each user may see them.
        uploads: Users' own files.
    """

    def __init__(self, pipelines: Pipelines, flows: Flows, uploads: Uploads) -> None:
        self._pipelines, self._flows, self._uploads = pipelines, flows, uploads

    async def find(self, who: Identity, pipeline: str | None, name: str) -> DocumentContent:
        """The document of a passage, or an upload.

        A file is given only to those who say who they are, if it was uploaded or lies below the
        `root` of its index, all of it may be seen, and it was not changed since the ingest.

        Args:
            who: Sees what a search of theirs could find.
            pipeline: Its name; None: the first.
            name: The id of a passage, or of an upload of the user's own.

        Raises:
            Problem: 404, there is no such document, or it may not be seen.
        """
        served = self._pipelines.named(pipeline)
        lease = await self._flows.lease(served, who)
        with closing(lease):
            found = await asyncio.to_thread(self._of_passage, served.flow, lease.flow, name)
        if found is None:
            found = await self._of_upload(who, name)
        return replace(found, file=None) if who == ANONYMOUS else found

    def _of_passage(self, flow: Flow, opened: Flow, name: str) -> DocumentContent | None:
        for key in indexes(flow):
            index = opened.resources.get(key, Index)
            for passage in index.get([name]):
                root = IndexBinding(flow.resources, index=key).root
                where = passage.path or whole_uri(passage.source)
                text = _text(index.of_source(passage.source))
                file = self._file(index, whole_uri(passage.source), root)
                return DocumentContent(PurePath(where).name, _kind(where), text, file)
        return None

    def _file(self, index: Index, uri: str, root: Path | None) -> Path | None:
        """The file of a source, where it may be opened and is as it was ingested."""
        source = index.source(uri)
        if source is None or not source.digest or source.chunks > len(index.of_source(uri)):
            return None  # it was no file, or is seen in part
        path = path_of(uri, root)
        if path is None:
            return None
        try:
            real, state = path.resolve(), path.stat()
        except OSError:
            return None
        roots = [one.resolve() for one in (root, self._uploads.files) if one is not None]
        unchanged = (state.st_size, state.st_mtime_ns) == (source.size, source.mtime_ns)
        below = any(real.is_relative_to(one) for one in roots)
        return real if unchanged and below and real.is_file() else None

    async def _of_upload(self, who: Identity, name: str) -> DocumentContent:
        upload = await self._uploads.stored(who.user, name)
        served = self._pipelines[upload.pipeline]

        def chunks(opened: Flow) -> Iterator[Chunk]:
            for key in served.indexes[:1]:
                yield from opened.resources.get(key, Index).of_source(uri_of(upload.path))

        lease = await self._flows.lease(served, who)
        with closing(lease):
            found = await asyncio.to_thread(lambda: list(chunks(lease.flow)))
        name = upload.path.name
        return DocumentContent(name, _kind(name), _text(found), upload.path)


def _text(chunks: Sequence[Chunk]) -> str:
    """The text that chunks were cut from, without what a model wrote of it."""
    return joined([one for one in chunks if not one.written_as])[0]


def _kind(name: str) -> str:
    from rag.index.readers.content_type import by_name

    try:
        return by_name(PurePath(name).name) or UNKNOWN_KIND
    except LoadError:
        return UNKNOWN_KIND
