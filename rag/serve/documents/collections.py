"""The collections that a user searches, and the documents that each holds for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from urllib.parse import unquote

from pydantic import BaseModel, Field

from rag.index import Index
from rag.index.binding import SHARED
from rag.index.ingest.names import whole_uri
from rag.serve.errors import Problem
from rag.serve.identity.identity import Identity
from rag.serve.pipelines.flows import Flows
from rag.serve.pipelines.pipeline import Pipeline, Pipelines
from rag.text.chunk import Chunk

COUNTED = 1000
"""Documents of a collection that are counted at most."""


class CollectionDocument(BaseModel):
    """A document of a collection."""

    id: str = Field(description="of its first passage; opens it as `/documents/{id}/content`")
    name: str = Field(description="its file as readers know it")
    chunks: int = Field(description="that the user may see")


class Collection(BaseModel):
    """A collection."""

    name: str
    documents: int = Field(description=f"that the user may see; at most {COUNTED:,} are counted")
    uploads: bool = Field(description="whether the user may upload into it")


class Collections:
    """The collections of a pipeline's index as each user sees them.

    Args:
        pipelines: Whose indexes there are.
        flows: Opens them.
    """

    def __init__(self, pipelines: Pipelines, flows: Flows) -> None:
        self._pipelines, self._flows = pipelines, flows

    async def all(self, who: Identity, pipeline: str | None) -> list[Collection]:
        """The user's collections; none where the pipeline has no index of its own.

        Raises:
            Problem: 404, there is no such pipeline.
        """
        served = self._pipelines.named(pipeline)
        if not served.indexes:
            return []
        found = []
        for name in who.collections or ():
            documents = await self._documents(served, who, name, 0, COUNTED, chunks=False)
            uploads = "upload" in who.may and (name != SHARED or "admin" in who.may)
            found.append(Collection(name=name, documents=len(documents), uploads=uploads))
        return found

    async def documents(
        self,
        who: Identity,
        pipeline: str | None,
        name: str,
        offset: int,
        limit: int,
        words: str = "",
    ) -> list[CollectionDocument]:
        """Some of a collection's documents, by name.

        Args:
            who: Sees them.
            pipeline: Whose index; None: the first.
            name: The collection's.
            offset: How many are passed over.
            limit: How many are given at most.
            words: Only those that have all of these in their names.

        Raises:
            Problem: 403, the collection is not the user's; 404, there is no such pipeline.
        """
        served = self._pipelines.named(pipeline)
        within = chosen(who, [name])
        if not served.indexes:
            return []
        return await self._documents(served, within, name, offset, limit, words)

    async def _documents(
        self,
        pipeline: Pipeline,
        who: Identity,
        name: str,
        offset: int,
        limit: int,
        words: str = "",
        *,
        chunks: bool = True,
    ) -> list[CollectionDocument]:
        def read(index: Index) -> list[CollectionDocument]:
            # A large table is several sources, each named after its first row.
            wholes = dict.fromkeys(whole_uri(one.uri) for one in index.sources())
            wanted = words.lower().split()
            named = (uri for uri in wholes if not wanted or _has(index, uri, wanted))
            found = islice(named, offset, offset + limit)
            return [_document(index, uri) if chunks else _NAMELESS for uri in found]

        lease = await self._flows.lease(pipeline, chosen(who, [name]))
        with closing(lease):
            key = pipeline.indexes[0]
            return await asyncio.to_thread(read, lease.flow.resources.get(key, Index))


_NAMELESS = CollectionDocument(id="", name="", chunks=0)


def _document(index: Index, uri: str) -> CollectionDocument:
    passages = index.of_source(uri)
    first = passages[0] if passages else None
    name = _name(uri, passages)
    return CollectionDocument(id=(first and first.id) or "", name=name, chunks=len(passages))


def _name(uri: str, passages: Sequence[Chunk]) -> str:
    return (passages[0].path if passages else "") or uri.rpartition("/")[2]


def _has(index: Index, uri: str, words: Sequence[str]) -> bool:
    """Whether a document's name has all the words, in lower case.

    The URI ends with the name, or has no part of it: passages are read only of what it may be.
    """
    if not all(word in unquote(uri).lower() for word in words):
        return False
    name = _name(uri, index.of_source(uri)).lower()
    return all(word in name for word in words)


def chosen(who: Identity, names: list[str] | None) -> Identity:
    """The user, searching only some of their collections; None: all.

    Raises:
        Problem: 403, one is not the user's; 422, none is named.
    """
    if names is None:
        return who
    if not names:
        fix = "name one, or leave the field out"
        raise Problem(422, "no_collection", "no collection is chosen", where="collections", fix=fix)
    for name in names:
        if name not in (who.collections or ()):
            raise Problem(
                403, "not_allowed", f"the collection {name[:64]!r} is not yours",
                where="collections", fix=f"yours are: {', '.join(who.collections or ())}",
            )  # fmt: skip
    return who.over(names)
