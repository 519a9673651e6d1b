"""Collections: what is searched for a user, and the documents there."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from rag.serve.documents.collections import Collection, CollectionDocument, Collections
from rag.serve.http.authentication import asks
from rag.serve.http.route import Endpoints
from rag.serve.http.schemas import PROBLEMS
from rag.serve.identity.identity import Identity

PipelineName = Annotated[
    str | None, Query(alias="pipeline", description="whose index; none: the first")
]


def routes(shared: Endpoints, collections: Collections) -> APIRouter:
    """The endpoints under `/collections`."""
    router = shared.router(prefix="/collections", tags=["documents"], responses=PROBLEMS)
    Asker = Annotated[Identity, Depends(asks)]  # noqa: N806 - a type

    @router.get("")
    async def listed(who: Asker, pipeline: PipelineName = None) -> list[Collection]:
        """The collections that are searched for the user."""
        return await collections.all(who, pipeline)

    @router.get("/{collection}/documents")
    async def documents(
        collection: Annotated[str, Path(max_length=200)],
        who: Asker,
        pipeline: PipelineName = None,
        offset: Annotated[int, Query(ge=0, lt=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 100,
        search: Annotated[
            str, Query(max_length=200, description="words that their names have, all of them")
        ] = "",
    ) -> list[CollectionDocument]:
        """The documents of a collection: uploaded or ingested otherwise."""
        return await collections.documents(who, pipeline, collection, offset, limit, search)

    return router
